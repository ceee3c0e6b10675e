//! Carries the kernel's errors past wasmer-wasix to the guest.
//!
//! wasmer-wasix's file systems know two dozen errors, and make EIO of the rest: a full disk, a name that is too long, no more
//! descriptors. So each error of the kernel's is kept here until the guest's call answers, and replaces the answer that
//! wasmer-wasix makes of it. An answer that wasmer-wasix did not make of the kept error stays.

use std::cell::Cell;
use std::io;

use virtual_fs::FsError;
use wasmer_wasix::fs::fs_error_into_wasi_err;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

/// An error number of the kernel's, and what wasmer-wasix makes of it.
#[derive(Clone, Copy)]
struct Kept {
    number: i32,
    made: Errno,
    /// Whether it is a look-up's error.
    looked: bool,
}

thread_local! {
    /// The last error in this thread's call.
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

/// Keeps an error of a file system's call, and returns the one that wasmer-wasix decides by: whether the file is there, and
/// whether to try again with fewer rights.
pub(crate) fn refusal(e: io::Error) -> FsError {
    let answer = match e.raw_os_error() {
        Some(libc::ENOENT) => FsError::EntryNotFound,
        Some(libc::EEXIST) => FsError::AlreadyExists,
        // wasmer-wasix opens for reading and writing first, and as asked only if that is not permitted.
        Some(libc::EROFS | libc::ETXTBSY | libc::EPERM | libc::EACCES) => FsError::PermissionDenied,
        // Never "not supported": wasmer-wasix then pretends that the call was done.
        _ => FsError::IOError,
    };
    keep(e.raw_os_error(), fs_error_into_wasi_err(answer), false);
    answer
}

/// Keeps an error of a look-up, which wasmer-wasix mostly takes for "not found", whatever it is.
pub(crate) fn not_found(e: io::Error) -> FsError {
    let number = e.raw_os_error();
    let answer = refusal(e);
    keep(number, fs_error_into_wasi_err(answer), true);
    answer
}

/// Keeps an error of a read, a write or a seek.
pub(crate) fn of_a_file(e: io::Error) -> io::Error {
    let number = e.raw_os_error();
    let made = number.map_or(Errno::Io, |number| Errno::from(io::Error::from_raw_os_error(number)));
    keep(number, made, false);
    e
}

fn keep(number: Option<i32>, made: Errno, looked: bool) {
    if let Some(number) = number {
        KEPT.set(Some(Kept { number, made, looked }));
    }
}

/// The kernel's error number that was kept last in this call.
pub(crate) fn last() -> Option<i32> {
    KEPT.get().map(|kept| kept.number)
}

/// Makes a call. If its answer is what wasmer-wasix made of the kernel's error, returns that error, as WASI has it.
pub(crate) fn carried<E>(call: impl FnOnce() -> Result<i32, E>) -> Result<i32, E> {
    // A signal's handler makes calls within another.
    let outer = KEPT.take();
    let answer = call();
    let kept = KEPT.replace(outer);
    answer.map(|said| match kept {
        Some(kept) if said != 0 && kept.made_of(said) => wasis(kept.number) as i32,
        _ => said,
    })
}

impl Kept {
    fn made_of(self, said: i32) -> bool {
        let looked = self.looked && said == Errno::Noent as i32;
        looked || said == self.made as i32
    }
}

/// The error number for the guest of a system call that we made; 0 for success.
pub(crate) fn said(answer: rustix::io::Result<()>) -> i32 {
    answer.map_or_else(|e| wasis(e.raw_os_error()) as i32, |()| 0)
}

/// The kernel's error number as WASI has it; EIO if WASI has none for it.
pub(crate) fn wasis(number: i32) -> Errno {
    NUMBERS.iter().find(|(kernels, _)| *kernels == number).map_or(Errno::Io, |(_, wasis)| *wasis)
}

/// The errors of calls with files, folders and streams (`errno(3)`, and the pages in section 2 of the calls).
const NUMBERS: [(i32, Errno); 41] = [
    (libc::EPERM, Errno::Perm),
    (libc::ENOENT, Errno::Noent),
    (libc::EINTR, Errno::Intr),
    (libc::EIO, Errno::Io),
    (libc::ENXIO, Errno::Nxio),
    (libc::EBADF, Errno::Badf),
    (libc::EAGAIN, Errno::Again),
    (libc::ENOMEM, Errno::Nomem),
    (libc::EACCES, Errno::Access),
    (libc::EFAULT, Errno::Fault),
    (libc::EBUSY, Errno::Busy),
    (libc::EEXIST, Errno::Exist),
    (libc::EXDEV, Errno::Xdev),
    (libc::ENODEV, Errno::Nodev),
    (libc::ENOTDIR, Errno::Notdir),
    (libc::EISDIR, Errno::Isdir),
    (libc::EINVAL, Errno::Inval),
    (libc::ENFILE, Errno::Nfile),
    (libc::EMFILE, Errno::Mfile),
    (libc::ENOTTY, Errno::Notty),
    (libc::ETXTBSY, Errno::Txtbsy),
    (libc::EFBIG, Errno::Fbig),
    (libc::ENOSPC, Errno::Nospc),
    (libc::ESPIPE, Errno::Spipe),
    (libc::EROFS, Errno::Rofs),
    (libc::EMLINK, Errno::Mlink),
    (libc::EPIPE, Errno::Pipe),
    (libc::ERANGE, Errno::Range),
    (libc::EDEADLK, Errno::Deadlk),
    (libc::ENAMETOOLONG, Errno::Nametoolong),
    (libc::ENOLCK, Errno::Nolck),
    (libc::ENOSYS, Errno::Nosys),
    (libc::ENOTEMPTY, Errno::Notempty),
    (libc::ELOOP, Errno::Loop),
    (libc::EOVERFLOW, Errno::Overflow),
    (libc::EILSEQ, Errno::Ilseq),
    (libc::EOPNOTSUPP, Errno::Notsup),
    (libc::ENOBUFS, Errno::Nobufs),
    (libc::ETIMEDOUT, Errno::Timedout),
    (libc::ESTALE, Errno::Stale),
    (libc::EDQUOT, Errno::Dquot),
];

#[cfg(test)]
mod tests {
    use std::io;

    use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

    use super::{carried, not_found, of_a_file, refusal, wasis};

    fn after(number: i32, keep: impl FnOnce(io::Error), said: Errno) -> i32 {
        let call = || {
            keep(io::Error::from_raw_os_error(number));
            Ok::<i32, ()>(said as i32)
        };
        carried(call).unwrap()
    }

    #[test]
    fn an_error_of_the_kernel_keeps_its_number() {
        let file = |number, said| after(number, |e| _ = of_a_file(e), said);
        assert_eq!(file(libc::ENOSPC, Errno::Io), Errno::Nospc as i32);
        assert_eq!(file(libc::EDQUOT, Errno::Io), Errno::Dquot as i32);
        assert_eq!(file(libc::EFBIG, Errno::Io), Errno::Fbig as i32);
        let folder = |number, said| after(number, |e| _ = refusal(e), said);
        assert_eq!(folder(libc::EROFS, Errno::Perm), Errno::Rofs as i32);
        assert_eq!(folder(libc::EXDEV, Errno::Io), Errno::Xdev as i32);
        assert_eq!(folder(libc::EMFILE, Errno::Io), Errno::Mfile as i32);
        let look_up = |number, said| after(number, |e| _ = not_found(e), said);
        assert_eq!(look_up(libc::ENAMETOOLONG, Errno::Noent), Errno::Nametoolong as i32);
        assert_eq!(look_up(libc::ENOENT, Errno::Noent), Errno::Noent as i32);
    }

    #[test]
    fn an_error_of_the_library_itself_is_kept() {
        assert_eq!(after(libc::ENOENT, |e| _ = not_found(e), Errno::Success), 0);
        assert_eq!(after(libc::ENOENT, |e| _ = not_found(e), Errno::Inval), Errno::Inval as i32);
        assert_eq!(after(libc::EROFS, |e| _ = refusal(e), Errno::Badf), Errno::Badf as i32);
        assert_eq!(carried(|| Ok::<i32, ()>(Errno::Io as i32)), Ok(Errno::Io as i32));
    }

    #[test]
    fn a_nested_call_does_not_change_the_outer_calls_error() {
        let outer = carried(|| {
            let _ = refusal(io::Error::from_raw_os_error(libc::EROFS));
            assert_eq!(after(libc::ENOSPC, |e| _ = of_a_file(e), Errno::Io), Errno::Nospc as i32);
            Ok::<i32, ()>(Errno::Perm as i32)
        });
        assert_eq!(outer, Ok(Errno::Rofs as i32));
    }

    #[test]
    fn error_numbers_are_those_of_wasi() {
        for (number, wasi) in
            [(libc::EACCES, 2), (libc::EMFILE, 33), (libc::ENOSPC, 51), (libc::EROFS, 69), (libc::EXDEV, 75)]
        {
            assert_eq!(wasis(number) as i32, wasi);
        }
    }
}
