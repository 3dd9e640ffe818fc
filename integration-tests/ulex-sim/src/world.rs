//! A world: servers, the log, the store and the cache, with the faults that befall them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use ulex_nats::topology::{CHANGES, EVENTS};

use crate::broker::{Broker, SimTransport};
use crate::cache::SimCacheServer;
use crate::control::{ProcessControl, WorldClock};
use crate::node::{Node, Serving};
use crate::steps::{Fault, NODES, SQLSTATES};
use crate::store::SimDatabase;

/// Bucket of the cursors of consumers with an order.
const CURSORS: &str = "ulex-cursors";

/// Everything there is in a run.
pub struct World {
    /// Wall clock of the log's server.
    pub clock: WorldClock,
    /// The log's server.
    pub broker: Arc<Broker>,
    /// The data store.
    pub database: Arc<SimDatabase>,
    /// The cache.
    pub cache: Arc<SimCacheServer>,
    nodes: RefCell<Vec<Node>>,
    seed: u64,
    starts: RefCell<u64>,
}

impl World {
    /// A world with all its servers started. Must be called within a local set.
    #[must_use]
    pub fn new(seed: u64) -> Rc<Self> {
        let clock = WorldClock::default();
        let world = Rc::new(Self {
            clock,
            broker: Broker::new(clock),
            database: SimDatabase::new(),
            cache: SimCacheServer::new(),
            nodes: RefCell::default(),
            seed,
            starts: RefCell::new(0),
        });
        for place in 0..NODES {
            let node = world.start(place, 0);
            world.nodes.borrow_mut().push(node);
        }
        world
    }

    /// A connection to the log's server.
    #[must_use]
    pub fn connect(&self, control: &Arc<ProcessControl>) -> SimTransport {
        SimTransport::new(Arc::clone(&self.broker), Arc::clone(control))
    }

    fn start(&self, place: usize, skew_seconds: i64) -> Node {
        let mut starts = self.starts.borrow_mut();
        *starts += 1;
        Node::start(self, &format!("node{place}"), self.seed ^ (*starts << 32), skew_seconds)
    }

    /// The server at this place, if it has started.
    #[must_use]
    pub fn serving(&self, place: usize) -> Option<Rc<Serving>> {
        self.nodes.borrow()[place].serving()
    }

    /// Whether every server has started.
    #[must_use]
    pub fn is_up(&self) -> bool {
        (0..NODES).all(|place| self.serving(place).is_some())
    }

    /// Does something within a process.
    pub fn spawn_at(&self, place: usize, job: impl Future<Output = ()> + 'static) {
        self.nodes.borrow()[place].spawn(job);
    }

    fn with_control(&self, place: usize, work: impl FnOnce(&ProcessControl)) {
        work(&self.nodes.borrow()[place].control);
    }

    fn crash(self: &Rc<Self>, place: usize, down: Duration) {
        self.nodes.borrow()[place].kill();
        let world = Rc::clone(self);
        tokio::task::spawn_local(async move {
            sleep(down).await;
            world.restart(place);
        });
    }

    fn restart(&self, place: usize) {
        if self.nodes.borrow()[place].control.is_dead() {
            let node = self.start(place, 0);
            self.nodes.borrow_mut()[place] = node;
        }
    }

    /// Makes a fault happen.
    pub async fn befall(self: &Rc<Self>, fault: &Fault) {
        let long = Duration::from_millis;
        match *fault {
            Fault::Pause { node, millis } => self.with_control(node, |one| one.pause(long(millis))),
            Fault::Crash { node, down_millis } => self.crash(node, long(down_millis)),
            Fault::LoseAnswers { node, millis } => {
                self.with_control(node, |one| one.lose_answers(long(millis)));
            }
            Fault::SlowNetwork { node, millis } => {
                self.with_control(node, |one| one.slow_down(long(millis)));
            }
            Fault::DoubleMessages { node, millis } => {
                self.with_control(node, |one| one.double_messages(long(millis)));
            }
            Fault::Skew { node, seconds } => self.with_control(node, |one| one.skew(seconds)),
            Fault::StoreAway { millis } => self.database.go_away(long(millis)),
            Fault::StoreRefuses { code, millis } => {
                self.database.refuse(SQLSTATES[code % SQLSTATES.len()], long(millis));
            }
            Fault::StoreSlow { millis } => self.database.slow_down(long(millis)),
            Fault::StoreLosesWord { commits } => self.database.lose_words(commits),
            Fault::StoreSnapshot => self.database.take_snapshot(),
            Fault::StoreBack => self.database.go_back().await,
            Fault::CutLog { messages } => self.broker.cut_stream(&EVENTS.name, messages),
            Fault::RestoreLog => self.broker.restore_stream(&EVENTS.name),
            Fault::RecreateLog => self.broker.recreate_stream(&EVENTS.name),
            Fault::LoseLog => self.broker.lose_stream(&EVENTS.name),
            Fault::RecreateChanges => self.broker.recreate_stream(&CHANGES.name),
            Fault::LoseCursors => self.broker.lose_bucket(CURSORS),
            Fault::CacheSilent { millis } => self.cache.fall_silent(long(millis)),
            Fault::CacheFlushed => self.cache.flush(),
        }
    }

    /// Ends every fault, and starts what has crashed.
    pub fn heal(&self) {
        for place in 0..NODES {
            self.restart(place);
            self.with_control(place, ProcessControl::heal);
        }
        self.database.heal();
        self.cache.heal();
    }
}
