//! What items and users say about themselves: similarity by labels, and features for the ranker. It does not depend on
//! feedback, so it is read once for all fits of a cycle.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;
use ulex_algorithms::click_through::Value as FeatureValue;
use ulex_algorithms::click_through::{Facts, FeatureRows, FeatureSpace, FeatureSpaceBuilder, Side};
use ulex_algorithms::dictionary::Dictionary;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::similarity::tags::tag_neighbors;
use ulex_algorithms::similarity::{EmbeddingIndex, Neighbors};
use ulex_domain::expression::{EvaluationContext, Expression, ExpressionScope};
use ulex_domain::labels::{LabelFeature, numbers, walk};
use ulex_domain::{Item, Timestamp, User};
use ulex_settings::{ItemToItemType, Recommend, UserToUserType};

use super::without;
use crate::dataset::table::Table;

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Similar items by labels, for each recommender that needs them.
    pub items: BTreeMap<String, Arc<Neighbors>>,
    /// Similar users by labels, for each recommender that needs them.
    pub users: BTreeMap<String, Arc<Neighbors>>,
    /// Features of the ranker.
    pub space: Option<FeatureSpace>,
    /// One row for each user, and one more for a user nobody knows.
    pub user_rows: FeatureRows,
    /// One row for each item.
    pub item_rows: FeatureRows,
}

/// A label, owned.
#[derive(Clone, Debug, PartialEq)]
enum Label {
    Text(String),
    Number(f64),
    Vector(Vec<f32>),
}

type Labels = Vec<(String, Label)>;

impl Content {
    /// Reads every user and item once.
    #[must_use]
    pub fn read(table: &Table, recommend: &Recommend, now: Timestamp) -> Self {
        let mut content = Self::default();
        let k = recommend.cache_size;
        let items: Vec<Option<Item>> =
            (0..table.items.len() as u32).into_par_iter().map(|index| table.item(index)).collect();
        for known in &recommend.item_to_item {
            let by_tags = matches!(known.kind, ItemToItemType::Tags | ItemToItemType::Auto);
            if by_tags || known.kind == ItemToItemType::Embedding {
                let column = compiled(known.column.as_deref(), ExpressionScope::Item);
                let labels = |item: &Item| match &column {
                    None => labels_of(&item.labels),
                    Some(column) => {
                        evaluated(column, &EvaluationContext { item: Some(item), ..environment(now) })
                    }
                };
                content
                    .items
                    .insert(known.name.clone(), Arc::new(alike(&labels_each(&items, labels), by_tags, k)));
            }
        }
        let users: Vec<Option<User>> =
            (0..table.users.len() as u32).into_par_iter().map(|index| table.user(index)).collect();
        for known in &recommend.user_to_user {
            let by_tags = matches!(known.kind, UserToUserType::Tags | UserToUserType::Auto);
            if by_tags || known.kind == UserToUserType::Embedding {
                let column = compiled(known.column.as_deref(), ExpressionScope::User);
                let labels = |user: &User| match &column {
                    None => labels_of(&user.labels),
                    Some(column) => {
                        evaluated(column, &EvaluationContext { user: Some(user), ..environment(now) })
                    }
                };
                content
                    .users
                    .insert(known.name.clone(), Arc::new(alike(&labels_each(&users, labels), by_tags, k)));
            }
        }
        content.encode(&users, &items);
        content
    }

    fn encode(&mut self, users: &[Option<User>], items: &[Option<Item>]) {
        let user_labels = |user: &User| labels_of(&user.labels);
        let item_labels = |item: &Item| {
            let mut labels = labels_of(&item.labels);
            let categories = item.categories.iter().flatten();
            labels.extend(categories.map(|name| ("#category".to_owned(), Label::Text(name.clone()))));
            labels
        };
        let mut builder = FeatureSpaceBuilder::default();
        for user in users.iter().flatten() {
            builder.observe(Side::User, borrowed(&user_labels(user)));
        }
        for item in items.iter().flatten() {
            builder.observe(Side::Item, borrowed(&item_labels(item)));
        }
        let space = builder.finish(users.len(), items.len());
        let mut user_rows = space.rows(Side::User);
        for (index, user) in users.iter().enumerate() {
            let labels = user.as_ref().map(user_labels).unwrap_or_default();
            let facts = Facts { id: Some(index as u32), ..Facts::default() };
            space.encode(Side::User, facts, borrowed(&labels), &mut user_rows);
        }
        space.encode(Side::User, Facts::default(), std::iter::empty(), &mut user_rows);
        let mut item_rows = space.rows(Side::Item);
        for (index, item) in items.iter().enumerate() {
            let labels = item.as_ref().map(item_labels).unwrap_or_default();
            let facts = Facts { id: Some(index as u32), ..Facts::default() };
            space.encode(Side::Item, facts, borrowed(&labels), &mut item_rows);
        }
        self.space = Some(space);
        self.user_rows = user_rows;
        self.item_rows = item_rows;
    }
}

