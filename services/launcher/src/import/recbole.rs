//! Atomic files: `NAME.user`, `NAME.item` and `NAME.inter`, tab-separated, under a header `name:type` a column.
//!
//! Types: `token` is a word, `token_seq` words between blanks, `float` a number, `float_seq` numbers between blanks.
//! `user_id` and `item_id` are the ids. A column that is a title becomes the comment, a year or `timestamp` of an
//! item its time of publication, genres its categories; these two and all other columns become labels by name.

use std::io;
use std::path::Path;

use serde_json::{Map, Value};
use ulex_domain::{Feedback, Item, ItemId, Timestamp, User, UserId};

use super::fields;
use super::records::{Encoding, Lines, Records, Row, Source};
use super::{FeedbackDefaults, ImportError, Part, folder};

/// Finds the files of a folder, or takes the one file that `path` is.
pub(super) fn parts(path: &Path, defaults: &FeedbackDefaults) -> Result<Vec<Part>, ImportError> {
    let part = |path: &Path| {
        let content = Content::of(path)?;
        let defaults = defaults.clone();
        Some(Part::new(path, move |source| records(source, content, &defaults)))
    };
    let files = if path.is_dir() { folder::files(path)? } else { vec![path.to_path_buf()] };
    let mut found: Vec<(Content, Part)> =
        files.iter().filter_map(|file| Some((Content::of(file)?, part(file)?))).collect();
    found.sort_by_key(|(content, _)| *content);
    if found.is_empty() {
        return Err(ImportError::Missing {
            path: path.to_path_buf(),
            expected: "NAME.inter, NAME.item or NAME.user",
        });
    }
    Ok(found.into_iter().map(|(_, part)| part).collect())
}

/// What a file is about, in the order in which files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    User,
    Item,
    Inter,
}

impl Content {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match name.strip_suffix(".gz").unwrap_or(name).rsplit_once('.')?.1 {
            "user" => Some(Self::User),
            "item" => Some(Self::Item),
            "inter" => Some(Self::Inter),
            _ => None,
        }
    }
}

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldType {
    Token,
    TokenSeq,
    Float,
    FloatSeq,
}

/// What a column means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    User,
    Item,
    Value,
    Time,
    Year,
    Title,
    Genres,
    FeedbackType,
    Label,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    field_type: FieldType,
    meaning: Meaning,
}

/// Reads one file.
///
/// # Errors
///
/// An [`io::Error`] of kind `InvalidData` if the header cannot be used.
pub(super) fn records(source: Source, content: Content, defaults: &FeedbackDefaults) -> io::Result<Records> {
    let mut lines = Lines::new(source, Encoding::Utf8);
    let header = match lines.next_line()? {
        Some((_, Ok(text))) => text.to_owned(),
        Some((_, Err(reason))) => return Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
        None => String::new(),
    };
    let columns = header_columns(&header, content)
        .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
    let defaults = defaults.clone();
    Ok(lines.records(move |text| row(text, &columns, content, &defaults)))
}

fn header_columns(header: &str, content: Content) -> Result<Vec<Column>, String> {
    let columns = header.split('\t').map(|field| column(field, content)).collect::<Result<Vec<_>, _>>()?;
    let needed: &[(Meaning, &str)] = match content {
        Content::User => &[(Meaning::User, "user_id:token")],
        Content::Item => &[(Meaning::Item, "item_id:token")],
        Content::Inter => &[(Meaning::User, "user_id:token"), (Meaning::Item, "item_id:token")],
    };
    for (meaning, name) in needed {
        if !columns.iter().any(|column| column.meaning == *meaning) {
            return Err(format!("the header {header:?} has no column {name}"));
        }
    }
    Ok(columns)
}

