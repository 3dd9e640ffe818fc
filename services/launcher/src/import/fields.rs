//! From text in a file to checked values; every reason for a refusal is a sentence for the person who made the file.

use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::{Timestamp, TimestampError};

/// Accepts an id: not empty, no control character. `what` names the field in the reason.
pub(super) fn id<'t>(text: &'t str, what: &str) -> Result<&'t str, String> {
    if text.trim().is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if text.contains(char::is_control) {
        return Err(format!("the {what} {text:?} has a control character"));
    }
    Ok(text)
}

/// A feedback type, by the rules of [`id`].
pub(super) fn feedback_type(text: &str) -> Result<SmolStr, String> {
    id(text, "feedback type").map(SmolStr::new)
}

/// A finite number.
pub(super) fn number(text: &str, what: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) | Err(_) => Err(format!("the {what} {text:?} is not a finite number")),
    }
}

/// A moment: seconds, milli-, micro- or nanoseconds since 1970 by size, RFC 3339, or a date with or without a
/// time of day, taken as UTC. Nothing is [`Timestamp::ZERO`].
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Timestamp::ZERO);
    }
    if let Ok(number) = text.parse::<f64>() {
        return since_1970(text, number);
    }
    calendar(text).map_err(|error| error.to_string())
}

fn since_1970(text: &str, number: f64) -> Result<Timestamp, String> {
    let nanos_per_unit = match number.abs() {
        size if size < 1e11 => 1_000_000_000,
        size if size < 1e14 => 1_000_000,
        size if size < 1e17 => 1_000,
        _ => 1,
    };
    // Whole numbers stay exact; a float has too few digits for nanoseconds.
    let nanos = match text.parse::<i64>() {
        Ok(whole) => whole.checked_mul(nanos_per_unit),
        Err(_) => Some((number * nanos_per_unit as f64) as i64)
            .filter(|&nanos| nanos.unsigned_abs() < i64::MAX as u64),
    };
    match nanos {
        Some(nanos) if nanos != i64::MIN && number.is_finite() => Ok(Timestamp::from_nanos(nanos)),
        Some(_) | None => Err(format!("could not read {text:?} as a time between 1678 and 2261")),
    }
}

fn calendar(text: &str) -> Result<Timestamp, TimestampError> {
    Timestamp::parse_rfc3339(text).or_else(|error| {
        let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
        let date = date.replace('/', "-");
        let zone = if clock.ends_with('Z') || clock.contains(['+', '-']) { "" } else { "Z" };
        Timestamp::parse_rfc3339(&format!("{date}T{clock}{zone}")).map_err(|_same| error)
    })
}

/// The first moment of a year; nothing for text that is no year between 1700 and 2200.
pub(super) fn year(text: &str) -> Option<Timestamp> {
    let year: u16 = text.trim().parse().ok().filter(|year| (1700..=2200).contains(year))?;
    Timestamp::parse_rfc3339(&format!("{year:04}-01-01T00:00:00Z")).ok()
}

/// The year in parentheses at the end of a film's title, `Toy Story (1995)`.
pub(super) fn year_of_title(title: &str) -> Option<&str> {
    let (_, year) = title.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    (year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit())).then_some(year)
}

/// Words between `separator`s, without empty ones.
pub(super) fn words(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What is known of a film besides its title: genres and decade, in the form models learn from.
pub(super) fn film_labels(genres: &[String], year: Option<&str>) -> serde_json::Map<String, Value> {
    let mut labels = serde_json::Map::new();
    if !genres.is_empty() {
        labels.insert("genres".to_owned(), Value::from(genres.to_vec()));
    }
    if let Some(year) = year {
        labels.insert("decade".to_owned(), Value::from(format!("{}0s", &year[..3])));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> String {
        time(text).map_or_else(|reason| reason, |moment| moment.to_string())
    }

    #[test]
    fn times_are_read_in_every_usual_form() {
        for text in [
            "881250949",
            "881250949.0",
            "881250949000",
            "881250949000000",
            "1997-12-04T15:55:49Z",
            "1997-12-04 15:55:49",
            "1997/12/04T16:55:49+01:00",
        ] {
            assert_eq!(printed(text), "1997-12-04T15:55:49Z", "{text}");
        }
        assert_eq!(printed("2020-02-29"), "2020-02-29T00:00:00Z");
        assert_eq!(time(" "), Ok(Timestamp::ZERO));
    }

    #[test]
    fn what_is_no_time_is_quoted_in_the_reason() {
        for text in
            ["yesterday", "2021-02-29", "NaN", "inf", "1e40", "99999999999999999999", "-", "2020-01-01T"]
        {
            assert!(printed(text).contains(text), "{text}: {}", printed(text));
        }
    }

    #[test]
    fn ids_are_not_empty_and_have_no_control_characters() {
        assert_eq!(id("ä b", "user id"), Ok("ä b"));
        assert!(id(" ", "user id").unwrap_err().contains("user id is empty"));
        assert!(id("a\u{7}", "item id").is_err());
    }

    #[test]
    fn titles_end_with_a_year_or_not() {
        assert_eq!(year_of_title("Toy Story (1995)"), Some("1995"));
        assert_eq!(year_of_title("Fantômas (À l'ombre) (1913) "), Some("1913"));
        assert_eq!(year_of_title("unknown"), None);
        assert_eq!(year_of_title("Year (19x5)"), None);
        assert_eq!(year("1995").map(|year| year.to_string()).as_deref(), Some("1995-01-01T00:00:00Z"));
        assert_eq!(year("V"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,40}") {
            let _ = (time(&text), number(&text, "value"), year_of_title(&text), year(&text));
        }
    }
}