/// The labels of each that exists.
fn labels_each<T: Sync>(all: &[Option<T>], labels: impl Fn(&T) -> Labels + Sync) -> Vec<Labels> {
    all.par_iter().map(|one| one.as_ref().map_or_else(Vec::new, &labels)).collect()
}

fn environment<'a>(now: Timestamp) -> EvaluationContext<'a> {
    EvaluationContext { item: None, user: None, feedback: &[], now }
}

fn compiled(column: Option<&str>, scope: ExpressionScope) -> Option<Expression> {
    let column = column?;
    // The settings have compiled it before; should it fail here, all labels are used.
    Expression::compile(column, scope).inspect_err(|reason| without(column, reason)).ok()
}

/// Labels that a column evaluates to; none if it fails, for example for a missing label.
fn evaluated(column: &Expression, environment: &EvaluationContext<'_>) -> Labels {
    match column.evaluate(environment) {
        Ok(value) => labels_of(&value.into_json()),
        Err(_) => Vec::new(),
    }
}

fn labels_of(value: &Value) -> Labels {
    let mut labels = Vec::new();
    walk(value, &mut |feature| match feature {
        LabelFeature::Tag { path, text } => labels.push((path.to_owned(), Label::Text(text.to_owned()))),
        LabelFeature::Number { path, value } => labels.push((path.to_owned(), Label::Number(value))),
        LabelFeature::Embedding { path, values } => {
            let vector = numbers(values).map(|number| number as f32).collect();
            labels.push((path.to_owned(), Label::Vector(vector)));
        }
    });
    labels
}

fn borrowed(labels: &Labels) -> impl Iterator<Item = (&str, FeatureValue<'_>)> {
    labels.iter().map(|(path, label)| {
        let value = match label {
            Label::Text(text) => FeatureValue::Text(text),
            Label::Number(number) => FeatureValue::Number(*number),
            Label::Vector(vector) => FeatureValue::Vector(vector),
        };
        (path.as_str(), value)
    })
}

fn alike(rows: &[Labels], by_tags: bool, k: usize) -> Neighbors {
    if by_tags { by_tags_of(rows, k) } else { by_vectors_of(rows, k) }
}

fn by_tags_of(rows: &[Labels], k: usize) -> Neighbors {
    let mut tags = Dictionary::default();
    let mut triples = Vec::new();
    for (row, labels) in rows.iter().enumerate() {
        for (path, label) in labels {
            if let Label::Text(text) = label {
                triples.push((row as u32, tags.intern(&format!("{path}\u{0}{text}")), 1.0));
            }
        }
    }
    tag_neighbors(&Interactions::from_triples(rows.len(), tags.len(), triples), k)
}

/// The most frequent length counts; vectors of another length have no neighbours.
fn by_vectors_of(rows: &[Labels], k: usize) -> Neighbors {
    let vector = |labels: &Labels| {
        labels.iter().find_map(|(_, label)| match label {
            Label::Vector(vector) => Some(vector.clone()),
            Label::Text(_) | Label::Number(_) => None,
        })
    };
    let vectors: Vec<Option<Vec<f32>>> = rows.iter().map(vector).collect();
    let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
    for vector in vectors.iter().flatten() {
        *lengths.entry(vector.len()).or_default() += 1;
    }
    let Some((&dimensions, _)) = lengths.iter().max_by_key(|&(length, count)| (*count, *length)) else {
        return Neighbors::default();
    };
    EmbeddingIndex::new(dimensions, vectors.iter().map(Option::as_deref)).neighbors(k)
}
