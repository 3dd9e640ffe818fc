//! RFC 3339 read and printed without allocation: every ingested row passes here, twice.
//!
//! Reads `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+hh:mm|-hh:mm)`, digits beyond nanoseconds are cut off, `t` and `z`
//! may be small. Prints UTC with the trailing zeros of the fraction trimmed. Constant time in the length.

use super::Timestamp;
use super::civil::CivilTime;

/// Room for `2261-12-31T23:59:59.999999999Z`.
pub(super) const LENGTH: usize = 30;

/// Reads the one shape; `None` if it is another shape or no moment.
pub(super) fn read(text: &[u8]) -> Option<Timestamp> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let shaped = head[4] == b'-' && head[7] == b'-' && head[13] == b':' && head[16] == b':';
    if !shaped || !matches!(head[10], b'T' | b't') {
        return None;
    }
    let century = two(head[0], head[1])?;
    let year = i64::from(century * 100 + two(head[2], head[3])?);
    let (nanos, zone) = match tail.split_first()? {
        (b'.', rest) => fraction(rest)?,
        (_zone, _rest) => (0, tail),
    };
    let civil = CivilTime {
        year,
        month: two(head[5], head[6])?,
        day: two(head[8], head[9])?,
        hour: two(head[11], head[12])?,
        minute: two(head[14], head[15])?,
        second: two(head[17], head[18])?,
        nanos,
    };
    civil.to_timestamp(offset(zone)?).ok()
}

fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Digits after the dot as nanoseconds, and what follows them.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    (length > 0).then(|| (nanos(digits), rest))
}

/// Decimal digits after the dot as nanoseconds.
pub(super) fn nanos(digits: &[u8]) -> u32 {
    let kept = digits.len().min(9);
    let value = digits[..kept].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    value * 10_u32.pow(9 - kept as u32)
}

/// Seconds east of Greenwich.
fn offset(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            let seconds = i64::from(hours * 3600 + minutes * 60);
            (hours < 24 && minutes < 60).then_some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Prints `timestamp` into `buffer` and returns the part that was used.
pub(super) fn print(timestamp: Timestamp, buffer: &mut [u8; LENGTH]) -> &str {
    let civil = CivilTime::from_timestamp(timestamp);
    *buffer = *b"0000-00-00T00:00:00.000000000Z";
    let year = civil.year as u32;
    for (at, value) in [
        (0, year / 100),
        (2, year % 100),
        (5, civil.month),
        (8, civil.day),
        (11, civil.hour),
        (14, civil.minute),
        (17, civil.second),
    ] {
        buffer[at] += (value / 10) as u8;
        buffer[at + 1] += (value % 10) as u8;
    }
    let length = print_fraction(civil.nanos, buffer);
    buffer[length] = b'Z';
    std::str::from_utf8(&buffer[..=length]).expect("only ASCII was written")
}

/// Prints the digits after the second, trimmed; returns where the zone goes.
fn print_fraction(nanos: u32, buffer: &mut [u8; LENGTH]) -> usize {
    if nanos == 0 {
        return 19;
    }
    let (mut digits, mut rest) = (9, nanos);
    while rest % 10 == 0 {
        rest /= 10;
        digits -= 1;
    }
    for at in (20..20 + digits).rev() {
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    20 + digits
}
