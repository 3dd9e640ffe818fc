//! Data divided into what may be learned from and what is to be foreseen, wherever it comes from: the files of a split,
//! or a data store that is divided here.
//!
//! A pair of user and item is on one side only. All rows of a pair that is held back are taken out of the training part, of
//! whatever type they are, and with a division by time so is everything else after the moment.

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use serde_json::Value;
use thiserror::Error;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::random::Seed;
use ulex_algorithms::split::{Shares, Split as Parts, Touch, by_share, leave_last_out};
use ulex_domain::{Item, ItemId, Timestamp, User, UserId};
use ulex_master::dataset::table::Table;
use ulex_master::training::signals::{Pair, Reading, Signals, liked};
use ulex_recommenders::history::{FeedbackTypes, Signal};
use ulex_storage::data::FeedbackRow;

use super::splits::{Negatives, RankingSplit};

/// Share of the data that is held back, where the division does not say.
const TEST_SHARE: f64 = 0.2;
/// Type of the feedback of a split that comes as files.
pub const FILE_FEEDBACK: &str = "like";
/// Time of the first feedback of everybody in a split that comes as files.
const FILE_TIME: i64 = 1_577_836_800;

/// Why data cannot be divided.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DivideError {
    /// Nobody likes anything.
    #[error("there is no positive feedback to divide")]
    Nothing,
    /// Nothing can be held back.
    #[error("{0}")]
    NoTest(&'static str),
}

/// How to divide stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// By one moment for all users.
    Temporal,
    /// The last item of each user.
    LeaveLastOut,
    /// A fifth of each user's items.
    Random {
        /// Decides which.
        seed: u64,
    },
}

/// See the module documentation.
pub struct Divided {
    /// Its name.
    pub name: String,
    /// What may be learned from.
    pub train: Interactions,
    /// What users have met in the training part, liked or not; not to be recommended again.
    pub met: Interactions,
    /// What is to be foreseen.
    pub test: Interactions,
    /// If there: not all items are ranked but only these.
    pub negatives: Option<Vec<Negatives>>,
    /// The present, as far as the training part knows.
    pub now: Timestamp,
    source: Source,
}

enum Source {
    /// Items of each user, oldest first.
    Files(Vec<Vec<u32>>),
    /// The training part.
    Stored(Box<Table>),
}

impl Divided {
    /// The division that files say.
    #[must_use]
    pub fn from_files(split: RankingSplit) -> Self {
        let longest = split.sequences.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            name: split.name,
            met: split.train.clone(),
            train: split.train,
            test: split.test,
            negatives: split.negatives,
            now: moment(longest),
            source: Source::Files(split.sequences),
        }
    }

    /// Divides what a store holds.
    ///
    /// # Errors
    ///
    /// [`DivideError`] if one of the sides would be empty.
    pub fn from_table(
        mut table: Table,
        types: &FeedbackTypes,
        division: Division,
        now: Timestamp,
    ) -> Result<Self, DivideError> {
        let pairs = Signals::read(&table, &Reading { types, now, oldest: None }).pairs;
        let held_back = HeldBack::new(&pairs, division)?;
        let shape = (table.users.len(), table.items.len());
        let test = pairs.iter().filter(|pair| held_back.is_test(pair));
        let test = liked(test, shape.0, shape.1);
        let kept: Vec<&Pair> = pairs.iter().filter(|pair| !held_back.is_gone(pair)).collect();
        let train = liked(kept.iter().copied(), shape.0, shape.1);
        if train.is_empty() || test.is_empty() {
            return Err(DivideError::NoTest(match division {
                Division::Temporal => "no moment divides the feedback: all of it has the same time",
                Division::LeaveLastOut | Division::Random { .. } => {
                    "nobody likes enough items to hold one back"
                }
            }));
        }
        let met = kept.iter().map(|pair| (pair.user, pair.item, 1.0)).collect();
        let left: FxHashSet<(u32, u32)> = kept.iter().map(|pair| (pair.user, pair.item)).collect();
        table.rows.retain(|user, item| left.contains(&(user, item)));
        let name = match division {
            Division::Temporal => "temporal",
            Division::LeaveLastOut => "leave-last-out",
            Division::Random { .. } => "random",
        };
        Ok(Self {
            name: name.to_owned(),
            train,
            met: Interactions::from_triples(shape.0, shape.1, met),
            test,
            negatives: None,
            now: held_back.moment.unwrap_or(now),
            source: Source::Stored(Box::new(table)),
        })
    }

    /// Users × items.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.train.n_rows(), self.train.n_cols())
    }

    /// Whether the data are files, which know one type of feedback and nothing about users and items.
    #[must_use]
    pub const fn is_files(&self) -> bool {
        matches!(self.source, Source::Files(_))
    }

    /// The training part as a training cycle reads it. Indexes are those of the matrices.
    #[must_use]
    pub fn table(&self) -> Cow<'_, Table> {
        match &self.source {
            Source::Stored(table) => Cow::Borrowed(table),
            Source::Files(sequences) => Cow::Owned(written_out(sequences, self.shape().1)),
        }
    }
}

