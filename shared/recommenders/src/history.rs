//! What a user did, as recommendation sees it.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use smol_str::SmolStr;
use ulex_domain::feedback_filter::{FeedbackFilter, any_matches};
use ulex_domain::{Feedback, ItemId, Timestamp};

/// Which feedback says what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedbackTypes {
    /// The user liked it. Empty: whatever is neither negative nor read.
    pub positive: Vec<FeedbackFilter>,
    /// The user disliked it; wins over positive.
    pub negative: Vec<FeedbackFilter>,
    /// The user saw it.
    pub read: Vec<FeedbackFilter>,
}

/// What one row says, weakest first: of several rows of a pair the strongest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Only that the user met the item.
    Other,
    /// The user saw the item.
    Read,
    /// The user liked the item.
    Positive,
    /// The user disliked the item.
    Negative,
}

impl FeedbackTypes {
    /// What a row of this type and value says.
    #[must_use]
    pub fn signal(&self, feedback_type: &str, value: f64) -> Signal {
        if any_matches(&self.negative, feedback_type, value) {
            Signal::Negative
        } else if any_matches(&self.positive, feedback_type, value) {
            Signal::Positive
        } else if any_matches(&self.read, feedback_type, value) {
            Signal::Read
        } else if self.positive.is_empty() {
            Signal::Positive
        } else {
            Signal::Other
        }
    }
}

/// How much one positive row counts: its value in units of what is usual for its type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeScales(pub FxHashMap<SmolStr, f32>);

impl TypeScales {
    /// Weight of a positive row, 0.25 to 4; 1 for a usual value, for a value of zero or below and for a
    /// type without a scale.
    #[must_use]
    pub fn weight(&self, feedback_type: &str, value: f64) -> f32 {
        match self.0.get(feedback_type) {
            Some(&scale) if value > 0.0 && scale > 0.0 => (value as f32 / scale).clamp(0.25, 4.0),
            Some(_) | None => 1.0,
        }
    }
}

/// A liked item.
#[derive(Clone, Debug, PartialEq)]
pub struct Liked {
    /// Which item.
    pub item: ItemId,
    /// How much, summed over the pair's positive rows, at most 8.
    pub weight: f32,
    /// When last.
    pub updated: Timestamp,
}

/// What recommendation needs to know of a user's feedback.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Liked items, latest first, each once; items that were also disliked are not among them.
    pub liked: Vec<Liked>,
    /// Items that were only read or met, latest first.
    pub read: Vec<ItemId>,
    /// Disliked items.
    pub disliked: Vec<ItemId>,
    /// When the earliest row that is still hidden becomes visible.
    pub changes_at: Option<Timestamp>,
}

/// What several rows say together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said<'a, K> {
    /// What the rows have in common.
    pub about: &'a K,
    /// The strongest signal.
    pub signal: Signal,
    /// Sum of the positive rows.
    pub weight: f32,
    /// The latest time.
    pub updated: Timestamp,
}

/// What rows say about each `key` up to `now`, latest first, and when the earliest later row becomes visible.
pub(crate) fn said<'a, K: Hash + Ord>(
    rows: &'a [Feedback],
    key: impl Fn(&'a Feedback) -> &'a K,
    (types, scales): (&FeedbackTypes, &TypeScales),
    now: Timestamp,
) -> (Vec<Said<'a, K>>, Option<Timestamp>) {
    let mut places: FxHashMap<&K, usize> = FxHashMap::default();
    places.reserve(rows.len());
    let mut said: Vec<Said<'a, K>> = Vec::with_capacity(rows.len());
    let mut changes_at: Option<Timestamp> = None;
    for row in rows {
        if row.timestamp > now {
            changes_at = Some(changes_at.map_or(row.timestamp, |earliest| earliest.min(row.timestamp)));
            continue;
        }
        let signal = types.signal(&row.feedback_type, row.value);
        let positive = signal == Signal::Positive;
        let weight = if positive { scales.weight(&row.feedback_type, row.value) } else { 0.0 };
        let place = *places.entry(key(row)).or_insert(said.len());
        if place == said.len() {
            said.push(Said { about: key(row), signal, weight, updated: row.updated });
        } else {
            let pair = &mut said[place];
            pair.signal = pair.signal.max(signal);
            pair.weight = (pair.weight + weight).min(MAX_WEIGHT);
            pair.updated = pair.updated.max(row.updated);
        }
    }
    said.sort_unstable_by(|a, b| b.updated.cmp(&a.updated).then_with(|| a.about.cmp(b.about)));
    (said, changes_at)
}

/// Largest weight of one pair.
const MAX_WEIGHT: f32 = 8.0;

