//! The uninstallation's requests to the cluster: writes the ConfigMap, lists the installers' pods.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::args::Place;
use crate::error::{Error, Result};
use crate::view::{Installer, MODE};

/// The field manager's name, under which `kubectl get -o yaml --show-managed-fields` shows our fields.
pub(crate) const MANAGER: &str = "catamaran-labeller";

/// An installer's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstallerPod {
    pub(crate) uid: String,
    pub(crate) pod: String,
    pub(crate) node: String,
    /// None if the pod has not been started.
    pub(crate) address: Option<IpAddr>,
}

/// The requests of an uninstallation.
pub(crate) trait Cluster {
    /// Writes the mode that the installers read.
    async fn set_mode(&self, word: &str) -> Result<()>;
    /// Lists the installers' pods that are on a node and have not ended for good.
    async fn installers(&self) -> Result<Vec<InstallerPod>>;
}

pub(crate) struct Kube {
    maps: Api<ConfigMap>,
    pods: Api<Pod>,
    selector: String,
    namespace: String,
    config_map: String,
}

impl Kube {
    pub(crate) fn new(client: Client, place: &Place) -> Self {
        Self {
            maps: Api::namespaced(client.clone(), &place.namespace),
            pods: Api::namespaced(client, &place.namespace),
            selector: place.selector.clone(),
            namespace: place.namespace.clone(),
            config_map: place.config_map.clone(),
        }
    }
}

impl Cluster for Kube {
    async fn set_mode(&self, word: &str) -> Result<()> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"data": {MODE: word}}));
        let patched = self.maps.patch(&self.config_map, &params, &patch).await;
        let doing = || format!("writing the mode {word:?} into the ConfigMap {}/{}", self.namespace, self.config_map);
        patched.map(drop).map_err(|e| Error::api(doing(), &e))
    }

    async fn installers(&self) -> Result<Vec<InstallerPod>> {
        let listed = self.pods.list(&ListParams::default().labels(&self.selector)).await;
        let doing = || format!("listing the pods {} of the namespace {}", self.selector, self.namespace);
        let pods = listed.map_err(|e| Error::api(doing(), &e))?;
        Ok(pods.items.iter().filter_map(installer).collect())
    }
}

fn installer(pod: &Pod) -> Option<InstallerPod> {
    let Installer { pod: name, node, .. } = Installer::new(pod)?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
    Some(InstallerPod { uid: pod.metadata.uid.clone().unwrap_or_default(), pod: name, node, address })
}
