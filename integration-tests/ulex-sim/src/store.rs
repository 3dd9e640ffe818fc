//! The data store: what was committed and in which order, and the faults of a database.
//!
//! It is the reference store of `ulex-storage` behind a database's faults. It keeps the sequence of everything that was
//! committed, so it can go back to any earlier state, and so a run can be judged by what took effect.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::time::{Instant, sleep, sleep_until};
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, ItemState, Timestamp, User, UserId};
use ulex_storage::StorageError;
use ulex_storage::data::{
    ArrivedItem, Counts, DataStore, FeedbackRow, LogPosition, MemoryStore, Outcome, Submission,
};

use crate::control::ProcessControl;

/// One event that took effect.
#[derive(Clone, Debug)]
pub struct Effect {
    /// What was applied.
    pub submission: Submission,
}

#[derive(Default)]
struct Faults {
    away_until: Option<Instant>,
    /// Number of commits whose answer gets lost.
    lost_words: u32,
    slow_until: Option<Instant>,
    /// Until when each transaction is answered with an SQLSTATE.
    refusing: Option<(&'static str, Instant)>,
}

struct State {
    store: Arc<MemoryStore>,
    /// Every call that was committed, in order.
    commits: Vec<Vec<Submission>>,
    effects: Vec<Effect>,
    snapshot: usize,
    faults: Faults,
}

/// The database.
pub struct SimDatabase {
    state: Mutex<State>,
    /// One transaction at a time, as behind the writer's lock.
    writer: tokio::sync::Mutex<()>,
}

impl SimDatabase {
    /// An empty database.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let state = State {
            store: Arc::new(MemoryStore::new()),
            commits: Vec::new(),
            effects: Vec::new(),
            snapshot: 0,
            faults: Faults::default(),
        };
        Arc::new(Self { state: Mutex::new(state), writer: tokio::sync::Mutex::new(()) })
    }

    /// The store as it is now.
    #[must_use]
    pub fn contents(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.state.lock().store)
    }

    /// Everything that took effect and is still there, in order.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.state.lock().effects.clone()
    }

    /// Makes a backup.
    pub fn take_snapshot(&self) {
        let mut state = self.state.lock();
        state.snapshot = state.commits.len();
    }

    /// Restores the last backup.
    pub async fn go_back(&self) {
        let _writing = self.writer.lock().await;
        let kept: Vec<_> = {
            let state = self.state.lock();
            state.commits[..state.snapshot].to_vec()
        };
        let store = MemoryStore::new();
        let mut effects = Vec::new();
        for commit in &kept {
            if let Ok(outcomes) = store.apply(commit.clone()).await {
                effects.extend(effects_of(commit, &outcomes));
            }
        }
        let mut state = self.state.lock();
        (state.store, state.commits, state.effects) = (Arc::new(store), kept, effects);
    }

    /// Cannot be reached for so long.
    pub fn go_away(&self, long: Duration) {
        self.state.lock().faults.away_until = Some(Instant::now() + long);
    }

    /// Commits the next `count` transactions and loses the answers.
    pub fn lose_words(&self, count: u32) {
        self.state.lock().faults.lost_words = count;
    }

    /// Takes up to 70 seconds for a transaction for so long.
    pub fn slow_down(&self, long: Duration) {
        self.state.lock().faults.slow_until = Some(Instant::now() + long);
    }

    /// Answers each transaction with this SQLSTATE for so long.
    pub fn refuse(&self, code: &'static str, long: Duration) {
        self.state.lock().faults.refusing = Some((code, Instant::now() + long));
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.state.lock().faults = Faults::default();
    }

    fn fault(&self) -> Result<(), StorageError> {
        let state = self.state.lock();
        let now = Instant::now();
        if state.faults.away_until.is_some_and(|until| now < until) {
            return Err(unavailable("the connection was refused"));
        }
        Ok(())
    }

    async fn transact(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, StorageError> {
        let _writing = self.writer.lock().await;
        self.fault()?;
        let slow = self.state.lock().faults.slow_until.filter(|until| Instant::now() < *until);
        if let Some(until) = slow {
            sleep_until(until).await;
        }
        sleep(Duration::from_millis(2)).await;
        let refusing = self.state.lock().faults.refusing.filter(|(_, until)| Instant::now() < *until);
        if let Some((code, _)) = refusing {
            return Err(StorageError::of_sqlstate(code, "simulated", APPLY));
        }
        let store = self.contents();
        let outcomes = store.apply(submissions.clone()).await?;
        for (submission, outcome) in submissions.iter().zip(&outcomes) {
            let number = crate::commands::number_of(submission);
            let position = submission.position.as_ref().map(|at| (at.log.as_str(), at.version()));
            tracing::info!(?number, ?position, duplicate = outcome.duplicate, "committed");
        }
        let mut state = self.state.lock();
        state.effects.extend(effects_of(&submissions, &outcomes));
        state.commits.push(submissions);
        if state.faults.lost_words > 0 {
            state.faults.lost_words -= 1;
            return Err(unknown("the connection was lost after COMMIT"));
        }
        Ok(outcomes)
    }
}

