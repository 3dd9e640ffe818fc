//! Labels while they are decoded: bounded in bytes and in number of values before they are built.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use ulex_domain::labels;
use ulex_domain::limits::{MAX_LABELS_BYTES, MAX_LABELS_VALUES};

use super::meter::count;

/// Checked labels; `null` is none.
pub(super) struct Labels(pub(super) Option<Value>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut size = LabelsSize::default();
        let mut value = BoundedValue(&mut size).deserialize(json)?;
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

/// What the labels of one record take so far.
#[derive(Default)]
struct LabelsSize {
    values: usize,
    text_bytes: usize,
}

/// Bytes of a value besides its text: itself, and the room that a growing list or map keeps free.
const VALUE_BYTES: usize = 2 * size_of::<Value>();

impl LabelsSize {
    fn add_value<E: Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > MAX_LABELS_VALUES {
            return Err(E::custom(format_args!("expected labels of at most {MAX_LABELS_VALUES} values")));
        }
        count(VALUE_BYTES)
    }

    fn add_text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if self.text_bytes > MAX_LABELS_BYTES {
            return Err(E::custom(format_args!(
                "expected labels with at most {MAX_LABELS_BYTES} bytes of text"
            )));
        }
        count(text.len())
    }
}

/// Any JSON value, as long as it is within bounds.
struct BoundedValue<'s>(&'s mut LabelsSize);

impl<'de> DeserializeSeed<'de> for BoundedValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        self.0.add_value()?;
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BoundedValue<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("labels")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.add_text(text)?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(BoundedValue(&mut *self.0))? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.0.add_text(&key)?;
            let value = entries.next_value_seed(BoundedValue(&mut *self.0))?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
