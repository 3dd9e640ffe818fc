//! The one actor that fits models: one training cycle at a time, on its own thread pool.
//!
//! - Receives: [`Grown`] from the dataset, [`Fit`] from people, [`Cancel`], [`LiveChanged`] from the registry,
//!   [`SettingsChanged`], [`Observe`], [`Shutdown`].
//! - Announces: [`Fitted`] to the registry, once for each finished cycle; progress to the task board.
//! - Owns: at most one running cycle; when the next one is due ([`crate::schedule`]).
//! - On failure: a failed or panicked cycle is counted and logged, the models in use stay, and the next one waits longer.
//! - On shutdown: cancels the running cycle, waits for its current step, announces nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use metrics::{counter, histogram};
use serde_json::json;
use tokio::sync::oneshot;
use tracing::{error, info};
use ulex_actors::{ComputePool, Guarded, Observe, Outlet, SettingsChanged, Shutdown};
use ulex_algorithms::model_set::ModelSet;
use ulex_algorithms::progress::CancelFlag;
use ulex_domain::Timestamp;

use crate::dataset::table::Table;
use crate::dataset::{Dataset, Grown, TakeTable};
use crate::registry::LiveChanged;
use crate::schedule::{Known, Policy, due};
use crate::task_board::TaskBoard;
use crate::training::{Cycle, CycleError, CycleSettings, Cycled};

/// How often the trainer looks whether a fit is due.
const LOOK: Duration = Duration::from_millis(250);
/// Wait after the first failure; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// Longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Starts a cycle now. Answered at once.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Fit;

/// Stops a running cycle at its next step; says whether there was one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Cancel;

/// A cycle has finished; the registry decides whether its models go live.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Fitted(pub Box<Cycled>);

/// What a trainer needs.
#[derive(Clone)]
pub struct TrainerParts {
    /// Who is told of a finished cycle.
    pub registry: Outlet<Fitted>,
    /// Where the data comes from.
    pub dataset: Guarded<Dataset>,
    /// Where the numbers are crunched.
    pub pool: Arc<ComputePool>,
    /// Where progress is shown.
    pub tasks: TaskBoard,
    /// How to fit.
    pub settings: Arc<CycleSettings>,
    /// When to fit.
    pub policy: Policy,
    /// Rows in the store when the process started.
    pub rows_at_start: u64,
}

type Outcome = Result<Box<Cycled>, CycleError>;

struct Running {
    since: Instant,
    cancel: Arc<CancelFlag>,
    /// It learns what nobody wants any more; the next one is due at once.
    outdated: bool,
    when_done: Vec<oneshot::Sender<()>>,
}

impl Drop for Running {
    /// A trainer that is gone, for whatever reason, leaves no fit burning a core.
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// See the module documentation.
pub struct Trainer {
    parts: TrainerParts,
    live: Option<Arc<ModelSet>>,
    known: Known,
    running: Option<Running>,
    cycles: u64,
    failures: u32,
}

impl Trainer {
    /// Prepares the actor; it looks whether a fit is due from its start on.
    #[must_use]
    pub fn new(parts: TrainerParts) -> Self {
        let now = Instant::now();
        let known = Known {
            new_rows: parts.rows_at_start,
            first_change: (parts.rows_at_start > 0).then_some(now),
            last_change: (parts.rows_at_start > 0).then_some(now),
            ..Known::default()
        };
        Self { parts, live: None, known, running: None, cycles: 0, failures: 0 }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.running.is_some() {
            return;
        }
        if let Some(reason) = due(Instant::now(), &self.known, &self.parts.policy) {
            info!(?reason, new_rows = self.known.new_rows, "a training cycle is due");
            self.start(ctx);
        }
    }

    fn start(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(dataset) = self.parts.dataset.addr() else { return false };
        if self.running.is_some() {
            return false;
        }
        let cancel = Arc::new(CancelFlag::default());
        self.running = Some(Running {
            since: Instant::now(),
            cancel: Arc::clone(&cancel),
            outdated: false,
            when_done: Vec::new(),
        });
        self.known.new_rows = 0;
        self.known.first_change = None;
        let (parts, live) = (self.parts.clone(), self.live.clone());
        let work = async move {
            let loading = parts.tasks.begin("Load Dataset", 1);
            let table = match dataset.send(TakeTable).await {
                Ok(Ok(table)) => table,
                Ok(Err(reason)) => {
                    loading.fail(&reason.to_string());
                    return Err(CycleError::Failed(reason.to_string()));
                }
                Err(gone) => return Err(CycleError::Failed(gone.to_string())),
            };
            loading.finish();
            compute(&parts, table, live, cancel).await
        };
        ctx.spawn(work.into_actor(self).map(|outcome, trainer, _| trainer.finish(outcome)));
        true
    }

