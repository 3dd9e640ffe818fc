//! Keeps the training data current.
//!
//! - Receives: [`TakeTable`] from the trainer, [`Observe`], [`Shutdown`]; reads the stream `CHANGES`.
//! - Announces: [`Grown`] to the trainer whenever the data has changed, with how much.
//! - Owns: the [`table::Table`]; what must be read again before it is current.
//! - On failure: if changes may have been missed, everything is read again at the next [`TakeTable`]; a store that cannot be read keeps the changes noted and is asked again at the next [`TakeTable`].
//! - On shutdown: stops reading.

pub mod table;

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use serde_json::json;
use table::{Dirty, Table};
use tracing::{info, warn};
use ulex_actors::{Observe, Outlet, Shutdown};
use ulex_domain::Change;
use ulex_nats::changes::Changes;
use ulex_nats::topology::CHANGES;
use ulex_nats::{Bus, BusError, Followed, follow};
use ulex_storage::StorageError;
use ulex_storage::data::DataStore;

/// With more users to read again than this share of all, reading everything anew is cheaper.
const RELOAD_SHARE: f64 = 0.3;

/// The table as it is now, brought up to date first.
#[derive(Message)]
#[rtype(result = "Result<Arc<Table>, Arc<StorageError>>")]
pub struct TakeTable;

/// Data has changed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Grown {
    /// Rows written since the last [`TakeTable`].
    pub rows: u64,
    /// When the last change came.
    pub at: Instant,
}

/// See the module documentation.
pub struct Dataset {
    bus: Bus,
    store: Arc<dyn DataStore>,
    listener: Outlet<Grown>,
    table: Option<Arc<Table>>,
    dirty: Dirty,
    rows: u64,
    changes: u64,
    taking: bool,
    following: bool,
}

impl Dataset {
    /// Prepares the actor; it loads nothing before the first [`TakeTable`].
    #[must_use]
    pub fn new(bus: Bus, store: Arc<dyn DataStore>, listener: Outlet<Grown>) -> Self {
        Self {
            bus,
            store,
            listener,
            table: None,
            dirty: Dirty::default(),
            rows: 0,
            changes: 0,
            taking: false,
            following: false,
        }
    }

    fn note(&mut self, changes: &[Change], rows: u64) {
        for change in changes {
            self.dirty.note(change);
        }
        self.rows += rows;
        self.changes += 1;
        self.listener.send(Grown { rows: self.rows, at: Instant::now() });
    }
}

impl Actor for Dataset {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (bus, own) = (self.bus.clone(), ctx.address());
        ctx.spawn(follow_changes(bus, own).into_actor(self));
    }
}

async fn follow_changes(bus: Bus, own: Addr<Dataset>) {
    // Without a position: what was changed before the first item is read with the table.
    let mut follower = follow::<Changes>(bus, &CHANGES, None);
    while let Ok(followed) = follower.next().await {
        let sent = match followed {
            Followed::Messages(messages) => {
                own.send(Noted::of(messages.into_iter().map(|message| message.body))).await
            }
            Followed::Gap => own.send(ChangesMissed).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Changes may have been missed.
#[derive(Message)]
#[rtype(result = "()")]
struct ChangesMissed;

impl Handler<ChangesMissed> for Dataset {
    type Result = ();

    fn handle(&mut self, _: ChangesMissed, _: &mut Context<Self>) {
        self.dirty.note_everything();
        // The first gap is where the following begins. After another one at least one row is other than it was.
        if std::mem::replace(&mut self.following, true) {
            self.rows += 1;
            self.listener.send(Grown { rows: self.rows, at: Instant::now() });
        }
    }
}

#[derive(Default, Message)]
#[rtype(result = "()")]
struct Noted {
    changes: Vec<Change>,
    rows: u64,
}

impl Noted {
    fn of(messages: impl Iterator<Item = Result<Changes, BusError>>) -> Self {
        let mut noted = Self::default();
        for message in messages {
            match message {
                Ok(changes) => {
                    noted.rows += changes.rows;
                    noted.changes.extend(changes.changes);
                }
                Err(reason) => warn!(%reason, "unreadable change"),
            }
        }
        noted
    }
}

impl Handler<Noted> for Dataset {
    type Result = ();

    fn handle(&mut self, noted: Noted, _: &mut Context<Self>) {
        self.note(&noted.changes, noted.rows);
    }
}

impl Handler<TakeTable> for Dataset {
    type Result = ResponseActFuture<Self, Result<Arc<Table>, Arc<StorageError>>>;

    fn handle(&mut self, _: TakeTable, _: &mut Context<Self>) -> Self::Result {
        // Changes that arrive while the store is read are noted anew and read again next time.
        let dirty = std::mem::take(&mut self.dirty);
        let (table, store) = (self.table.take(), Arc::clone(&self.store));
        self.taking = true;
        let kept = dirty.clone();
        let work = async move { current(table, &dirty, store.as_ref()).await };
        Box::pin(work.into_actor(self).map(move |result, actor, _| {
            actor.taking = false;
            match result {
                Ok(table) => {
                    let table = Arc::new(table);
                    actor.table = Some(Arc::clone(&table));
                    actor.rows = 0;
                    Ok(table)
                }
                Err(reason) => {
                    warn!(%reason, "the training data could not be read");
                    actor.dirty.merge(kept);
                    Err(Arc::new(reason))
                }
            }
        }))
    }
}

/// The table with everything in `dirty` read again; all of it anew if there is none yet or if most has changed.
async fn current(
    table: Option<Arc<Table>>,
    dirty: &Dirty,
    store: &dyn DataStore,
) -> Result<Table, StorageError> {
    let begun = Instant::now();
    let known = table.as_ref().map_or(0, |table| table.users.len());
    match table {
        Some(table) if dirty.is_empty() => Ok(Arc::unwrap_or_clone(table)),
        Some(table) if !dirty.is_everything() && (dirty.users() as f64) < RELOAD_SHARE * known as f64 => {
            let mut table = Arc::unwrap_or_clone(table);
            table.refresh(dirty, store).await?;
            info!(users = dirty.users(), seconds = begun.elapsed().as_secs_f64(), "training data refreshed");
            Ok(table)
        }
        Some(_) | None => {
            let table = Table::load(store).await?;
            info!(
                users = table.users.len(),
                items = table.items.len(),
                rows = table.rows.len(),
                seconds = begun.elapsed().as_secs_f64(),
                "training data loaded"
            );
            Ok(table)
        }
    }
}

impl Handler<Observe> for Dataset {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({
            "rows_in_memory": self.table.as_ref().map_or(0, |table| table.rows.len()),
            "rows_since_taken": self.rows,
            "changes": self.changes,
            "users_to_read_again": self.dirty.users(),
            "reading": self.taking,
            "following": self.following,
        }))
    }
}

impl Handler<Shutdown> for Dataset {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
