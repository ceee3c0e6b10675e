//! Reads hosts(5).

use std::net::IpAddr;

/// The most addresses of one name.
const MOST: usize = 64;

/// Returns the addresses that the text has for `name`, in its order.
pub(crate) fn addresses(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
        if found.len() == MOST {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_with_aliases_and_comments_is_read() {
        let text = "# 10.0.0.9 pod\n127.0.0.1 localhost\n::1\tlocalhost ip6-localhost\n10.0.0.1 pod.local Pod # web\n\
                    10.0.0.2 web\nnonsense pod\n10.0.0.3 pod\n10.0.0.1 pod\n10.0.0.4";
        let of = |name: &str| addresses(text, name).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(of("pod"), ["10.0.0.1", "10.0.0.3"]);
        assert_eq!(of("POD.LOCAL."), ["10.0.0.1"]);
        assert_eq!(of("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(of("web"), ["10.0.0.2"]);
        assert!(of("local").is_empty() && of("").is_empty());
    }
}
