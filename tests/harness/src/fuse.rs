//! A file system that can stop answering: FUSE, spoken by hand (linux/fuse.h), as far as a look-up and a read of one file need it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Node numbers of the tree `folder/file`.
const ROOT: u64 = 1;
const FOLDER: u64 = 2;
const FILE: u64 = 3;
/// The lengths of a request's and an answer's header.
const IN: usize = 40;
const OUT: usize = 16;
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A mount with one file in it, at `folder/file`. Dropping it ends the mount and every request that waits.
pub struct Fuse {
    at: PathBuf,
    state: Arc<State>,
    server: Option<std::thread::JoinHandle<()>>,
}

struct State {
    silent: AtomicBool,
    ended: AtomicBool,
    /// The number of requests that were read and not answered.
    waiting: AtomicUsize,
    content: Vec<u8>,
}

impl Fuse {
    /// Mounts it on a folder that is made if need be.
    pub fn mount(at: &Path, content: Vec<u8>) -> Self {
        std::fs::create_dir_all(at).expect("the folder of a FUSE mount");
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).expect("no NUL");
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
        rustix::mount::mount("catamaran-fuse", at, "fuse", flags, options.as_c_str()).expect("mounting FUSE");
        let state = Arc::new(State {
            silent: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            content,
        });
        let served = state.clone();
        let server = Some(std::thread::spawn(move || serve(device, &served)));
        Self { at: at.to_owned(), state, server }
    }

    /// From now on requests are read and not answered: a process that waits for an answer cannot even be killed.
    pub fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::SeqCst);
    }

    /// Waits until a process waits for an answer.
    pub fn expect_waiting(&self, limit: Duration) {
        crate::wait_until(limit, "a request to the FUSE file system", || {
            (self.state.waiting.load(Ordering::SeqCst) > 0).then_some(())
        });
    }

    /// Ends the mount, and with it every request that waits.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // The server's descriptor is closed then, which aborts the connection.
        let served = self.server.take().is_none_or(|server| server.join().is_ok());
        let status = Command::new("umount").arg("-l").arg(&self.at).status();
        let gone = served && status.is_ok_and(|status| status.success());
        assert!(gone || std::thread::panicking(), "cannot end {}", self.at.display());
    }
}

fn serve(mut device: File, state: &State) {
    let mut request = vec![0; 1 << 20];
    while !state.ended.load(Ordering::SeqCst) {
        let mut ready = [PollFd::new(&device, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut ready, Some(&TURN)), Ok(1)) {
            continue;
        }
        let length = match device.read(&mut request) {
            Ok(length) => length,
            // The request was interrupted before it was read.
            Err(e) if e.kind() == ErrorKind::NotFound || e.kind() == ErrorKind::Interrupted => continue,
            // Unmounted.
            Err(_) => return,
        };
        let request = &request[..length];
        let (opcode, unique) = (number(request, 4, 4), number(request, 8, 8));
        let Some(answer) = answer(opcode, request, state) else { continue };
        if state.silent.load(Ordering::SeqCst) {
            state.waiting.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let (error, body) = answer.map_or_else(|error| (-error, Vec::new()), |body| (0, body));
        let mut bytes = Vec::new();
        bytes.extend(((OUT + body.len()) as u32).to_ne_bytes());
        bytes.extend(error.to_ne_bytes());
        bytes.extend(unique.to_ne_bytes());
        bytes.extend(body);
        // The kernel wants no answer to a request that was interrupted meanwhile.
        let _ = device.write(&bytes);
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Returns the answer to a request, or an error number; None if the request wants no answer.
fn answer(opcode: u64, request: &[u8], state: &State) -> Option<Result<Vec<u8>, i32>> {
    const NOENT: i32 = 2;
    const NOSYS: i32 = 38;
    let node = number(request, 16, 8);
    Some(Ok(match opcode {
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => return None,
        // LOOKUP
        1 => match (node, request[IN..].split(|byte| *byte == 0).next()) {
            (ROOT, Some(b"folder")) => entry(FOLDER, state),
            (FOLDER, Some(b"file")) => entry(FILE, state),
            _ => return Some(Err(NOENT)),
        },
        // GETATTR: how long the attributes hold, then the attributes
        3 => [vec![0; 16], attributes(node, state)].concat(),
        // OPEN, OPENDIR
        14 | 27 => vec![0; 16],
        // READ
        15 => {
            let from = (number(request, IN + 8, 8) as usize).min(state.content.len());
            let to = (from + number(request, IN + 16, 4) as usize).min(state.content.len());
            state.content[from..to].to_vec()
        }
        // READDIR: no names
        28 => Vec::new(),
        // RELEASE, FLUSH, RELEASEDIR, ACCESS
        18 | 25 | 29 | 34 => Vec::new(),
        // STATFS
        17 => vec![0; 80],
        // INIT
        26 => {
            let mut body = vec![0; 64];
            body[0..4].copy_from_slice(&7_u32.to_ne_bytes());
            body[4..8].copy_from_slice(&31_u32.to_ne_bytes());
            // The longest write.
            body[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
            body
        }
        _ => return Some(Err(NOSYS)),
    }))
}

/// An entry, which the kernel must look up anew each time.
fn entry(node: u64, state: &State) -> Vec<u8> {
    let mut body = node.to_ne_bytes().to_vec();
    body.resize(40, 0);
    body.extend(attributes(node, state));
    body
}

fn attributes(node: u64, state: &State) -> Vec<u8> {
    let (mode, size): (u32, usize) = if node == FILE { (0o100_755, state.content.len()) } else { (0o40_755, 0) };
    let mut body = vec![0; 88];
    body[0..8].copy_from_slice(&node.to_ne_bytes());
    body[8..16].copy_from_slice(&(size as u64).to_ne_bytes());
    body[60..64].copy_from_slice(&mode.to_ne_bytes());
    body[64..68].copy_from_slice(&1_u32.to_ne_bytes());
    body
}
