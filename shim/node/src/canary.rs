//! The canary: a module that is run on an engine by the node's containerd and the shim that is being installed.
//!
//! It needs no image and no pull, so that it works on nodes without a network, and no pod, so that the kubelet does not take it for
//! one that it has forgotten: it is a container in a containerd namespace of its own, whose root file system is a folder with the
//! module in it. It may run before containerd's configuration is touched at all, since the shim is named by its path.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use serde_json::json;
use tonic::{Code, Status};

use crate::error::{Error, Result};
use crate::files;
use crate::grpc::{
    Any, Container, CreateContainer, CreateNamespace, CreateTask, Exit, Kill, Mount, Named, Nothing, Runtime,
    RuntimeOptions, call,
};
use crate::handler::Options;
use crate::host::Host;
use crate::state;

const NAMESPACE: &str = "catamaran-canary";
const NAMESPACES: &str = "containerd.services.namespaces.v1.Namespaces";
const CONTAINERS: &str = "containerd.services.containers.v1.Containers";
const TASKS: &str = "containerd.services.tasks.v1.Tasks";
const SPEC_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const OPTIONS_URL: &str = "runtimeoptions.v1.Options";
/// A first start compiles.
const LIMIT: Duration = Duration::from_secs(60);
/// What the module exits with: six times seven, by addition.
const EXIT: u32 = 42;

/// `WAT` of the tests.
const MODULE: &[u8] = include_bytes!("canary.wasm");

/// Runs it.
pub(crate) fn run(host: &Host, socket: &Path, shim: &Path, engine: &str, options: &Options) -> Result<()> {
    let root = state::folder().join("canary");
    // Where the devices' file system goes: nothing can be made in a root that is mounted read-only.
    files::make_folders(host, &root.join("dev"))?;
    files::replace(host, &root.join("canary.wasm"), MODULE)?;
    let canary = Canary { socket: host.at(socket), id: format!("canary-{engine}"), shim, root: &root, engine, options };
    // What a run that was killed left.
    canary.remove();
    let exit = canary.run();
    canary.remove();
    let failed = |why: String| {
        Error::failed(
            format!("a test program on {engine} did not run by {}: {why}", shim.display()),
            "look at containerd's log; `catamaran doctor` says what the node lacks",
        )
    };
    match exit {
        Ok(EXIT) => Ok(()),
        Ok(other) => Err(failed(format!("it ended with {other} and not with {EXIT}"))),
        Err(status) => Err(failed(status.message().to_owned())),
    }
}

struct Canary<'a> {
    socket: std::path::PathBuf,
    id: String,
    shim: &'a Path,
    root: &'a Path,
    engine: &'a str,
    options: &'a Options,
}

impl Canary<'_> {
    fn call<A: Message + Default + 'static>(
        &self,
        service: &str,
        method: &str,
        asked: impl Message + 'static,
    ) -> std::result::Result<A, Status> {
        call(&self.socket, NAMESPACE, &format!("{service}/{method}"), asked, LIMIT)
    }

    fn named(&self) -> Named {
        Named { name: self.id.clone() }
    }

    fn run(&self) -> std::result::Result<u32, Status> {
        let namespace = Some(Named { name: NAMESPACE.to_owned() });
        match self.call::<Nothing>(NAMESPACES, "Create", CreateNamespace { namespace }) {
            Err(status) if status.code() != Code::AlreadyExists => return Err(status),
            _ => (),
        }
        let shim = self.shim.to_string_lossy().into_owned();
        let spec = Any { type_url: SPEC_URL.to_owned(), value: self.spec().to_string().into_bytes() };
        let options = self.runtime_options();
        let container = Container {
            id: self.id.clone(),
            labels: HashMap::from([("catamaran.wasm/canary".to_owned(), self.engine.to_owned())]),
            runtime: Some(Runtime { name: shim.clone(), options: options.clone() }),
            spec: Some(spec),
        };
        self.call::<Nothing>(CONTAINERS, "Create", CreateContainer { container: Some(container) })?;
        let mount = Mount {
            kind: "bind".to_owned(),
            source: self.root.to_string_lossy().into_owned(),
            options: ["rbind", "ro"].map(str::to_owned).to_vec(),
        };
        let task = CreateTask { container_id: self.id.clone(), rootfs: vec![mount], options, runtime_path: shim };
        self.call::<Nothing>(TASKS, "Create", task)?;
        self.call::<Nothing>(TASKS, "Start", self.named())?;
        Ok(self.call::<Exit>(TASKS, "Wait", self.named())?.status)
    }

    fn runtime_options(&self) -> Option<Any> {
        let body = self.options.body();
        let message = RuntimeOptions { type_url: OPTIONS_URL.to_owned(), config_body: body.clone().into_bytes() };
        (!body.is_empty()).then(|| Any { type_url: OPTIONS_URL.to_owned(), value: message.encode_to_vec() })
    }

    /// Whatever there is of it.
    fn remove(&self) {
        let kill = Kill { container_id: self.id.clone(), signal: 9, all: true };
        if self.call::<Nothing>(TASKS, "Kill", kill).is_ok() {
            let _ = self.call::<Exit>(TASKS, "Wait", self.named());
        }
        let _ = self.call::<Nothing>(TASKS, "Delete", self.named());
        let _ = self.call::<Nothing>(CONTAINERS, "Delete", self.named());
        let _ = self.call::<Nothing>(NAMESPACES, "Delete", Named { name: NAMESPACE.to_owned() });
    }

    fn spec(&self) -> serde_json::Value {
        let namespaces: Vec<_> =
            ["pid", "ipc", "uts", "mount", "network"].iter().map(|kind| json!({"type": kind})).collect();
        json!({
            "ociVersion": "1.1.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/canary.wasm"],
                "cwd": "/",
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [{
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=64k"],
            }],
            "annotations": {"catamaran.wasm/engine": self.engine},
            "linux": {
                "namespaces": namespaces,
                "cgroupsPath": format!("/catamaran-{}-{}", self.id, std::process::id()),
                "resources": {},
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAT: &str = r#"
        (module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (func (export "_start") (local $sum i32) (local $left i32)
            (local.set $left (i32.const 6))
            (loop $again
              (local.set $sum (i32.add (local.get $sum) (i32.const 7)))
              (local.set $left (i32.sub (local.get $left) (i32.const 1)))
              (br_if $again (local.get $left)))
            (call $exit (local.get $sum))))"#;

    #[test]
    fn the_module_is_that_of_the_text() {
        let made = wat::parse_str(WAT).unwrap();
        if std::env::var_os("CATAMARAN_WRITE").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/canary.wasm"), &made).unwrap();
        }
        assert_eq!(made, MODULE, "run this test with CATAMARAN_WRITE=1");
    }
}
