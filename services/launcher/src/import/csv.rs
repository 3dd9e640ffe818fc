//! Any table of feedback with a header that names its columns. Comma, semicolon, tab or bar; quotes as usual.
//!
//! Columns are found by the name that was asked for, else by the usual names. Columns without a meaning are ignored.

use std::io::{self, BufRead};
use std::path::Path;

use ::csv::{ByteRecord, Reader, ReaderBuilder, Trim};
use serde_json::Value;
use ulex_domain::{Feedback, ItemId, UserId};

use super::fields;
use super::records::{Record, Records, Row, Source};
use super::{FeedbackDefaults, ImportError, Part};

/// Largest header that is searched for the delimiter.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Takes the one file that `path` is.
pub(super) fn parts(
    path: &Path,
    names: &ColumnNames,
    defaults: &FeedbackDefaults,
) -> Result<Vec<Part>, ImportError> {
    if !path.is_file() {
        return Err(ImportError::Missing { path: path.to_path_buf(), expected: "a file with a header" });
    }
    let (names, defaults) = (names.clone(), defaults.clone());
    Ok(vec![Part::new(path, move |source| records(source, &names, &defaults))])
}

/// What the columns are called; `None` means by one of the usual names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnNames {
    /// Column of the user's id.
    pub user: Option<String>,
    /// Column of the item's id.
    pub item: Option<String>,
    /// Column of the feedback type.
    pub feedback_type: Option<String>,
    /// Column of the value.
    pub value: Option<String>,
    /// Column of the time.
    pub timestamp: Option<String>,
}

impl ColumnNames {
    /// The columns of `ratings.csv`.
    pub(super) fn movielens() -> Self {
        let name = |name: &str| Some(name.to_owned());
        Self {
            user: name("userId"),
            item: name("movieId"),
            feedback_type: None,
            value: name("rating"),
            timestamp: name("timestamp"),
        }
    }
}

const USUAL_USER: [&str; 6] = ["user", "userid", "uid", "visitorid", "customerid", "sessionid"];
const USUAL_ITEM: [&str; 7] = ["item", "itemid", "iid", "movieid", "productid", "articleid", "sku"];
const USUAL_TYPE: [&str; 5] = ["feedbacktype", "type", "event", "eventtype", "action"];
const USUAL_VALUE: [&str; 6] = ["value", "rating", "score", "count", "weight", "quantity"];
const USUAL_TIME: [&str; 6] = ["timestamp", "time", "date", "datetime", "ts", "createdat"];

/// A table with its header, read row by row.
pub(super) struct Table {
    reader: Reader<Source>,
    header: Vec<String>,
    record: ByteRecord,
}

/// The fields of one row.
pub(super) struct Fields(Vec<String>);

impl Fields {
    pub(super) fn get(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(String::as_str)
    }
}

impl Table {
    /// Reads the header. Without a delimiter the one that occurs most often in it is taken.
    pub(super) fn open(mut source: Source, delimiter: Option<u8>) -> io::Result<Self> {
        let delimiter = match delimiter {
            Some(delimiter) => delimiter,
            None => likely_delimiter(source.fill_buf()?),
        };
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).flexible(true).trim(Trim::Headers).from_reader(source);
        let header = reader.byte_headers().map_err(io::Error::from)?;
        let names = header
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim_matches(['\u{feff}', '"']).to_owned());
        let header = names.collect();
        Ok(Self { reader, header, record: ByteRecord::new() })
    }

    /// Position of the column with exactly this name.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// Position of the column asked for, or of the first with one of the usual names.
    fn find(&self, asked: Option<&String>, usual: &[&str]) -> io::Result<Option<usize>> {
        if let Some(name) = asked {
            let header = self.header.join(", ");
            let missing = || {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("no column {name:?} in the header ({header})"),
                )
            };
            return self.column(name).map(Some).ok_or_else(missing);
        }
        let plain = |name: &String| name.to_ascii_lowercase().replace(['_', '-', ' '], "");
        Ok(usual.iter().find_map(|usual| self.header.iter().position(|name| plain(name) == *usual)))
    }

    /// The next row and the line on which it begins.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Result<Fields, String>)>> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, ::csv::Position::line);
        let texts = self.record.iter().map(|field| String::from_utf8(field.to_vec()));
        let fields = texts.collect::<Result<Vec<String>, _>>().map(Fields);
        Ok(Some((line, fields.map_err(|error| format!("a field is not UTF-8: {error}")))))
    }
}

impl Iterator for Table {
    type Item = io::Result<(u64, Result<Fields, String>)>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self).transpose()
    }
}

/// The delimiter that occurs most often in the first line.
fn likely_delimiter(beginning: &[u8]) -> u8 {
    let line = beginning.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| line.iter().filter(|&&byte| byte == delimiter).count();
    DELIMITERS.into_iter().rev().max_by_key(|&delimiter| count(delimiter)).unwrap_or(b',')
}

