//! Has a call wait for a socket until something comes, a signal does, or the guest's own time-out is over.
//!
//! wasmer-wasix waits 30 s if the guest has set no time-out, in which no signal reaches it, and then answers ETIMEDOUT. Its
//! task manager does the waiting, which is ours ([`crate::tasks`]): so the time is chosen here, and a signal ends the wait. A
//! call that is not to be interrupted is made again, as the kernel does.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Sleep;
use wasmer::RuntimeError;
use wasmer_wasix::WasiThread;
use wasmer_wasix::wasmer_wasix_types::types::__WASI_SOCK_RECV_INPUT_DONT_WAIT;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::Call;
use crate::timeouts::{self, Direction};
use crate::{datagrams, input, signals, threads};

/// The time that wasmer-wasix waits if no time-out is set.
const FALLBACK: Duration = Duration::from_secs(30);

/// A task manager's answer when it is to wait.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// How a call waits for a socket.
#[derive(Clone, Copy)]
enum Mode {
    /// Waits for the socket's first step, or until a signal comes; then answers what was done.
    Once,
    /// Waits for each step, or until a signal comes: a call may bind the socket first, say.
    Each,
    /// Waits as often as the call likes, and hears of no signal: what is done already would be lost.
    Whole,
    /// Does not wait, as far as it can.
    AtOnce,
    /// Waits for this time, whatever time the call asked for.
    Time(Duration),
}

/// The call that this thread is in.
struct Wait {
    mode: Mode,
    /// The guest's time-out, if it has set one.
    limit: Option<Duration>,
    /// How often it has waited.
    times: u32,
    ended: Option<Ended>,
}

/// How a wait ended before the socket did anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Over,
    Signal,
}

thread_local! {
    static WAIT: RefCell<Option<Wait>> = const { RefCell::new(None) };
}

/// The wait of this thread's call, which wanted to wait for `time`; None if it keeps that time.
pub(crate) fn instead(events: &Handle, time: Duration) -> Option<Waiting> {
    WAIT.with_borrow_mut(|wait| {
        let wait = wait.as_mut()?;
        wait.times += 1;
        let limit = match wait.mode {
            Mode::Time(time) => Some(time),
            _ if time == FALLBACK => wait.limit,
            _ => Some(time),
        };
        let sleep = limit.map(|limit| {
            let _entered = events.enter();
            Box::pin(tokio::time::sleep(limit))
        });
        Some(match wait.mode {
            Mode::Whole | Mode::Time(_) => Box::pin(Until { sleep, thread: None }),
            // The first buffer is full already.
            Mode::Once if wait.times > 1 => Box::pin(Tried(false)) as Waiting,
            Mode::Once | Mode::Each => Box::pin(Until { sleep, thread: threads::thread() }),
            Mode::AtOnce => Box::pin(Tried(false)),
        })
    })
}

/// Ends when the time is over, or when a signal is pending for the thread.
struct Until {
    sleep: Option<Pin<Box<Sleep>>>,
    thread: Option<WasiThread>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.thread.as_ref().is_some_and(|thread| thread.has_signals_or_subscribe(cx.waker())) {
            ended(Ended::Signal);
            return Poll::Ready(());
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| ended(Ended::Over)),
            None => Poll::Pending,
        }
    }
}

/// Ends at the second poll, by when the socket has been asked, because wasmer-wasix polls the two in an order left to chance.
struct Tried(bool);

