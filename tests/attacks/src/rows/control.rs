//! The control socket: false messages to the shim before Start, and nothing left of the socket after it.

use std::sync::OnceLock;

use nix::errno::Errno;

use super::{Row, also};
use crate::attacker::socket;
use crate::call::{Answer, at, call};
use crate::outcome::Outcome;

/// A copy of the control socket that was made before Start.
static KEPT: OnceLock<i32> = OnceLock::new();

/// Reports in the form of the worker's own; see `catamaran_worker::control`.
const RED: &[u8] = b"{\"Failed\":{\"cause\":\"Module\",\"text\":\"\\u001b[31mred\\u0007\"}}";
const CLONED: &[u8] = b"{\"Cloned\":{\"pid\":1}}";
const READY: &[u8] = b"{\"Ready\":{\"warnings\":[\"\\u001b[31m\\nlevel=error msg=forged\"]}}";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("before Start: a report that is no JSON", also::SHIM, |_| tell(&[b"{\"none\":"], 0)).before_start(),
        Row::new("before Start: a report of another worker's pid", also::SHIM, |_| tell(&[CLONED], 0)).before_start(),
        Row::new("before Start: an empty report", also::SHIM, |_| tell(&[b""], 0)).before_start(),
        Row::new("before Start: the longest report", also::SHIM, |_| tell(&[&vec![b'['; 60_000]], 0)).before_start(),
        Row::new("before Start: a failure in red", also::SHIM, |_| tell(&[RED], 0)).before_start(),
        Row::new("before Start: as many descriptors as one message takes", also::SHIM, |_| tell(&[b"{}"], 253))
            .before_start(),
        Row::new("before Start: ready many times, with descriptors and a forged line", also::SHIM, |_| {
            tell(&[READY; 64], 253)
        })
        .before_start(),
        Row::new("after Start: the control socket that was open before", also::CLOSED, |_| match socket() {
            Some(fd) => send(fd, b"x", 0).into(),
            None => Outcome::denied("it is closed"),
        }),
        Row::new("after Start: a copy of the control socket", also::CLOSED, |_| match KEPT.get() {
            Some(&fd) => send(fd, READY, 0).into(),
            None => Outcome::Absent("no socket was found".to_owned()),
        })
        .prepared(keep),
    ]
}

fn keep() {
    if let Some(Ok(fd)) = socket().map(|fd| call(libc::SYS_dup, [fd as u64])) {
        // A process loads only one worker.
        let _ = KEPT.set(fd as i32);
    }
}

/// Sends every text in place of the worker's own report, with or without descriptors.
fn tell(texts: &[&[u8]], descriptors: usize) -> Outcome {
    let told = |fd: i32, text: &[u8]| match descriptors {
        0 => call(libc::SYS_write, [fd as u64, text.as_ptr() as u64, text.len() as u64]),
        _ => send(fd, text, descriptors),
    };
    Outcome::new(texts.iter().map(|text| ("a report", socket().ok_or(Errno::EBADF).and_then(|fd| told(fd, text)))))
}

/// sendmsg(2) with copies of standard output as its descriptors.
fn send(fd: i32, bytes: &[u8], descriptors: usize) -> Answer {
    let mut rights = vec![0_u64; 2 + descriptors.div_ceil(2)];
    // struct cmsghdr: length, level and kind, and then the descriptors.
    rights[0] = 16 + 4 * descriptors as u64;
    rights[1] = u64::from(libc::SCM_RIGHTS as u32) << 32 | libc::SOL_SOCKET as u64;
    for pair in &mut rights[2..] {
        *pair = 1 << 32 | 1;
    }
    let part = [bytes.as_ptr() as u64, bytes.len() as u64];
    let control = if descriptors == 0 { [0, 0] } else { [at(&rights[0]), rights[0]] };
    // struct msghdr: name, its length, parts, their number, control data, their length, flags.
    let message = [0, 0, at(&part), 1, control[0], control[1], 0];
    call(libc::SYS_sendmsg, [fd as u64, at(&message), (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u64])
}
