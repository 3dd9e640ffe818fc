//! From feedback rows to who likes what: one signal for each pair, as serving would read it.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;
use ulex_algorithms::interactions::Interactions;
use ulex_domain::Timestamp;
use ulex_recommenders::history::{FeedbackTypes, Signal, TypeScales};

use crate::dataset::table::Table;

/// What one user thinks of one item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Index into [`Table::users`].
    pub user: u32,
    /// Index into [`Table::items`].
    pub item: u32,
    /// The strongest signal of the pair's rows.
    pub signal: Signal,
    /// Weight of a liked pair, 0 otherwise.
    pub weight: f32,
    /// When last.
    pub updated: Timestamp,
}

/// What is read from the rows.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Each pair once, by user, then by time, then by item.
    pub pairs: Vec<Pair>,
    /// What a usual value is, by type.
    pub scales: TypeScales,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// Which feedback says what.
    pub types: &'a FeedbackTypes,
    /// Rows later than this are invisible.
    pub now: Timestamp,
    /// Rows older than this are ignored.
    pub oldest: Option<Timestamp>,
}

/// Largest weight of one pair, as in serving.
const MAX_WEIGHT: f32 = 8.0;

impl Signals {
    /// Reads all rows; `O(rows log rows)`. Rows of deleted users and items are ignored.
    #[must_use]
    pub fn read(table: &Table, reading: &Reading<'_>) -> Self {
        let scales = scales(table, reading);
        let weights = |kind: u16, value: f32| {
            let name = type_name(table, kind);
            scales.weight(name, f64::from(value))
        };
        let rows = &table.rows;
        let exists =
            |texts: &[Box<str>], index: u32| texts.get(index as usize).is_some_and(|text| !text.is_empty());
        let mut pairs: Vec<Pair> = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let (user, item) = (rows.user[row], rows.item[row]);
            let visible = rows.timestamp[row] <= reading.now
                && reading.oldest.is_none_or(|oldest| rows.timestamp[row] >= oldest);
            if !visible || !exists(&table.user_texts, user) || !exists(&table.item_texts, item) {
                continue;
            }
            let signal = reading.types.signal(type_name(table, rows.kind[row]), f64::from(rows.value[row]));
            let weight =
                if signal == Signal::Positive { weights(rows.kind[row], rows.value[row]) } else { 0.0 };
            pairs.push(Pair { user, item, signal, weight, updated: rows.updated[row] });
        }
        // Rows come in this order; the sort keeps equal ones in theirs, by type, so sums are the same every time.
        pairs.sort_by_key(|pair| (pair.user, pair.item));
        pairs.dedup_by(|later, kept| {
            let same = later.user == kept.user && later.item == kept.item;
            if same {
                kept.signal = kept.signal.max(later.signal);
                kept.weight = (kept.weight + later.weight).min(MAX_WEIGHT);
                kept.updated = kept.updated.max(later.updated);
            }
            same
        });
        pairs.sort_unstable_by_key(|pair| (pair.user, pair.updated, pair.item));
        Self { pairs, scales }
    }

    /// The liked pairs as a matrix of weights.
    #[must_use]
    pub fn liked(&self, n_users: usize, n_items: usize) -> Interactions {
        liked(self.pairs.iter(), n_users, n_items)
    }
}

/// The liked ones of some pairs as a matrix of weights.
pub fn liked<'a>(pairs: impl Iterator<Item = &'a Pair>, n_users: usize, n_items: usize) -> Interactions {
    let positive = pairs.filter(|pair| pair.signal == Signal::Positive);
    Interactions::from_triples(
        n_users,
        n_items,
        positive.map(|pair| (pair.user, pair.item, pair.weight)).collect(),
    )
}

fn type_name(table: &Table, kind: u16) -> &str {
    if (kind as usize) < table.types.len() { table.types.id(u32::from(kind)) } else { "" }
}

/// The median of the positive values of each type that says "liked".
fn scales(table: &Table, reading: &Reading<'_>) -> TypeScales {
    let mut values: FxHashMap<u16, Vec<f32>> = FxHashMap::default();
    for (&kind, &value) in table.rows.kind.iter().zip(&table.rows.value) {
        let signal = reading.types.signal(type_name(table, kind), f64::from(value));
        if signal == Signal::Positive && value > 0.0 && value.is_finite() {
            values.entry(kind).or_default().push(value);
        }
    }
    let median = |values: &mut Vec<f32>| {
        let middle = values.len() / 2;
        *values.select_nth_unstable_by(middle, f32::total_cmp).1
    };
    let scales =
        values.iter_mut().map(|(&kind, values)| (SmolStr::new(type_name(table, kind)), median(values)));
    TypeScales(scales.collect())
}
