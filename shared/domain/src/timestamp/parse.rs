//! The many other ways people write a moment: the free-form strings that POST and PUT accept.
//!
//! The first run of digits or letters and the byte after it decide the order of the date's parts (ambiguous
//! dates are month first); time of day and zone follow in one grammar for all orders. Without a zone the clock
//! is UTC; a numeric offset counts; a bare abbreviation such as `PST` does not, because its meaning is
//! ambiguous. One pass, no allocation, no panic; whatever is left unread refuses the text.

mod reader;

use self::reader::{DateReader, is_weekday, month_of, number};
use super::Timestamp;
use super::civil::CivilTime;
use super::rfc3339::nanos;

/// No accepted form is longer; refusing early bounds the work on hostile input.
const LONGEST: usize = 96;

/// Why a text is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateRefusal {
    /// No known shape.
    Format,
    /// A known shape, but this field is out of range.
    Field(&'static str),
}

/// Reads any known form.
pub(super) fn parse(text: &str) -> Result<Timestamp, DateRefusal> {
    if text.len() > LONGEST {
        return Err(DateRefusal::Format);
    }
    let mut reader = DateReader { rest: text.as_bytes() };
    match reader.peek() {
        Some(b'0'..=b'9') => digits_first(&mut reader),
        Some(b'a'..=b'z' | b'A'..=b'Z') => name_first(&mut reader),
        Some(_) | None => Err(DateRefusal::Format),
    }
}

/// What has been read of a moment so far.
struct PartialDate {
    /// `None` until the end where the year comes last: `Jan 2 15:04:05 2006`.
    year: Option<i64>,
    civil: CivilTime,
    offset: i64,
    /// In `March 9, 2021 at 7:05am UTC-05` Gorse ignores the offset; other forms honour it.
    utc_offset_counts: bool,
    has_clock: bool,
}

impl PartialDate {
    fn new(year: Option<i64>, month: u64, day: u64) -> Self {
        // Anything above two digits is out of range; 99 keeps it so.
        let small = |value: u64| u32::try_from(value).unwrap_or(99);
        let civil = CivilTime::midnight(0, small(month), small(day));
        Self { year, civil, offset: 0, utc_offset_counts: true, has_clock: false }
    }

    fn finish(self) -> Result<Timestamp, DateRefusal> {
        let year = self.year.ok_or(DateRefusal::Format)?;
        CivilTime { year, ..self.civil }.to_timestamp(self.offset).map_err(DateRefusal::Field)
    }
}

fn digits_first(reader: &mut DateReader<'_>) -> Result<Timestamp, DateRefusal> {
    let digits = reader.digits();
    let year_first = digits.len() == 4;
    let first = number(digits);
    let draft = match reader.peek() {
        None => return digits_only(digits),
        Some(b'-') if year_first => year_dash(reader, first)?,
        Some(b'-') => day_dash(reader, digits)?,
        Some(b'/') if year_first => year_month_day(reader, first, b'/')?,
        Some(b'/') => month_slash(reader, digits)?,
        Some(b'.') if year_first => year_dot(reader, first)?,
        Some(separator @ (b'.' | b':')) if !year_first => month_day_year(reader, digits, separator)?,
        Some(b':') => year_month_day(reader, first, b':')?,
        Some(b' ') if digits.len() == 6 => two_digits_each(digits),
        Some(b' ') => day_name(reader, digits)?,
        Some(_) if year_first => chinese(reader, first)?,
        Some(_) => return Err(DateRefusal::Format),
    };
    time_and_zone(reader, draft)
}

