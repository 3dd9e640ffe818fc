//! Which users' lists are computed again, and in which order.
//!
//! - Receives: [`RefreshOrder`] from the registry, [`LiveChanged`] when a ModelSet went live or this process came to lead,
//!   [`SettingsChanged`], [`Observe`], [`Shutdown`]; reads the stream `CHANGES`.
//! - Announces: [`RefreshJob`]s in the stream `JOBS`; of several for one user only the newest is kept there.
//! - Owns: the users who changed since the last round, and those still to be planned for a new ModelSet or other settings.
//!   A new leader plans everyone again: a worker that finds a list fresh says so at the cost of reading it.
//! - On failure: if changes may have been missed, everyone is planned again; a full or absent stream is waited for; jobs are only a head start, a list that is asked for and not
//!   there is computed at once anyway.
//! - On shutdown: stops planning.

mod changed;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics::counter;
use rustc_hash::FxHashSet;
use serde_json::json;
use tracing::{Instrument as _, debug, warn};
use ulex_actors::{Observe, SettingsChanged, Shutdown};
use ulex_domain::{Change, UserId};
use ulex_nats::bus::{AppendOptions, Read};
use ulex_nats::changes::Changes;
use ulex_nats::refresh::{Basis, RefreshJob, RefreshReason};
use ulex_nats::topology::{CHANGES, REFRESH};
use ulex_nats::trace_context::{continue_trace, is_sampled};
use ulex_nats::transport::{Headers, TRACE_HEADER, TRACE_STATE_HEADER};
use ulex_nats::{Bus, BusError, Followed, follow};

use self::changed::ChangedUsers;
use crate::registry::{LiveChanged, RefreshOrder};

/// How often jobs are planned.
const ROUND: Duration = Duration::from_secs(2);
/// Jobs that wait for a worker; no more are planned meanwhile.
const BACKLOG: u64 = 4_000;
/// Jobs on their way to the stream at a time.
const ON_THEIR_WAY: usize = 64;

/// See the module documentation.
pub struct Planner {
    bus: Bus,
    /// What is in force; nothing is planned before there is a ModelSet.
    basis: Basis,
    /// Of the ModelSet that is about to go live.
    order: Option<RefreshOrder>,
    changed: ChangedUsers,
    everyone: Arc<Vec<String>>,
    next: usize,
    planned: u64,
    planning: bool,
    following: bool,
}

impl Planner {
    /// Prepares the actor; `settings` is the revision of those in force.
    #[must_use]
    pub fn new(bus: Bus, settings: u64) -> Self {
        Self {
            bus,
            basis: Basis { epoch: 0, settings },
            order: None,
            changed: ChangedUsers::default(),
            everyone: Arc::default(),
            next: 0,
            planned: 0,
            planning: false,
            following: false,
        }
    }

    fn plan_everyone_again(&mut self, ctx: &mut Context<Self>) {
        // Another list of users: a round under way must not take this back.
        self.everyone = Arc::new(Vec::clone(&self.everyone));
        self.next = 0;
        self.round(ctx);
    }

    fn round(&mut self, ctx: &mut Context<Self>) {
        if self.planning {
            return;
        }
        // Without a model a list costs next to nothing when it is asked for.
        if self.basis.epoch == 0 {
            self.changed = ChangedUsers::default();
            return;
        }
        let changed = self.changed.due();
        if changed.is_empty() && self.next >= self.everyone.len() {
            return;
        }
        self.planning = true;
        let (bus, basis) = (self.bus.clone(), self.basis);
        let (everyone, next) = (Arc::clone(&self.everyone), self.next);
        let planned_for = Arc::clone(&self.everyone);
        let work = async move {
            let mut jobs: Vec<(RefreshJob, Headers)> = changed
                .into_iter()
                .map(|(user_id, trace)| (job(user_id, basis, RefreshReason::Changed), trace))
                .collect();
            let room = BACKLOG.saturating_sub(bus.backlog(&REFRESH).await?.waiting);
            let more = usize::try_from(room).unwrap_or(0).saturating_sub(jobs.len());
            let until = (next + more).min(everyone.len());
            // A job of its own, which tells why, is already in this round.
            let has_job: FxHashSet<UserId> = jobs.iter().map(|(job, _)| job.user_id.clone()).collect();
            let rest = everyone[next..until].iter().filter(|id| !has_job.contains(&UserId::new(id)));
            let of_everyone = |id| (job(UserId::new(id), basis, RefreshReason::ModelSet), Headers::new());
            jobs.extend(rest.map(of_everyone));
            let planned = jobs.len() as u64;
            let give_out = async |(job, trace): (RefreshJob, Headers)| {
                let span = tracing::info_span!("plan refresh", otel.kind = "producer", reason = ?job.reason);
                continue_trace(&span, &trace);
                bus.append(&job, AppendOptions::default()).instrument(span).await.map(drop)
            };
            let given_out = stream::iter(jobs).map(give_out).buffered(ON_THEIR_WAY);
            given_out.try_for_each(async |()| Ok(())).await?;
            counter!("ulex_refresh_jobs_planned_total").increment(planned);
            Ok::<_, BusError>((planned, until))
        };
        ctx.spawn(work.into_actor(self).map(move |outcome, planner, ctx| {
            planner.planning = false;
            match outcome {
                Ok((planned, until)) => {
                    planner.planned += planned;
                    // Unless another ModelSet went live meanwhile, which starts over.
                    if Arc::ptr_eq(&planner.everyone, &planned_for) {
                        planner.next = until;
                    }
                    debug!(planned, "refresh jobs planned");
                    if planner.next < planner.everyone.len() && planned > 0 {
                        ctx.run_later(Duration::from_millis(100), Self::round);
                    }
                }
                Err(reason) => warn!(%reason, "refresh jobs could not be planned"),
            }
        }));
    }
}