fn effects_of(submissions: &[Submission], outcomes: &[Outcome]) -> Vec<Effect> {
    let both = submissions.iter().zip(outcomes);
    let effective = both.filter(|(_, outcome)| !outcome.duplicate);
    effective.map(|(submission, _)| Effect { submission: submission.clone() }).collect()
}

const APPLY: &str = "apply events";

fn unavailable(text: &str) -> StorageError {
    StorageError::Unavailable { backend: "simulated", action: APPLY, source: text.to_owned().into() }
}

fn unknown(text: &str) -> StorageError {
    StorageError::Unknown { backend: "simulated", action: APPLY, source: text.to_owned().into() }
}

/// The database as one process reaches it.
pub struct SimStore {
    database: Arc<SimDatabase>,
    control: Arc<ProcessControl>,
}

impl SimStore {
    /// A connection of the process that `control` belongs to.
    #[must_use]
    pub const fn new(database: Arc<SimDatabase>, control: Arc<ProcessControl>) -> Self {
        Self { database, control }
    }

    /// The store, as a read meets it.
    async fn read(&self) -> Fallible<Arc<MemoryStore>> {
        self.control.way_out().await;
        self.database.fault()?;
        let store = self.database.contents();
        self.control.is_running().await;
        Ok(store)
    }
}

type Fallible<T> = Result<T, StorageError>;

#[async_trait]
impl DataStore for SimStore {
    async fn apply(&self, submissions: Vec<Submission>) -> Fallible<Vec<Outcome>> {
        let (database, control) = (Arc::clone(&self.database), Arc::clone(&self.control));
        // A transaction that its caller gives up goes on.
        let applying = tokio::spawn(async move {
            control.way_out().await;
            let result = database.transact(submissions).await;
            match control.way_back().await {
                Ok(()) => result,
                Err(_lost) => Err(unknown("the connection was lost")),
            }
        });
        applying.await.unwrap_or_else(|_ended| Err(unknown("the task ended")))
    }

    async fn log_position(&self, log: &str) -> Fallible<Option<LogPosition>> {
        self.read().await?.log_position(log).await
    }

    async fn logs(&self) -> Fallible<Vec<LogPosition>> {
        self.read().await?.logs().await
    }

    async fn item_states(&self, ids: &[ItemId]) -> Fallible<Vec<ItemState>> {
        self.read().await?.item_states(ids).await
    }

    async fn user(&self, id: &UserId) -> Fallible<Option<User>> {
        self.read().await?.user(id).await
    }

    async fn users(&self, ids: &[UserId]) -> Fallible<Vec<User>> {
        self.read().await?.users(ids).await
    }

    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Fallible<Vec<User>> {
        self.read().await?.list_users(from, limit).await
    }

    async fn item(&self, id: &ItemId) -> Fallible<Option<Item>> {
        self.read().await?.item(id).await
    }

    async fn items(&self, ids: &[ItemId]) -> Fallible<Vec<Item>> {
        self.read().await?.items(ids).await
    }

    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Fallible<Vec<Item>> {
        self.read().await?.list_items(from, limit).await
    }

    async fn items_by_arrival(&self, from: u64, limit: usize) -> Fallible<Vec<ArrivedItem>> {
        self.read().await?.items_by_arrival(from, limit).await
    }

    async fn search_items(&self, query: &str, limit: usize) -> Fallible<Vec<(Item, f64)>> {
        self.read().await?.search_items(query, limit).await
    }

    async fn set_search_columns(&self, columns: &[String]) -> Fallible<()> {
        self.read().await?.set_search_columns(columns).await
    }

    async fn user_feedback(&self, id: &UserId, until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        self.read().await?.user_feedback(id, until).await
    }

    async fn users_feedback(&self, ids: &[UserId], until: Option<Timestamp>) -> Fallible<Vec<Feedback>> {
        self.read().await?.users_feedback(ids, until).await
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Fallible<Vec<Feedback>> {
        self.read().await?.item_feedback(id, until, limit).await
    }

    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Fallible<Vec<Feedback>> {
        self.read().await?.pair_feedback(user, item).await
    }

    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Fallible<Vec<Feedback>> {
        self.read().await?.list_feedback(from, limit, feedback_type, until).await
    }

    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Fallible<()> {
        self.read().await?.scan_feedback(batch, visit).await
    }

    async fn counts(&self) -> Fallible<Counts> {
        self.read().await?.counts().await
    }

    async fn ping(&self) -> Fallible<()> {
        self.read().await?.ping().await
    }

    async fn purge(&self) -> Fallible<()> {
        self.read().await?.purge().await
    }
}
