//! The numbers of the system calls that the holder makes, and of those that its filter allows (linux/unistd.h).

#[cfg(target_arch = "x86_64")]
mod native {
    pub(crate) const READ: u32 = 0;
    pub(crate) const WRITE: u32 = 1;
    pub(crate) const CLOSE: u32 = 3;
    pub(crate) const RT_SIGACTION: u32 = 13;
    pub(crate) const RT_SIGPROCMASK: u32 = 14;
    pub(crate) const RT_SIGTIMEDWAIT: u32 = 128;
    pub(crate) const PRCTL: u32 = 157;
    pub(crate) const RESTART_SYSCALL: u32 = 219;
    pub(crate) const EXIT_GROUP: u32 = 231;
    pub(crate) const PPOLL: u32 = 271;
    pub(crate) const SIGNALFD4: u32 = 289;
    pub(crate) const SECCOMP: u32 = 317;
}
#[cfg(target_arch = "aarch64")]
mod native {
    pub(crate) const CLOSE: u32 = 57;
    pub(crate) const READ: u32 = 63;
    pub(crate) const WRITE: u32 = 64;
    pub(crate) const PPOLL: u32 = 73;
    pub(crate) const SIGNALFD4: u32 = 74;
    pub(crate) const EXIT_GROUP: u32 = 94;
    pub(crate) const RESTART_SYSCALL: u32 = 128;
    pub(crate) const RT_SIGACTION: u32 = 134;
    pub(crate) const RT_SIGPROCMASK: u32 = 135;
    pub(crate) const RT_SIGTIMEDWAIT: u32 = 137;
    pub(crate) const PRCTL: u32 = 167;
    pub(crate) const SECCOMP: u32 = 277;
}

pub(crate) use native::*;