/// The count of digits is the format: a year, a date, both with time, or seconds to nanoseconds since 1970.
fn digits_only(digits: &[u8]) -> Result<Timestamp, DateRefusal> {
    let since_1970 = |unit: i64| {
        let nanos = i64::try_from(number(digits)).ok().and_then(|count| count.checked_mul(unit));
        let kept = nanos.filter(|nanos| nanos / 1_000_000_000 < super::civil::END_SECOND);
        kept.map(Timestamp::from_nanos).ok_or(DateRefusal::Field("year"))
    };
    let part = |from: usize, to: usize| number(&digits[from..to]);
    let year = |length: usize| Some(part(0, length) as i64);
    match digits.len() {
        4 => PartialDate::new(year(4), 1, 1).finish(),
        8 => PartialDate::new(year(4), part(4, 6), part(6, 8)).finish(),
        10 => since_1970(1_000_000_000),
        13 => since_1970(1_000_000),
        14 => {
            let mut draft = PartialDate::new(year(4), part(4, 6), part(6, 8));
            draft.civil.hour = part(8, 10) as u32;
            draft.civil.minute = part(10, 12) as u32;
            draft.civil.second = part(12, 14) as u32;
            draft.finish()
        }
        16 => since_1970(1_000),
        19 => since_1970(1),
        _ => Err(DateRefusal::Format),
    }
}

/// `2021-03-09`, `2021-03`, `2021-Mar-09`, and the date alone with a zone: `2021-03-09+08:00`.
fn year_dash(reader: &mut DateReader<'_>, year: u64) -> Result<PartialDate, DateRefusal> {
    reader.expect(b'-')?;
    if reader.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
        let month = reader.month_name()?;
        reader.expect(b'-')?;
        return Ok(PartialDate::new(Some(year as i64), month, reader.short()?));
    }
    let month = reader.short()?;
    if reader.is_done() {
        return Ok(PartialDate::new(Some(year as i64), month, 1));
    }
    reader.expect(b'-')?;
    let mut draft = PartialDate::new(Some(year as i64), month, reader.short()?);
    if matches!(reader.peek(), Some(b'+' | b'-')) {
        draft.offset = offset(reader)?;
        if !reader.is_done() {
            return Err(DateRefusal::Format);
        }
    }
    Ok(draft)
}

/// `09-Mar-2021`; `09-03-2021` is refused, nobody knows which is the month.
fn day_dash(reader: &mut DateReader<'_>, day: &[u8]) -> Result<PartialDate, DateRefusal> {
    let day = one_or_two(day)?;
    reader.expect(b'-')?;
    let month = reader.month_name()?;
    reader.expect(b'-')?;
    Ok(PartialDate::new(Some(reader.year()?), month, day))
}

fn year_month_day(reader: &mut DateReader<'_>, year: u64, separator: u8) -> Result<PartialDate, DateRefusal> {
    reader.expect(separator)?;
    let month = reader.short()?;
    reader.expect(separator)?;
    Ok(PartialDate::new(Some(year as i64), month, reader.short()?))
}

/// `2021.03` and `2021.03.09`.
fn year_dot(reader: &mut DateReader<'_>, year: u64) -> Result<PartialDate, DateRefusal> {
    reader.expect(b'.')?;
    let month = reader.short()?;
    let day = if reader.eat(b'.') { reader.short()? } else { 1 };
    Ok(PartialDate::new(Some(year as i64), month, day))
}

/// `3/9/2021`, `03/09/21` and, from web servers' logs, `09/Mar/2021:07:05:04`.
fn month_slash(reader: &mut DateReader<'_>, first: &[u8]) -> Result<PartialDate, DateRefusal> {
    if !reader.rest.get(1).is_some_and(u8::is_ascii_alphabetic) {
        return month_day_year(reader, first, b'/');
    }
    let day = one_or_two(first)?;
    reader.expect(b'/')?;
    let month = reader.month_name()?;
    reader.expect(b'/')?;
    let draft = PartialDate::new(Some(reader.year()?), month, day);
    if reader.eat(b':') {
        // The colon stands where others put a blank.
        return clock(reader, draft);
    }
    Ok(draft)
}

fn month_day_year(
    reader: &mut DateReader<'_>,
    month: &[u8],
    separator: u8,
) -> Result<PartialDate, DateRefusal> {
    let month = one_or_two(month)?;
    reader.expect(separator)?;
    let day = reader.short()?;
    reader.expect(separator)?;
    Ok(PartialDate::new(Some(reader.year()?), month, day))
}

/// `210309 07:05:04`.
fn two_digits_each(digits: &[u8]) -> PartialDate {
    let mut year = DateReader { rest: &digits[..2] };
    PartialDate::new(year.year().ok(), number(&digits[2..4]), number(&digits[4..]))
}

