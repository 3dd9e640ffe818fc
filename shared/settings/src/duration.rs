//! Durations as Go writes them, because that is what Gorse's files hold: `1h30m`, `250ms`, `-1.5s`, `0`.
//!
//! Reading accepts everything Go's `time.ParseDuration` accepts; digits behind the nanosecond are cut off, and what
//! does not fit into 64 bits of nanoseconds (about 292 years) is refused. Printing is Go's text without the zero tail:
//! `1h`, not `1h0m0s`. Reading what was printed gives the same duration.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// The text is no duration; the caller shows what was expected instead.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected a duration such as \"1h30m\", \"10s\" or \"250ms\"")]
pub struct NotADuration;

/// A signed duration in nanoseconds, printed and read as Go does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

impl GoDuration {
    /// None if it is negative.
    #[must_use]
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }

    /// Saturates at the longest duration that 64 bits of nanoseconds hold.
    #[must_use]
    pub fn from_std(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Longest unit first where one begins with another: `ms` before `m`.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl FromStr for GoDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) | None => (false, text),
        };
        let magnitude = if unsigned == "0" { 0 } else { magnitude(unsigned)? };
        let signed = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
        i64::try_from(signed).map(Self).or(Err(NotADuration))
    }
}

/// One or more pairs of number and unit, in nanoseconds.
fn magnitude(text: &str) -> Result<u64, NotADuration> {
    let mut rest = text;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(NotADuration);
    }
    while !rest.is_empty() {
        let (whole, after_whole) = split_digits(rest);
        let (fraction, after_number) = after_whole.strip_prefix('.').map_or(("", after_whole), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(NotADuration);
        }
        let (unit, after_unit) = split_unit(after_number).ok_or(NotADuration)?;
        let nanos = term(whole, fraction, unit).ok_or(NotADuration)?;
        total = total.checked_add(nanos).ok_or(NotADuration)?;
        rest = after_unit;
    }
    Ok(total)
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, nanos)| (*nanos, rest))
}

/// `whole.fraction` units in nanoseconds; None on overflow.
fn term(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // An hour has less than 10^13 nanoseconds: digits behind the 18th change nothing.
    let fraction = &fraction[..fraction.len().min(18)];
    let mut part: u128 = 0;
    let mut scale: u128 = 1;
    for digit in fraction.bytes() {
        part = part * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let part = u64::try_from(part * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(part)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write_decimal(f, nanos, 1_000, "µs"),
            1_000_000..1_000_000_000 => write_decimal(f, nanos, 1_000_000, "ms"),
            1_000_000_000.. => write_clock(f, nanos),
        }
    }
}

/// Hours, minutes and seconds; a zero tail is left out.
fn write_clock(f: &mut fmt::Formatter<'_>, nanos: u64) -> fmt::Result {
    const SECOND: u64 = 1_000_000_000;
    let (hours, minutes, below) =
        (nanos / (3600 * SECOND), nanos / (60 * SECOND) % 60, nanos % (60 * SECOND));
    if hours > 0 {
        write!(f, "{hours}h")?;
    }
    if minutes > 0 || (hours > 0 && below > 0) {
        write!(f, "{minutes}m")?;
    }
    if below > 0 {
        write_decimal(f, below, SECOND, "s")?;
    }
    Ok(())
}

fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, name: &str) -> fmt::Result {
    let (whole, part) = (nanos / unit, nanos % unit);
    if part == 0 {
        return write!(f, "{whole}{name}");
    }
    let digits = (unit.ilog10()) as usize;
    let part = format!("{part:0digits$}");
    write!(f, "{whole}.{}{name}", part.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(text: &str) -> Option<i64> {
        text.parse::<GoDuration>().ok().map(|duration| duration.0)
    }

    #[test]
    fn reads_what_go_reads() {
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("60m", 3_600_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("+3ms", 3_000_000),
            ("1us2µs3μs", 6_000),
            ("1m1ms1ns", 60_001_000_001),
            ("0.1234567899s", 123_456_789),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ];
        for (text, expected) in cases {
            assert_eq!(nanos(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "-", "3", "1.5", "s", ".s", "1x", "1 s", "1d", " 1s", "1s ", "1S", "--1s", "1.2.3s"]
        {
            assert_eq!(nanos(text), None, "{text:?}");
        }
        for text in ["9223372036854775808ns", "2562048h", "99999999999999999999s"] {
            assert_eq!(nanos(text), None, "{text:?}");
        }
    }

    #[test]
    fn prints_without_a_zero_tail() {
        for text in [
            "0s", "1h", "72h", "1h30m", "1h0m30s", "10s", "1m", "1.5s", "250ms", "1.5ms", "20µs", "7ns",
            "-1m",
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), text);
        }
        assert_eq!("90m".parse::<GoDuration>().unwrap().to_string(), "1h30m");
    }

    #[test]
    fn a_negative_duration_is_no_standard_duration() {
        assert_eq!(GoDuration(-1).to_std(), None);
        assert_eq!(GoDuration(5).to_std(), Some(Duration::from_nanos(5)));
        assert_eq!(GoDuration::from_std(Duration::MAX), GoDuration(i64::MAX));
    }

    proptest! {
        #[test]
        fn what_was_printed_reads_as_the_same(value in any::<i64>()) {
            let text = GoDuration(value).to_string();
            prop_assert_eq!(text.parse::<GoDuration>(), Ok(GoDuration(value)), "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC*") {
            let _ = text.parse::<GoDuration>();
        }

        #[test]
        fn terms_add_up(hours in 0_i64..2_000_000, minutes in 0_i64..1000, millis in 0_i64..1_000_000) {
            let text = format!("{hours}h{minutes}m{millis}ms");
            let expected = (hours * 3_600_000 + minutes * 60_000 + millis) * 1_000_000;
            prop_assert_eq!(text.parse::<GoDuration>(), Ok(GoDuration(expected)));
        }

        #[test]
        fn texts_of_numbers_and_units_never_panic(text in "[-+]?([0-9]{0,25}\\.?[0-9]{0,25}(ns|us|µs|ms|s|m|h|d)?){0,4}") {
            if let Ok(duration) = text.parse::<GoDuration>() {
                prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
            }
        }
    }
}
