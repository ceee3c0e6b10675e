//! Reads resolv.conf(5): the servers to ask, and the names to ask for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The limits of resolv.conf(5).
const MOST_SERVERS: usize = 3;
const MOST_DOTS: usize = 15;
const MOST_SECONDS: u64 = 30;
const MOST_ATTEMPTS: usize = 5;
/// The most search domains: Kubernetes writes no more.
const MOST_DOMAINS: usize = 32;

const PORT: u16 = 53;

/// The servers to ask, the time to wait, and the names to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The servers, in the order in which they are asked.
    pub(crate) servers: Vec<SocketAddr>,
    /// The domains of `search`, or `domain`.
    pub(crate) search: Vec<String>,
    /// A name with at least this number of dots is first asked for as it is.
    pub(crate) ndots: usize,
    /// The time to wait for one server.
    pub(crate) timeout: Duration,
    /// How often all servers are asked.
    pub(crate) attempts: usize,
    /// `single-request`: asks for A, then for AAAA, for servers that drop one of two questions.
    pub(crate) one_at_a_time: bool,
    /// `use-vc`: asks by TCP from the start.
    pub(crate) tcp: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: vec![(Ipv4Addr::LOCALHOST, PORT).into()],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            one_at_a_time: false,
            tcp: false,
        }
    }
}

impl Config {
    /// Reads the text, with the defaults for all that it does not set. Ignores lines that it does not understand, as every
    /// resolver does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut config = Self { servers: Vec::new(), ..Self::default() };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if config.servers.len() < MOST_SERVERS => {
                    config.servers.extend(words.next().and_then(server));
                }
                // The last such line counts.
                Some("search" | "domain") => {
                    let domains = words.filter(|d| *d == "." || crate::is_host_name(d));
                    config.search = domains.take(MOST_DOMAINS).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|option| config.option(option)),
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers = Self::default().servers;
        }
        config
    }

    fn option(&mut self, option: &str) {
        match option.split_once(':') {
            Some(("ndots", n)) => self.ndots = n.parse().unwrap_or(self.ndots).min(MOST_DOTS),
            Some(("timeout", n)) => {
                self.timeout = n.parse().map_or(self.timeout, |n: u64| Duration::from_secs(n.clamp(1, MOST_SECONDS)));
            }
            Some(("attempts", n)) => self.attempts = n.parse().unwrap_or(self.attempts).clamp(1, MOST_ATTEMPTS),
            None if matches!(option, "single-request" | "single-request-reopen") => self.one_at_a_time = true,
            None if option == "use-vc" => self.tcp = true,
            _ => {}
        }
    }

    /// Returns the names to ask for, one after the other, until one of them exists.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut all: Vec<String> = self
            .search
            .iter()
            .map(|domain| match domain.as_str() {
                "." => name.to_owned(),
                _ => format!("{name}.{domain}"),
            })
            .collect();
        let first = name.matches('.').count() >= self.ndots;
        all.insert(if first { 0 } else { all.len() }, name.to_owned());
        all
    }
}

/// Reads an address, which may be followed by `%` and the interface's number if it is link-local.
fn server(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        None => text.parse::<IpAddr>().ok().map(|address| (address, PORT).into()),
        Some((address, scope)) => Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope.parse().ok()?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_resolv_conf_is_read() {
        let text = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n\
                    options ndots:5\n";
        let config = Config::parse(text);
        assert_eq!(config.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(
            config.candidates("web"),
            ["web.default.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"]
        );
        assert_eq!(config.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(config.candidates("example.org.")[..], ["example.org."]);
    }

    #[test]
    fn every_key_of_resolv_conf_and_its_limits_are_read() {
        let text = "; comment\n# nameserver 1.1.1.1\nnameserver fe80::1%2\nnameserver nonsense\nnameserver ::1\n\
                    nameserver 10.0.0.1\nnameserver 10.0.0.2\ndomain first.example\nsearch a.example bad/name .\n\
                    options ndots:99 timeout:99 attempts:99 single-request use-vc edns0 trust-ad rotate\nsortlist 1";
        let config = Config::parse(text);
        let servers: Vec<_> = config.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["[fe80::1%2]:53", "[::1]:53", "10.0.0.1:53"]);
        assert_eq!(config.search, ["a.example", "."]);
        assert_eq!((config.ndots, config.timeout.as_secs(), config.attempts), (15, 30, 5));
        assert!(config.one_at_a_time && config.tcp);
        assert_eq!(config.candidates("x"), ["x.a.example", "x", "x"]);
    }

    #[test]
    fn an_empty_resolv_conf_means_the_local_machine() {
        assert_eq!(
            Config::parse("options ndots:x timeout:0"),
            Config { timeout: Duration::from_secs(1), ..Config::default() }
        );
        assert_eq!(Config::default().servers, ["127.0.0.1:53".parse().unwrap()]);
        let many = format!("search {}", "a.example ".repeat(100));
        assert_eq!(Config::parse(&many).search.len(), MOST_DOMAINS);
    }
}
