//! What item search looks at: the words of the configured columns of an item, and the words of a query.
//!
//! Shared by every backend that keeps its own index, so that all of them find the same items.

use std::fmt::Write as _;

use serde_json::Value;
use ulex_domain::Item;

/// Words of a query beyond this many are ignored.
const MAX_QUERY_WORDS: usize = 64;

/// One searchable column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Id,
    Categories,
    Comment,
    /// Every text and number below this path of the labels; the empty path is all labels.
    Labels(Vec<String>),
}

/// Which columns are searchable. Two definitions are equal if they make the same text of every item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SearchText(Vec<Column>);

impl SearchText {
    /// Reads column names such as `item.Labels.genre`; what is none is ignored.
    pub fn of_columns<Name: AsRef<str>>(columns: &[Name]) -> Self {
        let mut columns: Vec<_> = columns.iter().filter_map(|name| column(name.as_ref())).collect();
        columns.sort_unstable();
        columns.dedup();
        Self(columns)
    }

    /// Whether nothing is searchable.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The column names, for keeping the definition beside the index.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn names(&self) -> Vec<String> {
        let name = |column: &Column| match column {
            Column::Id => "item.ItemId".to_owned(),
            Column::Categories => "item.Categories".to_owned(),
            Column::Comment => "item.Comment".to_owned(),
            Column::Labels(path) => {
                path.iter().fold("item.Labels".to_owned(), |name, part| format!("{name}.{part}"))
            }
        };
        self.0.iter().map(name).collect()
    }

    /// Everything of `item` that can be found, one column a line.
    pub fn of(&self, item: &Item) -> String {
        let mut text = String::new();
        for column in &self.0 {
            match column {
                Column::Id => text.push_str(item.item_id.as_str()),
                Column::Categories => {
                    text.push_str(&item.categories.as_deref().unwrap_or_default().join("\n"))
                }
                Column::Comment => text.push_str(&item.comment),
                Column::Labels(path) => {
                    let found = path.iter().try_fold(&item.labels, |labels, part| labels.get(part));
                    collect_text(found.unwrap_or(&Value::Null), &mut text);
                }
            }
            text.push('\n');
        }
        text
    }
}

fn column(name: &str) -> Option<Column> {
    let mut parts = name.trim().split('.');
    if parts.next() != Some("item") {
        return None;
    }
    let field = parts.next()?;
    let path: Vec<_> = parts.map(str::to_owned).collect();
    let is_word = |part: &String| {
        !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    match field {
        "Labels" if path.iter().all(is_word) => Some(Column::Labels(path)),
        "ItemId" if path.is_empty() => Some(Column::Id),
        "Categories" if path.is_empty() => Some(Column::Categories),
        "Comment" if path.is_empty() => Some(Column::Comment),
        _ => None,
    }
}

fn collect_text(value: &Value, text: &mut String) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => {
            write!(text, "{number} ").expect("a string takes everything");
        }
        Value::String(string) => {
            text.push_str(string);
            text.push(' ');
        }
        Value::Array(values) => values.iter().for_each(|value| collect_text(value, text)),
        Value::Object(fields) => fields.values().for_each(|value| collect_text(value, text)),
    }
}

/// The words of a text, in lower case: what stands between white space, control and ASCII punctuation.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    let separates =
        |letter: char| letter.is_whitespace() || letter.is_control() || letter.is_ascii_punctuation();
    text.split(separates).filter(|word| word.contains(char::is_alphanumeric)).map(str::to_lowercase)
}

/// The words a query asks for, each once, as many as are looked at.
pub(super) fn query_words(query: &str) -> Vec<String> {
    let mut distinct = Vec::new();
    for word in words(query) {
        if distinct.len() == MAX_QUERY_WORDS {
            break;
        }
        if !distinct.contains(&word) {
            distinct.push(word);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ulex_domain::ItemId;

    use super::*;

    fn film() -> Item {
        Item {
            categories: Some(vec!["drama".to_owned(), "space".to_owned()]),
            labels: json!({"cast": {"lead": ["Ada", "Bo"]}, "year": 1979, "seen": true}),
            comment: "A quiet film".to_owned(),
            ..Item::bare(ItemId::new("film-1"))
        }
    }

    #[test]
    fn text_holds_the_named_columns_only() {
        let text =
            SearchText::of_columns(&["item.Labels.cast.lead", "item.Comment", "item.Title", "user.Id"]);
        assert_eq!(words(&text.of(&film())).collect::<Vec<_>>(), ["a", "quiet", "film", "ada", "bo"]);
    }

    #[test]
    fn text_of_all_labels_holds_texts_and_numbers() {
        let text = SearchText::of_columns(&["item.Labels"]);
        assert_eq!(words(&text.of(&film())).collect::<Vec<_>>(), ["ada", "bo", "1979"]);
    }

    #[test]
    fn definitions_do_not_depend_on_order_and_survive_their_names() {
        let one =
            SearchText::of_columns(&["item.Comment", "item.Labels.a.b", "item.ItemId", "item.Categories"]);
        let other = SearchText::of_columns(&one.names());
        assert_eq!(one, other);
        assert!(SearchText::of_columns(&["item.Labels.a-b", "item.ItemId.x", "item"]).is_empty());
    }

    #[test]
    fn a_query_is_reduced_to_distinct_words() {
        assert_eq!(query_words("\"Ada\" OR (ada* NOT \0bo) - ' NEAR"), ["ada", "or", "not", "bo", "near"]);
        assert!(query_words(" \u{7f}\"'(*:^ ").is_empty());
        assert_eq!(query_words(&(0..100).map(|n| format!("w{n} ")).collect::<String>()).len(), 64);
    }
}
