//! One run: steps, an end of all faults, a rest, and the judgement.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use ulex_domain::{EventId, TenantId};
use ulex_nats::transport::Message;
use ulex_nats::{Bus, Token};
use ulex_recommenders::request::ListQuery;
use ulex_server::gateway::SubmitError;

use crate::commands::{command_of, event_id, published_feedback, user_id};
use crate::control::ProcessControl;
use crate::history::{Answer, History};
use crate::oracle::{self, Violation};
use crate::steps::{ITEMS, NODES, Step, Write};
use crate::world::World;

/// Longest time that a client waits for an answer.
const CLIENT_WAITS: Duration = Duration::from_secs(40);
/// Pause before a client repeats.
const REPEAT_PAUSE: Duration = Duration::from_secs(1);
/// Times that a client repeats.
const REPEATS: usize = 4;
/// Time within which writes succeed after the last fault.
const RECOVERY: Duration = Duration::from_secs(60);
/// Time after which nothing moves any more.
const REST: Duration = Duration::from_secs(30);

/// Outcome of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Broken invariants.
    pub violations: Vec<Violation>,
    /// Writes that clients began.
    pub calls: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Events that took effect.
    pub effects: usize,
    /// Pairs of faults that were in force within one run, in order.
    pub fault_pairs: Vec<(&'static str, &'static str)>,
}

/// Runs these steps in a world of this seed.
///
/// # Panics
///
/// If the runtime cannot be made.
#[must_use]
pub fn run_steps(seed: u64, steps: &[Step]) -> Report {
    ulex_nats::seed_jitter(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without IO can always be made");
    let local = LocalSet::new();
    let report = local.block_on(&runtime, async { Run::new(seed).go(steps).await });
    drop(local);
    report
}

struct Run {
    world: Rc<World>,
    history: History,
    violations: Vec<Violation>,
    faults: Vec<&'static str>,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(seed),
            history: History::default(),
            violations: Vec::new(),
            faults: Vec::new(),
        }
    }

    async fn go(mut self, steps: &[Step]) -> Report {
        self.all_up().await;
        for item in 0..ITEMS {
            self.begin_write(0, Write::PutItem { item, hidden: false }, true);
        }
        sleep(Duration::from_secs(2)).await;
        for step in steps {
            self.step(step).await;
            sleep(Duration::from_millis(20)).await;
        }
        self.world.heal();
        self.recover().await;
        sleep(REST).await;
        let judged = oracle::judge(&self.world, &self.history, &self.faults).await;
        self.violations.extend(judged);
        self.report()
    }

    async fn all_up(&self) {
        let up = async {
            while !self.world.is_up() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let _ = timeout(RECOVERY, up).await;
    }

    async fn step(&mut self, step: &Step) {
        tracing::info!(?step, at = ?self.world.clock.elapsed(), "step");
        match step {
            Step::Wait { millis } => sleep(Duration::from_millis(*millis)).await,
            Step::Write { node, write, with_id } => self.begin_write(*node, *write, *with_id),
            Step::Publish { user, item } => self.begin_publish(*user, *item),
            Step::Read { node, user } => self.read(*node, *user).await,
            Step::Fault(fault) => {
                self.faults.push(fault.kind());
                self.world.befall(fault).await;
            }
        }
    }

    fn begin_write(&self, node: usize, write: Write, with_id: bool) {
        let number = self.history.begin(node, Some(write));
        let of = Numbered { number, id: if with_id { event_id(number) } else { None } };
        let (world, history) = (Rc::clone(&self.world), self.history.clone());
        tokio::task::spawn_local(async move {
            let answer = write_until_known(&world, node, write, of).await;
            history.end(number, answer);
        });
    }

    fn begin_publish(&self, user: u64, item: u64) {
        let number = self.history.begin(0, None);
        let publisher = self.world.connect(&ProcessControl::new(number, 0));
        let bus = Bus::new(std::sync::Arc::new(publisher), TenantId::default());
        let history = self.history.clone();
        tokio::task::spawn_local(async move {
            let token = Token::of_id(user_id(user).as_str());
            let message = Message {
                subject: format!("ulex.v1.default.event.feedback.{}", token.as_str()),
                payload: Bytes::from(published_feedback(user, item, number)),
                ..Message::default()
            };
            let appended = bus.transport().append(message).await;
            history.end(number, if appended.is_ok() { Answer::Done } else { Answer::Refused });
        });
    }

    async fn read(&mut self, node: usize, user: u64) {
        let Some(serving) = self.world.serving(node) else { return };
        let hidden = self.history.certainly_hidden(node);
        let query = ListQuery { n: 100, ..ListQuery::default() };
        let (sender, receiver) = oneshot::channel();
        self.world.spawn_at(node, async move {
            let _ = sender.send(serving.recommender.recommend(&user_id(user), &query).await);
        });
        let Ok(Ok(Ok(list))) = timeout(Duration::from_secs(5), receiver).await else { return };
        if let Some(violation) = oracle::judge_list(&list, &hidden, &self.faults) {
            self.violations.push(violation);
        }
    }

    /// Writes through every server until it succeeds, for at most as long as recovery may take.
    async fn recover(&mut self) {
        let settled = async {
            while !self.history.is_settled() {
                sleep(Duration::from_millis(500)).await;
            }
        };
        let _ = timeout(RECOVERY + CLIENT_WAITS, settled).await;
        for node in 0..NODES {
            let write = Write::PutUser { user: 0 };
            let number = self.history.begin(node, Some(write));
            let of = Numbered { number, id: event_id(number) };
            let writing = async {
                while !matches!(write_once(&self.world, node, write, &of).await, Outcome::Done) {
                    sleep(REPEAT_PAUSE).await;
                }
            };
            let outcome = timeout(RECOVERY, writing).await;
            self.history.end(number, if outcome.is_ok() { Answer::Done } else { Answer::Unknown });
            if outcome.is_err() {
                let text =
                    format!("node {node} accepts no write {} s after the last fault", RECOVERY.as_secs());
                self.violations.push(Violation { invariant: "I10 liveness", text });
            }
        }
    }

    fn report(self) -> Report {
        let calls = self.history.calls();
        let mut fault_pairs = Vec::new();
        for (place, first) in self.faults.iter().enumerate() {
            fault_pairs.extend(self.faults[place + 1..].iter().map(|second| (*first, *second)));
        }
        Report {
            acknowledged: calls.iter().filter(|call| call.answer == Some(Answer::Done)).count(),
            calls: calls.len(),
            effects: self.world.database.effects().len(),
            violations: self.violations,
            fault_pairs,
        }
    }
}

