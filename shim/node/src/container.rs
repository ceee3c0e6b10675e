//! A container of this command's own, with nothing in it but a module. The node's containerd makes it with a shim named by its path, so
//! that it needs no image, no pod and no configured handler.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::grpc::{
    Any, Container, CreateContainer, CreateNamespace, CreateTask, Exit, Kill, Metric, MetricsRequest, MetricsResponse,
    Mount, Named, Nothing, Runtime, RuntimeOptions, call,
};
use crate::handler::Options;

const NAMESPACES: &str = "containerd.services.namespaces.v1.Namespaces";
const CONTAINERS: &str = "containerd.services.containers.v1.Containers";
const TASKS: &str = "containerd.services.tasks.v1.Tasks";
const SPEC_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const OPTIONS_URL: &str = "runtimeoptions.v1.Options";

/// containerd's answer.
pub(crate) type Answered<T> = Result<T, Status>;

/// A container that is not made yet.
pub(crate) struct Bare<'a> {
    /// containerd's socket, as this process names it.
    pub(crate) socket: PathBuf,
    /// A containerd namespace, made if it does not exist.
    pub(crate) namespace: &'a str,
    pub(crate) id: String,
    pub(crate) shim: &'a Path,
    pub(crate) options: &'a Options,
    pub(crate) engine: &'a str,
    /// A label of the container.
    pub(crate) label: &'a str,
    /// The mounts of its root file system.
    pub(crate) rootfs: Vec<Mount>,
    /// The path of the module in it, and its arguments.
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: &'a str,
    /// Further mounts of the spec.
    pub(crate) mounts: Vec<Value>,
    /// FIFOs for its outputs, on the host; None if nobody reads them.
    pub(crate) outputs: Option<(PathBuf, PathBuf)>,
    /// The time limit of each call except the wait for the end.
    pub(crate) limit: Duration,
}

/// Mounts a folder of the host read-only as a root file system.
pub(crate) fn bound(folder: &Path) -> Mount {
    Mount {
        kind: "bind".to_owned(),
        source: folder.to_string_lossy().into_owned(),
        options: ["rbind", "ro"].map(str::to_owned).to_vec(),
    }
}

impl Bare<'_> {
    fn call<A: Message + Default + 'static>(
        &self,
        service: &str,
        method: &str,
        asked: impl Message + 'static,
    ) -> Answered<A> {
        call(&self.socket, self.namespace, &format!("{service}/{method}"), asked, self.limit)
    }

    fn named(&self) -> Named {
        Named { name: self.id.clone() }
    }

    /// Makes the container's record.
    pub(crate) fn record(&self) -> Answered<()> {
        let namespace = Some(Named { name: self.namespace.to_owned() });
        match self.call::<Nothing>(NAMESPACES, "Create", CreateNamespace { namespace }) {
            Err(status) if status.code() != Code::AlreadyExists => return Err(status),
            _ => (),
        }
        let name = self.shim.to_string_lossy().into_owned();
        let container = Container {
            id: self.id.clone(),
            labels: HashMap::from([(self.label.to_owned(), self.engine.to_owned())]),
            runtime: Some(Runtime { name, options: self.runtime_options() }),
            spec: Some(Any { type_url: SPEC_URL.to_owned(), value: self.spec().to_string().into_bytes() }),
        };
        self.call::<Nothing>(CONTAINERS, "Create", CreateContainer { container: Some(container) }).map(drop)
    }

    /// Starts the shim, which makes the container and compiles its module if necessary.
    pub(crate) fn create(&self) -> Answered<()> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let (stdout, stderr) = self.outputs.as_ref().map(|(out, err)| (path(out), path(err))).unwrap_or_default();
        let task = CreateTask {
            container_id: self.id.clone(),
            rootfs: self.rootfs.clone(),
            stdout,
            stderr,
            runtime_path: self.shim.to_string_lossy().into_owned(),
        };
        self.call::<Nothing>(TASKS, "Create", task).map(drop)
    }

    pub(crate) fn start(&self) -> Answered<()> {
        self.call::<Nothing>(TASKS, "Start", self.named()).map(drop)
    }

    /// Waits up to `limit` for the end. Returns the exit code.
    pub(crate) fn wait(&self, limit: Duration) -> Answered<u32> {
        call::<_, Exit>(&self.socket, self.namespace, &format!("{TASKS}/Wait"), self.named(), limit)
            .map(|exit| exit.status)
    }

    pub(crate) fn kill(&self) -> Answered<()> {
        let kill = Kill { container_id: self.id.clone(), signal: 9, all: true };
        self.call::<Nothing>(TASKS, "Kill", kill).map(drop)
    }

    /// The container's usage up to now, or up to its end.
    pub(crate) fn metrics(&self) -> Answered<Option<Metric>> {
        let asked = MetricsRequest { filters: vec![format!("id=={}", self.id)] };
        let answer = self.call::<MetricsResponse>(TASKS, "Metrics", asked)?;
        Ok(answer.metrics.into_iter().find(|metric| metric.id == self.id))
    }

    /// Removes all that exists of the container.
    pub(crate) fn remove(&self) {
        if self.kill().is_ok() {
            let _ = self.wait(self.limit);
        }
        let _ = self.call::<Nothing>(TASKS, "Delete", self.named());
        let _ = self.call::<Nothing>(CONTAINERS, "Delete", self.named());
        let _ = self.call::<Nothing>(NAMESPACES, "Delete", Named { name: self.namespace.to_owned() });
    }

    /// The options go into the container's record, because containerd takes no options but runc's with the task.
    fn runtime_options(&self) -> Option<Any> {
        let body = self.options.body();
        // As the CRI sends them: the type is the one in containerd's configuration, which has none.
        let message = RuntimeOptions { type_url: String::new(), config_body: body.clone().into_bytes() };
        (!body.is_empty()).then(|| Any { type_url: OPTIONS_URL.to_owned(), value: message.encode_to_vec() })
    }

    fn spec(&self) -> Value {
        let namespaces: Vec<_> =
            ["pid", "ipc", "uts", "mount", "network"].iter().map(|kind| json!({"type": kind})).collect();
        let mut mounts = vec![json!({
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=64k"],
        })];
        mounts.extend(self.mounts.iter().cloned());
        json!({
            "ociVersion": "1.1.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": self.args,
                "env": self.env,
                "cwd": self.cwd,
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs", "readonly": true},
            "mounts": mounts,
            "annotations": {"catamaran.wasm/engine": self.engine},
            "linux": {
                "namespaces": namespaces,
                "cgroupsPath": format!("/catamaran-{}-{}", self.id, std::process::id()),
                "resources": {},
            },
        })
    }
}
