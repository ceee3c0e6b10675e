//! One run of the guest on one engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::NAMESPACE;
use super::output::{Reader, Text};
use crate::container::{Bare, bound};
use crate::grpc::{Any, Mount, Mounts, Nothing, PrepareSnapshot, RemoveSnapshot, call};
use crate::handler::Options;
use crate::image::Snapshot;

/// The module's name in the root file system.
pub(crate) const MODULE: &str = "module.wasm";
const SNAPSHOTS: &str = "containerd.services.snapshots.v1.Snapshots";
/// The time limit of calls that neither start nor run anything.
const CALL: Duration = Duration::from_secs(60);

/// All that the runs have in common.
pub(crate) struct Guest<'a> {
    pub(crate) socket: PathBuf,
    pub(crate) shim: PathBuf,
    pub(crate) options: &'a Options,
    /// The folder of the comparison, as the host names it.
    pub(crate) folder: &'a Path,
    /// The folder for FIFOs, as this process names it; `inside` is the host's name.
    pub(crate) fifos: PathBuf,
    pub(crate) inside: PathBuf,
    /// The module's path in the container, and its arguments.
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    /// The image that the module runs in; None if the module is alone in its root file system.
    pub(crate) image: Option<InImage>,
    pub(crate) limit: Duration,
}

/// An image's layers, and their containerd namespace.
pub(crate) struct InImage {
    pub(crate) namespace: String,
    pub(crate) snapshot: Snapshot,
}

/// The measurements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// In milliseconds.
    pub(crate) start: f64,
    /// In milliseconds.
    pub(crate) run: f64,
    /// In bytes.
    pub(crate) memory: Option<u64>,
    /// In milliseconds.
    pub(crate) processor: Option<f64>,
    /// None if it was killed after the time limit.
    pub(crate) exit: Option<u32>,
    pub(crate) stdout: Text,
    pub(crate) stderr: Text,
}

impl Guest<'_> {
    /// Runs the guest. An error is the reason why it does not run.
    pub(crate) fn run(&self, engine: &str, number: u32) -> Result<Run, String> {
        let id = format!("compare-{}-{engine}-{number}", std::process::id());
        let fifo = |stream: &str| format!("{number}-{engine}-{stream}");
        let outputs = (self.inside.join(fifo("out")), self.inside.join(fifo("err")));
        let readers = [fifo("out"), fifo("err")].map(|name| Reader::start(&self.fifos.join(name)));
        let [Ok(stdout), Ok(stderr)] = readers else {
            return Err(format!("FIFOs cannot be made in {}", self.inside.display()));
        };
        let (rootfs, mounts) = match &self.image {
            None => (vec![bound(&self.folder.join("root"))], Vec::new()),
            Some(image) => {
                (self.prepare(image, &id).map_err(|status| reason(&status))?, vec![self.over(&image.snapshot.path)])
            }
        };
        let bare = Bare {
            socket: self.socket.clone(),
            namespace: NAMESPACE,
            id: id.clone(),
            shim: &self.shim,
            options: self.options,
            engine,
            label: "catamaran.wasm/compare",
            rootfs,
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: &self.cwd,
            mounts,
            outputs: Some(outputs),
            limit: self.limit.max(CALL),
        };
        let measured = self.measured(&bare);
        bare.remove();
        if let Some(image) = &self.image {
            let removed = RemoveSnapshot { snapshotter: image.snapshot.snapshotter.clone(), key: id };
            // A snapshot that stays has a label by which it is found.
            let _ = self.snapshots::<Nothing>(image, "Remove", removed);
        }
        let (stdout, stderr) = (stdout.end(), stderr.end());
        let (start, run, metrics, exit) = measured.map_err(|status| reason(&status))?;
        let (memory, processor) = metrics.as_ref().map(used).unwrap_or_default();
        Ok(Run { start, run, memory, processor, exit, stdout, stderr })
    }

    fn snapshots<A: Message + Default + 'static>(
        &self,
        image: &InImage,
        method: &str,
        asked: impl Message + 'static,
    ) -> Result<A, Status> {
        call(&self.socket, &image.namespace, &format!("{SNAPSHOTS}/{method}"), asked, CALL)
    }

    /// Prepares a snapshot for one run, on top of the image's layers.
    fn prepare(&self, image: &InImage, key: &str) -> Result<Vec<Mount>, Status> {
        let Snapshot { snapshotter, key: parent, .. } = &image.snapshot;
        let labels = HashMap::from([("containerd.io/gc.root".to_owned(), "catamaran".to_owned())]);
        let asked =
            PrepareSnapshot { snapshotter: snapshotter.clone(), key: key.to_owned(), parent: parent.clone(), labels };
        self.snapshots::<Mounts>(image, "Prepare", asked).map(|answer| answer.mounts)
    }

    /// A mount that puts the copy of the module in place of the image's own.
    fn over(&self, path: &str) -> Value {
        let source = self.folder.join("root").join(MODULE);
        json!({"destination": path, "type": "bind", "source": source, "options": ["rbind", "ro"]})
    }

    fn measured(&self, bare: &Bare<'_>) -> Result<(f64, f64, Option<Any>, Option<u32>), Status> {
        bare.record()?;
        let begin = Instant::now();
        bare.create()?;
        bare.start()?;
        let started = Instant::now();
        let exit = match bare.wait(self.limit) {
            Ok(exit) => Some(exit),
            Err(status) if status.code() == Code::DeadlineExceeded => None,
            Err(status) => return Err(status),
        };
        let run = started.elapsed();
        // Before a guest that still runs is killed, because its metrics go with the container.
        let metrics = bare.metrics()?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        Ok((milliseconds(started - begin), milliseconds(run), metrics.and_then(|metric| metric.data), exit))
    }
}

