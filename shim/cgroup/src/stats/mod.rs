//! A container's usage, as the kernel counts it in its cgroup, in the messages that containerd knows.
//!
//! ```text
//! cgroup v1   v1   io.containerd.cgroups.v1.Metrics   processor time in nanoseconds, a folder a controller
//! cgroup v2   v2   io.containerd.cgroups.v2.Metrics   processor time in microseconds, and pressure (PSI)
//! ```
//!
//! The values are those of containerd's own shim, field by field (`stats.rs` of the integration tests compares them). A part whose
//! controller the container does not have is left out, because zero would say that nothing was used. Left out as well are the
//! network, which CRI counts itself in the pod's network namespace, and RDMA.
//!
//! The shim reads the files at once and on its one thread: some thirty of them, which never block. It keeps nothing between two
//! calls.

mod file;
#[cfg(test)]
mod stand;
mod v1;
mod v2;

use containerd_shim_protos::protobuf::well_known_types::any::Any;

use crate::Cgroup;
use crate::error::Result;

/// The names by which containerd finds the messages' types.
const V1: &str = "io.containerd.cgroups.v1.Metrics";
const V2: &str = "io.containerd.cgroups.v2.Metrics";

/// Returns a container's usage so far. `kills` is the number of the kernel's kills that the shim has seen in the cgroup: systemd
/// removes a scope's cgroup as soon as it is empty, and a client asks after that whether there was a kill.
pub fn read(cgroup: &Cgroup, kills: u64) -> Result<Any> {
    let (kind, metrics) = if cgroup.is_v1() {
        (V1, v1::metrics(&|controller| cgroup.files(controller))?)
    } else {
        (V2, v2::metrics(cgroup.files("memory"), kills)?)
    };
    Ok(Any { type_url: kind.to_owned(), value: metrics.done(), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::protobuf::MessageFull;
    use containerd_shim_protos::{cgroups, cgroups_v2};

    #[test]
    fn type_names_are_those_of_the_messages() {
        assert_eq!(cgroups::metrics::Metrics::descriptor().full_name(), V1);
        assert_eq!(cgroups_v2::metrics::Metrics::descriptor().full_name(), V2);
    }
}
