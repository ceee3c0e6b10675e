//! Looks up the addresses of a host name, for a worker inside a container's tree.
//!
//! ```text
//! name --- a number? --- /etc/hosts --- localhost? --- /etc/resolv.conf: which names, which servers
//!                                                          `--- A and AAAA by UDP, cut answers by TCP --- in order
//! ```
//!
//! The C library's getaddrinfo cannot be used, because even in a static program it loads the image's NSS libraries, which are
//! native code. Both files come from the image, and a server's answers from anybody: all of it is read up to a limit, and trusted
//! for nothing but the addresses that the guest gets.
//!
//! The lookup is a future for any tokio runtime with I/O and time. It makes no thread.

mod config;
mod files;
mod hosts;
mod message;
mod order;
mod query;
mod socket;
pub mod untrusted;

use std::net::IpAddr;

use config::Config;
use query::Outcome;

/// Why there are no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The text is neither a host name nor an address.
    #[error("not a host name")]
    Invalid,
    /// The servers say that there is no such name, or that it has no address.
    #[error("no such name")]
    NotFound,
    /// No server answered, or all answers were failures.
    #[error("no name server answered")]
    Unavailable,
}

/// The longest host name (RFC 1035, without the root's label).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Returns the addresses of `name`, best first. Encodes a name that is not ASCII (IDNA). An address is returned as it is.
pub async fn resolve(name: &str) -> Result<Vec<IpAddr>, Failure> {
    let name = match parsed(name)? {
        Parsed::Address(address) => return Ok(vec![address]),
        Parsed::Name(name) => name,
    };
    // Read each time, because kubelet may change the file.
    let known = files::read(files::HOSTS, |text| hosts::addresses(text, &name)).unwrap_or_default();
    if !known.is_empty() {
        return Ok(order::best_first(known));
    }
    let config = files::read(files::RESOLV_CONF, Config::parse).unwrap_or_default();
    by_servers(&config, &name).await
}

/// Asks the servers, unless the name is localhost.
async fn by_servers(config: &Config, name: &str) -> Result<Vec<IpAddr>, Failure> {
    if is_localhost(name) {
        return Ok(order::best_first(vec![std::net::Ipv6Addr::LOCALHOST.into(), std::net::Ipv4Addr::LOCALHOST.into()]));
    }
    let mut failed = false;
    for candidate in config.candidates(name) {
        // A search domain may make a name too long.
        let Some(candidate) = message::name(&candidate) else { continue };
        match query::ask(config, &candidate).await {
            Outcome::Addresses(addresses) => return Ok(order::best_first(addresses)),
            Outcome::None => {}
            Outcome::Failed => failed = true,
            // The next candidate would wait for the same servers.
            Outcome::Silence => return Err(Failure::Unavailable),
        }
    }
    Err(if failed { Failure::Unavailable } else { Failure::NotFound })
}

enum Parsed {
    Address(IpAddr),
    /// A host name in ASCII, which may end in a dot.
    Name(String),
}

fn parsed(name: &str) -> Result<Parsed, Failure> {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = inner.unwrap_or(name).parse::<IpAddr>() {
        return Ok(Parsed::Address(address));
    }
    let ascii = match name.is_ascii() {
        true => name.to_owned(),
        // Each character of at most 4 bytes becomes at least one byte.
        false if name.len() > 4 * LONGEST_NAME => return Err(Failure::Invalid),
        false => idna::domain_to_ascii(name).map_err(|_| Failure::Invalid)?,
    };
    if is_host_name(&ascii) { Ok(Parsed::Name(ascii)) } else { Err(Failure::Invalid) }
}

/// Whether a name has only letters, digits, `-` and `_`, in labels of 1 to 63 bytes. A dot may follow the last label.
fn is_host_name(name: &str) -> bool {
    let plain = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    plain.len() <= LONGEST_NAME && plain.split('.').all(label)
}

/// Whether a name means this machine and is never asked for (RFC 6761, 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