/// Number of a write, and the id that its client knows.
struct Numbered {
    number: u64,
    id: Option<EventId>,
}

/// A client that repeats what was refused and what is unknown, with its own id or the one that it was told.
async fn write_until_known(world: &Rc<World>, node: usize, write: Write, mut of: Numbered) -> Answer {
    let mut is_unknown = false;
    for attempt in 0..=REPEATS {
        match write_once(world, (node + attempt) % NODES, write, &of).await {
            Outcome::Done => return Answer::Done,
            Outcome::Unknown(told) => {
                is_unknown = true;
                of.id = of.id.or(told);
            }
            Outcome::Refused => {}
        }
        if is_unknown && of.id.is_none() {
            return Answer::Unknown;
        }
        sleep(REPEAT_PAUSE).await;
    }
    if is_unknown { Answer::Unknown } else { Answer::Refused }
}

/// Outcome of one request.
enum Outcome {
    Done,
    Refused,
    /// Not known; with the id to repeat it with, if there was an answer.
    Unknown(Option<EventId>),
}

async fn write_once(world: &Rc<World>, node: usize, write: Write, of: &Numbered) -> Outcome {
    let Some(serving) = world.serving(node) else { return Outcome::Refused };
    let (sender, receiver) = oneshot::channel();
    let (command, id) = (command_of(write, of.number), of.id.clone());
    world.spawn_at(node, async move {
        let _ = sender.send(serving.gateway.submit(command, id, None).await);
    });
    match timeout(CLIENT_WAITS, receiver).await {
        Ok(Ok(Ok(_applied))) => Outcome::Done,
        Ok(Ok(Err(SubmitError::Unknown { event_id, .. }))) => Outcome::Unknown(Some(event_id)),
        Ok(Ok(Err(
            SubmitError::Overloaded
            | SubmitError::Unavailable(_)
            | SubmitError::Rejected(_)
            | SubmitError::TooLarge { .. },
        ))) => Outcome::Refused,
        // The connection broke, or the client has no more patience.
        Ok(Err(_)) | Err(_) => Outcome::Unknown(None),
    }
}
