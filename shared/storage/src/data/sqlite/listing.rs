//! Pages of feedback in the order of (type, user, item) texts.
//!
//! The tables are ordered by numbers, so users are walked in the order of their ids and each brings its few rows.
//! A type that few users have would make that walk long; after a while without a full page the users who have
//! the type are collected first, which costs one seek each.

use rusqlite::{OptionalExtension as _, Result, params};
use smol_str::SmolStr;
use ulex_domain::{Feedback, FeedbackKey, Timestamp};

use super::decode;
use super::reader::{Reader, settle};

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

/// A type with its number.
type NumberedType = (String, i64);
/// A user with its number.
type NumberedUser = (String, i64);

impl Page {
    /// Reads the page.
    pub fn read(&self, reader: &Reader) -> Result<Vec<Feedback>> {
        let mut rows = Vec::new();
        reader.snapshot(|| {
            let types = self.types(reader)?;
            types.iter().try_for_each(|feedback_type| self.read_type(reader, feedback_type, &mut rows))
        })?;
        rows.truncate(self.limit);
        Ok(rows)
    }

    fn is_full(&self, rows: &[Feedback]) -> bool {
        rows.len() >= self.limit
    }

    fn types(&self, reader: &Reader) -> Result<Vec<NumberedType>> {
        let first = self.from.as_ref().map_or("", |from| from.feedback_type.as_str());
        let mut statement = reader.connection.prepare_cached(&reader.sql.types)?;
        let types = statement.query_map([first], |row| Ok((row.get(1)?, row.get(0)?)))?;
        let mut types = types.collect::<Result<Vec<NumberedType>>>()?;
        types.retain(|(name, _number)| self.feedback_type.as_ref().is_none_or(|wanted| wanted == name));
        Ok(types)
    }

    fn read_type(
        &self,
        reader: &Reader,
        feedback_type: &NumberedType,
        rows: &mut Vec<Feedback>,
    ) -> Result<()> {
        if self.is_full(rows) {
            return Ok(());
        }
        let first = self.from.as_ref().filter(|from| from.feedback_type == feedback_type.0);
        let first = first.map_or("", |from| from.user_id.as_str());
        let mut statement = reader.connection.prepare_cached(&reader.sql.walk_users)?;
        let mut users = statement.query_map([first], |row| Ok((row.get(1)?, row.get(0)?)))?;
        let walked = users.by_ref().take(WALK);
        if self.read_users(reader, feedback_type, walked, rows)? {
            return Ok(());
        }
        let Some(next) = users.next().transpose()? else { return Ok(()) };
        let Some(mut rare) = users_of_type(reader, feedback_type.1)? else {
            let rest = std::iter::once(Ok(next)).chain(users);
            return self.read_users(reader, feedback_type, rest, rows).map(drop);
        };
        rare.retain(|user| *user >= next);
        self.read_users(reader, feedback_type, rare.into_iter().map(Ok), rows).map(drop)
    }

    /// Adds the rows of the users until the page is full; says whether it is.
    fn read_users(
        &self,
        reader: &Reader,
        feedback_type: &NumberedType,
        users: impl Iterator<Item = Result<NumberedUser>>,
        rows: &mut Vec<Feedback>,
    ) -> Result<bool> {
        for user in users {
            self.read_user(reader, feedback_type, &user?, rows)?;
            if self.is_full(rows) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_user(
        &self,
        reader: &Reader,
        (name, type_number): &NumberedType,
        (id, number): &NumberedUser,
        rows: &mut Vec<Feedback>,
    ) -> Result<()> {
        let mut statement = reader.connection.prepare_cached(&reader.sql.feedback_of_user_and_type)?;
        let found = statement.query_map(params![name, id, type_number, number], decode::feedback)?;
        let mut found = found.collect::<Result<Vec<_>>>()?;
        settle(&mut found, self.until, |one, other| one.item_id.cmp(&other.item_id));
        rows.extend(found.into_iter().filter(|row| self.from.as_ref().is_none_or(|from| row.key() >= *from)));
        Ok(())
    }
}

/// The users who have feedback of a type, by id, if they are few.
fn users_of_type(reader: &Reader, type_number: i64) -> Result<Option<Vec<NumberedUser>>> {
    let mut user_id = reader.connection.prepare_cached(&reader.sql.user_id)?;
    let mut users = Vec::new();
    for sql in &reader.sql.users_of_type {
        let mut next = reader.connection.prepare_cached(sql)?;
        let mut after = i64::MIN;
        while let Some(number) = next.query_row([type_number, after], |row| row.get(0)).optional()? {
            if users.len() == FEW_USERS {
                return Ok(None);
            }
            users.push((user_id.query_row([number], |row| row.get(0))?, number));
            after = number;
        }
    }
    users.sort_unstable();
    users.dedup();
    Ok(Some(users))
}
