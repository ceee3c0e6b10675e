//! The addresses that a guest's requests may not go to, whatever name led there.
//!
//! Link-local addresses and those of the clouds' metadata services are the node's: a request there gets the node's credentials. The rules
//! judge the address to connect to, in every spelling that IPv6 has for one of IPv4. The handler's option `link_local_requests` allows all
//! of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services that are not on a link-local address: Alibaba Cloud's, Azure's (its wire server), Oracle's.
const METADATA: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// Those of AWS and Google Cloud over IPv6.
const METADATA_6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Whether a request may go to this address. `link_local_requests` is the handler's option of that name.
pub(super) fn is_allowed(address: IpAddr, link_local_requests: bool) -> bool {
    link_local_requests || !is_of_the_node(address)
}

/// Whether an address is link-local, or a metadata service's.
fn is_of_the_node(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_of_the_node_4(address),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || METADATA_6.contains(&address) || embedded(address).any(is_of_the_node_4)
        }
    }
}

fn is_of_the_node_4(address: Ipv4Addr) -> bool {
    address.is_link_local() || METADATA.contains(&address)
}

/// Where NAT64's addresses have the octets of one of IPv4, for each length of prefix that is left below the local prefix's 48 bits:
/// 48, 56, 64 and 96 (RFC 6052, section 2.2).
const NAT64: [[usize; 4]; 4] = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], LAST];
const LAST: [usize; 4] = [12, 13, 14, 15];

/// Returns the addresses of IPv4 that one of IPv6 may stand for: mapped or compatible (RFC 4291, section 2.5.5), translated (RFC 2765), of
/// NAT64 (RFC 6052; with the local prefix of RFC 8215, whose networks choose the length, each that it may be) or of 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let [a, b, c, d, e, f, ..] = address.segments();
    let places: &[[usize; 4]] = match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 1, ..] => &NAT64,
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, ..] => &[LAST],
        [0x2002, ..] => &[[2, 3, 4, 5]],
        _ => &[],
    };
    let octets = address.octets();
    places.iter().map(move |place| Ipv4Addr::from(place.map(|at| octets[at])))
}

#[cfg(test)]
mod tests {
    use super::{is_allowed, is_of_the_node};

    #[test]
    fn link_local_addresses_are_recognized_in_every_spelling() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1:77a9:fe:a9fe::",
            "64:ff9b:1:7777:a9:fea9:fe00:0",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_of_the_node(text.parse().unwrap()), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.96.0.1",
            "192.168.1.1",
            "169.253.1.1",
            "169.255.1.1",
            "100.100.100.201",
            "::1",
            "fd00::1",
            "fec0::1",
            "2001:db8::a9fe:a9fe",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1:7777:0a:0:100:0",
            "64:ff9b:0:a9fe:a9:fe00::",
        ] {
            assert!(!is_of_the_node(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_nodes_option_allows_its_own_addresses() {
        for (text, without_it) in [
            ("169.254.7.7", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("::ffff:169.254.169.254", false),
            ("127.0.0.1", true),
            ("10.96.0.1", true),
            ("2001:db8::1", true),
        ] {
            let address = text.parse().unwrap();
            assert_eq!(is_allowed(address, false), without_it, "{text}");
            assert!(is_allowed(address, true), "{text}");
        }
    }
}
