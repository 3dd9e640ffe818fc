//! Pages of feedback in the order of (type, user, item) texts.
//!
//! The table is ordered by numbers, so users are walked in the order of their ids and each brings its few rows.
//! A type that few users have would make that walk long; after a while without a full page the users who have
//! the type are collected first, which costs one seek each.

use rusqlite::{OptionalExtension as _, Result, params};
use smol_str::SmolStr;
use ulex_domain::{Feedback, FeedbackKey, Timestamp};

use super::decode;
use super::reader::{Reader, latest};

/// Users walked before the page is made otherwise.
const WALK: usize = 2_000;
/// A type with more users than this is common enough for walking.
const FEW_USERS: usize = 50_000;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Page {
    pub from: Option<FeedbackKey>,
    pub limit: usize,
    pub feedback_type: Option<SmolStr>,
    pub until: Option<Timestamp>,
}

/// A user with its number.
type NumberedUser = (String, i64);

impl Page {
    /// Reads the page.
    pub fn read(&self, reader: &Reader) -> Result<Vec<Feedback>> {
        reader.snapshot(|| {
            let mut rows = Vec::new();
            for (number, name) in self.types(reader)? {
                if rows.len() >= self.limit {
                    break;
                }
                self.read_type(reader, number, &name, &mut rows)?;
            }
            rows.truncate(self.limit);
            Ok(rows)
        })
    }

    fn types(&self, reader: &Reader) -> Result<Vec<(i64, String)>> {
        let first = self.from.as_ref().map_or("", |from| from.feedback_type.as_str());
        let mut statement = reader.connection.prepare_cached(&reader.sql.types)?;
        let types = statement.query_map([first], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut types = types.collect::<Result<Vec<(i64, String)>>>()?;
        types.retain(|(_number, name)| self.feedback_type.as_ref().is_none_or(|wanted| wanted == name));
        Ok(types)
    }

    fn read_type(&self, reader: &Reader, number: i64, name: &str, rows: &mut Vec<Feedback>) -> Result<()> {
        let first = self.from.as_ref().filter(|from| from.feedback_type == name);
        let first = first.map_or("", |from| from.user_id.as_str());
        let mut statement = reader.connection.prepare_cached(&reader.sql.walk_users)?;
        let users = statement.query_map([first], |row| Ok((row.get(1)?, row.get(0)?)))?;
        let mut is_rare = None;
        for (walked, user) in users.enumerate() {
            let user: NumberedUser = user?;
            if walked == WALK && is_rare.is_none() {
                let rare = users_of_type(reader, number)?;
                is_rare = Some(rare.is_some());
                if let Some(mut rare) = rare {
                    rare.retain(|other| *other >= user);
                    return self.read_users(reader, (number, name), rare, rows);
                }
            }
            self.read_user(reader, (number, name), &user, rows)?;
            if rows.len() >= self.limit {
                break;
            }
        }
        Ok(())
    }

    fn read_users(
        &self,
        reader: &Reader,
        feedback_type: (i64, &str),
        users: Vec<NumberedUser>,
        rows: &mut Vec<Feedback>,
    ) -> Result<()> {
        for user in users {
            self.read_user(reader, feedback_type, &user, rows)?;
            if rows.len() >= self.limit {
                break;
            }
        }
        Ok(())
    }

    fn read_user(
        &self,
        reader: &Reader,
        (type_number, name): (i64, &str),
        (id, number): &NumberedUser,
        rows: &mut Vec<Feedback>,
    ) -> Result<()> {
        let mut statement = reader.connection.prepare_cached(&reader.sql.feedback_of_user_and_type)?;
        let parameters = params![name, id, type_number, number, latest(self.until)];
        let found = statement.query_map(parameters, decode::feedback)?;
        let start = rows.len();
        for row in found {
            let row = row?;
            if self.from.as_ref().is_none_or(|from| row.key() >= *from) {
                rows.push(row);
            }
        }
        rows[start..].sort_unstable_by(|one, other| one.item_id.cmp(&other.item_id));
        Ok(())
    }
}

/// The users who have feedback of a type, by id, if they are few.
fn users_of_type(reader: &Reader, type_number: i64) -> Result<Option<Vec<NumberedUser>>> {
    let mut next = reader.connection.prepare_cached(&reader.sql.users_of_type)?;
    let mut user_id = reader.connection.prepare_cached(&reader.sql.user_id)?;
    let mut users = Vec::new();
    let mut after = i64::MIN;
    while let Some(number) = next.query_row([type_number, after], |row| row.get(0)).optional()? {
        if users.len() == FEW_USERS {
            return Ok(None);
        }
        users.push((user_id.query_row([number], |row| row.get(0))?, number));
        after = number;
    }
    users.sort_unstable();
    Ok(Some(users))
}
