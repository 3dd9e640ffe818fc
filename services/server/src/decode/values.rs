//! Single values of fields: what JSON may give, and what `null` means.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use smol_str::SmolStr;
use ulex_domain::Timestamp;
use ulex_domain::limits::{MAX_CATEGORIES, MAX_COMMENT_BYTES, MAX_ID_BYTES};

use super::meter::count;

/// A short string; `null` is empty.
#[derive(Default)]
pub(super) struct Text(pub(super) SmolStr);

/// A string, kept as long as it is; `null` is none.
pub(super) struct LongText(pub(super) Option<String>);

/// A finite number; `null` is none.
pub(super) struct Number(pub(super) Option<f64>);

/// A truth value; `null` is none.
pub(super) struct Truth(pub(super) Option<bool>);

/// A date string in any of the accepted forms; `null` is none.
pub(super) struct AnyTime(pub(super) Option<Timestamp>);

/// A date string in RFC 3339; `null` is none.
pub(super) struct StrictTime(pub(super) Option<Timestamp>);

/// A list of strings; `null` is none.
pub(super) struct Texts(pub(super) Option<Vec<String>>);

/// A value that comes as a string.
trait FromText: Sized {
    const EXPECTED: &'static str;
    fn null() -> Self;
    fn text<E: Error>(text: &str) -> Result<Self, E>;
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::null())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::text(text)
    }
}

impl FromText for Text {
    const EXPECTED: &'static str = "a string";

    fn null() -> Self {
        Self::default()
    }

    fn text<E: Error>(text: &str) -> Result<Self, E> {
        count(text.len())?;
        Ok(Self(SmolStr::new(text)))
    }
}

impl FromText for LongText {
    const EXPECTED: &'static str = "a string";

    fn null() -> Self {
        Self(None)
    }

    fn text<E: Error>(text: &str) -> Result<Self, E> {
        if text.len() > MAX_COMMENT_BYTES {
            return Err(E::custom(format_args!(
                "expected a string of at most {MAX_COMMENT_BYTES} bytes, got one of {}",
                text.len()
            )));
        }
        count(text.len())?;
        Ok(Self(Some(text.to_owned())))
    }
}

impl FromText for AnyTime {
    const EXPECTED: &'static str = "a date string such as 2024-05-06T07:08:09Z";

    fn null() -> Self {
        Self(None)
    }

    fn text<E: Error>(text: &str) -> Result<Self, E> {
        Timestamp::parse_any(text)
            .map(|moment| Self(Some(moment)))
            .map_err(|reason| E::custom(format_args!("{reason}, expected {}", Self::EXPECTED)))
    }
}

impl FromText for StrictTime {
    const EXPECTED: &'static str = "a date string in RFC 3339, such as 2024-05-06T07:08:09Z";

    fn null() -> Self {
        Self(None)
    }

    fn text<E: Error>(text: &str) -> Result<Self, E> {
        Timestamp::parse_rfc3339(text)
            .map(|moment| Self(Some(moment)))
            .map_err(|reason| E::custom(format_args!("{reason}, expected {}", Self::EXPECTED)))
    }
}

macro_rules! deserialize_text {
    ($($kind:ty),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                json.deserialize_any(TextVisitor(PhantomData))
            }
        }
    )*};
}

deserialize_text!(Text, LongText, AnyTime, StrictTime);

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a finite number")
    }

    fn visit_unit<E: Error>(self) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        if number.is_finite() { Ok(Number(Some(number))) } else { Err(E::custom("expected a finite number")) }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of JSON are double precision")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of JSON are double precision")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(NumberVisitor)
    }
}

struct TruthVisitor;

impl Visitor<'_> for TruthVisitor {
    type Value = Truth;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("true or false")
    }

    fn visit_unit<E: Error>(self) -> Result<Truth, E> {
        Ok(Truth(None))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Truth, E> {
        Ok(Truth(Some(truth)))
    }
}

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(TruthVisitor)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of strings")
    }

    fn visit_unit<E: Error>(self) -> Result<Texts, E> {
        Ok(Texts(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(LongText(text)) = elements.next_element()? {
            let text = text.unwrap_or_default();
            if text.len() > MAX_ID_BYTES || texts.len() == MAX_CATEGORIES {
                return Err(A::Error::custom(format_args!(
                    "expected at most {MAX_CATEGORIES} strings of at most {MAX_ID_BYTES} bytes each"
                )));
            }
            count(2 * size_of::<String>())?;
            texts.push(text);
        }
        Ok(Texts(Some(texts)))
    }
}
