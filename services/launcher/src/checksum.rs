//! `ulex data checksum`: a digest of everything in a data store, the same for the same rows in any store.
//!
//! Rows are read in the order of their keys and written as JSON with sorted keys, one a line, into SHA-256. Memory is
//! bounded by one page.

use std::process::ExitCode;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use ulex_storage::StorageError;
use ulex_storage::data::{self, DataStore};

use crate::command_line::{DataAction, DataArguments};
use crate::configuration::{self, Voice};
use crate::exit::{self, print};

/// Rows of one read.
const PAGE: usize = 5_000;

/// Runs the command.
pub fn run(arguments: &DataArguments) -> ExitCode {
    let DataAction::Checksum { config, store, place } = &arguments.action;
    let settings = match configuration::read(config.as_deref(), Voice::Command) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let url = store.clone().unwrap_or_else(|| settings.data_store_url(&place.data_dir));
    let work = async {
        let store = data::open(&url, &settings.database.data_table_prefix).await?;
        checksum(store.as_ref()).await
    };
    match exit::block_on(work) {
        Ok(sum) => {
            print(&sum.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => exit::failed(&exit::WithCause(&error)),
    }
}

/// Digests and counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Rows and digest of users, items and feedback.
    parts: [(&'static str, u64, String); 3],
}

impl Checksum {
    /// The digest of everything, lower-case hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut whole = Sha256::new();
        self.parts.iter().for_each(|(_, _, digest)| whole.update(digest));
        hexadecimal(whole)
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rows = 0;
        for (name, count, digest) in &self.parts {
            rows += count;
            writeln!(formatter, "{name:<10}{count:>12}  {digest}")?;
        }
        writeln!(formatter, "{:<10}{rows:>12}  {}", "all", self.digest())
    }
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default)]
struct Part {
    digest: Sha256,
    rows: u64,
}

impl Part {
    fn add(&mut self, row: &impl Serialize) {
        // Stores keep what was once JSON.
        let mut value = serde_json::to_value(row).unwrap_or_default();
        value.sort_all_objects();
        self.digest.update(value.to_string());
        self.digest.update(b"\n");
        self.rows += 1;
    }

    fn finish(self, name: &'static str) -> (&'static str, u64, String) {
        (name, self.rows, hexadecimal(self.digest))
    }
}

/// Reads everything.
///
/// # Errors
///
/// Whatever the store reports.
pub async fn checksum(store: &dyn DataStore) -> Result<Checksum, StorageError> {
    let mut users = Part::default();
    let mut from = None;
    loop {
        let mut page = store.list_users(from.as_ref(), PAGE + 1).await?;
        from = if page.len() > PAGE { page.pop().map(|user| user.user_id) } else { None };
        page.iter().for_each(|user| users.add(user));
        if from.is_none() {
            break;
        }
    }
    let mut items = Part::default();
    let mut from = None;
    loop {
        let mut page = store.list_items(from.as_ref(), PAGE + 1).await?;
        from = if page.len() > PAGE { page.pop().map(|item| item.item_id) } else { None };
        page.iter().for_each(|item| items.add(item));
        if from.is_none() {
            break;
        }
    }
    let mut feedback = Part::default();
    let mut from = None;
    loop {
        let mut page = store.list_feedback(from.as_ref(), PAGE + 1, None, None).await?;
        from = if page.len() > PAGE { page.pop().map(|row| row.key()) } else { None };
        page.iter().for_each(|row| feedback.add(row));
        if from.is_none() {
            break;
        }
    }
    Ok(Checksum { parts: [users.finish("users"), items.finish("items"), feedback.finish("feedback")] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_domain::{Command, User, UserId};
    use ulex_storage::data::{MemoryStore, Submission};

    fn users(numbers: impl Iterator<Item = usize>, labels: &str) -> Submission {
        let user = |number| User {
            user_id: UserId::new(format!("u{number}")),
            labels: serde_json::from_str(labels).unwrap(),
            comment: String::new(),
        };
        Command::PutUsers { users: numbers.map(user).collect() }.into()
    }

    #[tokio::test]
    async fn two_stores_with_the_same_rows_have_the_same_sum_and_another_row_changes_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("data.sqlite").display());
        let sqlite = data::open(&url, "").await.unwrap();
        let memory = MemoryStore::new();
        memory.apply(vec![users(0..PAGE + 10, r#"{"a": 1, "b": ["x"]}"#)]).await.unwrap();
        for part in [(PAGE..PAGE + 10), (0..PAGE)] {
            sqlite.apply(vec![users(part, r#"{"b": ["x"], "a": 1}"#)]).await.unwrap();
        }
        let sum = checksum(&memory).await.unwrap();
        assert_eq!(checksum(sqlite.as_ref()).await.unwrap(), sum);
        assert_eq!(sum.parts[0].1, (PAGE + 10) as u64);
        sqlite.apply(vec![users(0..1, "null")]).await.unwrap();
        assert_ne!(checksum(sqlite.as_ref()).await.unwrap().digest(), sum.digest());
    }
}