fn column(field: &str, content: Content) -> Result<Column, String> {
    let (name, written) = field.trim().split_once(':').unwrap_or((field.trim(), ""));
    let field_type = match written {
        "token" => FieldType::Token,
        "token_seq" => FieldType::TokenSeq,
        "float" => FieldType::Float,
        "float_seq" => FieldType::FloatSeq,
        _ => return Err(format!("column {field:?} has no type token, token_seq, float or float_seq")),
    };
    let lower = name.to_ascii_lowercase();
    let meaning = match (content, lower.as_str()) {
        (Content::User | Content::Inter, "user_id") => Meaning::User,
        (Content::Item | Content::Inter, "item_id") => Meaning::Item,
        (Content::Inter, "rating" | "value" | "weight" | "count") => Meaning::Value,
        (Content::Inter, "timestamp" | "time") | (Content::Item, "timestamp") => Meaning::Time,
        (Content::Inter, "feedback_type" | "behavior" | "behaviour") => Meaning::FeedbackType,
        (Content::Item, "class" | "genre" | "genres" | "category" | "categories") => Meaning::Genres,
        (Content::Item, name) if name.ends_with("year") => Meaning::Year,
        (Content::Item, name) if name.ends_with("title") || name == "name" => Meaning::Title,
        (Content::User | Content::Item | Content::Inter, _) => Meaning::Label,
    };
    Ok(Column { name: name.to_owned(), field_type, meaning })
}

fn row(text: &str, columns: &[Column], content: Content, defaults: &FeedbackDefaults) -> Result<Row, String> {
    let fields: Vec<&str> = text.split('\t').collect();
    if fields.len() != columns.len() {
        return Err(format!("expected {} fields, got {}", columns.len(), fields.len()));
    }
    let pairs = columns.iter().zip(fields);
    match content {
        Content::User => user(pairs),
        Content::Item => item(pairs),
        Content::Inter => feedback(pairs, defaults),
    }
}

fn user<'f>(pairs: impl Iterator<Item = (&'f Column, &'f str)>) -> Result<Row, String> {
    let (mut user_id, mut labels) = ("", Map::new());
    for (column, text) in pairs {
        if column.meaning == Meaning::User {
            user_id = text;
        } else {
            add_label(&mut labels, column, text)?;
        }
    }
    let user_id = UserId::new(fields::id(user_id, "user id")?);
    Ok(Row::User(User { user_id, labels: object(labels), comment: String::new() }))
}

fn item<'f>(pairs: impl Iterator<Item = (&'f Column, &'f str)>) -> Result<Row, String> {
    let mut item = Item::bare(ItemId::new(""));
    let mut labels = Map::new();
    for (column, text) in pairs {
        match column.meaning {
            Meaning::Item => item.item_id = ItemId::new(text),
            Meaning::Title => text.trim().clone_into(&mut item.comment),
            Meaning::Time => item.timestamp = fields::time(text)?,
            Meaning::Year => {
                item.timestamp = fields::year(text).unwrap_or(Timestamp::ZERO);
                add_label(&mut labels, column, text)?;
            }
            Meaning::Genres => {
                let separator = if text.contains('|') { '|' } else { ' ' };
                item.categories = Some(fields::words(text, separator));
                add_label(&mut labels, column, &text.replace('|', " "))?;
            }
            Meaning::User | Meaning::Value | Meaning::FeedbackType | Meaning::Label => {
                add_label(&mut labels, column, text)?;
            }
        }
    }
    fields::id(item.item_id.as_str(), "item id")?;
    item.labels = object(labels);
    Ok(Row::Item(item))
}

fn feedback<'f>(
    pairs: impl Iterator<Item = (&'f Column, &'f str)>,
    defaults: &FeedbackDefaults,
) -> Result<Row, String> {
    let (mut user_id, mut item_id, mut value) = ("", "", 1.0);
    let (mut timestamp, mut feedback_type, mut labels) =
        (Timestamp::ZERO, defaults.feedback_type.clone(), Map::new());
    for (column, text) in pairs {
        match column.meaning {
            Meaning::User => user_id = text,
            Meaning::Item => item_id = text,
            Meaning::Value => value = fields::number(text, "value")?,
            Meaning::Time => timestamp = fields::time(text)?,
            Meaning::FeedbackType => feedback_type = fields::feedback_type(text)?,
            Meaning::Year | Meaning::Title | Meaning::Genres | Meaning::Label => {
                add_label(&mut labels, column, text)?;
            }
        }
    }
    Ok(Row::Feedback(Feedback {
        feedback_type,
        user_id: UserId::new(fields::id(user_id, "user id")?),
        item_id: ItemId::new(fields::id(item_id, "item id")?),
        value,
        timestamp,
        updated: timestamp,
        labels: object(labels),
        comment: String::new(),
    }))
}

