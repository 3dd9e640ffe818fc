//! Values of options in a cache's URL.

use std::time::Duration;

/// As Gorse's driver writes it: a number of seconds, or a number with a unit.
pub(super) fn duration(name: &str, value: &str) -> Result<Duration, String> {
    let (number, unit) = split(value);
    let nanos: Option<u64> = match unit {
        "" | "s" => Some(1_000_000_000),
        "ms" => Some(1_000_000),
        "us" | "µs" => Some(1_000),
        "m" => Some(60_000_000_000),
        _ => None,
    };
    let nanos = nanos.and_then(|nanos| number.parse::<u64>().ok()?.checked_mul(nanos));
    match nanos.map(Duration::from_nanos) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{name} is a time such as 250ms or 2s, not {value:?}")),
    }
}

/// A size, with a unit or without.
pub(super) fn bytes(name: &str, value: &str) -> Result<usize, String> {
    read_bytes(value).ok_or_else(|| format!("{name} is a size such as 512MiB or 4GiB, not {value:?}"))
}

fn read_bytes(value: &str) -> Option<usize> {
    let (number, unit) = split(value);
    let factor = match unit {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor).filter(|bytes| *bytes > 0)
}

fn split(value: &str) -> (&str, &str) {
    value.split_at(value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_units_and_nonsense_is_refused_by_name() {
        assert_eq!(duration("a", "250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("a", "3"), Ok(Duration::from_secs(3)));
        assert_eq!(bytes("a", "2MiB"), Ok(2 << 20));
        assert_eq!(bytes("a", "7"), Ok(7));
        for value in ["", "0", "ms", "-1", "1.5s", "99999999999999999999"] {
            assert!(duration("limit", value).unwrap_err().contains("limit"), "{value}");
            assert!(bytes("limit", value).unwrap_err().contains("limit"), "{value}");
        }
    }
}