const fn job(user_id: UserId, basis: Basis, reason: RefreshReason) -> RefreshJob {
    RefreshJob { user_id, basis, reason }
}

impl Actor for Planner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(ROUND, Self::round);
        let (bus, own) = (self.bus.clone(), ctx.address());
        ctx.spawn(follow_changes(bus, own).into_actor(self));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Changed(Vec<(UserId, Headers)>);

async fn follow_changes(bus: Bus, own: Addr<Planner>) {
    let mut follower = follow::<Changes>(bus, &CHANGES, None);
    while let Ok(followed) = follower.next().await {
        let sent = match followed {
            Followed::Messages(messages) => {
                own.send(Changed(messages.into_iter().flat_map(changed_users).collect())).await
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

/// The users that a message says have changed, with its trace.
fn changed_users(message: Read<Changes>) -> Vec<(UserId, Headers)> {
    let Ok(changes) = message.body else { return Vec::new() };
    let is_trace = |name: &String| name == TRACE_HEADER || name == TRACE_STATE_HEADER;
    let mut trace = Headers::new();
    if is_sampled(&message.message.headers) {
        trace.extend(message.message.headers.into_iter().filter(|(name, _)| is_trace(name)));
    }
    changes.changes.into_iter().flat_map(users_of).map(|user| (user, trace.clone())).collect()
}

fn users_of(change: Change) -> Vec<UserId> {
    match change {
        Change::Users { user_ids } => user_ids,
        Change::Feedback { pairs } => pairs.into_iter().map(|(user, _)| user).collect(),
        Change::UserDeleted { .. } | Change::Items { .. } | Change::ItemDeleted { .. } => Vec::new(),
    }
}

impl Handler<Changed> for Planner {
    type Result = ();

    fn handle(&mut self, Changed(users): Changed, _: &mut Context<Self>) {
        self.changed.note(users);
    }
}

impl Handler<ChangesMissed> for Planner {
    type Result = ();

    fn handle(&mut self, _: ChangesMissed, ctx: &mut Context<Self>) {
        self.following = true;
        self.plan_everyone_again(ctx);
    }
}

impl Handler<RefreshOrder> for Planner {
    type Result = ();

    fn handle(&mut self, order: RefreshOrder, _: &mut Context<Self>) {
        self.order = Some(order);
    }
}

impl Handler<LiveChanged> for Planner {
    type Result = ();

    fn handle(&mut self, LiveChanged(set): LiveChanged, ctx: &mut Context<Self>) {
        if self.basis.epoch == set.manifest.epoch {
            return;
        }
        self.basis.epoch = set.manifest.epoch;
        // Without the order: it was rolled back to, or another master has published it.
        self.everyone = match self.order.take_if(|order| order.model_set == set.id()) {
            Some(order) => order.users,
            None => Arc::new(set.users.iter().map(str::to_owned).collect()),
        };
        self.next = 0;
        self.round(ctx);
    }
}

impl Handler<SettingsChanged> for Planner {
    type Result = ();

    fn handle(&mut self, SettingsChanged { revision, .. }: SettingsChanged, ctx: &mut Context<Self>) {
        self.basis.settings = revision;
        // Lists that were made under other settings are stale.
        self.plan_everyone_again(ctx);
    }
}

impl Handler<Observe> for Planner {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({
            "changed": self.changed.len(),
            "to_plan": self.everyone.len().saturating_sub(self.next),
            "planned": self.planned,
            "following": self.following,
        }))
    }
}

impl Handler<Shutdown> for Planner {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