/// Feedback number `step` of anybody in a split that comes as files.
fn moment(step: usize) -> Timestamp {
    Timestamp::from_unix_seconds(FILE_TIME + 60 * step as i64)
}

fn written_out(sequences: &[Vec<u32>], n_items: usize) -> Table {
    let mut table = Table::default();
    for user in 0..sequences.len() {
        let user_id = UserId::new(user.to_string());
        table.put_user(&User { user_id, labels: Value::Null, comment: String::new() });
    }
    for item in 0..n_items {
        let item = Item::bare(ItemId::new(item.to_string()));
        table.put_item(&Item { timestamp: moment(0), ..item });
    }
    for (user, items) in sequences.iter().enumerate() {
        let user = user.to_string();
        for (step, item) in items.iter().enumerate() {
            table.push(&FeedbackRow {
                feedback_type: FILE_FEEDBACK,
                user_id: &user,
                item_id: &item.to_string(),
                value: 1.0,
                timestamp: moment(step),
                updated: moment(step),
            });
        }
    }
    table
}

/// Which pairs are held back.
struct HeldBack {
    /// Liked pairs, by user and item.
    test: FxHashSet<(u32, u32)>,
    /// Everything after it is gone.
    moment: Option<Timestamp>,
}

impl HeldBack {
    fn new(pairs: &[Pair], division: Division) -> Result<Self, DivideError> {
        let touch = |pair: &Pair| Touch {
            user: pair.user,
            item: pair.item,
            weight: pair.weight,
            time: pair.updated.as_nanos(),
        };
        let positive = pairs.iter().filter(|pair| pair.signal == Signal::Positive);
        let touches: Vec<Touch> = positive.map(touch).collect();
        if touches.is_empty() {
            return Err(DivideError::Nothing);
        }
        let parts = match division {
            Division::LeaveLastOut => leave_last_out(&touches, false),
            Division::Random { seed } => {
                let shares = Shares { validation: 0.0, test: TEST_SHARE };
                by_share(&touches, shares, Seed::new(seed).purpose("evaluate.random"))
            }
            Division::Temporal => {
                let mut times: Vec<i64> = touches.iter().map(|touch| touch.time).collect();
                let cut = ((times.len() as f64 * (1.0 - TEST_SHARE)) as usize).saturating_sub(1);
                let moment = *times.select_nth_unstable(cut).1;
                let after = (0..).zip(&touches).filter(|(_, touch)| touch.time > moment);
                let parts = Parts { test: after.map(|(place, _)| place).collect(), ..Parts::default() };
                return Ok(Self::of(&touches, &parts, Some(Timestamp::from_nanos(moment))));
            }
        };
        Ok(Self::of(&touches, &parts, None))
    }

    fn of(touches: &[Touch], parts: &Parts, moment: Option<Timestamp>) -> Self {
        let pair = |&place: &u32| (touches[place as usize].user, touches[place as usize].item);
        Self { test: parts.test.iter().map(pair).collect(), moment }
    }

    fn is_test(&self, pair: &Pair) -> bool {
        self.test.contains(&(pair.user, pair.item))
    }