/// `9 mar 2021`, `09 March 21`.
fn day_name(reader: &mut DateReader<'_>, day: &[u8]) -> Result<PartialDate, DateRefusal> {
    let day = one_or_two(day)?;
    reader.blanks();
    let month = reader.month_name()?;
    if reader.blanks() == 0 {
        return Err(DateRefusal::Format);
    }
    Ok(PartialDate::new(Some(reader.year()?), month, day))
}

fn chinese(reader: &mut DateReader<'_>, year: u64) -> Result<PartialDate, DateRefusal> {
    reader.expect_text("年")?;
    let month = reader.short()?;
    reader.expect_text("月")?;
    let day = reader.short()?;
    reader.expect_text("日")?;
    Ok(PartialDate::new(Some(year as i64), month, day))
}

fn one_or_two(digits: &[u8]) -> Result<u64, DateRefusal> {
    DateReader { rest: digits }.short()
}

/// Forms that begin with a weekday or a month.
fn name_first(reader: &mut DateReader<'_>) -> Result<Timestamp, DateRefusal> {
    let word = reader.word();
    if let Some(month) = month_of(word) {
        let mut draft = month_name(reader, month)?;
        draft.utc_offset_counts = false;
        return time_and_zone(reader, draft);
    }
    if !is_weekday(word) {
        return Err(DateRefusal::Format);
    }
    reader.eat(b'.');
    let comma = reader.eat(b',');
    if reader.blanks() == 0 && !comma {
        return Err(DateRefusal::Format);
    }
    let draft = if reader.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        let day = reader.digits();
        if reader.peek() == Some(b'-') { day_dash(reader, day)? } else { day_name(reader, day)? }
    } else {
        let month = reader.month_name()?;
        month_name(reader, month)?
    };
    time_and_zone(reader, draft)
}

/// After the name of the month: `. 9th, 2021`, or ` 9` alone if the time is next and the year last.
fn month_name(reader: &mut DateReader<'_>, month: u64) -> Result<PartialDate, DateRefusal> {
    reader.eat(b'.');
    if reader.blanks() == 0 {
        return Err(DateRefusal::Format);
    }
    let day = reader.short()?;
    let ordinal = reader.word();
    if !ordinal.is_empty() && !["st", "nd", "rd", "th"].iter().any(|end| end.as_bytes() == ordinal) {
        return Err(DateRefusal::Format);
    }
    reader.eat(b',');
    let before_blanks = reader.rest;
    if reader.blanks() == 0 {
        return Err(DateRefusal::Format);
    }
    let before_year = reader.rest;
    let is_clock = !reader.digits().is_empty() && reader.peek() == Some(b':');
    reader.rest = if is_clock { before_blanks } else { before_year };
    let year = if is_clock { None } else { Some(reader.year()?) };
    Ok(PartialDate::new(year, month, day))
}

/// What follows the date: nothing, or a separator, a time and perhaps zones.
fn time_and_zone(reader: &mut DateReader<'_>, mut draft: PartialDate) -> Result<Timestamp, DateRefusal> {
    if !reader.is_done() && !draft.has_clock {
        let separated = reader.eat(b'T') || reader.eat(b't') || blank_or_comma(reader)?;
        if !separated {
            return Err(DateRefusal::Format);
        }
        draft = clock(reader, draft)?;
    }
    zones(reader, &mut draft)?;
    draft.finish()
}

/// The separator of the forms that people write by hand: `, `, blanks, ` at `.
fn blank_or_comma(reader: &mut DateReader<'_>) -> Result<bool, DateRefusal> {
    let comma = reader.eat(b',');
    let blanks = reader.blanks();
    if blanks > 0 && reader.eat_text("at") && reader.blanks() == 0 {
        return Err(DateRefusal::Format);
    }
    Ok(blanks > 0 || comma)
}

