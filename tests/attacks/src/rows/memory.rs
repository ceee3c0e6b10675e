//! New executable memory, by every call that could make it.

use super::{Row, also};
use crate::call::{Answer, HERE, at, call, open, signed, text};
use crate::code::{ARTIFACT, PAGE, filled, find, run, write};
use crate::outcome::Outcome;

const SIZE: u64 = PAGE as u64;
const READ: u64 = libc::PROT_READ as u64;
const WRITE: u64 = libc::PROT_WRITE as u64;
const EXEC: u64 = libc::PROT_EXEC as u64;
const PRIVATE: u64 = libc::MAP_PRIVATE as u64;
const SHARED: u64 = libc::MAP_SHARED as u64;
const ANONYMOUS: u64 = libc::MAP_ANONYMOUS as u64;
const READ_IMPLIES_EXEC: u64 = 0x0040_0000;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("mmap: anonymous, writable and executable", also::NONE, |_| {
            filled(mmap(READ | WRITE | EXEC, PRIVATE | ANONYMOUS, -1))
        }),
        Row::new("mmap: shared, executable", also::NONE, |_| filled(mmap(READ | WRITE | EXEC, SHARED | ANONYMOUS, -1))),
        Row::new("mmap: growing down, executable", also::NONE, |_| {
            filled(mmap(READ | WRITE | EXEC, PRIVATE | ANONYMOUS | libc::MAP_GROWSDOWN as u64, -1))
        }),
        Row::new("mmap: a file of the image, executable", also::NONE, |_| from_file(c"/code", READ | EXEC)),
        Row::new("mmap: a file made by the guest, executable", also::NONE, |_| from_file(c"/tmp/code", READ | EXEC)),
        Row::new("mmap: the artifact once more, executable", also::NONE, more_of_the_artifact),
        Row::new("mmap: /dev/zero, executable", also::NODEV, |_| {
            mapped(open(c"/dev/zero", libc::O_RDWR), READ | WRITE | EXEC, PRIVATE)
        }),
        Row::new("mprotect: data to code", also::NONE, |_| protected(libc::SYS_mprotect, READ | EXEC, 0)),
        Row::new("mprotect: execution alone", also::NONE, |_| protected(libc::SYS_mprotect, EXEC, 0)),
        Row::new("mprotect: with bits that the kernel drops", also::NOBODY, |_| {
            protected(libc::SYS_mprotect, READ | EXEC | 1 << 32, 0)
        }),
        Row::new("pkey_mprotect: data to code", also::NONE, |_| {
            protected(libc::SYS_pkey_mprotect, READ | EXEC, signed(-1))
        }),
        Row::new("mprotect: the stack and what it grows to", also::NONE, |_| stack()),
        Row::new("own code rewritten in place", also::NONE, |_| rewritten()).alone(),
        Row::new("own code written to without a call", also::NOT_MAPPED, |_| {
            let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
            write(artifact.code.0 as i64);
            Outcome::Open("written".to_owned())
        }),
        Row::new("a jump into data", also::NOT_MAPPED, |_| filled(mmap(READ | WRITE, PRIVATE | ANONYMOUS, -1))),
        Row::new("mremap: own code grown over the module's data", also::NONE, |_| grown()).alone(),
        Row::new("mremap: own code moved and doubled", also::NONE, |_| doubled()).alone(),
        Row::new("remap_file_pages: own code to another page", also::NONE, |_| {
            let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
            let (address, length) = artifact.code;
            call(libc::SYS_remap_file_pages, [address as u64, length as u64, 0, 1, 0]).into()
        }),
        Row::new("memfd_create: mapped executable", also::NONE, |_| {
            mapped(call(libc::SYS_memfd_create, [text(c"code"), 0]), READ | WRITE | EXEC, SHARED)
        }),
        Row::new("memfd_secret: mapped executable", also::NONE, |_| {
            mapped(call(libc::SYS_memfd_secret, [0]), READ | WRITE | EXEC, SHARED)
        }),
        Row::new("shmat: System V memory, executable", also::NONE, |_| {
            filled(call(libc::SYS_shmget, [0, SIZE, 0o1700]).and_then(|id| {
                let attached = call(libc::SYS_shmat, [id as u64, 0, libc::SHM_EXEC as u64]);
                // Marks the segment for removal with its last user; otherwise it would stay.
                let _ = call(libc::SYS_shmctl, [id as u64, libc::IPC_RMID as u64, 0]);
                attached
            }))
        }),
        Row::new("personality: readable memory is executable", also::NONE, |_| {
            match call(libc::SYS_personality, [READ_IMPLIES_EXEC]) {
                Ok(_) => filled(mmap(READ | WRITE, PRIVATE | ANONYMOUS, -1)),
                refused => refused.into(),
            }
        }),
        Row::new("process_madvise, process_vm_writev: own code", also::NOT_MAPPED, |_| written_as_another()),
        Row::new("userfaultfd", also::NONE, |_| call(libc::SYS_userfaultfd, [libc::O_CLOEXEC as u64]).into()),
        Row::new("map_shadow_stack", also::KERNEL, |_| call(453, [0, SIZE, 1]).into()),
    ];
    #[cfg(target_arch = "x86_64")]
    rows.extend([
        Row::new("modify_ldt: a segment of its own", also::NONE, |_| {
            // Entry 0, base 0, the whole of memory, 32 bits, not present: an entry that a process may always write.
            let entry: [u32; 4] = [0, 0, 0xf_ffff, 0x3f];
            // The call returns its errors in 32 bits.
            let answer = call(libc::SYS_modify_ldt, [0x11, at(&entry), 16]);
            match answer.map(|value| value as i32) {
                Ok(error @ ..0) => Err(nix::errno::Errno::from_raw(-error)).into(),
                _ => answer.into(),
            }
        }),
        Row::new("arch_prctl: the kernel's page mapped anew", also::NONE, |_| {
            const MAP_VDSO_64: u64 = 0x2003;
            call(libc::SYS_arch_prctl, [MAP_VDSO_64, 0]).into()
        }),
        Row::new("uselib", also::KERNEL, |_| call(libc::SYS_uselib, [text(c"/attacker")]).into()),
    ]);
    rows
}