impl Future for Tried {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn ended(how: Ended) {
    WAIT.with_borrow_mut(|wait| {
        if let Some(wait) = wait {
            wait.ended = Some(how);
        }
    });
}

/// Runs `body` with that wait, and returns how the wait ended. A signal's handler makes calls within another.
fn during<T>(wait: Option<Wait>, body: impl FnOnce() -> T) -> (T, Option<Ended>) {
    let outer = WAIT.replace(wait);
    let answer = body();
    (answer, WAIT.replace(outer).and_then(|wait| wait.ended))
}

/// Runs `body`, whose waits keep their own times.
pub(crate) fn untouched<T>(body: impl FnOnce() -> T) -> T {
    during(None, body).0
}

/// Makes a call that keeps its own time: the guest named it.
pub(crate) fn its_own_time(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    untouched(|| call.made())
}

/// Makes a call that waits for that long at the most.
pub(crate) fn for_that_long(call: &mut Call<'_>, time: Duration) -> Result<i32, RuntimeError> {
    let wait = Wait { mode: Mode::Time(time), limit: None, times: 0, ended: None };
    during(Some(wait), || call.made()).0
}

/// `sock_recv_from`: socket, buffers, their number, flags. With more than ten kilobytes of buffers wasmer-wasix waits
/// whatever the flags say.
pub(crate) fn receive_from(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    if call.number(3) & u64::from(__WASI_SOCK_RECV_INPUT_DONT_WAIT) == 0 {
        return receive(call);
    }
    let wait = Wait { mode: Mode::AtOnce, limit: None, times: 0, ended: None };
    let said = during(Some(wait), || call.made()).0?;
    Ok(if is_timed_out(said) { Errno::Again as i32 } else { said })
}

/// `sock_accept`: the socket is the first argument.
pub(crate) fn receive(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    repeated(call, Direction::Receive, Mode::Each, Call::made)
}

/// `sock_recv`, into buffers.
pub(crate) fn receive_parts(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    repeated(call, Direction::Receive, Mode::Once, Call::made)
}

/// `sock_send_to`.
pub(crate) fn send(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    repeated(call, Direction::Send, Mode::Each, Call::made)
}

/// `sock_send`, from buffers, and `fd_write`, to any descriptor.
pub(crate) fn send_parts(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    datagrams::to_the_peer(|| repeated(call, Direction::Send, Mode::Once, Call::made))
}

/// `sock_send_file`: to end any of its many waits would lose what is read already.
pub(crate) fn send_file(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let wait = Wait { mode: Mode::Whole, limit: None, times: 0, ended: None };
    during(Some(wait), || call.made()).0
}

/// `fd_read` and `fd_pread`, of any descriptor.
pub(crate) fn read(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    repeated(call, Direction::Receive, Mode::Once, |call| match call.received() {
        // `fd_read` of a socket into several buffers would lose the first ones if it waits for the last one.
        Some(said) => said,
        None => input::read(call),
    })
}

fn repeated<'a>(
    call: &mut Call<'a>,
    direction: Direction,
    mode: Mode,
    attempt: impl Fn(&mut Call<'a>) -> Result<i32, RuntimeError>,
) -> Result<i32, RuntimeError> {
    let limit = timeouts::timeout(call.number(0), direction);
    let attempt = |call: &mut Call<'a>, mode| {
        let (said, ended) = during(Some(Wait { mode, limit, times: 0, ended: None }), || attempt(call));
        said.map(|said| (said, ended.filter(|_| is_timed_out(said))))
    };
    loop {
        match attempt(call, mode)? {
            (said, None) => return Ok(said),
            // As socket(7) says of SO_RCVTIMEO and SO_SNDTIMEO.
            (_, Some(Ended::Over)) => return Ok(Errno::Again as i32),
            (_, Some(Ended::Signal)) => {
                let interrupts = threads::thread().is_some_and(|thread| signals::interrupts(&input::waiting(&thread)));
                if interrupts {
                    // This takes the signals off the thread, and runs their handlers first.
                    let (said, _) = attempt(call, Mode::AtOnce)?;
                    return Ok(if is_timed_out(said) { Errno::Intr as i32 } else { said });
                }
            }
        }
    }
}

/// Whether an answer is that of a wait that ended: from `fd_read` it is EAGAIN.
fn is_timed_out(said: i32) -> bool {
    said == Errno::Timedout as i32 || said == Errno::Again as i32
}
