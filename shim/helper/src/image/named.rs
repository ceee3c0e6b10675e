//! Finds an image's module by the image's name, for the command `catamaran`: the file that the image's program names, or else a layer.
//!
//! ```text
//! name -> index -> manifest -> its Wasm layer
//!                     '-- configuration (reader) -> the program's name
//!                                '-- containerd's label: the snapshot of all layers -> a view of it, mounted -> the file
//! ```
//!
//! The view exists only during the search, and its mount is visible only to this process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use catamaran_cache::module::Largest;
use catamaran_worker::Guest;
use containerd_shim_protos::types::mount::Mount;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::containerd::Containerd;
use super::manifest::{Descriptor, Digest};
use super::reader::Reader;
use super::record::{Record, Root, normalized};
use super::{Choice, asking, choose, unfit};
use crate::error::{Doing, Error, Result};
use crate::files::program::{self, Sought, Tree};
use crate::files::rootfs;

/// The request, as JSON on the command line. Standard input is an empty file for the module.
#[derive(Deserialize)]
struct Asked {
    /// containerd's gRPC socket.
    address: String,
    /// containerd's namespace.
    namespace: String,
    name: String,
    /// The largest module in bytes.
    largest: u64,
}

/// The answer, as JSON on standard output.
#[derive(Debug, Serialize)]
struct Answer {
    /// The module's name in messages.
    module: String,
    /// The snapshot with the image's files; None if the module is a layer.
    snapshot: Option<Snapshot>,
    /// The module's path in the container, and its arguments.
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
}

#[derive(Debug, Serialize)]
struct Snapshot {
    snapshotter: String,
    /// The snapshot's name.
    key: String,
    /// The module's path in the snapshot.
    path: String,
}

/// The prefix of the label that containerd puts on a configuration's blob once the image is unpacked. The snapshotter's name follows.
const SNAPSHOT_LABEL: &str = "containerd.io/gc.ref.snapshot.";

/// The `image` action.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let asked = arguments.first().and_then(|text| serde_json::from_str::<Asked>(text.to_str()?).ok());
    let Some(asked) = asked else {
        return Err(Error::refused(
            "command line",
            "image",
            "only the command `catamaran` starts this action, with a request as JSON",
        ));
    };
    let output = std::io::stdin().as_fd().try_clone_to_owned();
    let mut output = File::from(output.doing(|| "opening the file for the module".to_owned())?);
    let answer = find(&asked, &mut output)?;
    output.rewind().and_then(|()| output.flush()).doing(|| "writing the module".to_owned())?;
    crate::answer(&answer)
}

fn find(asked: &Asked, output: &mut File) -> Result<Answer> {
    // Started before the connection to containerd, so that the reader cannot inherit it.
    let mut reader = Reader::start()?;
    let mut containerd = Containerd::connect(&asked.address, &asked.namespace).map_err(asking)?;
    let record = Record { name: asked.name.clone(), root: Root::Name(normalized(&asked.name)), id: None };
    let (layer, why, config) = match choose(&mut containerd, &mut reader, &record)? {
        Choice::Layer { blob, config } => (Some(blob), String::new(), config),
        Choice::Nothing { why, config } => (None, why, config),
    };
    // A file that the program names is preferred to a layer, as in Create.
    let file = match config {
        Some(config) => in_root(asked, &mut containerd, &mut reader, &config, output),
        None => Err(unfit(&asked.name, why.clone())),
    };
    match (file, layer) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Some(blob)) => {
            Largest(asked.largest).check(&asked.name, blob.size)?;
            let read = containerd.read(&blob, |piece| output.write_all(piece));
            read.map_err(|e| unfit(&asked.name, format!("its layer {}: {e}", blob.digest)))?;
            let module = format!("layer {} of {}", blob.digest, asked.name);
            Ok(Answer { module, snapshot: None, args: Vec::new(), env: Vec::new(), cwd: "/".to_owned() })
        }
        (Err(e), None) => Err(e),
    }
}

/// Finds the file that the image's program names, by the image's configuration.
fn in_root(
    asked: &Asked,
    containerd: &mut Containerd,
    reader: &mut Reader,
    config: &Digest,
    output: &mut File,
) -> Result<Answer> {
    let (config, snapshots) = configuration(containerd, reader, config, &asked.name)?;
    let Some((snapshotter, parent)) = snapshots.into_iter().next() else {
        return Err(unfit(&asked.name, "its layers are not unpacked: pull it again"));
    };
    let path = in_view(containerd, &snapshotter, &parent, |mounts| copy(asked, &config, mounts, output))?;
    let module = format!("{path} of {}", asked.name);
    let Config { args, env, cwd } = config;
    Ok(Answer { module, snapshot: Some(Snapshot { snapshotter, key: parent, path }), args, env, cwd })
}

/// Returns an image's configuration and the snapshots with its files, each as the snapshotter's name and the snapshot's.
fn configuration(
    containerd: &mut Containerd,
    reader: &mut Reader,
    digest: &Digest,
    image: &str,
) -> Result<(Config, Vec<(String, String)>)> {
    let info = containerd.info(digest).map_err(asking)?;
    let blob = Descriptor::new("", &info.digest, info.size).map_err(|reason| unfit(image, reason))?;
    let malformed = |reason: String| unfit(image, format!("its configuration {digest}: {reason}"));
    let document = containerd.document(&blob).map_err(|e| malformed(e.to_string()))?;
    let config = reader.config(&document).map_err(malformed)?;
    let snapshots = info.labels.into_iter().filter_map(|(label, key)| {
        let snapshotter = label.strip_prefix(SNAPSHOT_LABEL)?.to_owned();
        Some((snapshotter, key))
    });
    Ok((config, snapshots.collect()))
}

/// Makes a view of a snapshot, runs `work` on its mounts, and removes the view.
fn in_view<T>(
    containerd: &mut Containerd,
    snapshotter: &str,
    parent: &str,
    work: impl FnOnce(&[Mount]) -> Result<T>,
) -> Result<T> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let key = format!("catamaran-inspect-{}-{now}", std::process::id());
    let mounts = containerd.view(snapshotter, &key, parent).map_err(asking)?;
    let done = work(&mounts);
    let removed = containerd.remove_snapshot(snapshotter, &key).map_err(asking);
    done.and_then(|done| removed.map(|()| done))
}

/// Copies the file that the program names, and returns its path.
fn copy(asked: &Asked, config: &Config, mounts: &[Mount], output: &mut File) -> Result<String> {
    // A mount namespace of this process's own, so that no other process sees the mount.
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).doing(|| "making a mount namespace".to_owned())?;
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).doing(|| "making the mounts private".to_owned())?;
    let root = rootfs::prepare(mounts, Path::new("/"), &std::env::temp_dir())?;
    let tree = Tree::new(root.as_fd());
    let env = config.env.iter().filter_map(|variable| variable.split_once('='));
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let guest = Guest { args: config.args.clone(), env, cwd: config.cwd.clone() };
    let found = match program::find(&guest, &tree)? {
        Sought::File(found) => found,
        Sought::Nowhere(what) => return Err(unfit(&asked.name, format!("its program does not name a module: {what}"))),
    };
    let name = found.name.clone();
    let size = found.file.metadata().on(&name)?.len();
    Largest(asked.largest).check(&name, size)?;
    let mut file = std::io::Read::take(found.file, asked.largest);
    std::io::copy(&mut file, output).on(&name)?;
    Ok(name)
}
