//! A Kubernetes of one node: etcd, the control plane and a kubelet on the harness's private containerd.
//!
//! ```text
//! provision (script) -> Kubernetes: the programs
//! Cluster::start: Node (harness) -> keys -> etcd, kube-apiserver -> kube-controller-manager, kube-scheduler, kubelet
//!    |- kubectl()      commands as a user gives them; helm() too
//!    |- space()        a namespace of a test's own, with words for what tests do in it
//!    |- kubelet        stopped, killed and started again
//!    `- finish()       everything gone, or a panic with the list of what is left
//! ```
//!
//! Everything is in the node's folder and bears its tag: processes run in that folder, pods' cgroups are below a cgroup of that name,
//! volumes are mounted below the folder. So the harness sweeps a cluster whose owner was killed like any node. The few places outside are
//! in [`outside`]. The API server listens on the address of the pods' bridge, so that pods reach it; etcd listens on loopback, for holders
//! of the cluster's certificates. A machine runs one cluster at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

mod client;
mod cluster;
mod daemon;
mod outside;
mod programs;
mod settings;
mod space;

pub use client::Client;
pub use cluster::{Cluster, NODE};
pub use outside::sweep;
pub use programs::{Kubernetes, Suite};
pub use space::Space;
