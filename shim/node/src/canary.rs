//! The canary: runs a module on an engine through the node's containerd and the shim that is being installed.
//!
//! The canary needs no image and no pull, so that it works on nodes without a network. It needs no pod, so that the kubelet does not take
//! it for one that it has forgotten: it is a container in a containerd namespace of its own, whose root file system is a folder with the
//! module in it (`container`). It can run before containerd's configuration is touched, because the shim is named by its path.

use std::path::Path;
use std::time::Duration;

use crate::container::{Answered, Bare, bound};
use crate::error::{Error, Result};
use crate::files;
use crate::handler::Options;
use crate::host::Host;
use crate::state;

const NAMESPACE: &str = "catamaran-canary";
/// The first start compiles.
const LIMIT: Duration = Duration::from_secs(60);
/// The module's exit code: six times seven, by addition.
const EXIT: u32 = 42;

/// The binary of `WAT` in the tests.
const MODULE: &[u8] = include_bytes!("canary.wasm");

/// Runs the canary.
pub(crate) fn run(host: &Host, socket: &Path, shim: &Path, engine: &str, options: &Options) -> Result<()> {
    let root = state::folder().join("canary");
    // The mount point of the devices' file system: nothing can be made in a root that is mounted read-only.
    files::make_folders(host, &root.join("dev"))?;
    files::replace(host, &root.join("canary.wasm"), MODULE)?;
    let canary = Bare {
        socket: host.at(socket),
        namespace: NAMESPACE,
        id: format!("canary-{engine}"),
        shim,
        options,
        engine,
        label: "catamaran.wasm/canary",
        rootfs: vec![bound(&root)],
        args: vec!["/canary.wasm".to_owned()],
        env: Vec::new(),
        cwd: "/",
        mounts: Vec::new(),
        outputs: None,
        limit: LIMIT,
    };
    // Left by a run that was killed.
    canary.remove();
    let exit = exit(&canary);
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

fn exit(canary: &Bare<'_>) -> Answered<u32> {
    canary.record()?;
    canary.create()?;
    canary.start()?;
    canary.wait(LIMIT)
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
