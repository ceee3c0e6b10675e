//! Sends requests to a shim that still lives although containerd has given it up.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use containerd_shim_protos::api::{DeleteRequest, KillRequest, ShutdownRequest};
use containerd_shim_protos::shim_async::{Client, TaskClient};
use containerd_shim_protos::ttrpc::{self, Code, context::Context};
use nix::libc;

/// The longest wait for a shim's answers: a slower shim was stopped by a signal, or is stuck. containerd gives `delete` five seconds in
/// all.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Has the shim at `socket` kill and delete the container `id`, if it has that container, and then end if it has no other. Returns false
/// if the shim does not answer.
pub(super) async fn let_go(socket: &Path, id: &str) -> bool {
    let asked = async {
        let client = client(socket).await?;
        let kill = KillRequest { id: id.to_owned(), signal: libc::SIGKILL as u32, all: true, ..Default::default() };
        answered(client.kill(patience(), &kill).await)?;
        let delete = DeleteRequest { id: id.to_owned(), ..Default::default() };
        answered(client.delete(patience(), &delete).await)?;
        ask_shutdown(&client, id).await
    };
    in_time(asked).await
}

/// Has the shim at `socket` end if it has no container. Returns false if the shim does not answer.
pub(super) async fn shut_down(socket: &Path, id: &str) -> bool {
    in_time(async { ask_shutdown(&client(socket).await?, id).await }).await
}

async fn in_time(asked: impl Future<Output = ttrpc::Result<()>>) -> bool {
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(())))
}

async fn client(socket: &Path) -> ttrpc::Result<TaskClient> {
    Ok(TaskClient::new(Client::connect(&format!("unix://{}", socket.display())).await?))
}

async fn ask_shutdown(client: &TaskClient, id: &str) -> ttrpc::Result<()> {
    // A shim that has other containers answers too, and stays.
    let shutdown = ShutdownRequest { id: id.to_owned(), ..Default::default() };
    client.shutdown(patience(), &shutdown).await.map(drop)
}

fn patience() -> Context {
    Context { timeout_nano: PATIENCE.as_nanos() as i64, metadata: HashMap::new() }
}

/// Takes NotFound for success, because then the shim has no such container.
fn answered<T>(answer: ttrpc::Result<T>) -> ttrpc::Result<()> {
    match answer {
        Err(ttrpc::Error::RpcStatus(status)) if status.code() == Code::NOT_FOUND => Ok(()),
        answer => answer.map(drop),
    }
}
