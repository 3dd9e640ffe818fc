//! Moves feedback from the small tables of recent rows into the large ones.
//!
//! Rows in random order touch a page each, and every page touched is written whole at the next commit. In a small
//! table many rows share a page. From there they move on in steps, each a stretch of neighbouring keys, so that
//! again many rows share a page of the large table: a two-level merge (O'Neil, Cheng, Gawlick, O'Neil: "The
//! log-structured merge-tree", 1996) in plain tables, with a cursor that goes round and round.

use rusqlite::{Connection, OptionalExtension as _, Result, Statement};

use super::migrate::with_prefix;

/// Rows moved at most at once, so that no commit takes long.
const LARGEST_STEP: usize = 20_000;

/// The first of all keys.
const START: Key = [i64::MIN; 3];
type Key = [i64; 3];

/// The movement of both pairs of tables, inside the writer's transactions.
pub(super) struct Fold<'connection> {
    pairs: [Pair<'connection>; 2],
    /// How many rows may stay.
    keep: usize,
}

impl<'connection> Fold<'connection> {
    /// A movement that leaves the `keep` most recent rows or so where they are.
    pub fn open(connection: &'connection Connection, prefix: &str, keep: usize) -> Result<Self> {
        let rows = Pair::open(connection, prefix, ["recent", "feedback", "type_no, user_no, item_no"])?;
        let keys =
            Pair::open(connection, prefix, ["recent_by_item", "by_item", "item_no, type_no, user_no"])?;
        Ok(Self { pairs: [rows, keys], keep })
    }

    /// Learns that up to `rows` were added to the small tables.
    pub fn added(&mut self, rows: usize) {
        self.pairs.iter_mut().for_each(|pair| pair.at_most += rows);
    }

    /// Counts what is in the small tables.
    pub fn recount(&mut self) -> Result<()> {
        self.pairs.iter_mut().try_for_each(Pair::recount)
    }

    /// Moves a stretch of rows if there are too many.
    pub fn step(&mut self) -> Result<()> {
        // Fewer would not be worth the statements.
        let smallest_step = (self.keep / 50).max(1);
        for pair in &mut self.pairs {
            if pair.at_most < self.keep + smallest_step {
                continue;
            }
            pair.recount()?;
            let excess = pair.at_most.saturating_sub(self.keep).min(LARGEST_STEP);
            if excess >= smallest_step {
                pair.move_rows(excess)?;
            }
        }
        Ok(())
    }
}

/// A small table and the large one of the same form.
struct Pair<'connection> {
    count: Statement<'connection>,
    find_end: Statement<'connection>,
    copy: Statement<'connection>,
    delete: Statement<'connection>,
    /// The key up to which rows have moved in this round.
    cursor: Key,
    /// No more rows than this are in the small table; of those added some may have been there.
    at_most: usize,
}

impl<'connection> Pair<'connection> {
    fn open(connection: &'connection Connection, prefix: &str, names: [&str; 3]) -> Result<Self> {
        let [small, large, key] = names;
        let prepare = |sql: &str| {
            let sql = sql.replace("{small}", &format!("{{p}}{small}"));
            let sql = sql.replace("{large}", &format!("{{p}}{large}")).replace("{key}", key);
            connection.prepare(&with_prefix(&sql, prefix))
        };
        Ok(Self {
            count: prepare(r#"SELECT count(*) FROM "{small}""#)?,
            find_end: prepare(
                r#"SELECT {key} FROM "{small}" WHERE ({key}) > (?1, ?2, ?3) ORDER BY {key} LIMIT 1 OFFSET ?4"#,
            )?,
            copy: prepare(
                r#"INSERT OR REPLACE INTO "{large}" SELECT * FROM "{small}"
                   WHERE ({key}) > (?1, ?2, ?3) AND ({key}) <= (?4, ?5, ?6) ORDER BY {key}"#,
            )?,
            delete: prepare(
                r#"DELETE FROM "{small}" WHERE ({key}) > (?1, ?2, ?3) AND ({key}) <= (?4, ?5, ?6)"#,
            )?,
            cursor: START,
            at_most: 0,
        })
    }

    fn recount(&mut self) -> Result<()> {
        let rows: i64 = self.count.query_row([], |row| row.get(0))?;
        self.at_most = usize::try_from(rows).unwrap_or_default();
        Ok(())
    }

    /// Moves the next `rows` behind the cursor, or what is left before it starts from the front again.
    fn move_rows(&mut self, rows: usize) -> Result<()> {
        let [first, second, third] = self.cursor;
        let offset = i64::try_from(rows).unwrap_or(i64::MAX) - 1;
        let read_key = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
        let end = self.find_end.query_row([first, second, third, offset], read_key).optional()?;
        let [a, b, c] = end.unwrap_or([i64::MAX; 3]);
        let stretch = [first, second, third, a, b, c];
        self.copy.execute(stretch)?;
        let moved = self.delete.execute(stretch)?;
        self.at_most = self.at_most.saturating_sub(moved);
        self.cursor = end.unwrap_or(START);
        Ok(())
    }
}
