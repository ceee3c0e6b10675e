//! A private containerd for tests, and the vocabulary to drive it.
//!
//! ```text
//! provision (script) -> Programs -> Node: one containerd, its folder, its namespace
//!                                    |- Image        files -> OCI layout -> `ctr images import`
//!                                    |- Container    the order: image, args, mounts ...  -> run(): Output, by `ctr run`
//!                                    |                                                   -> create(), spawn(): Task
//!                                    |- Task         containerd's own task API, call by call, with its status codes
//!                                    |- Events       the output of `ctr events`
//!                                    |- direct       a shim of the test's own, called over ttrpc without containerd between
//!                                    |- cri          pods by the CRI, and the specs that it writes
//!                                    |- limits       the kernel's files of a task's cgroup, v1 and v2
//!                                    `- leftovers    things that are still there once the containers are gone
//! guests: the programs to run, as WebAssembly and as their native peer
//! ```
//!
//! A node is known by one word, its tag: the name of its folder, its containerd namespace and its cgroup. Everything whose name contains
//! the tag belongs to the node, and is removed with it even if the test panics. The tag names the process that owns the node, so that the
//! next node's start sweeps nodes whose owner was killed.
//!
//! Needs root, and fails without it; `provision` explains where containerd comes from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

mod api;
mod bridge;
mod cgroups;
mod config;
mod container;
mod content;
pub mod cri;
mod ctr;
mod deadline;
pub mod direct;
mod events;
mod example;
mod exec;
mod fuse;
mod grpc;
pub mod guests;
mod image;
mod installed;
mod keeper;
mod leftovers;
mod limits;
mod mounted;
mod network;
mod node;
mod pipes;
mod processes;
pub mod procfs;
mod programs;
mod runtime;
mod service;
mod sweep;
mod sysctls;
mod tag;
mod task;

pub use api::tasks::Status as State;
pub use config::Options;
pub use container::{Container, Output};
pub use deadline::{PATIENCE, wait_until};
pub use events::{Event, Events};
pub use example::{Example, Recipe, build_line};
pub use exec::{Exec, ExecOrder};
pub use fuse::Fuse;
pub use grpc::{Code, Status};
pub use image::Image;
pub use installed::OURS;
pub use keeper::{die_with_parent, spawn};
pub use limits::{CgroupVersion, cgroup_folder, cgroup_version, controllers, systemd_runs};
pub use mounted::{Mount, Mounted};
pub use network::Network;
pub use node::Node;
pub use pipes::Fifo;
pub use processes::kill9;
pub use programs::{Programs, cache, provided_by, shim_folder};
pub use runtime::{Engine, Runtime};
pub use service::{Service, StartFailure};
pub use sweep::sweep_stale;
pub use tag::scratch;
pub use task::{Exit, Task};
