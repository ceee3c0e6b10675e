//! Sorts the addresses that a guest tries (RFC 6724, as far as possible without knowing every source address).

use std::net::IpAddr;

use crate::socket::connected;

/// Sorts addresses with a route first, and among these IPv6 first; keeps the order otherwise. Removes duplicates.
pub(crate) fn best_first(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut known = Vec::new();
    addresses.retain(|address| {
        let new = !known.contains(address);
        known.push(*address);
        new
    });
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|address| (!has_route(*address), address.is_ipv4()));
    }
    addresses
}

/// Whether the kernel has a route to an address: connecting a datagram socket looks for the route and sends nothing.
fn has_route(address: IpAddr) -> bool {
    connected((address, 53).into()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reachable_addresses_come_first_and_none_twice() {
        let of = |all: &[&str]| {
            let all = all.iter().map(|a| a.parse().unwrap()).collect();
            best_first(all).iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        // A socket cannot be connected to the broadcast address without SO_BROADCAST.
        assert_eq!(of(&["255.255.255.255", "127.0.0.1", "127.0.0.1"]), ["127.0.0.1", "255.255.255.255"]);
        assert_eq!(of(&["10.0.0.2", "10.0.0.1"]), ["10.0.0.2", "10.0.0.1"], "as they came");
        assert_eq!(of(&[]), [""; 0]);
    }
}