impl History {
    /// Sorts a user's rows. Rows later than `now` are invisible, they only set [`History::changes_at`].
    #[must_use]
    pub fn new(rows: &[Feedback], types: &FeedbackTypes, scales: &TypeScales, now: Timestamp) -> Self {
        let (pairs, changes_at) = said(rows, |row| &row.item_id, (types, scales), now);
        let mut history = Self { changes_at, ..Self::default() };
        for Said { about: item, signal, weight, updated } in pairs {
            match signal {
                Signal::Positive => history.liked.push(Liked { item: item.clone(), weight, updated }),
                Signal::Negative => history.disliked.push(item.clone()),
                Signal::Read | Signal::Other => history.read.push(item.clone()),
            }
        }
        history
    }

    /// Every item the user has met.
    pub fn met(&self) -> impl Iterator<Item = &ItemId> {
        self.liked.iter().map(|liked| &liked.item).chain(&self.read).chain(&self.disliked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use ulex_domain::UserId;

    fn types(positive: &[&str], negative: &[&str], read: &[&str]) -> FeedbackTypes {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        FeedbackTypes { positive: parse(positive), negative: parse(negative), read: parse(read) }
    }

    fn row(feedback_type: &str, item: &str, value: f64, seconds: i64) -> Feedback {
        let moment = Timestamp::from_unix_seconds(seconds);
        Feedback {
            feedback_type: SmolStr::new(feedback_type),
            user_id: UserId::new("u"),
            item_id: ItemId::new(item),
            value,
            timestamp: moment,
            updated: moment,
            labels: Value::Null,
            comment: String::new(),
        }
    }

    #[test]
    fn negative_wins_over_positive_and_positive_over_read() {
        let types = types(&["rating>=4", "star"], &["rating<2", "hide"], &["rating"]);
        let signals = [("rating", 5.0), ("rating", 1.0), ("rating", 3.0), ("star", 0.0), ("click", 1.0)]
            .map(|(feedback_type, value)| types.signal(feedback_type, value));
        assert_eq!(
            signals,
            [Signal::Positive, Signal::Negative, Signal::Read, Signal::Positive, Signal::Other]
        );
    }

    #[test]
    fn without_positive_types_whatever_is_neither_negative_nor_read_is_positive() {
        let types = types(&[], &["hide"], &["read"]);
        let signals = ["hide", "read", "click"].map(|feedback_type| types.signal(feedback_type, 0.0));
        assert_eq!(signals, [Signal::Negative, Signal::Read, Signal::Positive]);
    }

    #[test]
    fn each_pair_counts_once_with_its_strongest_signal_and_the_latest_comes_first() {
        let rows = [
            row("star", "a", 1.0, 1),
            row("buy", "a", 1.0, 5),
            row("star", "b", 1.0, 3),
            row("read", "c", 1.0, 9),
            row("star", "d", 1.0, 2),
            row("hide", "d", 1.0, 1),
        ];
        let types = types(&["star", "buy"], &["hide"], &["read"]);
        let history = History::new(&rows, &types, &TypeScales::default(), Timestamp::from_unix_seconds(10));
        let liked: Vec<_> = history.liked.iter().map(|liked| (liked.item.as_str(), liked.weight)).collect();
        assert_eq!(liked, [("a", 2.0), ("b", 1.0)]);
        assert_eq!(history.read, [ItemId::new("c")]);
        assert_eq!(history.disliked, [ItemId::new("d")]);
        assert_eq!(history.met().count(), 4);
    }

    #[test]
    fn a_row_in_the_future_is_invisible_and_says_when_that_ends() {
        let rows = [row("star", "a", 1.0, 20), row("star", "b", 1.0, 15), row("star", "c", 1.0, 1)];
        let now = Timestamp::from_unix_seconds(10);
        let history = History::new(&rows, &FeedbackTypes::default(), &TypeScales::default(), now);
        assert_eq!(history.met().collect::<Vec<_>>(), [&ItemId::new("c")]);
        assert_eq!(history.changes_at, Some(Timestamp::from_unix_seconds(15)));
    }

    #[test]
    fn weights_are_values_in_units_of_what_is_usual_within_bounds() {
        let scales = TypeScales(FxHashMap::from_iter([(SmolStr::new("watch"), 60.0)]));
        let weights = [30.0, 60.0, 6_000.0, 1.0, 0.0, -3.0].map(|value| scales.weight("watch", value));
        assert_eq!(weights, [0.5, 1.0, 4.0, 0.25, 1.0, 1.0]);
        assert_eq!(scales.weight("star", 77.0), 1.0, "a type without a scale");
    }

    #[test]
    fn weights_of_several_rows_add_up_to_at_most_eight() {
        let scales =
            TypeScales(["a", "b", "c"].map(|kind| (SmolStr::new(kind), 100.0)).into_iter().collect());
        let rows = ["a", "b", "c", "d"].map(|kind| row(kind, "x", 300.0, 1));
        let weight = |rows: &[Feedback]| {
            let now = Timestamp::from_unix_seconds(2);
            History::new(rows, &FeedbackTypes::default(), &scales, now).liked[0].weight
        };
        assert_eq!((weight(&rows[..1]), weight(&rows[2..]), weight(&rows)), (3.0, 4.0, 8.0));
    }
}
