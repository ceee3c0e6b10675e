//! Makes the guest's world: the container's spec, as WASI and WASIX have it.

use std::sync::Arc;

use catamaran_worker::Guest;
use catamaran_worker::variables::WORKING_DIRECTORY;
use wasmer_wasix::capabilities::{Capabilities, CapabilityThreadingV1};
use wasmer_wasix::{Runtime, WasiEnv};

use crate::files::Root;
use crate::input::Input;
use crate::remembered::Tree;
use crate::stdio::Output;

/// Arguments, environment, working directory, the file tree and the standard streams. Must be called within the event
/// loop's context. The error is a text for the user.
pub(crate) fn environment(guest: &Guest, world: Arc<dyn Runtime + Send + Sync>, tree: Tree) -> Result<WasiEnv, String> {
    let (name, arguments) = guest.args.split_first().ok_or("process.args is empty: name the module first")?;
    let mut builder = WasiEnv::builder(name);
    builder.add_args(arguments);
    builder.add_envs(guest.env.iter().map(|(name, value)| (name, value)));
    // Preview 1 has no working directory. Go's runtime takes PWD for it, wasi-libc programs can; WASIX has one.
    if !guest.env.iter().any(|(name, _)| name == WORKING_DIRECTORY) {
        builder.add_env(WORKING_DIRECTORY, &guest.cwd);
    }
    // All of the container's own root. The kernel decides what may be written: by mounts, owner and mode.
    builder.set_fs(Arc::new(Root) as Arc<dyn virtual_fs::FileSystem + Send + Sync>);
    builder.add_preopen_dir("/").map_err(|e| format!("the container's root directory cannot be opened: {e}"))?;
    let input = Input::inherit().map_err(|e| format!("the container's standard input cannot be used: {e}"))?;
    builder.set_stdin(Box::new(input));
    builder.set_stdout(Box::new(Output::Standard));
    builder.set_stderr(Box::new(Output::Error));
    builder.set_disable_default_builtins(true);
    builder.set_capabilities(capabilities());
    builder.set_runtime(world);
    let cwd = guest.cwd.clone();
    let builder = builder.setup_fs(Box::new(move |_, files| {
        // Not by the builder, which lists the folder first: the user may be let into a folder without the right to list it.
        files.set_current_dir(&cwd);
        // Set once: a forked process has the same root.
        let _ = tree.set(files.root_inode.clone());
        Ok(())
    }));
    builder.build().map_err(|e| format!("the guest's world cannot be made: {e}"))
}

fn capabilities() -> Capabilities {
    Capabilities {
        threading: CapabilityThreadingV1 {
            // A thread that sleeps keeps its stack: nothing is unwound and written elsewhere meanwhile.
            enable_deep_sleep: false,
            enable_asynchronous_threading: false,
            ..CapabilityThreadingV1::default()
        },
        ..Capabilities::new()
    }
}
