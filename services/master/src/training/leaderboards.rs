//! The same list for everybody: items scored and filtered by the expressions of the settings.
//!
//! A list holds the best items overall and, after them, those that are among the best of one of their categories, so a
//! request for a category finds as many. Hidden items are scored like all others: whether an item may be shown is decided
//! when the list is served.

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde_json::Value;
use tracing::warn;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::model_set::Leaderboard;
use ulex_algorithms::top_k::TopK;
use ulex_domain::Item;
use ulex_domain::expression::{EvaluationContext, Expression, ExpressionScope, FeedbackFields};
use ulex_recommenders::history::Signal;
use ulex_settings::NonPersonalized;

use super::{Cycle, CycleError};
use crate::dataset::table::Table;

/// Builds the leaderboards of a cycle.
pub struct Boards<'a> {
    cycle: &'a Cycle<'a>,
}

impl<'a> Boards<'a> {
    /// Of this cycle.
    #[must_use]
    pub const fn new(cycle: &'a Cycle<'a>) -> Self {
        Self { cycle }
    }

    /// Evaluates every leaderboard over all items.
    ///
    /// # Errors
    ///
    /// [`CycleError::Failed`] if an expression does not compile, which the settings have checked before.
    pub fn build(&self) -> Result<Vec<Leaderboard>, CycleError> {
        let configured = &self.cycle.settings.settings.recommend.non_personalized;
        if configured.is_empty() {
            return Ok(Vec::new());
        }
        let rows = ItemRows::new(self.cycle);
        let items: Vec<Option<Item>> = (0..self.cycle.table.items.len() as u32)
            .into_par_iter()
            .map(|index| self.cycle.table.item(index))
            .collect();
        configured.iter().map(|board| self.evaluate(board, &items, &rows)).collect()
    }

    fn evaluate(
        &self,
        board: &NonPersonalized,
        items: &[Option<Item>],
        rows: &ItemRows,
    ) -> Result<Leaderboard, CycleError> {
        let compile = |text: &str| {
            Expression::compile(text, ExpressionScope::ItemWithFeedback)
                .map_err(|reason| CycleError::Failed(format!("leaderboard {}: {reason}", board.name)))
        };
        let score = compile(&board.score)?;
        let filter = board.filter.as_deref().map(compile).transpose()?;
        let evaluate = |(index, item): (usize, &Option<Item>)| -> Option<Result<(u32, f64), String>> {
            let item = item.as_ref()?;
            let feedback = rows.of(self.cycle.table, index as u32);
            let environment =
                EvaluationContext { item: Some(item), user: None, feedback: &feedback, now: self.cycle.now };
            if let Some(filter) = &filter {
                match filter.evaluate_bool(&environment) {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(reason) => return Some(Err(reason.to_string())),
                }
            }
            Some(
                score
                    .evaluate_number(&environment)
                    .map(|score| (index as u32, score))
                    .map_err(|r| r.to_string()),
            )
        };
        let evaluated: Vec<Result<(u32, f64), String>> =
            items.par_iter().enumerate().filter_map(evaluate).collect();
        let failed = evaluated.iter().filter_map(|result| result.as_ref().err());
        if let Some(first) = failed.clone().next() {
            warn!(leaderboard = board.name, items = failed.count(), first, "items could not be scored");
        }
        let scored: Vec<(u32, f64)> = evaluated.into_iter().filter_map(Result::ok).collect();
        Ok(self.cut(&board.name, &scored, items))
    }

    /// The best overall and the best of each category.
    fn cut(&self, name: &str, scored: &[(u32, f64)], items: &[Option<Item>]) -> Leaderboard {
        let k = self.cycle.settings.plan.cache_size;
        let mut overall = TopK::new(k);
        let mut categories: FxHashMap<&str, TopK> = FxHashMap::default();
        for (place, &(index, score)) in scored.iter().enumerate() {
            let place = place as u32;
            // Scores are compared in single precision here and reported in double below.
            overall.push(place, score as f32);
            let of_item = items.get(index as usize).and_then(Option::as_ref);
            for category in of_item.and_then(|item| item.categories.as_ref()).into_iter().flatten() {
                categories.entry(category).or_insert_with(|| TopK::new(k)).push(place, score as f32);
            }
        }
        let best = overall.into_sorted().into_iter();
        let in_categories = categories.into_values().flat_map(TopK::into_sorted);
        let mut places: Vec<u32> = best.chain(in_categories).map(|place| place.index).collect();
        places.sort_unstable();
        places.dedup();
        let mut entries: Vec<(u32, f64)> = places.into_iter().map(|place| scored[place as usize]).collect();
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Leaderboard { name: name.to_owned(), entries }
    }

    /// Every leaderboard as a count of likes: a stand-in for tests on a part of the data, where expressions would see rows
    /// that are held back.
    #[must_use]
    pub fn counting(&self, liked: &Interactions) -> Vec<Leaderboard> {
        let mut counts = vec![0.0; liked.n_cols()];
        liked.columns().iter().for_each(|&item| counts[item as usize] += 1.0);
        let mut entries: Vec<(u32, f64)> = (0..).zip(counts).collect();
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        entries.truncate(self.cycle.settings.plan.cache_size * 2);
        let configured = self.cycle.settings.settings.recommend.non_personalized.iter();
        configured.map(|board| Leaderboard { name: board.name.clone(), entries: entries.clone() }).collect()
    }
}

/// The positive rows of each item.
struct ItemRows {
    offsets: Vec<u32>,
    rows: Vec<u32>,
}

impl ItemRows {
    fn new(cycle: &Cycle<'_>) -> Self {
        let table = cycle.table;
        let types = &cycle.settings.plan.types;
        let positive = |row: usize| {
            let kind = u32::from(table.rows.kind[row]);
            let name = if (kind as usize) < table.types.len() { table.types.id(kind) } else { "" };
            table.rows.timestamp[row] <= cycle.now
                && types.signal(name, f64::from(table.rows.value[row])) == Signal::Positive
        };
        let wanted: Vec<u32> =
            (0..table.rows.len()).filter(|&row| positive(row)).map(|row| row as u32).collect();
        let mut offsets = vec![0_u32; table.items.len() + 1];
        for &row in &wanted {
            offsets[table.rows.item[row as usize] as usize + 1] += 1;
        }
        for item in 0..table.items.len() {
            offsets[item + 1] += offsets[item];
        }
        let mut next = offsets.clone();
        let mut rows = vec![0; wanted.len()];
        for row in wanted {
            let item = table.rows.item[row as usize] as usize;
            rows[next[item] as usize] = row;
            next[item] += 1;
        }
        Self { offsets, rows }
    }

    fn of<'a>(&self, table: &'a Table, item: u32) -> Vec<FeedbackFields<'a>> {
        let span = self.offsets[item as usize] as usize..self.offsets[item as usize + 1] as usize;
        let view = |&row: &u32| {
            let row = row as usize;
            let kind = u32::from(table.rows.kind[row]);
            FeedbackFields {
                feedback_type: if (kind as usize) < table.types.len() { table.types.id(kind) } else { "" },
                user_id: table.users.id(table.rows.user[row]),
                item_id: table.items.id(item),
                value: f64::from(table.rows.value[row]),
                timestamp: table.rows.timestamp[row],
                updated: table.rows.updated[row],
                labels: &Value::Null,
                comment: "",
            }
        };
        self.rows[span].iter().map(view).collect()
    }
}
