//! Takes pieces off the front of a date string.

use super::DateRefusal;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// What has not been read yet.
pub(super) struct DateReader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> DateReader<'a> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        if eaten {
            self.rest = &self.rest[1..];
        }
        eaten
    }

    pub(super) fn eat_text(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text.as_bytes()) else { return false };
        self.rest = rest;
        true
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), DateRefusal> {
        if self.eat(byte) { Ok(()) } else { Err(DateRefusal::Format) }
    }

    pub(super) fn expect_text(&mut self, text: &str) -> Result<(), DateRefusal> {
        if self.eat_text(text) { Ok(()) } else { Err(DateRefusal::Format) }
    }

    pub(super) fn run(&mut self, accepts: impl Fn(&u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| !accepts(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(length);
        self.rest = rest;
        run
    }

    pub(super) fn blanks(&mut self) -> usize {
        self.run(|byte| *byte == b' ').len()
    }

    pub(super) fn word(&mut self) -> &'a [u8] {
        self.run(u8::is_ascii_alphabetic)
    }

    pub(super) fn digits(&mut self) -> &'a [u8] {
        self.run(u8::is_ascii_digit)
    }

    /// A number of one or two digits.
    pub(super) fn short(&mut self) -> Result<u64, DateRefusal> {
        let digits = self.digits();
        if matches!(digits.len(), 1 | 2) { Ok(number(digits)) } else { Err(DateRefusal::Format) }
    }

    /// A year of four digits, or of two with an optional apostrophe: 69 to 99 are 19xx, 00 to 68 are 20xx.
    pub(super) fn year(&mut self) -> Result<i64, DateRefusal> {
        let quoted = self.eat(b'\'');
        let digits = self.digits();
        let value = number(digits) as i64;
        match digits.len() {
            4 if !quoted => Ok(value),
            2 => Ok(if value >= 69 { 1900 + value } else { 2000 + value }),
            _ => Err(DateRefusal::Format),
        }
    }

    pub(super) fn month_name(&mut self) -> Result<u64, DateRefusal> {
        month_of(self.word()).ok_or(DateRefusal::Format)
    }
}

pub(super) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

pub(super) fn month_of(word: &[u8]) -> Option<u64> {
    let fits =
        |name: &str| named(word, name) || (name.starts_with("sept") && word.eq_ignore_ascii_case(b"sept"));
    MONTHS.iter().position(|name| fits(name)).map(|index| index as u64 + 1)
}

pub(super) fn is_weekday(word: &[u8]) -> bool {
    WEEKDAYS.iter().any(|name| named(word, name) || (word.len() > 3 && is_start(word, name)))
}

/// Whether `word` is `name` in full or its first three letters.
fn named(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes()) || (word.len() == 3 && is_start(word, name))
}

fn is_start(word: &[u8], name: &str) -> bool {
    name.as_bytes().get(..word.len()).is_some_and(|start| word.eq_ignore_ascii_case(start))
}
