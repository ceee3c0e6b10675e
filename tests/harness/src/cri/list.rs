//! Lists of pods and containers from the CRI.

use std::collections::BTreeMap;

use super::{ContainerState, runtime};
use crate::Node;
use crate::api::cri::pods::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandboxFilter, PodSandboxState, PodSandboxStateValue,
};
use crate::api::cri::records::{self, ContainerStateValue, ListContainersRequest, ListContainersResponse};

/// Which pods to list: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct PodFilter {
    /// Only this one.
    pub id: String,
    /// Only those that are ready, or only those that are not.
    pub ready: Option<bool>,
    /// Those with all of these labels.
    pub labels: Vec<(String, String)>,
}

/// Which containers to list: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct ContainerFilter {
    /// Only this one.
    pub id: String,
    /// Those of this pod.
    pub pod: String,
    /// Those in this state.
    pub state: Option<ContainerState>,
    /// Those with all of these labels.
    pub labels: Vec<(String, String)>,
}

/// A pod or a container in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// As requested.
    pub labels: BTreeMap<String, String>,
}

/// `ListPodSandbox`.
///
/// # Panics
/// When the CRI does not say.
pub fn pods(node: &Node, filter: &PodFilter) -> Vec<Listed> {
    let state = |ready| if ready { PodSandboxState::Ready } else { PodSandboxState::Notready };
    let filter = PodSandboxFilter {
        id: filter.id.clone(),
        state: filter.ready.map(|ready| PodSandboxStateValue { state: state(ready).into() }),
        label_selector: filter.labels.iter().cloned().collect(),
    };
    let answer = runtime(node, "ListPodSandbox", &ListPodSandboxRequest { filter: Some(filter) });
    let answer: ListPodSandboxResponse = answer.unwrap_or_else(|status| panic!("ListPodSandbox: {status}"));
    let listed = answer.items.into_iter();
    listed.map(|pod| Listed { id: pod.id, name: pod.metadata.unwrap_or_default().name, labels: pod.labels }).collect()
}

/// `ListContainers`: without the sandbox containers.
///
/// # Panics
/// When the CRI does not say.
pub fn containers(node: &Node, filter: &ContainerFilter) -> Vec<Listed> {
    let filter = records::ContainerFilter {
        id: filter.id.clone(),
        state: filter.state.map(|state| ContainerStateValue { state: state.into() }),
        pod_sandbox_id: filter.pod.clone(),
        label_selector: filter.labels.iter().cloned().collect(),
    };
    let answer = runtime(node, "ListContainers", &ListContainersRequest { filter: Some(filter) });
    let answer: ListContainersResponse = answer.unwrap_or_else(|status| panic!("ListContainers: {status}"));
    let listed = answer.containers.into_iter();
    listed.map(|one| Listed { id: one.id, name: one.metadata.unwrap_or_default().name, labels: one.labels }).collect()
}