/// Where the fields of a row are.
#[derive(Clone, Copy)]
struct Columns {
    user: usize,
    item: usize,
    feedback_type: Option<usize>,
    value: Option<usize>,
    timestamp: Option<usize>,
}

impl Columns {
    fn of(table: &Table, names: &ColumnNames) -> io::Result<Self> {
        let header = table.header.join(", ");
        let needed = |found: Option<usize>, what: &str| {
            let missing =
                format!("the header ({header}) names no {what} column; name it with --{what}-column");
            found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, missing))
        };
        Ok(Self {
            user: needed(table.find(names.user.as_ref(), &USUAL_USER)?, "user")?,
            item: needed(table.find(names.item.as_ref(), &USUAL_ITEM)?, "item")?,
            feedback_type: table.find(names.feedback_type.as_ref(), &USUAL_TYPE)?,
            value: table.find(names.value.as_ref(), &USUAL_VALUE)?,
            timestamp: table.find(names.timestamp.as_ref(), &USUAL_TIME)?,
        })
    }
}

/// Reads one file.
///
/// # Errors
///
/// An [`io::Error`] of kind `InvalidData` if the header cannot be used.
pub(super) fn records(
    source: Source,
    names: &ColumnNames,
    defaults: &FeedbackDefaults,
) -> io::Result<Records> {
    let table = Table::open(source, None)?;
    let columns = Columns::of(&table, names)?;
    let (width, defaults) = (table.header.len(), defaults.clone());
    Ok(Box::new(table.map(move |next| {
        let (line, fields) = next?;
        let row = fields.and_then(|fields| feedback(&fields, columns, width, &defaults));
        Ok(Record { line, row: row.map(Row::Feedback) })
    })))
}

fn feedback(
    fields: &Fields,
    columns: Columns,
    width: usize,
    defaults: &FeedbackDefaults,
) -> Result<Feedback, String> {
    if fields.0.len() != width {
        return Err(format!("expected {width} fields, got {}", fields.0.len()));
    }
    let field = |column: usize| fields.get(column).unwrap_or_default();
    let timestamp = fields::time(columns.timestamp.map_or("", field))?;
    let feedback_type = match columns.feedback_type.map(field) {
        Some(text) => fields::feedback_type(text)?,
        None => defaults.feedback_type.clone(),
    };
    Ok(Feedback {
        feedback_type,
        user_id: UserId::new(fields::id(field(columns.user), "user id")?),
        item_id: ItemId::new(fields::id(field(columns.item), "item id")?),
        value: columns.value.map_or(Ok(1.0), |column| fields::number(field(column), "value"))?,
        timestamp,
        updated: timestamp,
        labels: Value::Null,
        comment: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::records::testing::{all, text};
    use super::*;
    use proptest::prelude::*;

    fn read(file: &str, names: &ColumnNames) -> (Vec<Row>, Vec<String>) {
        all(records(text(file), names, &FeedbackDefaults::new("click")).unwrap())
    }

    #[test]
    fn usual_names_are_found_whatever_their_spelling() {
        let (rows, rejects) = read(
            "Event Type;user_id;ItemID;extra;Rating\nbuy;u;\"i;1\";x;2,5\nview;u;i;x;2.5\n",
            &ColumnNames::default(),
        );
        let Row::Feedback(row) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!((row.feedback_type.as_str(), row.item_id.as_str(), row.value), ("view", "i", 2.5));
        assert_eq!(rejects, ["2: the value \"2,5\" is not a finite number"]);
    }

    #[test]
    fn unusual_names_are_given_and_missing_ones_reported() {
        let names = ColumnNames {
            user: Some("who".to_owned()),
            item: Some("what".to_owned()),
            ..ColumnNames::default()
        };
        let (rows, rejects) = read("who,what\nu,i\nu\n,i\n", &names);
        assert!(
            matches!(&rows[..], [Row::Feedback(row)] if row.feedback_type == "click" && row.value == 1.0)
        );
        assert_eq!(rejects, ["3: expected 2 fields, got 1", "4: the user id is empty"]);
        let refused = |file: &str, names: &ColumnNames| {
            records(text(file), names, &FeedbackDefaults::new("x")).err().unwrap().to_string()
        };
        assert!(refused("who,what\n", &ColumnNames::default()).contains("--user-column"));
        assert!(refused("a,b\n", &names).contains("no column \"who\""));
        assert!(refused("", &names).contains("no column"));
    }

    #[test]
    fn a_row_that_spans_lines_is_reported_where_it_begins() {
        let (rows, rejects) = read("user,item\nu,\"a\nb\"\nu,c\n", &ColumnNames::default());
        assert_eq!(rows.len(), 1);
        assert_eq!(rejects, ["2: the item id \"a\\nb\" has a control character"]);
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(file in "(user,item\n)?[a-z,;\"\n\t|]{0,200}") {
            if let Ok(records) = records(text(&file), &ColumnNames::default(), &FeedbackDefaults::new("x")) {
                let _ = all(records);
            }
        }
    }
}
