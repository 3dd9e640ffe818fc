//! Item search with FTS5: kept up to date by the writer, in the transaction of the item itself.
//!
//! A new definition takes effect for writes at once; what is already there is indexed in small steps between
//! other work, from a place that is kept in the file, so that a crash or a long build harms nobody.

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Result, params};
use ulex_domain::Item;

use super::decode;
use super::migrate::with_prefix;
use super::reader::row_limit;
use crate::data::search_text::{SearchText, query_words};

/// Items indexed in one step.
const STEP: usize = 500;

/// The index as the writer sees it.
pub(super) struct SearchIndex<'connection> {
    connection: &'connection Connection,
    prefix: String,
    text: SearchText,
    /// The item number from which on items still have to be indexed.
    next: Option<i64>,
}

impl<'connection> SearchIndex<'connection> {
    pub fn open(connection: &'connection Connection, prefix: &str) -> Result<Self> {
        let mut index =
            Self { connection, prefix: prefix.to_owned(), text: SearchText::default(), next: None };
        index.reload()?;
        Ok(index)
    }

    /// Reads the definition again, which another process or a rollback may have changed.
    pub fn reload(&mut self) -> Result<()> {
        let columns = self.meta("search_columns")?.unwrap_or_default();
        self.text = SearchText::of_columns(&columns.split(' ').collect::<Vec<_>>());
        self.next = self.meta("search_next")?.and_then(|next| next.parse().ok());
        Ok(())
    }

    fn statement(&self, sql: &str) -> Result<CachedStatement<'connection>> {
        self.connection.prepare_cached(&with_prefix(sql, &self.prefix))
    }

    fn meta(&self, key: &str) -> Result<Option<String>> {
        let mut statement = self.statement(r#"SELECT value FROM "{p}meta" WHERE key = ?1"#)?;
        statement.query_row([key], |row| row.get(0)).optional()
    }

    fn set_meta(&self, key: &str, value: Option<&str>) -> Result<()> {
        match value {
            Some(value) => {
                self.statement(r#"INSERT OR REPLACE INTO "{p}meta" VALUES (?1, ?2)"#)?.execute([key, value])
            }
            None => self.statement(r#"DELETE FROM "{p}meta" WHERE key = ?1"#)?.execute([key]),
        }
        .map(drop)
    }

    /// Whether [`Self::build_step`] has something to do.
    pub fn is_building(&self) -> bool {
        self.next.is_some()
    }

    /// Stops building until the definition is read again.
    pub fn pause(&mut self) {
        self.next = None;
    }

    /// Makes `text` the definition and starts building if it is another one.
    pub fn define(&mut self, text: &SearchText) -> Result<()> {
        if *text == self.text {
            return Ok(());
        }
        self.statement(r#"INSERT INTO "{p}search" ("{p}search") VALUES ('delete-all')"#)?.execute([])?;
        self.set_meta("search_columns", Some(&text.names().join(" ")))?;
        let next = (!text.is_empty()).then_some(i64::MIN);
        self.set_meta("search_next", next.map(|next| next.to_string()).as_deref())?;
        self.text = text.clone();
        self.next = next;
        Ok(())
    }

    /// Indexes the next few items.
    pub fn build_step(&mut self) -> Result<()> {
        let Some(from) = self.next else { return Ok(()) };
        let mut statement = self.statement(
            r#"SELECT id, is_hidden, categories, time, labels, comment, no FROM "{p}items"
               WHERE no >= ?1 ORDER BY no LIMIT ?2"#,
        )?;
        let items = statement
            .query_map(params![from, row_limit(STEP)], |row| Ok((decode::item(row)?, row.get(6)?)))?;
        let items: Vec<(Item, i64)> = items.collect::<Result<_>>()?;
        for (item, number) in &items {
            self.put(*number, item)?;
        }
        self.next = items.last().filter(|_last| items.len() == STEP).map(|(_item, number)| number + 1);
        self.set_meta("search_next", self.next.map(|next| next.to_string()).as_deref())
    }

    /// Indexes an item, in place of what was known of it.
    pub fn put(&self, number: i64, item: &Item) -> Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let mut statement =
            self.statement(r#"INSERT OR REPLACE INTO "{p}search" (rowid, text) VALUES (?1, ?2)"#)?;
        statement.execute(params![number, self.text.of(item)]).map(drop)
    }

    /// Forgets an item.
    pub fn delete(&self, number: i64) -> Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        self.statement(r#"DELETE FROM "{p}search" WHERE rowid = ?1"#)?.execute([number]).map(drop)
    }
}

/// A query in FTS5's language that finds any of the words of `query`; `None` if it has none. Every word stands
/// in quotes and has no quote in itself, so nothing a caller writes is syntax.
pub(super) fn match_expression(query: &str) -> Option<String> {
    let words = query_words(query);
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    (!quoted.is_empty()).then(|| quoted.join(" OR "))
}
