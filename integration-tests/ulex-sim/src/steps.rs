//! Steps of a run, as they are drawn from a seed and kept in `regressions/`.

use serde::{Deserialize, Serialize};

use crate::random::SeededRandom;

/// Servers of a world.
pub const NODES: usize = 3;
/// Users of a world, few enough that everything collides.
pub const USERS: u64 = 40;
/// Items of a world.
pub const ITEMS: u64 = 20;

/// Answers of a database in trouble: a password that was rotated, a lost grant, a table that is being restored, a full
/// disk, a conflict, a standby, a damaged page, an administrator's shutdown.
pub const SQLSTATES: [&str; 8] = ["28P01", "42501", "42P01", "53100", "40001", "25006", "XX001", "57P01"];

/// A write by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Replaces an item.
    PutItem { item: u64, hidden: bool },
    /// Hides or shows an item.
    HideItem { item: u64, hidden: bool },
    /// Adds a category.
    SetCategory { item: u64 },
    /// Deletes an item.
    DeleteItem { item: u64 },
    /// Replaces a user.
    PutUser { user: u64 },
    /// Deletes a user.
    DeleteUser { user: u64 },
    /// Adds one to a feedback value.
    AddFeedback { user: u64, item: u64 },
    /// Replaces feedback.
    ReplaceFeedback { user: u64, item: u64 },
    /// Deletes the feedback of a pair.
    DeleteFeedback { user: u64, item: u64 },
}

/// A fault of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// A process is held still.
    Pause { node: usize, millis: u64 },
    /// A process ends at once, and is started again later.
    Crash { node: usize, down_millis: u64 },
    /// Answers to a process get lost.
    LoseAnswers { node: usize, millis: u64 },
    /// Calls of a process and their answers take up to five seconds each.
    SlowNetwork { node: usize, millis: u64 },
    /// Receipts arrive twice.
    DoubleMessages { node: usize, millis: u64 },
    /// The clock of a process is off.
    Skew { node: usize, seconds: i64 },
    /// The store cannot be reached.
    StoreAway { millis: u64 },
    /// The store takes that long for a transaction.
    StoreSlow { millis: u64 },
    /// The store commits and its answer gets lost.
    StoreLosesWord { commits: u32 },
    /// The store is backed up.
    StoreSnapshot,
    /// The store is restored from its backup.
    StoreBack,
    /// The log loses its last messages.
    CutLog { messages: u64 },
    /// The log is restored from its own backup.
    RestoreLog,
    /// The log begins anew, empty.
    RecreateLog,
    /// The log is not there until it is made again.
    LoseLog,
    /// The stream of changes begins anew, empty.
    RecreateChanges,
    /// The bucket of cursors is lost.
    LoseCursors,
    /// The store answers each transaction with an SQLSTATE: one of [`SQLSTATES`].
    StoreRefuses { code: usize, millis: u64 },
    /// The cache does not answer.
    CacheSilent { millis: u64 },
    /// The cache is flushed.
    CacheFlushed,
}

impl Fault {
    /// Kind of the fault, for the pairs that a run has reached.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Crash { .. } => "crash",
            Self::LoseAnswers { .. } => "lose_answers",
            Self::SlowNetwork { .. } => "slow_network",
            Self::DoubleMessages { .. } => "double_messages",
            Self::Skew { .. } => "skew",
            Self::StoreAway { .. } => "store_away",
            Self::StoreSlow { .. } => "store_slow",
            Self::StoreLosesWord { .. } => "store_loses_word",
            Self::StoreSnapshot => "store_snapshot",
            Self::StoreBack => "store_back",
            Self::CutLog { .. } => "cut_log",
            Self::RestoreLog => "restore_log",
            Self::RecreateLog => "recreate_log",
            Self::LoseLog => "lose_log",
            Self::RecreateChanges => "recreate_changes",
            Self::LoseCursors => "lose_cursors",
            Self::StoreRefuses { .. } => "store_refuses",
            Self::CacheSilent { .. } => "cache_silent",
            Self::CacheFlushed => "cache_flushed",
        }
    }
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Time passes.
    Wait { millis: u64 },
    /// A client writes through a server, and repeats after a refusal. With an id it repeats after an unknown outcome, too.
    Write { node: usize, write: Write, with_id: bool },
    /// A publisher appends feedback to the log.
    Publish { user: u64, item: u64 },
    /// A client reads a list.
    Read { node: usize, user: u64 },
    /// Something breaks.
    Fault(Fault),
}

