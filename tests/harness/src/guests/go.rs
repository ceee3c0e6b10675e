//! Guests in Go.

use std::process::Command;

use super::built::{answer, built};
use super::source;

/// Nothing is fetched: neither modules (there are none) nor another toolchain.
pub(crate) const GO_STAYS_HOME: [(&str, &str); 4] =
    [("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("GOPROXY", "off")];

/// The first Go that knows `wasip1`.
const OLDEST_GO: (u32, u32) = (1, 21);

/// A module from `tests/guests/go/NAME.go`.
pub fn go(name: &str) -> Vec<u8> {
    compiled(name, "", &[("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0")])
}

fn compiled(name: &str, kind: &str, environment: &[(&str, &str)]) -> Vec<u8> {
    let path = source(&format!("go/{name}.go"));
    let version = go_version();
    assert!(go_is_new_enough(&version), "{version} is too old for the Go guests: install Go 1.21 or newer");
    built(&path, kind, &version, |target| {
        let mut command = Command::new("go");
        command
            .args(["build", "-trimpath", "-o"])
            .arg(target)
            .arg(&path)
            .envs(environment.iter().copied())
            .envs(GO_STAYS_HOME);
        command
    })
}

/// The native program to compare a guest with, from `tests/guests/go/NAME.go`, as a static ELF.
pub fn go_native(name: &str) -> Vec<u8> {
    compiled(name, "-native", &[("CGO_ENABLED", "0")])
}

/// The version of the machine's Go, as it names it: `go1.26.8`.
///
/// # Panics
/// When there is none.
pub(crate) fn go_version() -> String {
    answer(Command::new("go").args(["env", "GOVERSION"]), "go", "install Go 1.21 or newer")
}

fn go_is_new_enough(version: &str) -> bool {
    let Some(numbers) = version.trim().strip_prefix("go") else {
        // A build from Go's own repository: "devel ...".
        return version.starts_with("devel");
    };
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST_GO
}

#[cfg(test)]
mod tests {
    use super::go_is_new_enough;

    #[test]
    fn a_version_of_go_is_compared_by_its_numbers() {
        for (version, enough) in [
            ("go1.20.14", false),
            ("go1.21", true),
            ("go1.21rc2", true),
            ("go1.26.8", true),
            ("go2.0", true),
            ("", false),
        ] {
            assert_eq!(go_is_new_enough(version), enough, "{version}");
        }
    }
}
