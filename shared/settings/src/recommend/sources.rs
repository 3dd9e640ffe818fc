//! The configured sources of candidates: leaderboards, similar items, similar users, scripts.
//!
//! Names are unique within a kind. A column is needed by the types that read one and forbidden for those that do not,
//! except for `auto`, where it has no effect.

use serde_json::json;

use super::expression::{self, Use};
use crate::given::{Given, Tables};
use crate::resolve::{Checks, Keyword};
use crate::written;

/// A leaderboard.
#[derive(Clone, Debug, PartialEq)]
pub struct NonPersonalized {
    /// Unique among leaderboards.
    pub name: String,
    /// Compiles to a number over `item` and `feedback`.
    pub score: String,
    /// Compiles to a boolean over `item` and `feedback`. None: all items.
    pub filter: Option<String>,
}

/// A source of similar items.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemToItem {
    /// Unique among sources of similar items.
    pub name: String,
    /// What makes items similar.
    pub kind: ItemToItemType,
    /// Compiles over `item`. Some for embeddings and tags.
    pub column: Option<String>,
}

/// What makes items similar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemToItemType {
    /// Near vectors.
    Embedding,
    /// The same labels.
    Tags,
    /// The same users.
    Users,
    /// Users and labels.
    Auto,
}

/// A source of similar users.
#[derive(Clone, Debug, PartialEq)]
pub struct UserToUser {
    /// Unique among sources of similar users.
    pub name: String,
    /// What makes users similar.
    pub kind: UserToUserType,
    /// Compiles over `user`. Some for embeddings and tags.
    pub column: Option<String>,
}

/// What makes users similar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserToUserType {
    /// Near vectors.
    Embedding,
    /// The same labels.
    Tags,
    /// The same items.
    Items,
    /// Items and labels.
    Auto,
}

/// A script that names candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    /// Unique among scripts.
    pub name: String,
    /// JavaScript.
    pub script: String,
}

impl Keyword for ItemToItemType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("embedding", Self::Embedding), ("tags", Self::Tags), ("users", Self::Users)];
}

impl Keyword for UserToUserType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("embedding", Self::Embedding), ("tags", Self::Tags), ("items", Self::Items)];
}

/// Whether a type reads a column.
#[derive(Clone, Copy)]
enum Column {
    Required,
    Forbidden,
    WithoutEffect,
}

pub(super) fn non_personalized(
    given: &Given<Tables<written::NonPersonalized>>,
    checks: &mut Checks<'_>,
) -> Vec<NonPersonalized> {
    let mut entries = Entries::new("recommend.non-personalized");
    let tables = checks.tables(entries.key, given);
    let resolve = |table: &written::NonPersonalized| {
        let (name, key) = entries.next(&table.name, checks);
        let score = checks.text(&format!("{key}.score"), &table.score);
        if matches!(table.score, Given::Value(_)) {
            compiles(checks, &format!("{key}.score"), &score, Use::Score);
        }
        let filter =
            checks.optional_text(&format!("{key}.filter"), &table.filter).filter(|text| !is_blank(text));
        if let Some(filter) = &filter {
            compiles(checks, &format!("{key}.filter"), filter, Use::Filter);
        }
        NonPersonalized { name, score, filter }
    };
    tables.iter().map(resolve).collect()
}

