//! Tenants, the Kubernetes namespaces among which the cache and the turns of the compiler are shared, in the names of files.

use sha2::{Digest, Sha256};

use super::digest::hex;

/// A tenant in the names of files: 16 hexadecimal digits.
pub fn name(tenant: &str) -> String {
    hex(&Sha256::digest(tenant)[..8])
}
