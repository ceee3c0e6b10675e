//! Names of functions in a backtrace, as their authors wrote them in Rust or C++.

use std::fmt::{self, Write};

/// The longest result, because a guest chooses its names, and a short one can stand for one without end.
const MOST: usize = 1024;

/// Demangles `name`; a plain name stays as it is.
pub(crate) fn demangled(name: &str) -> String {
    let mut text = Bounded(String::new());
    // Writing fails when the text is cut off.
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        let _ = write!(text, "{rust:#}");
    } else if let Ok(cpp) = cpp_demangle::Symbol::new(name) {
        let _ = cpp.structured_demangle(&mut text, &cpp_demangle::DemangleOptions::default());
    }
    if text.0.is_empty() {
        let _ = text.write_str(name);
    }
    text.0
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MOST - self.0.len();
        self.0.push_str(&more[..more.floor_char_boundary(room)]);
        if more.len() <= room { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, demangled};

    #[test]
    fn names_of_rust_and_cpp_are_demangled() {
        assert_eq!(demangled("_ZN4core9panicking5panic17h0123456789abcdefE"), "core::panicking::panic");
        assert_eq!(demangled("_RNvCsg9BlgqxpPYj_3app4main"), "app::main");
        assert_eq!(demangled("_ZN3foo3barERKSsi"), "foo::bar(std::string const&, int)");
        for plain in ["main", "", "_start", "_Z", "__original_main", "runtime.goexit"] {
            assert_eq!(demangled(plain), plain);
        }
    }

    fn base_36(number: u32) -> String {
        let digit = |number| char::from_digit(number, 36).unwrap().to_ascii_uppercase();
        format!("{}{}", digit(number / 36), digit(number % 36))
    }

    #[test]
    fn a_name_that_grows_when_it_is_demangled_is_cut_off() {
        let long = "é".repeat(MOST);
        let length = |name: &str| demangled(name).len();
        assert_eq!((length(&long), length(&format!("_Z{}{long}v", long.len()))), (MOST, MOST));
        // Each parameter is two of the one before.
        let pairs: String = (0..60).map(|n: u32| format!("1PIS{}_S{0}_E", base_36(2 * n + 1))).collect();
        assert!(length(&format!("_Z1f1PIiiE{pairs}")) <= MOST);
    }
}
