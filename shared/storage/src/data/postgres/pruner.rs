//! Removes ids that are too old from the ledger, beside the writer and on a connection of its own: twice as many as are
//! entered, so that whatever there is too much is gone after about a day, and nobody waits for it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use ulex_domain::Timestamp;

use super::connections::Connector;
use super::error::PostgresError;
use super::migrate::with_prefix;
use super::statements::SESSION;
use crate::data::LEDGER_NANOS;

/// New ids after which old ones are removed.
const STEP: u64 = 10_000;
/// Time after which a few are removed although fewer are new.
const INTERVAL: Duration = Duration::from_secs(60);
/// Ids removed besides two for each that is new.
const ALLOWANCE: u64 = 50_000;
/// Ids removed by one statement, and how long it may take.
const AT_ONCE: u64 = 5_000;
const DEADLINE: Duration = Duration::from_secs(15);

const PRUNE: &str = r#"DELETE FROM "{p}ledger" WHERE event_id = ANY(ARRAY(
    SELECT event_id FROM "{p}ledger" WHERE time < $1 ORDER BY time LIMIT $2))"#;

/// Counts what is entered, and has as much removed.
pub(super) struct Pruner {
    connector: Connector,
    statement: String,
    entered: u64,
    last: Instant,
    /// The task that removes, once there is one.
    orders: Option<mpsc::Sender<u64>>,
}

impl Pruner {
    pub fn new(connector: Connector, prefix: &str) -> Self {
        let statement = with_prefix(PRUNE, prefix);
        Self { connector, statement, entered: 0, last: Instant::now(), orders: None }
    }

    /// Takes note of ids that were entered. Does not wait for anything.
    pub fn note(&mut self, entered: usize) {
        self.entered += entered as u64;
        if self.entered < STEP && self.last.elapsed() < INTERVAL {
            return;
        }
        self.last = Instant::now();
        let (connector, statement) = (&self.connector, &self.statement);
        let orders = self.orders.get_or_insert_with(|| {
            let (orders, received) = mpsc::channel(1);
            connector.runtime().spawn(work(connector.clone(), statement.clone(), received));
            orders
        });
        // Still busy with the last order: this one is part of the next.
        if orders.try_send(2 * self.entered + ALLOWANCE).is_ok() {
            self.entered = 0;
        }
    }
}

/// Works until the pruner is gone.
async fn work(connector: Connector, statement: String, mut orders: mpsc::Receiver<u64>) {
    let mut client = None;
    while let Some(most) = orders.recv().await {
        if let Err(error) = prune(&connector, &mut client, &statement, most).await {
            tracing::warn!(%error, "old event ids could not be removed");
            client = None;
        }
    }
}

async fn prune(
    connector: &Connector,
    client: &mut Option<Client>,
    statement: &str,
    most: u64,
) -> Result<(), PostgresError> {
    if client.as_ref().is_none_or(Client::is_closed) {
        *client = Some(connector.connect(SESSION).await?);
    }
    let Some(client) = client else { return Ok(()) };
    let oldest_kept = Timestamp::now().plus_nanos(-LEDGER_NANOS).as_nanos();
    let mut left = most;
    while left > 0 {
        let at_once = left.min(AT_ONCE);
        let limit = at_once.cast_signed();
        let parameters: [&(dyn ToSql + Sync); 2] = [&oldest_kept, &limit];
        let removed = timeout(DEADLINE, client.execute(statement, &parameters)).await;
        let removed = removed.map_err(|_elapsed| PostgresError::Deadline(DEADLINE))??;
        left -= at_once;
        if removed < at_once {
            break;
        }
    }
    Ok(())
}
