//! Durations as Go writes them: `10m`, `1h30m`, `1.5h`, `300ms`, `0`, `-5s`.

/// Nanoseconds of `text`; `None` if it is no duration or out of range.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _other => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i64;
    while !rest.is_empty() {
        let (part, tail) = read_part(rest)?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some(if negative { -total } else { total })
}

/// One number with its unit, and what follows.
fn read_part(text: &str) -> Option<(i64, &str)> {
    let number_end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let unit = unit_nanos(unit)?;
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    Some((whole.checked_mul(unit)?.checked_add(fraction_nanos(fraction, unit))?, rest))
}

fn fraction_nanos(digits: &str, unit: i64) -> i64 {
    let mut nanos = 0;
    let mut weight = unit;
    for digit in digits.bytes() {
        nanos += i64::from(digit - b'0') * weight / 10;
        weight /= 10;
    }
    nanos
}

fn unit_nanos(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _other => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_numbers_with_units_are_durations() {
        let second = 1_000_000_000;
        for (text, nanos) in [
            ("0", 0),
            ("10m", 600 * second),
            ("1h30m", 5_400 * second),
            ("1.5h", 5_400 * second),
            ("300ms", 300_000_000),
            ("-2s", -2 * second),
            ("+1µs", 1_000),
            (".5s", second / 2),
            ("1.s", second),
        ] {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "-", "nonsense", "10", "10 m", "1d", ".s", "1..2s", "9999999999h", "s", "10m5"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