/// Steps of a run that a seed gives.
#[must_use]
pub fn steps_of(seed: u64, count: usize, disabled: &[&str]) -> Vec<Step> {
    let mut random = SeededRandom::new(seed);
    // Each run enables a random third of the faults, so that rare combinations come up in some runs.
    let mut enabled = Vec::new();
    for kind in 0..FAULT_KINDS {
        if random.once_in(3) {
            enabled.push(kind);
        }
    }
    let fault_every = 6 + random.below(20);
    let mut steps = Vec::with_capacity(count);
    while steps.len() < count {
        if random.once_in(fault_every) && !enabled.is_empty() {
            let kind = enabled[random.index(enabled.len())];
            let fault = fault_of(kind, &mut random);
            if !disabled.contains(&fault.kind()) {
                steps.push(Step::Fault(fault));
            }
        } else {
            steps.push(action_of(&mut random));
        }
    }
    steps
}

fn node(random: &mut SeededRandom) -> usize {
    random.index(NODES)
}

fn action_of(random: &mut SeededRandom) -> Step {
    let (user, item) = (random.below(USERS), random.below(ITEMS));
    let write = match random.below(20) {
        0..4 => return Step::Wait { millis: random.below(1_500) },
        4..6 => return Step::Read { node: node(random), user },
        6..8 => return Step::Publish { user, item },
        8..10 => Write::PutItem { item, hidden: random.once_in(2) },
        10..12 => Write::HideItem { item, hidden: random.once_in(2) },
        12 => Write::SetCategory { item },
        13 => match random.below(3) {
            0 => Write::DeleteItem { item },
            1 => Write::DeleteUser { user },
            _ => Write::DeleteFeedback { user, item },
        },
        14 => Write::PutUser { user },
        15 => Write::ReplaceFeedback { user, item },
        _ => Write::AddFeedback { user, item },
    };
    let with_id = random.once_in(2)
        || matches!(
            write,
            Write::DeleteItem { .. } | Write::DeleteUser { .. } | Write::DeleteFeedback { .. }
        );
    Step::Write { node: node(random), write, with_id }
}

const FAULT_KINDS: u64 = 20;

fn fault_of(kind: u64, random: &mut SeededRandom) -> Fault {
    let millis = random.below(40_000);
    let node = node(random);
    match kind {
        0 => Fault::Pause { node, millis },
        1 => Fault::Crash { node, down_millis: millis / 4 },
        2 => Fault::LoseAnswers { node, millis: millis / 4 },
        3 => Fault::SlowNetwork { node, millis: millis / 2 },
        4 => Fault::DoubleMessages { node, millis },
        5 => Fault::Skew { node, seconds: i64::try_from(random.below(61)).unwrap_or_default() - 30 },
        6 => Fault::StoreAway { millis: millis / 2 },
        7 => Fault::StoreSlow { millis },
        8 => Fault::StoreLosesWord { commits: 1 + u32::try_from(random.below(3)).unwrap_or_default() },
        9 => Fault::StoreSnapshot,
        10 => Fault::StoreBack,
        11 => Fault::CutLog { messages: 1 + random.below(20) },
        12 => Fault::RestoreLog,
        13 => Fault::RecreateLog,
        14 => Fault::LoseLog,
        15 => Fault::RecreateChanges,
        16 => Fault::LoseCursors,
        17 => Fault::CacheSilent { millis },
        18 => Fault::StoreRefuses { code: random.index(SQLSTATES.len()), millis: millis / 2 },
        _ => Fault::CacheFlushed,
    }
}
