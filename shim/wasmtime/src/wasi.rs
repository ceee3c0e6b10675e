//! The guest's world: what the container's spec says, as WASI has it, preview 1 and 0.2 alike.

use catamaran_worker::Guest;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::stdio;

/// Arguments, environment, the file tree and the standard streams. Must be called within the event loop's context.
///
/// No sockets and no names: the builder's defaults deny them. The error is a text for the user.
pub(crate) fn builder(guest: &Guest) -> Result<WasiCtxBuilder, String> {
    let mut builder = WasiCtxBuilder::new();
    builder.args(&guest.args).envs(&guest.env).initial_cwd(&guest.cwd);
    // Preview 1 has no working directory, nor has a component that was made of such a module. Go's runtime takes PWD for it,
    // wasi-libc programs can.
    if !guest.env.iter().any(|(name, _)| name == "PWD") {
        builder.env("PWD", &guest.cwd);
    }
    // Before the preopen, which copies it. There is no other task that a blocked thread would hold up, so a file
    // operation needs no helper thread.
    builder.allow_blocking_current_thread(true);
    // All of the container's own root. What may be written is the kernel's matter: by mounts, owner and mode.
    builder
        .preopened_dir("/", "/", FsPerms::ReadWrite)
        .map_err(|e| format!("the container's root directory cannot be opened: {e:#}"))?;
    stdio::inherit(&mut builder)?;
    Ok(builder)
}
