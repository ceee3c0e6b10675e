//! System calls as an attacker makes them: raw, with any arguments.
#![allow(unsafe_code, reason = "an attack is a raw system call; the module holds nothing but the ways to make one")]

use std::ffi::CStr;

use nix::errno::Errno;

/// The kernel's answer.
pub(crate) type Answer = Result<i64, Errno>;

/// Makes a system call, with zeros for the arguments that are left out.
pub(crate) fn call<const N: usize>(number: i64, arguments: [u64; N]) -> Answer {
    let [a, b, c, d, e, f] = six(arguments);
    // SAFETY: the calls of this crate pass pointers to memory that outlives them and is as large as the kernel takes it
    // for; those that would change this process's own memory under it are refused, or hit memory made for the attack.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

fn six<const N: usize>(arguments: [u64; N]) -> [u64; 6] {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(arguments) {
        *to = from;
    }
    all
}

/// A text's address, for a call.
pub(crate) fn text(text: &CStr) -> u64 {
    text.as_ptr() as u64
}

/// A value's address, for a call.
pub(crate) fn at<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}

/// The address of a value that the call may write to.
pub(crate) fn into<T>(value: &mut T) -> u64 {
    std::ptr::from_mut(value) as u64
}

/// A negative number as an argument, such as "no such file descriptor" or "the working folder".
pub(crate) const fn signed(number: i32) -> u64 {
    number as i64 as u64
}

/// `AT_FDCWD`.
pub(crate) const HERE: u64 = signed(libc::AT_FDCWD);

/// openat(2) from the working folder.
pub(crate) fn open(path: &CStr, flags: i32) -> Answer {
    call(libc::SYS_openat, [HERE, text(path), (flags | libc::O_CLOEXEC) as u64, 0o600])
}

pub(crate) fn close(fd: i64) {
    // Nothing to do if the descriptor is not open.
    let _ = call(libc::SYS_close, [fd as u64]);
}

/// Makes a call that may return twice, like fork(2): the second time, in the child, it ends the child at once.
///
/// No stack frame is left between the call and the child's end, so that a child that shares this memory does no harm.
pub(crate) fn twice(number: i64, arguments: [u64; 2]) -> Answer {
    let [a, b] = arguments;
    let result: i64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the registers that the kernel changes are named; the child runs two instructions on no stack.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, {exit}",
            "xor edi, edi",
            "syscall",
            "2:",
            exit = const libc::SYS_exit_group,
            inlateout("rax") number => result,
            inlateout("rdi") a => _,
            in("rsi") b,
            in("rdx") 0_u64,
            in("r10") 0_u64,
            in("r8") 0_u64,
            out("rcx") _,
            out("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x8, {exit}",
            "svc #0",
            "2:",
            exit = const libc::SYS_exit_group,
            inlateout("x8") number => _,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") 0_u64,
            in("x3") 0_u64,
            in("x4") 0_u64,
        );
    }
    if result < 0 { Err(Errno::from_raw(-result as i32)) } else { Ok(result) }
}

/// Makes a call by its number in the 32-bit table, through the gate of 32-bit programs.
#[cfg(target_arch = "x86_64")]
pub(crate) fn through_the_old_gate(number: i32) -> i32 {
    let result: i32;
    // SAFETY: getpid(2) or a call that is refused; the gate keeps every register but those named.
    unsafe {
        std::arch::asm!(
            "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
            inlateout("eax") number => result, in("ecx") 0, in("edx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

/// The C library's look-up of a host's name, for which even a static program could load code (nss(5)).
pub(crate) fn look_up(host: &CStr) -> i32 {
    let mut found: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: the name is NUL-terminated, no service and no hints are given, and the list is freed if one was made.
    let failed = unsafe { libc::getaddrinfo(host.as_ptr(), std::ptr::null(), std::ptr::null(), &raw mut found) };
    if failed == 0 {
        // SAFETY: getaddrinfo made the list and nobody else has it.
        unsafe { libc::freeaddrinfo(found) };
    }
    failed
}

/// The C library's version; a library of an image must be of the same version to be loaded.
pub fn c_library() -> String {
    // SAFETY: the function takes nothing and answers a string constant.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: a string constant of the C library's, NUL-terminated and there for good.
    unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned()
}

/// fstat(2) of an open descriptor.
pub(crate) fn status(fd: i32) -> Option<libc::stat> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the structure is the call's to fill, and outlives it.
    let failed = unsafe { libc::fstat(fd, status.as_mut_ptr()) };
    // SAFETY: the call succeeded, so that it filled the structure.
    (failed == 0).then(|| unsafe { status.assume_init() })
}