pub(super) fn item_to_item(
    given: &Given<Tables<written::Neighbors>>,
    checks: &mut Checks<'_>,
) -> Vec<ItemToItem> {
    let mut entries = Entries::new("recommend.item-to-item");
    let tables = checks.tables(entries.key, given);
    let resolve = |table: &written::Neighbors| {
        let (name, key) = entries.next(&table.name, checks);
        let kind: ItemToItemType = checks.keyword(&format!("{key}.type"), &table.r#type);
        let need = match kind {
            ItemToItemType::Embedding | ItemToItemType::Tags => Column::Required,
            ItemToItemType::Users => Column::Forbidden,
            ItemToItemType::Auto => Column::WithoutEffect,
        };
        let column = column(checks, &key, table, (need, Use::ItemColumn));
        ItemToItem { name, kind, column }
    };
    tables.iter().map(resolve).collect()
}

pub(super) fn user_to_user(
    given: &Given<Tables<written::Neighbors>>,
    checks: &mut Checks<'_>,
) -> Vec<UserToUser> {
    let mut entries = Entries::new("recommend.user-to-user");
    let tables = checks.tables(entries.key, given);
    let resolve = |table: &written::Neighbors| {
        let (name, key) = entries.next(&table.name, checks);
        let kind: UserToUserType = checks.keyword(&format!("{key}.type"), &table.r#type);
        let need = match kind {
            UserToUserType::Embedding | UserToUserType::Tags => Column::Required,
            UserToUserType::Items => Column::Forbidden,
            UserToUserType::Auto => Column::WithoutEffect,
        };
        let column = column(checks, &key, table, (need, Use::UserColumn));
        UserToUser { name, kind, column }
    };
    tables.iter().map(resolve).collect()
}

pub(super) fn external(given: &Given<Tables<written::External>>, checks: &mut Checks<'_>) -> Vec<External> {
    let mut entries = Entries::new("recommend.external");
    let tables = checks.tables(entries.key, given);
    let resolve = |table: &written::External| {
        let (name, key) = entries.next(&table.name, checks);
        let script = checks.text(&format!("{key}.script"), &table.script);
        if matches!(table.script, Given::Value(_)) && is_blank(&script) {
            checks.problem(&format!("{key}.script"), &json!(script), "a script");
        }
        External { name, script }
    };
    tables.iter().map(resolve).collect()
}

/// Walks the tables of one list, names them for messages and sees to it that names are given and unique.
struct Entries {
    key: &'static str,
    seen: Vec<String>,
}

impl Entries {
    fn new(key: &'static str) -> Self {
        Self { key, seen: Vec::new() }
    }

    /// Name and key of the next table: `recommend.external[trending]`, or its position if it has no name.
    fn next(&mut self, name: &Given<String>, checks: &mut Checks<'_>) -> (String, String) {
        let position = self.seen.len();
        let nameless = format!("{}[{position}]", self.key);
        let text = checks.text(&format!("{nameless}.name"), name);
        let key = if text.is_empty() { nameless } else { format!("{}[{text}]", self.key) };
        if self.seen.contains(&text) && !text.is_empty() {
            let kind = self.key.trim_start_matches("recommend.");
            let expected = format!("a name that no other {kind} recommender has");
            checks.problem(&format!("{key}.name"), &json!(text), expected);
        }
        if matches!(name, Given::Value(_)) && text.is_empty() {
            checks.problem(&format!("{key}.name"), &json!(text), "a name that is not empty");
        }
        self.seen.push(text.clone());
        (text, key)
    }
}

fn column(
    checks: &mut Checks<'_>,
    key: &str,
    table: &written::Neighbors,
    rule: (Column, Use),
) -> Option<String> {
    let key = format!("{key}.column");
    let (need, usage) = rule;
    let column = checks.optional_text(&key, &table.column).filter(|text| !is_blank(text));
    let kind = serde_json::to_string(&table.r#type).unwrap_or_default();
    match (&column, need) {
        (None, Column::Required) if !matches!(table.column, Given::Wrong(_)) => {
            checks.missing(&key, &format!("an expression, because the type is {kind}"));
        }
        (Some(column), Column::Forbidden) => {
            checks.problem(&key, &json!(column), format!("nothing, because the type is {kind}"));
        }
        (Some(column), Column::Required | Column::WithoutEffect) => compiles(checks, &key, column, usage),
        (None, Column::Required | Column::Forbidden | Column::WithoutEffect) => {}
    }
    column
}

fn compiles(checks: &mut Checks<'_>, key: &str, text: &str, usage: Use) {
    if let Err(expected) = expression::check(text, usage) {
        checks.problem(key, &json!(text), expected);
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
