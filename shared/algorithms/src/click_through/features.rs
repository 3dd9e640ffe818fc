//! From users and items to feature rows.
//!
//! | field | features | per row |
//! |---|---|---|
//! | id | one per user or item known when training | one, none for newcomers |
//! | activity | 24 buckets, `log2` of the number of feedback rows | one if known |
//! | age | 16 buckets, `log2` of days | one if known |
//! | texts of a path | one per text seen at least twice | any number, of Euclidean length 1 together |
//! | numbers | one per path, scaled by median and quartiles (by `ln(1 + x)` if skewed) | any number |
//! | vector of a path | one per dimension | projected by the machine |
//!
//! The [`MAX_TEXT_FIELDS`] most used paths have fields of their own, so the machine can weigh genres otherwise than
//! colours; the rest share one. Everything is numbered by `u32`; what was not known when the space was built is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::samples::{FeatureRows, Layout};
use super::scale::{NumberSample, NumberScale};
use crate::dictionary::Dictionary;

/// Paths with text fields of their own, per side.
pub const MAX_TEXT_FIELDS: usize = 6;
/// Paths whose vectors are used, per side.
const MAX_VECTORS: usize = 4;
const ACTIVITY_BUCKETS: u32 = 24;
const AGE_BUCKETS: u32 = 16;

/// One value of a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A tag, a category, a word.
    Text(&'a str),
    /// A price, a year, a length.
    Number(f64),
    /// An embedding.
    Vector(&'a [f32]),
}

/// What a row describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// A user.
    User,
    /// An item.
    Item,
}

/// What is known of a user or item besides labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// Index when training; `None` for a newcomer.
    pub id: Option<u32>,
    /// Number of feedback rows.
    pub activity: Option<u32>,
    /// Days since it exists.
    pub age_days: Option<f32>,
}

/// Collects what labels there are.
#[derive(Debug, Default)]
pub struct FeatureSpaceBuilder {
    users: SideBuilder,
    items: SideBuilder,
}

#[derive(Debug, Default)]
struct SideBuilder {
    texts: Dictionary,
    text_counts: Vec<u32>,
    numbers: BTreeMap<String, NumberSample>,
    /// Per path, how many vectors there are of each length.
    vectors: BTreeMap<String, BTreeMap<usize, u32>>,
    key: String,
}

impl SideBuilder {
    fn observe(&mut self, path: &str, value: Value) {
        match value {
            Value::Text(text) => {
                write_key(&mut self.key, path, text);
                let index = self.texts.intern(&self.key) as usize;
                self.text_counts.resize(self.texts.len(), 0);
                self.text_counts[index] = self.text_counts[index].saturating_add(1);
            }
            Value::Number(number) => match self.numbers.get_mut(path) {
                Some(sample) => sample.push(number),
                None => self.numbers.entry(path.to_owned()).or_default().push(number),
            },
            Value::Vector([]) => {}
            Value::Vector(vector) => match self.vectors.get_mut(path) {
                Some(lengths) => *lengths.entry(vector.len()).or_default() += 1,
                None => {
                    *self.vectors.entry(path.to_owned()).or_default().entry(vector.len()).or_default() += 1
                }
            },
        }
    }

    fn finish(self, layout: &mut Layout, name: &str, ids: usize) -> SideSpace {
        let first_id = layout.push(&format!("{name} id"), ids as u32);
        let first_activity = layout.push(&format!("{name} activity"), ACTIVITY_BUCKETS);
        let first_age = layout.push(&format!("{name} age"), AGE_BUCKETS);
        let texts = self.number_texts(layout, name);
        let first_number = layout.push(&format!("{name} numbers"), self.numbers.len() as u32);
        let scales = self.numbers.into_iter().map(|(path, sample)| (path, sample.finish()));
        let numbers =
            scales.zip(first_number..).map(|((path, scale), feature)| (path, (feature, scale))).collect();
        let mut vectors = BTreeMap::new();
        for (path, dimensions) in most_used_vectors(&self.vectors) {
            let first = layout.push_dense(&format!("{name} vector {path}"), dimensions as u32);
            vectors.insert(path, (first, dimensions));
        }
        SideSpace { ids: ids as u32, first_id, first_activity, first_age, texts, numbers, vectors }
    }

