//! Single values of fields: what JSON may give, and what `null` means.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::{Timestamp, labels};

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

/// Checked labels; `null` is none.
pub(super) struct Labels(pub(super) Option<Value>);

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
        Ok(Self(SmolStr::new(text)))
    }
}

impl FromText for LongText {
    const EXPECTED: &'static str = "a string";

    fn null() -> Self {
        Self(None)
    }

    fn text<E: Error>(text: &str) -> Result<Self, E> {
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

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(json)?;
        if value.is_null() {
            return Ok(Self(None));
        }
        // One order of keys, whichever map serde_json was built with: Go writes them sorted, and so do we.
        value.sort_all_objects();
        labels::check(&value).map_err(|reason| {
            D::Error::custom(format_args!(
                "{reason}, expected texts, numbers, lists of only texts or only numbers, or objects of these"
            ))
        })?;
        Ok(Self(Some(value)))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let texts = Option::<Vec<LongText>>::deserialize(json)?;
        Ok(Self(texts.map(|texts| texts.into_iter().map(|text| text.0.unwrap_or_default()).collect())))
    }
}