fn mmap(protection: u64, flags: u64, fd: i64) -> Answer {
    call(libc::SYS_mmap, [0, SIZE, protection, flags, fd as u64, 0])
}

/// Maps a page of an open descriptor, fills and runs it.
fn mapped(fd: Answer, protection: u64, flags: u64) -> Outcome {
    match fd {
        Ok(fd) => {
            // A file without length gets a page; a device cannot.
            let _ = call(libc::SYS_ftruncate, [fd as u64, SIZE]);
            filled(mmap(protection, flags, fd))
        }
        Err(e) => Outcome::Denied(format!("{e:?}")),
    }
}

/// Maps a file with the function in it, which is made first if the image has none.
fn from_file(path: &std::ffi::CStr, protection: u64) -> Outcome {
    let made = open(path, libc::O_RDWR | libc::O_CREAT).and_then(|fd| {
        call(
            libc::SYS_pwrite64,
            [fd as u64, crate::code::ANSWER.as_ptr() as u64, crate::code::ANSWER.len() as u64, 0],
        )?;
        mmap(protection, PRIVATE, fd)
    });
    made.map_or_else(|e| Outcome::Denied(format!("{e:?}")), run)
}

fn more_of_the_artifact(_: &super::Context) -> Outcome {
    let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
    let whole = [0, artifact.length as u64, READ | EXEC, PRIVATE, artifact.fd as u64, 0];
    match call(libc::SYS_mmap, whole) {
        Ok(base) => find(base, artifact.length).map_or_else(|| Outcome::denied("no data of the module in it"), run),
        Err(e) => Outcome::Denied(format!("{e:?}")),
    }
}

/// Makes data executable afterwards.
fn protected(number: i64, protection: u64, key: u64) -> Outcome {
    let changed = mmap(READ | WRITE, PRIVATE | ANONYMOUS, -1).and_then(|page| {
        write(page);
        call(number, [page as u64, SIZE, protection, key]).map(|_| page)
    });
    changed.map_or_else(|e| Outcome::Denied(format!("{e:?}")), run)
}

fn stack() -> Outcome {
    let local = [0_u8; 64];
    let page = at(&local) & !(SIZE - 1);
    call(libc::SYS_mprotect, [page, SIZE, READ | WRITE | EXEC | libc::PROT_GROWSDOWN as u64]).into()
}

fn rewritten() -> Outcome {
    let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
    let page = artifact.code.0 as u64;
    let changed = call(libc::SYS_mprotect, [page, SIZE, READ | WRITE]).and_then(|_| {
        write(page as i64);
        call(libc::SYS_mprotect, [page, SIZE, READ | EXEC])
    });
    changed.map_or_else(|e| Outcome::Denied(format!("{e:?}")), |_| run(page as i64))
}

/// Extends an executable mapping over the rest of its file: a mapping that grows covers more of the file, and the module's data after the
/// code are chosen by its author.
fn grown() -> Outcome {
    let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
    let (address, length) = artifact.code;
    let to = artifact.length - artifact.offset;
    match call(libc::SYS_mremap, [address as u64, length as u64, to as u64, libc::MREMAP_MAYMOVE as u64]) {
        Ok(base) => find(base, to).map_or_else(|| Outcome::denied("no data of the module in it"), run),
        Err(e) => Outcome::Denied(format!("{e:?}")),
    }
}

fn doubled() -> Outcome {
    const DONTUNMAP: u64 = 4;
    let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
    let flags = libc::MREMAP_MAYMOVE as u64 | DONTUNMAP;
    call(libc::SYS_mremap, [artifact.code.0 as u64, SIZE, SIZE, flags]).into()
}

/// Writes through a call that could pass over the page's protection, as ptrace's `POKETEXT` does to another process.
fn written_as_another() -> Outcome {
    let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
    let own = u64::from(std::process::id());
    let from = [crate::code::ANSWER.as_ptr() as u64, crate::code::ANSWER.len() as u64];
    let to = [artifact.code.0 as u64, crate::code::ANSWER.len() as u64];
    let memory = open(c"/proc/self/mem", libc::O_RDWR);
    Outcome::new([
        ("process_vm_writev", call(libc::SYS_process_vm_writev, [own, at(&from), 1, at(&to), 1, 0])),
        ("process_madvise", call(libc::SYS_process_madvise, [signed(-1), at(&to), 1, libc::MADV_COLD as u64, 0])),
        ("/proc/self/mem", memory),
        ("openat /proc/self/mem", call(libc::SYS_openat, [HERE, text(c"proc/self/mem"), libc::O_RDWR as u64])),
    ])
}