/// The shim's own words, without containerd's prefix.
fn reason(status: &Status) -> String {
    let words = status.message();
    for before in ["failed to create shim task: ", "failed to start shim task: "] {
        if let Some(own) = words.strip_prefix(before) {
            return own.to_owned();
        }
    }
    words.to_owned()
}

/// `io.containerd.cgroups.v1.Metrics` (containerd/cgroups cgroup1/stats/metrics.proto), only the fields that are shown.
#[derive(Clone, PartialEq, Message)]
struct V1 {
    #[prost(message, optional, tag = "3")]
    processor: Option<V1Processor>,
    #[prost(message, optional, tag = "4")]
    memory: Option<V1Memory>,
}

#[derive(Clone, PartialEq, Message)]
struct V1Processor {
    #[prost(message, optional, tag = "1")]
    usage: Option<V1Usage>,
}

#[derive(Clone, PartialEq, Message)]
struct V1Usage {
    /// In nanoseconds.
    #[prost(uint64, tag = "1")]
    total: u64,
}

#[derive(Clone, PartialEq, Message)]
struct V1Memory {
    #[prost(message, optional, tag = "33")]
    usage: Option<V1Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct V1Entry {
    #[prost(uint64, tag = "3")]
    most: u64,
}

/// `io.containerd.cgroups.v2.Metrics` (cgroup2/stats/metrics.proto).
#[derive(Clone, PartialEq, Message)]
struct V2 {
    #[prost(message, optional, tag = "2")]
    processor: Option<V2Processor>,
    #[prost(message, optional, tag = "4")]
    memory: Option<V2Memory>,
}

#[derive(Clone, PartialEq, Message)]
struct V2Processor {
    /// In microseconds.
    #[prost(uint64, tag = "1")]
    usage: u64,
}

#[derive(Clone, PartialEq, Message)]
struct V2Memory {
    #[prost(uint64, tag = "36")]
    peak: u64,
}

/// The peak of memory in bytes, and the processor time in milliseconds; None if the kernel does not account for it.
fn used(metrics: &Any) -> (Option<u64>, Option<f64>) {
    let bytes = metrics.value.as_slice();
    let (memory, nanoseconds) = match metrics.type_url.rsplit('/').next().unwrap_or_default() {
        "io.containerd.cgroups.v1.Metrics" => {
            let all = V1::decode(bytes).unwrap_or_default();
            let usage = all.processor.and_then(|processor| processor.usage);
            (all.memory.and_then(|memory| memory.usage).map(|usage| usage.most), usage.map(|usage| usage.total))
        }
        "io.containerd.cgroups.v2.Metrics" => {
            let all = V2::decode(bytes).unwrap_or_default();
            (all.memory.map(|memory| memory.peak), all.processor.map(|processor| processor.usage.saturating_mul(1000)))
        }
        _ => (None, None),
    };
    (memory.filter(|bytes| *bytes > 0), nanoseconds.map(|count| count as f64 / 1_000_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_both_cgroup_versions_are_read() {
        let of = |name: &str, value: Vec<u8>| Any { type_url: format!("io.containerd.cgroups.{name}.Metrics"), value };
        let usage = Some(V1Usage { total: 7_000_000 });
        let one = V1 {
            processor: Some(V1Processor { usage }),
            memory: Some(V1Memory { usage: Some(V1Entry { most: 5 << 20 }) }),
        };
        assert_eq!(used(&of("v1", one.encode_to_vec())), (Some(5 << 20), Some(7.0)));
        let two = V2 { processor: Some(V2Processor { usage: 7000 }), memory: Some(V2Memory { peak: 5 << 20 }) };
        assert_eq!(used(&of("v2", two.encode_to_vec())), (Some(5 << 20), Some(7.0)));
        assert_eq!(used(&of("v3", two.encode_to_vec())), (None, None));
        // A kernel without memory.peak.
        assert_eq!(
            used(&of("v2", V2 { memory: Some(V2Memory { peak: 0 }), ..two }.encode_to_vec())),
            (None, Some(7.0))
        );
    }

    #[test]
    fn a_reason_is_the_shims_own_text_without_containerds_prefix() {
        let status = Status::failed_precondition("failed to create shim task: /module.wasm: why");
        assert_eq!(reason(&status), "/module.wasm: why");
        assert_eq!(reason(&Status::unavailable("no socket")), "no socket");
    }
}
