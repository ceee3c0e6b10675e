//! Names the limit that was reached if the kernel says no more than "resource temporarily unavailable".

use std::io;

use nix::libc;

/// Adds the place of the limit to the error of a process that could not be started, if it hit a limit.
pub fn of_processes(e: io::Error) -> io::Error {
    if e.raw_os_error() != Some(libc::EAGAIN) {
        return e;
    }
    let cgroup = own_cgroup().unwrap_or_else(|| "the shim is in".to_owned());
    let text = format!(
        "no further process may be started: pids.max of the cgroup {cgroup} or of one above it, or the host's own limit, is reached ({e})"
    );
    io::Error::new(e.kind(), text)
}

/// Returns the cgroup in which this process is counted.
fn own_cgroup() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let counted = |line: &str| {
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { return None };
        Some((controllers.to_owned(), path.to_owned()))
    };
    let all: Vec<_> = text.lines().filter_map(counted).collect();
    let v1 = all.iter().find(|(controllers, _)| controllers.split(',').any(|controller| controller == "pids"));
    v1.or_else(|| all.iter().find(|(controllers, _)| controllers.is_empty())).map(|(_, path)| path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_limit_is_named() {
        let text = of_processes(io::Error::from_raw_os_error(libc::EAGAIN)).to_string();
        assert!(text.contains("pids.max of the cgroup /"), "{text}");
        let other = of_processes(io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(other.raw_os_error(), Some(libc::ENOENT));
    }
}
