//! Owners: the tenants among whom the cache and the compiler are shared, Kubernetes namespaces.

use sha2::{Digest, Sha256};

use super::digest::hex;

/// An owner in the names of files: 16 hexadecimal digits.
pub fn name(owner: &str) -> String {
    hex(&Sha256::digest(owner)[..8])
}
