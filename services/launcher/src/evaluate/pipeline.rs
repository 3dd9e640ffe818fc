//! Everything together, as it is served: a whole training cycle on the training part, then the lists that the service
//! would answer with.
//!
//! The cycle gets a table that holds the training part and nothing else. What it holds back to choose models, parameters and
//! the blend by, it holds back from there.

use rayon::prelude::*;
use serde_json::Value;
use smol_str::SmolStr;
use std::sync::Arc;
use ulex_algorithms::click_through::FmParams;
use ulex_algorithms::model_set::RankerModel;
use ulex_algorithms::progress::CancelFlag;
use ulex_algorithms::top_k::Scored;
use ulex_domain::ItemState;
use ulex_domain::{Feedback, ItemId, Timestamp, UserId};
use ulex_master::dataset::table::Table;
use ulex_master::task_board::TaskBoard;
use ulex_master::training::{Cycle, CycleError, CycleSettings, Cycled};
use ulex_recommenders::catalogue::{Catalogue, Eligibility};
use ulex_recommenders::history::History;
use ulex_recommenders::live::Live;
use ulex_recommenders::pipeline::{Inputs, Workspace, recommend, single};
use ulex_recommenders::plan::Source;

/// Runs a whole training cycle.
///
/// # Errors
///
/// [`CycleError`] if there is nothing to learn from.
pub fn train(table: &Table, settings: &CycleSettings, now: Timestamp) -> Result<Cycled, CycleError> {
    with_cycle(table, settings, now, |cycle| cycle.run())
}

/// Fits the click-through-rate model alone.
///
/// # Errors
///
/// [`CycleError`] if the fit failed, or there is nothing to learn from.
pub fn train_ranker(
    table: &Table,
    settings: &CycleSettings,
    now: Timestamp,
    params: &FmParams,
) -> Result<RankerModel, CycleError> {
    let ranker = with_cycle(table, settings, now, |cycle| cycle.ranker(params))?;
    ranker.ok_or(CycleError::Empty("there are no positive and negative examples to learn from"))
}

fn with_cycle<T>(
    table: &Table,
    settings: &CycleSettings,
    now: Timestamp,
    work: impl FnOnce(&Cycle<'_>) -> T,
) -> T {
    let (tasks, cancel) = (TaskBoard::unattended("evaluate"), CancelFlag::default());
    work(&Cycle { table, settings, live: None, now, tasks: &tasks, cancel: &cancel })
}

/// The service, reduced to what decides its lists.
pub struct Served<'a> {
    table: &'a Table,
    settings: &'a CycleSettings,
    now: Timestamp,
    catalogue: Catalogue,
    live: Live,
    /// Rows of each user.
    rows: Vec<Vec<u32>>,
}

impl<'a> Served<'a> {
    /// Puts a ModelSet into service, with the feedback it was trained on.
    #[must_use]
    pub fn new(table: &'a Table, settings: &'a CycleSettings, now: Timestamp, trained: Cycled) -> Self {
        let catalogue = Catalogue::default();
        let items = (0..table.items.len() as u32).filter_map(|item| table.item(item));
        catalogue.put(&items.map(|item| ItemState::from(&item)).collect::<Vec<_>>());
        let live = Live::new(Arc::new(trained.set), &catalogue);
        let mut rows = vec![Vec::new(); table.users.len()];
        for (row, &user) in (0..).zip(&table.rows.user) {
            rows[user as usize].push(row);
        }
        Self { table, settings, now, catalogue, live, rows }
    }

    /// One list for each user, as the pipeline or as one of its sources alone. Items are indexes of the table.
    #[must_use]
    pub fn lists(&self, users: &[u32], k: usize, source: Option<&Source>) -> Vec<Vec<Scored>> {
        let list = |workspace: &mut Workspace, &user: &u32| self.list(user, k, source, workspace);
        users.par_iter().map_init(Workspace::default, list).collect()
    }

    fn list(&self, user: u32, k: usize, source: Option<&Source>, workspace: &mut Workspace) -> Vec<Scored> {
        let plan = &self.settings.plan;
        let history = History::new(&self.feedback(user), &plan.types, &self.live.scales, self.now);
        let view = self.catalogue.view();
        let eligibility = match plan.item_ttl {
            None => Eligibility::any(),
            Some(age) => {
                let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
                view.eligibility(&[], Some(self.now.plus_nanos(-age)))
            }
        };
        let inputs = Inputs {
            live: Some(&self.live),
            view: &view,
            plan,
            user: self.live.set.users.index(self.table.users.id(user)),
            history: &history,
            eligibility: &eligibility,
        };
        let list = match source {
            None => recommend(&inputs, k, workspace),
            Some(source) => single(&inputs, source, k, workspace),
        };
        let place = |slot: u32, score| Some(Scored { index: self.table.items.index(view.id(slot))?, score });
        list.iter().filter_map(|ranked| place(ranked.slot, ranked.score)).collect()
    }

    fn feedback(&self, user: u32) -> Vec<Feedback> {
        let rows = &self.table.rows;
        let row = |&row: &u32| {
            let row = row as usize;
            Feedback {
                feedback_type: SmolStr::new(self.table.types.id(rows.kind[row].into())),
                user_id: UserId::new(self.table.users.id(user)),
                item_id: ItemId::new(self.table.items.id(rows.item[row])),
                value: rows.value[row].into(),
                timestamp: rows.timestamp[row],
                updated: rows.updated[row],
                labels: Value::Null,
                comment: String::new(),
            }
        };
        self.rows[user as usize].iter().map(row).collect()
    }
}
