//! Parses the values of annotations: words, numbers, durations and quantities as in Kubernetes, addresses. A form has a parser and the
//! texts of its error.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The form of a value.
pub(crate) struct Form<T> {
    /// Returns None for a text that is not of this form.
    pub(crate) parse: fn(&str) -> Option<T>,
    /// The values to write, for an error.
    pub(crate) expected: &'static str,
    /// The value without the annotation or variable, for an error.
    pub(crate) without: &'static str,
}

/// Parses a whole number within bounds, which consists of digits.
pub(crate) fn number<T: TryFrom<u64> + PartialOrd>(text: &str, bounds: RangeInclusive<T>) -> Option<T> {
    let digits = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = T::try_from(text.parse().ok().filter(|_| digits)?).ok()?;
    bounds.contains(&number).then_some(number)
}

/// Parses a duration such as `500ms`, `30s` or `1h30m`: whole numbers with `h`, `m`, `s` or `ms`, the larger unit first.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut rest, mut milliseconds, mut above) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit) = UNITS.into_iter().find(|(word, unit)| *word == &rest[..end] && *unit < above)?;
        milliseconds = milliseconds.checked_add(count.checked_mul(unit)?)?;
        (rest, above) = (&rest[end..], unit);
    }
    // An empty text has no unit.
    (above != u64::MAX).then(|| Duration::from_millis(milliseconds))
}

/// Parses a number of bytes as a Kubernetes quantity: `64Mi`, `1.5Gi`, `500M`, `1e6`, or a plain number. A fraction of a byte is
/// rounded up, as in Kubernetes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u128); 13] = [
        ("", 1),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
    ];
    /// The most digits behind the point: further ones are worth less than a byte. Before the point 20 may stand, as many as u64::MAX has.
    const MOST_DIGITS: usize = 18;
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (mantissa, suffix) = text.split_at(end);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let short = whole.len() <= MOST_DIGITS + 2 && fraction.len() <= MOST_DIGITS;
    if whole.len() + fraction.len() == 0 || !short || fraction.contains('.') {
        return None;
    }
    let digits: u128 = [whole, fraction].concat().parse().ok()?;
    let unit = match SUFFIXES.into_iter().find(|(word, _)| *word == suffix) {
        Some((_, unit)) => unit,
        None => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            10_u128.pow(number::<u32>(exponent.strip_prefix('+').unwrap_or(exponent), 0..=18)?)
        }
    };
    let parts = 10_u128.pow(fraction.len() as u32);
    u64::try_from(digits.checked_mul(unit)?.div_ceil(parts)).ok()
}

/// Parses `ADDRESS:PORT`, `[V6]:PORT`, or `:PORT` for every address. Refuses host names, because the shim looks up no name before the
/// container exists, and port 0, because the port would change with each start.
pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    let address = match text.strip_prefix(':') {
        Some(text) => every_address(port(text)?),
        None => text.parse().ok()?,
    };
    (address.port() > 0).then_some(address)
}

/// Parses a port other than 0.
pub(crate) fn port(text: &str) -> Option<u16> {
    number(text, 1..=u16::MAX)
}

/// Returns the socket address that stands for every address of the pod.
pub(crate) fn every_address(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_within_its_bounds() {
        for (text, expected) in [("1", Some(1)), ("4096", Some(4096)), ("0064", Some(64)), ("0", None), ("4097", None)]
        {
            assert_eq!(number(text, 1..=4096_u32), expected, "{text}");
        }
        for text in
            ["", " 1", "1 ", "+1", "-1", "1.0", "1e3", "0x10", "١", "99999999999999999999999", "18446744073709551616"]
        {
            assert_eq!(number(text, 0..=u64::MAX), None, "{text}");
        }
        assert_eq!(number("18446744073709551615", 0..=u64::MAX), Some(u64::MAX));
        assert_eq!(number("65536", 1..=u16::MAX), None);
    }

    #[test]
    fn a_duration_has_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("0s", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("1m30s500ms", 90_500),
            ("090s", 90_000),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "0",
            "30",
            "s",
            "ms",
            "1.5s",
            "-1s",
            "+1s",
            "1 s",
            "1s ",
            " 1s",
            "30S",
            "1d",
            "1us",
            "1s1m",
            "1s1s",
            "1s30",
            "1sm",
            "none",
            "1é",
            "18446744073709551615h",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_quantity_is_exact() {
        for (text, expected) in [
            ("0", 0),
            ("65536", 65536),
            ("64Ki", 65536),
            ("64Mi", 64 << 20),
            ("4Gi", 4 << 30),
            ("1.5Gi", 3 << 29),
            ("500M", 500_000_000),
            ("1k", 1000),
            ("1T", 1_000_000_000_000),
            ("1Ti", 1 << 40),
            ("1Pi", 1 << 50),
            ("2P", 2_000_000_000_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("15Ei", 15 << 60),
            ("1e6", 1_000_000),
            ("1E6", 1_000_000),
            ("1.5e3", 1500),
            ("12e+3", 12_000),
            (".5Gi", 1 << 29),
            ("1.Ki", 1024),
            // Kubernetes rounds up.
            ("0.1Gi", 107_374_183),
            ("1.1", 2),
            ("0.000000000000000001Ei", 2),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in [
            "",
            ".",
            "Mi",
            "-1",
            "+1",
            " 1Mi",
            "1Mi ",
            "1 Mi",
            "1mi",
            "1MI",
            "1MB",
            "1MiB",
            "1K",
            "1m",
            "1ki",
            "1g",
            "1.2.3",
            "1e",
            "1e-3",
            "1e19",
            "1e6Mi",
            "0x10",
            "16Ei",
            "18446744073709551616",
            "1,5Gi",
            "٣Mi",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_has_a_port_and_no_name() {
        for (text, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::]:8080"),
            ("[::1]:65535", "[::1]:65535"),
            (":8080", "[::]:8080"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            ":",
            "8080",
            "localhost:8080",
            "*:8080",
            "::1:8080",
            "[::1]",
            "0.0.0.0",
            "0.0.0.0:",
            "0.0.0.0:0",
            ":0",
            ":65536",
            "0.0.0.0:65536",
            ":+80",
            ": 80",
            "http://0.0.0.0:80",
            "0.0.0.0:80 ",
            "256.0.0.1:80",
            "tcp://10.0.0.1:80",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