    /// Gives every text seen at least twice a feature, path by path.
    fn number_texts(&self, layout: &mut Layout, name: &str) -> Texts {
        let mut by_path: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
        for (key, &count) in self.texts.iter().zip(&self.text_counts).filter(|&(_, &count)| count >= 2) {
            let path = key.split_once('\0').map_or("", |(path, _)| path);
            let (total, keys) = by_path.entry(path).or_default();
            *total += u64::from(count);
            keys.push(key);
        }
        let mut paths: Vec<_> = by_path.into_iter().collect();
        paths.sort_by_key(|&(path, (total, _))| (std::cmp::Reverse(total), path));
        let mut dictionary = Dictionary::default();
        let mut first = layout.n_features() as u32;
        let shared = paths.split_off(paths.len().min(MAX_TEXT_FIELDS));
        for (path, (_, keys)) in paths {
            let start = layout.push(&format!("{name} label {path}"), keys.len() as u32);
            first = first.min(start);
            keys.into_iter().for_each(|key| _ = dictionary.intern(key));
        }
        let before = dictionary.len();
        shared.into_iter().flat_map(|(_, (_, keys))| keys).for_each(|key| _ = dictionary.intern(key));
        if dictionary.len() > before {
            layout.push(&format!("{name} other labels"), (dictionary.len() - before) as u32);
        }
        Texts { first, dictionary }
    }
}

/// The vector paths in use with their most frequent length.
fn most_used_vectors(vectors: &BTreeMap<String, BTreeMap<usize, u32>>) -> Vec<(String, usize)> {
    let best = |lengths: &BTreeMap<usize, u32>| {
        lengths.iter().map(|(&n, &count)| (count, n)).max().unwrap_or((0, 0))
    };
    let mut paths: Vec<_> = vectors.iter().map(|(path, lengths)| (best(lengths), path)).collect();
    paths.sort_by_key(|&((count, _), path)| (std::cmp::Reverse(count), path));
    paths.truncate(MAX_VECTORS);
    paths.into_iter().map(|((_, dimensions), path)| (path.clone(), dimensions)).collect()
}

impl FeatureSpaceBuilder {
    /// Takes note of the labels of one user or item, as `(path, value)`.
    pub fn observe<'a>(&mut self, side: Side, labels: impl IntoIterator<Item = (&'a str, Value<'a>)>) {
        let builder = match side {
            Side::User => &mut self.users,
            Side::Item => &mut self.items,
        };
        for (path, value) in labels {
            builder.observe(path, value);
        }
    }

    /// Numbers all features. `n_users` and `n_items` are the numbers of ids that training knows.
    #[must_use]
    pub fn finish(self, n_users: usize, n_items: usize) -> FeatureSpace {
        let mut layout = Layout::default();
        let users = self.users.finish(&mut layout, "user", n_users);
        let items = self.items.finish(&mut layout, "item", n_items);
        FeatureSpace { layout, users, items }
    }
}

/// The numbering of all features; turns users and items into rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureSpace {
    layout: Layout,
    users: SideSpace,
    items: SideSpace,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SideSpace {
    ids: u32,
    first_id: u32,
    first_activity: u32,
    first_age: u32,
    texts: Texts,
    numbers: BTreeMap<String, (u32, NumberScale)>,
    vectors: BTreeMap<String, (u32, usize)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Texts {
    first: u32,
    #[serde(serialize_with = "write_dictionary", deserialize_with = "read_dictionary")]
    dictionary: Dictionary,
}

impl FeatureSpace {
    /// Fields and features.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// An empty table for rows of one side.
    #[must_use]
    pub fn rows(&self, side: Side) -> FeatureRows {
        let dense: Vec<_> = self.side(side).vectors.values().copied().collect();
        FeatureRows::with_dense(&dense)
    }

    /// Appends the row of one user or item to a table made by [`rows`](Self::rows).
    pub fn encode<'a>(
        &self,
        side: Side,
        facts: Facts,
        labels: impl IntoIterator<Item = (&'a str, Value<'a>)>,
        rows: &mut FeatureRows,
    ) {
        let space = self.side(side);
        let mut entries = Vec::new();
        space.encode_facts(facts, &mut entries);
        let before_texts = entries.len();
        let mut numbers = Vec::new();
        let mut vectors: Vec<Option<&[f32]>> = vec![None; space.vectors.len()];
        let mut key = String::new();
        for (path, value) in labels {
            match value {
                Value::Text(text) => {
                    write_key(&mut key, path, text);
                    entries.extend(
                        space.texts.dictionary.index(&key).map(|index| (space.texts.first + index, 1.0)),
                    );
                }
                Value::Number(number) => numbers.extend(
                    space
                        .numbers
                        .get(path)
                        .and_then(|(feature, scale)| scale.apply(number).map(|value| (*feature, value))),
                ),
                Value::Vector(vector) => {
                    let slot = space.vectors.keys().zip(&mut vectors).find(|(other, _)| *other == path);
                    slot.into_iter().for_each(|(_, slot)| *slot = Some(vector));
                }
            }
        }
        let texts = &mut entries[before_texts..];
        let length = (texts.len() as f32).sqrt();
        texts.iter_mut().for_each(|(_, value)| *value /= length);
        rows.push(entries.into_iter().chain(numbers), &vectors);
    }

    fn side(&self, side: Side) -> &SideSpace {
        match side {
            Side::User => &self.users,
            Side::Item => &self.items,
        }
    }
}

