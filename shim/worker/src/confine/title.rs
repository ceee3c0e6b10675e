//! Sets the command line that `ps` and `/proc/PID/cmdline` show for a container's process: the guest's own, as for a native
//! program, instead of this program's path on the host and the container's id.
//!
//! The kernel reads the command line from this process's memory, between two addresses that prctl(2) sets (`PR_SET_MM_MAP`, which
//! asks for no capability). That call takes all addresses of the process's memory at once, and `/proc/self/stat` of the host's
//! procfs has the others: so the intermediate makes it, and the worker inherits the addresses. The program's name
//! (`/proc/PID/comm`) stays the engine's.
#![allow(unsafe_code, reason = "the calls have no safe form; each has its SAFETY comment")]

use std::fs;
use std::io;

use nix::libc;
use rustix::process::PrctlMmMap;

/// Shows `words` as this process's command line, and as that of its clones.
pub(super) fn show(words: &[String]) -> io::Result<()> {
    let mut text: Vec<u8> = Vec::with_capacity(words.iter().map(|word| word.len() + 1).sum());
    for word in words {
        text.extend(word.as_bytes());
        text.push(0);
    }
    if text.is_empty() {
        return Ok(());
    }
    let mut layout = layout(&fs::read_to_string("/proc/self/stat")?)?;
    // Leaked, because the kernel reads it for as long as this process and its clones live.
    let text = Vec::leak(text).as_ptr_range();
    layout.arg_start = text.start as u64;
    layout.arg_end = text.end as u64;
    // SAFETY: all addresses but the words' are those that the kernel has now, and no thread changes them meanwhile: there is no other.
    Ok(unsafe { rustix::process::configure_virtual_memory_map(&layout) }?)
}

/// Reads this process's addresses from a line of `/proc/PID/stat` (proc_pid_stat(5)).
fn layout(stat: &str) -> io::Result<PrctlMmMap> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/self/stat without addresses: {stat:?}"));
    // The name, in parentheses, may have spaces. Behind it comes the third field.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(bad)?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse().ok()).ok_or_else(bad);
    // SAFETY: 0 changes nothing; the call answers where the heap ends now.
    let heap_end = unsafe { libc::syscall(libc::SYS_brk, 0) };
    Ok(PrctlMmMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk: heap_end as u64,
        start_stack: field(28)?,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: std::ptr::null_mut(),
        auxv_size: 0,
        exe_fd: -1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ALONE: &str = "CATAMARAN_TEST_TITLE";

    #[test]
    fn the_guests_words_are_the_command_line() {
        if std::env::var_os(ALONE).is_none() {
            // In a process of its own, because the command line is the whole process's.
            let own = "confine::title::tests::the_guests_words_are_the_command_line";
            let mut command = Command::new(std::env::current_exe().unwrap());
            assert!(command.args(["--exact", own, "--nocapture"]).env(ALONE, "1").status().unwrap().success());
            return;
        }
        let read = |what: &str| fs::read(format!("/proc/self/{what}")).unwrap();
        let (environment, name) = (read("environ"), read("comm"));
        let words = ["/app.wasm".to_owned(), String::new(), "two words\nand a line".to_owned()];
        show(&words).unwrap();
        assert_eq!(read("cmdline"), b"/app.wasm\0\0two words\nand a line\0");
        assert_eq!(read("environ"), environment);
        assert_eq!(read("comm"), name);
        // Longer than the command line that this process was started with.
        let long = "x".repeat(100_000);
        show(std::slice::from_ref(&long)).unwrap();
        assert_eq!(read("cmdline").len(), long.len() + 1);
        // The heap still grows.
        assert_eq!(vec![1_u8; 64 << 20].iter().filter(|byte| **byte == 1).count(), 64 << 20);
    }

    #[test]
    fn a_line_without_addresses_is_refused() {
        assert!(layout("1 (a) b) S 1 2").is_err());
        assert!(layout("").is_err());
    }
}