    fn is_gone(&self, pair: &Pair) -> bool {
        self.is_test(pair) || self.moment.is_some_and(|moment| pair.updated > moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_domain::feedback_filter::FeedbackFilter;

    /// Ten users; user `u` likes item `(u + step) % 12` at `step`, and has read one more.
    fn table() -> Table {
        let mut table = written_out(&vec![Vec::new(); 10], 12);
        for user in 0..10_u32 {
            for step in 0..10_u32 {
                push(&mut table, "like", user, (user + step) % 12, step);
            }
            push(&mut table, "read", user, (user + 10) % 12, 9);
        }
        table
    }

    fn push(table: &mut Table, kind: &str, user: u32, item: u32, step: u32) {
        table.push(&FeedbackRow {
            feedback_type: kind,
            user_id: &user.to_string(),
            item_id: &item.to_string(),
            value: 1.0,
            timestamp: moment(step as usize),
            updated: moment(step as usize),
        });
    }

    fn divided(division: Division) -> Divided {
        let types = FeedbackTypes {
            positive: vec!["like".parse::<FeedbackFilter>().unwrap()],
            ..FeedbackTypes::default()
        };
        Divided::from_table(table(), &types, division, moment(1000)).unwrap()
    }

    /// Nothing that is to be foreseen is anywhere in the training part.
    fn leaks(divided: &Divided) -> bool {
        let table = divided.table();
        let rows = table.rows.user.iter().zip(&table.rows.item);
        let mut rows = rows.map(|(&user, &item)| (user as usize, item));
        let test = &divided.test;
        rows.any(|(user, item)| test.contains(user, item))
            || (0..test.n_rows()).any(|user| {
                let wanted = test.row(user).0;
                wanted
                    .iter()
                    .any(|&item| divided.train.contains(user, item) || divided.met.contains(user, item))
            })
    }

    #[test]
    fn the_last_item_is_left_out() {
        let divided = divided(Division::LeaveLastOut);
        assert!(!leaks(&divided));
        assert_eq!((divided.train.len(), divided.test.len()), (90, 10));
        assert_eq!(divided.test.row(3).0, [(3 + 9) % 12]);
        assert!(divided.met.contains(3, 1), "what was read has been met");
        assert_eq!(divided.table().rows.len(), 100);
    }

    #[test]
    fn a_fifth_is_drawn_by_seed() {
        let first = divided(Division::Random { seed: 1 });
        assert!(!leaks(&first));
        assert_eq!((first.train.len(), first.test.len()), (80, 20));
        assert_eq!(first.test, divided(Division::Random { seed: 1 }).test);
        assert_ne!(first.test, divided(Division::Random { seed: 2 }).test);
    }

    #[test]
    fn after_the_moment_nothing_is_known_not_even_what_was_only_read() {
        let divided = divided(Division::Temporal);
        assert!(!leaks(&divided));
        assert_eq!((divided.train.len(), divided.test.len()), (80, 20));
        assert_eq!(divided.now, moment(7));
        assert_eq!(divided.table().rows.len(), 80);
        assert!(divided.table().rows.updated.iter().all(|&time| time <= moment(7)));
    }

    #[test]
    fn what_cannot_be_divided_is_said() {
        let mut table = written_out(&[vec![0], vec![1]], 2);
        let divide = |table: &Table, division| {
            let divided = Divided::from_table(table.clone(), &FeedbackTypes::default(), division, moment(10));
            divided.err().map(|reason| reason.to_string()).unwrap_or_default()
        };
        assert!(divide(&table, Division::LeaveLastOut).contains("nobody likes enough"));
        assert!(divide(&table, Division::Temporal).contains("the same time"));
        table.rows.retain(|_, _| false);
        assert!(divide(&table, Division::Temporal).contains("no positive feedback"));
    }

    #[test]
    fn files_become_a_table_with_the_same_indexes() {
        let written = written_out(&[vec![2, 0], vec![1]], 3);
        assert_eq!((written.users.len(), written.items.len(), written.rows.len()), (2, 3, 3));
        assert_eq!(written.items.index("2"), Some(2));
        assert!(written.rows.updated[1] > written.rows.updated[0]);
    }
}
