//! Sizes of memory and messages: `256MiB`, `32MB`, `1024`.
//!
//! Units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024), in any case, with or without
//! a space before them. No unit means bytes. Printing takes the largest binary unit that leaves no fraction.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The text is no size; the caller shows what was expected instead.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected a size such as \"256MiB\" or a whole number of bytes")]
pub struct NotASize;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1000_u64.pow(2)),
    ("gb", 1000_u64.pow(3)),
    ("tb", 1000_u64.pow(4)),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let unit = unit.trim_start().to_ascii_lowercase();
        let number: u64 = digits.parse().or(Err(NotASize))?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotASize)?;
        number.checked_mul(*factor).map(Self).ok_or(NotASize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_decimal_and_binary_units() {
        let cases = [
            ("0", 0),
            ("17", 17),
            ("17 B", 17),
            ("2kb", 2000),
            ("2KiB", 2048),
            ("256MiB", 256 << 20),
            (" 3 GB ", 3_000_000_000),
            ("1tib", 1 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in ["", "MiB", "-1", "1.5MiB", "1 X", "99999999999999999999", "99999999TiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(NotASize), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_printed_reads_as_the_same(bytes in any::<u64>(), shift in 0_u32..50) {
            let size = ByteSize(bytes >> shift << shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