/// `7:5`, `07:05:04`, `07:05:04.123`, `07:05:04,123`, `07:05:04:123`, each perhaps with AM or PM.
fn clock(reader: &mut DateReader<'_>, mut draft: PartialDate) -> Result<PartialDate, DateRefusal> {
    draft.has_clock = true;
    let mut hour = reader.short()?;
    reader.expect(b':')?;
    draft.civil.minute = reader.short()? as u32;
    if reader.eat(b':') {
        draft.civil.second = reader.short()? as u32;
        if matches!(reader.peek(), Some(b'.' | b',' | b':')) {
            reader.rest = &reader.rest[1..];
            let digits = reader.digits();
            if digits.is_empty() {
                return Err(DateRefusal::Format);
            }
            draft.civil.nanos = nanos(digits);
        }
    }
    if let Some(afternoon) = half_of_day(reader) {
        if hour > 12 {
            return Err(DateRefusal::Field("hour"));
        }
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    draft.civil.hour = hour as u32;
    Ok(draft)
}

/// Takes `AM` or `PM`, glued or after blanks, if that is what comes next.
fn half_of_day(reader: &mut DateReader<'_>) -> Option<bool> {
    let before = reader.rest;
    reader.blanks();
    let word = reader.word();
    if word.eq_ignore_ascii_case(b"am") {
        return Some(false);
    }
    if word.eq_ignore_ascii_case(b"pm") {
        return Some(true);
    }
    reader.rest = before;
    None
}

/// Everything after the time: offsets, abbreviations, a comment in parentheses, a late year, a Go clock reading.
fn zones(reader: &mut DateReader<'_>, draft: &mut PartialDate) -> Result<(), DateRefusal> {
    let (mut offsets, mut names) = (0, 0);
    while !reader.is_done() {
        let blanks = reader.blanks();
        match reader.peek() {
            Some(b'+' | b'-') if offsets == 0 || (offsets == 1 && blanks > 0) => {
                let seconds = offset(reader)?;
                // Go repeats an offset that has no name in place of the name: `+0300 +03`.
                draft.offset = if offsets == 0 { seconds } else { draft.offset };
                offsets += 1;
            }
            Some(b'm') if reader.eat_text("m=") => {
                reader.run(|byte| matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9'));
            }
            Some(b'A'..=b'Z') if names == 0 => {
                names += 1;
                offsets += usize::from(zone_name(reader, draft)?);
            }
            Some(b'(') if blanks > 0 => {
                reader.run(|byte| *byte != b')');
                reader.expect(b')')?;
            }
            Some(b'0'..=b'9') if blanks > 0 && draft.year.is_none() => draft.year = Some(reader.year()?),
            Some(_) | None => return Err(DateRefusal::Format),
        }
    }
    Ok(())
}

/// An abbreviation, perhaps with an offset glued to it; tells whether the offset was taken.
fn zone_name(reader: &mut DateReader<'_>, draft: &mut PartialDate) -> Result<bool, DateRefusal> {
    let name = reader.run(u8::is_ascii_uppercase);
    let known = name == b"Z" || (3..=5).contains(&name.len());
    if !known {
        return Err(DateRefusal::Format);
    }
    if !matches!(reader.peek(), Some(b'+' | b'-')) {
        return Ok(false);
    }
    let seconds = offset(reader)?;
    if draft.utc_offset_counts || name != b"UTC" {
        draft.offset = seconds;
    }
    Ok(true)
}

/// `+hh`, `+hhmm` or `+hh:mm` as seconds east of Greenwich.
fn offset(reader: &mut DateReader<'_>) -> Result<i64, DateRefusal> {
    let negative = reader.peek() == Some(b'-');
    reader.rest = reader.rest.get(1..).unwrap_or_default();
    let digits = reader.digits();
    let (hours, minutes) = match digits.len() {
        2 if reader.eat(b':') => {
            let minutes = reader.digits();
            if minutes.len() != 2 {
                return Err(DateRefusal::Format);
            }
            (number(digits), number(minutes))
        }
        2 => (number(digits), 0),
        4 => (number(&digits[..2]), number(&digits[2..])),
        _ => return Err(DateRefusal::Format),
    };
    if hours > 23 || minutes > 59 {
        return Err(DateRefusal::Field("time zone offset"));
    }
    let seconds = (hours * 3600 + minutes * 60) as i64;
    Ok(if negative { -seconds } else { seconds })
}
