//! Times and sizes as an administrator writes them on the command line.

/// Reads a time such as 90s, 90m, 12h or 30d, in seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    number(text, &units).ok_or_else(|| format!("{text:?} is no time: write a number and s, m, h or d, such as 12h"))
}

/// Reads a number of bytes such as 1000000, 500M or 2G.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)];
    number(text, &units)
        .ok_or_else(|| format!("{text:?} is no number of bytes: write a number, or one with K, M or G, such as 500M"))
}

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let (_, factor) = units.iter().find(|(unit, _)| Some(*unit) == text.strip_prefix(digits))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A readable number of bytes.
pub(crate) fn readable(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_bytes_are_read_with_their_units() {
        assert_eq!(
            [seconds("90m"), seconds("12h"), seconds("30d"), seconds("5s")].map(|read| read.unwrap()),
            [5400, 43_200, 2_592_000, 5]
        );
        assert_eq!(
            [bytes("7"), bytes("500M"), bytes("2G"), bytes("1K")].map(|read| read.unwrap()),
            [7, 500 << 20, 2 << 30, 1024]
        );
        for wrong in ["", "h", "5", "-5h", "5 h", "5x", "99999999999999999999d", "9999999999999999d"] {
            assert!(seconds(wrong).unwrap_err().contains(&format!("{wrong:?}")));
        }
        assert!(["", "M", "5m", "1.5G", "99999999999G"].iter().all(|wrong| bytes(wrong).is_err()));
        assert_eq!([0, 1023, 1536, 5 << 30].map(readable), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    }
}