impl SideSpace {
    fn encode_facts(&self, facts: Facts, entries: &mut Vec<(u32, f32)>) {
        if let Some(id) = facts.id.filter(|&id| id < self.ids) {
            entries.push((self.first_id + id, 1.0));
        }
        if let Some(activity) = facts.activity {
            let bucket = (32 - activity.leading_zeros()).min(ACTIVITY_BUCKETS - 1);
            entries.push((self.first_activity + bucket, 1.0));
        }
        if let Some(days) = facts.age_days.filter(|days| days.is_finite()) {
            // A float to integer cast saturates, so a negative age is an age of 0.
            let bucket = (32 - (days as u32).leading_zeros()).min(AGE_BUCKETS - 1);
            entries.push((self.first_age + bucket, 1.0));
        }
    }
}

/// A path never holds a NUL; if one does, it only shares a field with its first part.
fn write_key(key: &mut String, path: &str, text: &str) {
    key.clear();
    key.push_str(path);
    key.push('\0');
    key.push_str(text);
}

fn write_dictionary<S: serde::Serializer>(dictionary: &Dictionary, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(dictionary.iter())
}

fn read_dictionary<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Dictionary, D::Error> {
    let ids = Vec::<String>::deserialize(deserializer)?;
    let mut dictionary = Dictionary::default();
    ids.iter().for_each(|id| _ = dictionary.intern(id));
    if dictionary.len() < ids.len() {
        return Err(serde::de::Error::custom("the same label twice"));
    }
    Ok(dictionary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> FeatureSpace {
        let mut builder = FeatureSpaceBuilder::default();
        for _ in 0..2 {
            builder.observe(Side::Item, [("genre", Value::Text("war")), ("genre", Value::Text("love"))]);
        }
        builder.observe(Side::Item, [("genre", Value::Text("once")), ("cover", Value::Vector(&[1.0, 2.0]))]);
        builder.observe(Side::Item, [("year", Value::Number(1990.0))]);
        builder.observe(Side::User, [("genre", Value::Text("war"))]);
        builder.finish(3, 2)
    }

    fn row(space: &FeatureSpace, facts: Facts, labels: &[(&'static str, Value<'static>)]) -> Vec<(u32, f32)> {
        let mut rows = space.rows(Side::Item);
        space.encode(Side::Item, facts, labels.iter().copied(), &mut rows);
        let (features, values) = rows.row(0);
        features.iter().copied().zip(values.iter().copied()).collect()
    }

    #[test]
    fn texts_seen_once_and_ids_never_seen_are_left_out() {
        let space = space();
        let labels =
            [("genre", Value::Text("once")), ("genre", Value::Text("war")), ("colour", Value::Text("war"))];
        let known = row(&space, Facts { id: Some(1), ..Facts::default() }, &labels);
        assert_eq!(known.len(), 2, "id and one genre: {known:?}");
        assert_eq!(row(&space, Facts { id: Some(2), ..Facts::default() }, &labels).len(), 1);
    }

    #[test]
    fn several_texts_have_length_one_together() {
        let both =
            row(&space(), Facts::default(), &[("genre", Value::Text("war")), ("genre", Value::Text("love"))]);
        let length: f32 = both.iter().map(|(_, value)| value * value).sum();
        assert!((length - 1.0).abs() < 1e-6 && both.len() == 2);
    }

    #[test]
    fn every_feature_lies_in_its_field() {
        let space = space();
        let facts = Facts { id: Some(0), activity: Some(5), age_days: Some(-3.0) };
        let vector = ("cover", Value::Vector(&[0.5, 0.25]));
        let labels = [("genre", Value::Text("war")), ("year", Value::Number(7.0)), vector];
        let names: Vec<&str> = space.layout().names().collect();
        let fields = space.layout().field_of_features();
        let found: Vec<&str> = row(&space, facts, &labels)
            .iter()
            .map(|&(f, _)| names[usize::from(fields[f as usize])])
            .collect();
        assert_eq!(found, ["item id", "item activity", "item age", "item label genre", "item numbers"]);
        assert_eq!(space.layout().n_features(), fields.len());
    }

    #[test]
    fn a_space_survives_being_stored() {
        let space = space();
        let text = serde_json::to_string(&space).unwrap();
        assert_eq!(serde_json::from_str::<FeatureSpace>(&text).unwrap(), space);
    }
}
