//! The network of a node's pods: a bridge and addresses of the node's own, by the CNI plugins.
//!
//! All of it is named after the node's tag or lies in its folder, except the bridge: the kernel allows 15 characters, so the bridge's name
//! is a digest of the tag. The bridge plugin makes the bridge with the first pod, and never removes it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::leftovers::hex;
use crate::network::remove_link;
use crate::programs::provided;
use crate::sysctls;

/// The library behind the plugins records its networks here, even if it is told to keep addresses elsewhere.
const RESULTS: &str = "/var/lib/cni/results";
/// The setting that the bridge plugin switches on.
const FORWARDING: &str = "net/ipv4/ip_forward";

/// Configures the network, before containerd starts. Returns the folder of the plugins.
pub(crate) fn configure(tag: &str, dir: &Path) -> PathBuf {
    let ipam = json!({
        "type": "host-local",
        "dataDir": addresses(dir),
        "ranges": [[{ "subnet": subnet(tag) }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    // A gateway, so that the host has an address beside the pods'. No masquerading, so that the host's packet filter stays unchanged.
    let bridge = json!({ "type": "bridge", "bridge": bridge(tag), "isGateway": true, "ipMasq": false, "ipam": ipam });
    let network = json!({ "cniVersion": "1.0.0", "name": tag, "plugins": [bridge] });
    fs::write(dir.join("cni/conf/10-pods.conflist"), network.to_string()).expect("cannot configure the pods' network");
    sysctls::note(tag, &[FORWARDING]);
    provided("provision-cni")("folder").into()
}

fn addresses(dir: &Path) -> PathBuf {
    dir.join("cni/addresses")
}

fn digest(tag: &str) -> [u8; 32] {
    Sha256::digest(tag).into()
}

fn bridge(tag: &str) -> String {
    format!("ctm-{}", hex(&digest(tag)[..4]))
}

/// Returns one of 32768 ranges of 126 addresses in 100.64.0.0/10 (RFC 6598), which no network of the machine's own has: enough that
/// concurrent test nodes hardly ever share one.
fn subnet(tag: &str) -> String {
    let [a, b, c, ..] = digest(tag);
    format!("100.{}.{b}.{}/25", 64 | a & 63, c & 128)
}

/// The address that the host has on the bridge: the first of the range.
pub(crate) fn gateway(tag: &str) -> Ipv4Addr {
    let [a, b, c, ..] = digest(tag);
    Ipv4Addr::new(100, 64 | a & 63, b, c & 128 | 1)
}

/// Lists what is left of pods' networks: interfaces on the bridge, addresses that are taken, and the library's records.
pub(crate) fn left(tag: &str, dir: &Path) -> Vec<String> {
    let names = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let mut found = Vec::new();
    found.extend(
        names(Path::new("/sys/class/net").join(bridge(tag)).join("brif")).map(|name| format!("interface {name}")),
    );
    let taken = names(addresses(dir).join(tag)).filter(|name| name.parse::<std::net::IpAddr>().is_ok());
    found.extend(taken.map(|address| format!("address {address}")));
    // A loopback's record is named by its pod alone; the pod's network namespace stands inside.
    let named = |name: &String| {
        let bytes = fs::read(Path::new(RESULTS).join(name)).unwrap_or_default();
        name.contains(tag) || String::from_utf8_lossy(&bytes).contains(tag)
    };
    found.extend(names(RESULTS.into()).filter(named).map(|name| format!("{RESULTS}/{name}")));
    found
}

/// Removes the bridge, and what is left of the pods on it: interfaces go with their pods' namespaces.
pub(crate) fn remove(tag: &str, dir: &Path) -> Vec<String> {
    let mut troubles = Vec::new();
    if let Ok(index) = fs::read_to_string(Path::new("/sys/class/net").join(bridge(tag)).join("ifindex")) {
        remove_link(index.trim().parse().expect("an interface's number"));
    }
    for result in left(tag, dir).iter().filter(|path| path.starts_with('/')) {
        if let Err(error) = fs::remove_file(result) {
            troubles.push(format!("cannot remove {result}: {error}"));
        }
    }
    troubles.extend(sysctls::restore(tag));
    troubles
}

#[cfg(test)]
mod tests {
    use super::{bridge, gateway, subnet};

    #[test]
    fn a_bridges_name_fits_the_kernel_and_its_range_is_in_rfc_6598() {
        for number in 1..100 {
            let tag = format!("catamaran-test-123-456-{number:03}");
            assert!(bridge(&tag).len() < 16);
            let subnet = subnet(&tag);
            let parts: Vec<u8> = subnet.trim_end_matches("/25").split('.').map(|part| part.parse().unwrap()).collect();
            let [first @ .., last] = gateway(&tag).octets();
            assert!(first == parts[..3] && last == parts[3] + 1, "{subnet}");
            assert!(parts[0] == 100 && parts[1] & 0xc0 == 64 && parts[3] & 127 == 0, "{subnet}");
        }
        assert_ne!(bridge("a"), bridge("b"));
    }
}
