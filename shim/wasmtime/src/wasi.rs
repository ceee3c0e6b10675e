//! Builds the guest's WASI context from the container's spec, for preview 1 and 0.2 alike.

use catamaran_worker::Guest;
use catamaran_worker::variables::WORKING_DIRECTORY;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::stdio;

/// Sets arguments, environment, the file tree and the standard streams. Must be called within the event loop's context.
///
/// Sockets and name look-ups stay denied, as by the builder's defaults. The error is a text for the user.
pub(crate) fn builder(guest: &Guest) -> Result<WasiCtxBuilder, String> {
    let mut builder = WasiCtxBuilder::new();
    builder.args(&guest.args).envs(&guest.env).initial_cwd(&guest.cwd);
    // Preview 1 has no working directory, nor has a component that was made from such a module. Go's runtime uses PWD instead, and
    // wasi-libc programs can.
    if !guest.env.iter().any(|(name, _)| name == WORKING_DIRECTORY) {
        builder.env(WORKING_DIRECTORY, &guest.cwd);
    }
    // Set before the preopen, which copies it. A file operation needs no helper thread, because there is no other task that a blocked
    // thread would hold up.
    builder.allow_blocking_current_thread(true);
    // All of the container's own root. The kernel decides which files the guest may write: by mounts, owner and mode.
    builder
        .preopened_dir("/", "/", FsPerms::ReadWrite)
        .map_err(|e| format!("the container's root directory cannot be opened: {e:#}"))?;
    stdio::inherit(&mut builder)?;
    Ok(builder)
}