fn add_label(labels: &mut Map<String, Value>, column: &Column, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let value = match column.field_type {
        FieldType::Token => Value::from(text),
        FieldType::TokenSeq => Value::from(fields::words(text, ' ')),
        FieldType::Float => Value::from(fields::number(text, &column.name)?),
        FieldType::FloatSeq => {
            let words = text.split_whitespace();
            let numbers: Result<Vec<f64>, String> =
                words.map(|word| fields::number(word, &column.name)).collect();
            Value::from(numbers?)
        }
    };
    labels.insert(column.name.clone(), value);
    Ok(())
}

fn object(labels: Map<String, Value>) -> Value {
    if labels.is_empty() { Value::Null } else { Value::Object(labels) }
}

#[cfg(test)]
mod tests {
    use super::super::records::testing::{all, text};
    use super::*;
    use serde_json::json;

    fn read(content: Content, file: &str) -> (Vec<Row>, Vec<String>) {
        all(records(text(file), content, &FeedbackDefaults::new("rating")).unwrap())
    }

    #[test]
    fn ratings_become_feedback() {
        let (rows, rejects) = read(
            Content::Inter,
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n\n186\t\t3\t1\n1\t2\t3\n1\t2\tx\t3\n",
        );
        let Row::Feedback(first) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!((first.user_id.as_str(), first.item_id.as_str(), first.value), ("196", "242", 3.0));
        assert_eq!(first.timestamp.to_string(), "1997-12-04T15:55:49Z");
        assert_eq!(rows.len(), 1);
        assert_eq!(
            rejects,
            [
                "4: the item id is empty",
                "5: expected 4 fields, got 3",
                "6: the value \"x\" is not a finite number"
            ]
        );
    }

    #[test]
    fn films_get_title_year_and_genres() {
        let header =
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tvector:float_seq\n";
        let (rows, rejects) = read(
            Content::Item,
            &format!("{header}1\tToy Story\t1995\tAnimation Comedy\t1 0.5\n267\tunknown\tV\t\t\n"),
        );
        assert_eq!(rejects, Vec::<String>::new());
        let Row::Item(film) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!(film.comment, "Toy Story");
        assert_eq!(film.categories.as_deref(), Some(&["Animation".to_owned(), "Comedy".to_owned()][..]));
        assert_eq!(film.timestamp.to_string(), "1995-01-01T00:00:00Z");
        let expected =
            json!({"release_year": "1995", "class": ["Animation", "Comedy"], "vector": [1.0, 0.5]});
        assert_eq!(film.labels, expected);
        let Row::Item(unknown) = &rows[1] else { panic!("{rows:?}") };
        assert!(unknown.timestamp.is_zero());
    }

    #[test]
    fn people_keep_their_columns_as_labels_of_the_type_the_header_names() {
        let (rows, _) = read(Content::User, "user_id:token\tage:float\tgender:token\n1\t24\tM\n");
        let labels = json!({"age": 24.0, "gender": "M"});
        assert_eq!(rows, [Row::User(User { user_id: UserId::new("1"), labels, comment: String::new() })]);
    }

    #[test]
    fn a_header_that_cannot_be_used_is_explained() {
        let refused = |header: &str| {
            records(text(header), Content::Inter, &FeedbackDefaults::new("x")).err().unwrap().to_string()
        };
        assert!(refused("user_id:token\trating:float\n").contains("no column item_id:token"));
        assert!(refused("user_id\titem_id\n").contains("has no type"));
        assert!(refused("").contains("has no type"));
    }
}
