//! A second connection of the writer: of a large group two processes of the server look up the rows.
//!
//! Looking up is a third of what a large group takes, and one process of the server does one thing at a time. As long as
//! the writer has the lock nobody else changes a row, and what was committed before is there for every connection: until
//! the writer itself has changed something, this connection sees what that of the writer sees. It is a help, not a need:
//! without it everything is asked on the one connection.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_postgres::{Client, Row, Statement};

use super::connections::Connector;
use super::error::PostgresError;
use super::statements::{self, SESSION};
use super::working_set::Key;

/// Fewer rows are looked up before two connections have been told.
pub(super) const WORTHWHILE: usize = 1_024;
/// How long after a failure no other connection is tried.
const REST: Duration = Duration::from_secs(60);
/// How long an answer may take: the transaction that waits for it may be idle for ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// See the module.
#[derive(Default)]
pub(super) struct Aside {
    open: Option<(Client, Statement)>,
    failed: Option<Instant>,
}

impl Aside {
    /// Connects, if it is not connected and has not failed just now.
    pub async fn connect(&mut self, connector: &Connector, prefix: &str) {
        self.open = self.open.take().filter(|(client, _statement)| !client.is_closed());
        if self.open.is_some() || self.failed.is_some_and(|failed| failed.elapsed() < REST) {
            return;
        }
        let opening = async {
            let client = connector.connect(SESSION).await?;
            let stored = timeout(PATIENCE, statements::prepare_stored_feedback(&client, prefix)).await;
            Ok((client, stored.unwrap_or(Err(PostgresError::Deadline(PATIENCE)))?))
        };
        match opening.await {
            Ok(open) => self.open = Some(open),
            Err(error) => self.fail(&error),
        }
    }

    /// Whether it can be asked.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What is stored under the keys; `None` if that cannot be said here.
    pub async fn stored(&mut self, keys: &[Key<'_>]) -> Option<Vec<Row>> {
        let (client, statement) = self.open.as_ref()?;
        let found = timeout(PATIENCE, stored_feedback(client, statement, keys)).await;
        match found.unwrap_or(Err(PostgresError::Deadline(PATIENCE))) {
            Ok(rows) => Some(rows),
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    fn fail(&mut self, error: &PostgresError) {
        tracing::debug!(%error, "a group is looked up by one connection");
        self.open = None;
        self.failed = Some(Instant::now());
    }
}

/// Asks for rows by their keys; each that is found says at which place its key stands, from 1.
pub(super) async fn stored_feedback(
    client: &Client,
    statement: &Statement,
    keys: &[Key<'_>],
) -> Result<Vec<Row>, PostgresError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let types: Vec<_> = keys.iter().map(|(name, _user, _item)| *name).collect();
    let users: Vec<_> = keys.iter().map(|(_name, user, _item)| user.as_str()).collect();
    let items: Vec<_> = keys.iter().map(|(_name, _user, item)| item.as_str()).collect();
    Ok(client.query(statement, &[&types, &users, &items]).await?)
}
