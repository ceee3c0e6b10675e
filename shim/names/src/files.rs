//! Reads the two files, which come from the image or a volume and may be of any kind and size.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

pub(crate) const HOSTS: &str = "/etc/hosts";
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The most bytes that are read of either file. A line that begins later does not count.
const MOST: u64 = 1 << 20;

/// Returns the result of `read` for the file's text; None if there is no such regular file.
pub(crate) fn read<T>(path: &str, read: impl FnOnce(&str) -> T) -> Option<T> {
    // Does not wait for a writer of a FIFO, or for the end of a lease.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).ok()?;
    Some(read(&String::from_utf8_lossy(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_a_limit_and_fifos_not_at_all() {
        let folder = std::env::temp_dir().join(format!("catamaran-names-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(path("large"), "x\n".repeat(1 << 20)).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path("fifo")).status();
        let large = read(&path("large"), str::len);
        let fifo = read(&path("fifo"), str::len);
        let none = read(&path("none"), str::len);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(made.unwrap().success());
        assert_eq!((large, fifo, none), (Some(1 << 20), None, None));
    }
}