    fn finish(&mut self, outcome: Outcome) {
        let Some(mut finished) = self.running.take() else { return };
        let waiting = std::mem::take(&mut finished.when_done);
        self.cycles += 1;
        let told = match &outcome {
            Ok(_) => "complete",
            Err(CycleError::Cancelled) => "cancelled",
            Err(_) => "failed",
        };
        counter!("ulex_fits_total", "outcome" => told).increment(1);
        histogram!("ulex_fit_seconds", "outcome" => told).record(finished.since.elapsed().as_secs_f64());
        match outcome {
            Ok(_) if !waiting.is_empty() => info!("training cycle finished while stopping, dropped"),
            Ok(cycled) => {
                self.failures = 0;
                self.known.not_before = None;
                self.known.settings_changed =
                    cycled.set.manifest.settings_digest != self.parts.settings.digest;
                self.known.last_fit = Some(Instant::now());
                self.known.rows_at_last_fit = cycled.set.manifest.rows as u64;
                self.parts.registry.send(Fitted(cycled));
            }
            Err(CycleError::Cancelled) => {
                info!("training cycle cancelled");
                self.known.new_rows = self.known.new_rows.max(1);
                self.known.not_before = (!finished.outdated).then(|| Instant::now() + FIRST_WAIT);
            }
            Err(reason) => {
                self.failures += 1;
                error!(%reason, failures = self.failures, "training cycle failed, the models in use stay");
                let wait = FIRST_WAIT.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
                self.known.not_before = Some(Instant::now() + wait.min(LONGEST_WAIT));
                self.known.new_rows = self.known.new_rows.max(1);
            }
        }
        for shutdown in waiting {
            let _ = shutdown.send(());
        }
    }
}

async fn compute(
    parts: &TrainerParts,
    table: Arc<Table>,
    live: Option<Arc<ModelSet>>,
    cancel: Arc<CancelFlag>,
) -> Outcome {
    let (settings, tasks) = (Arc::clone(&parts.settings), parts.tasks.clone());
    let cycle = move || {
        let cycle = Cycle {
            table: &table,
            settings: &settings,
            live: live.as_deref(),
            now: Timestamp::now(),
            tasks: &tasks,
            cancel: &cancel,
        };
        cycle.run().map(Box::new)
    };
    match parts.pool.run(cycle).await {
        Ok(outcome) => outcome,
        Err(panicked) => Err(CycleError::Failed(panicked.to_string())),
    }
}

impl Actor for Trainer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK, Self::look);
    }
}

impl Handler<Grown> for Trainer {
    type Result = ();

    fn handle(&mut self, grown: Grown, _: &mut Context<Self>) {
        self.known.new_rows = grown.rows;
        self.known.first_change.get_or_insert(grown.at);
        self.known.last_change = Some(grown.at);
    }
}

impl Handler<LiveChanged> for Trainer {
    type Result = ();

    fn handle(&mut self, LiveChanged(set): LiveChanged, _: &mut Context<Self>) {
        if self.known.last_fit.is_none() {
            // A ModelSet of an earlier run: what has come since is the difference in rows.
            self.known.new_rows = self.known.new_rows.abs_diff(set.manifest.rows as u64);
            let age = Timestamp::now().as_nanos() / 1_000_000 - set.manifest.created_ms;
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
            self.known.last_fit = Some(Instant::now().checked_sub(age).unwrap_or_else(Instant::now));
            self.known.rows_at_last_fit = set.manifest.rows as u64;
        }
        self.known.settings_changed = set.manifest.settings_digest != self.parts.settings.digest;
        self.live = Some(set);
    }
}

impl Handler<SettingsChanged> for Trainer {
    type Result = ();

    fn handle(&mut self, SettingsChanged { settings, .. }: SettingsChanged, _: &mut Context<Self>) {
        self.parts.policy = Policy::new(&settings);
        let settings = CycleSettings::new(settings.as_ref().clone());
        if settings.digest == self.parts.settings.digest {
            // Nothing that a ModelSet depends on.
            self.parts.settings = Arc::new(settings);
            return;
        }
        let live = self.live.as_ref().map(|set| &set.manifest.settings_digest);
        self.known.settings_changed = live.is_some_and(|digest| *digest != settings.digest);
        self.known.not_before = None;
        self.parts.settings = Arc::new(settings);
        if let Some(running) = &mut self.running {
            running.cancel.cancel();
            running.outdated = true;
        }
    }
}

impl Handler<Fit> for Trainer {
    type Result = bool;

    fn handle(&mut self, _: Fit, ctx: &mut Context<Self>) -> bool {
        self.start(ctx)
    }
}

impl Handler<Cancel> for Trainer {
    type Result = bool;

    fn handle(&mut self, _: Cancel, _: &mut Context<Self>) -> bool {
        self.running.as_ref().is_some_and(|running| {
            running.cancel.cancel();
            true
        })
    }
}

impl Handler<Observe> for Trainer {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({
            "fitting": self.running.is_some(),
            "cycles": self.cycles,
            "failures": self.failures,
            "new_rows": self.known.new_rows,
            "live": self.live.as_ref().map(|set| set.id().to_owned()),
        }))
    }
}

impl Handler<Shutdown> for Trainer {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        let (done, settled) = oneshot::channel();
        if let Some(running) = &mut self.running {
            running.cancel.cancel();
            running.when_done.push(done);
        }
        // With nothing running `done` is dropped here and `settled` resolves at once.
        Box::pin(settled.into_actor(self).map(|_, _, ctx| ctx.stop()))
    }
}
