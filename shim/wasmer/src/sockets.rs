//! Corrects the answers of socket calls that wasmer-wasix gives otherwise than the kernel.

use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::Call;
use crate::{net, waits};

/// `sock_accept`, in either form: socket, WASI's `fdflags` of the connection, where its descriptor goes.
pub(crate) fn accept(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    match waits::receive(call)? {
        // Without this, the connection would wait or not as the listener does.
        0 => call.set_flags_of_opened(2, call.number(1)).map(|()| 0),
        said if is(said, [Errno::Notconn, Errno::Notsup]) => Ok(Errno::Inval as i32),
        said => Ok(no_socket(said)),
    }
}

/// `sock_recv`, into buffers.
pub(crate) fn receive(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    waits::receive_parts(call).map(no_socket)
}

/// `sock_recv_from`.
pub(crate) fn receive_from(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    waits::receive_from(call).map(no_socket)
}

/// `sock_send`, from buffers.
pub(crate) fn send(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    waits::send_parts(call).map(no_socket)
}

/// `sock_send_to`.
pub(crate) fn send_to(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    waits::send(call).map(no_socket)
}

/// `sock_shutdown`.
pub(crate) fn shutdown(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    call.made().map(no_socket)
}

/// For a descriptor that is no socket, wasmer-wasix answers that it lacks a socket's rights.
fn no_socket(said: i32) -> i32 {
    if is(said, [Errno::Access]) { Errno::Notsock as i32 } else { said }
}

/// `sock_connect`: socket, address.
pub(crate) fn connect(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let said = net::connect(call)?;
    Ok(if is(said, [Errno::Notsup]) { Errno::Isconn as i32 } else { no_socket(said) })
}

/// `sock_addr_peer`: socket, where the address goes. For a socket without a peer, wasmer-wasix answers an address without a
/// port.
pub(crate) fn peer(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    /// The port's offset in WASI's `addr_port`.
    const PORT: u64 = 2;
    let said = call.made()?;
    let mut port = [0; 2];
    let none = said == 0 && call.get(call.number(1) + PORT, &mut port) && port == [0, 0];
    Ok(if none || is(said, [Errno::Notsup]) { Errno::Notconn as i32 } else { said })
}

fn is<const N: usize>(said: i32, others: [Errno; N]) -> bool {
    others.iter().any(|other| said == *other as i32)
}
