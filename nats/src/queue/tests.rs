use super::*;
use proptest::prelude::*;

const ACK_WAIT: Duration = Duration::from_secs(10);

fn queue(order: Order, max_ack_pending: usize) -> Queue {
    Queue::new(Limits { order, max_ack_pending, ack_wait: ACK_WAIT })
}

fn sequences(taken: &[Taken]) -> Vec<u64> {
    taken.iter().map(|one| one.sequence).collect()
}

#[test]
fn deadlines_of_settled_deliveries_do_not_pile_up_behind_a_slow_one() {
    let (mut queue, mut now) = (queue(Order::Any, 10), Instant::now());
    queue.push(1, 1);
    queue.take(1, 1, now, |_| true);
    for sequence in 2..20_000 {
        queue.push(sequence, sequence);
        now += Duration::from_micros(1);
        assert_eq!(queue.take(sequence, 1, now, |_| true).len(), 1);
        queue.extend(1, 1, now);
        assert!(queue.settle(sequence, sequence, now));
    }
    assert!(queue.deadlines.len() < 2_000, "{}", queue.deadlines.len());
    assert_eq!(queue.lines.len(), 1);
}

#[test]
fn messages_that_left_the_stream_are_passed_over_and_not_counted() {
    let (mut queue, now) = (queue(Order::Any, 10), Instant::now());
    (1..=4).for_each(|sequence| queue.push(sequence, sequence));
    queue.forget(2, 2, now);
    assert_eq!(queue.waiting(), 3);
    assert_eq!(sequences(&queue.take(1, 9, now, |sequence| sequence != 2)), vec![1, 3, 4]);
    queue.nak(3, 1, Duration::ZERO, now);
    queue.forget(3, 3, now);
    assert_eq!((queue.waiting(), queue.in_flight()), (0, 2));
    assert_eq!(queue.take(2, 9, now, |_| false), vec![]);
}

#[test]
fn a_work_queue_that_nobody_drains_does_not_grow_by_what_was_replaced() {
    let (mut queue, now) = (queue(Order::Any, 10), Instant::now());
    for sequence in 1..50_000 {
        queue.push(sequence, 7);
        queue.forget(sequence.saturating_sub(1), 7, now);
        if queue.wants_compaction() {
            queue.compact(|stored| stored == sequence);
        }
    }
    assert!(queue.fresh.len() < 4_000, "{}", queue.fresh.len());
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn the_next_event_is_the_first_deadline_or_the_end_of_the_shortest_delay() {
    let (mut queue, now) = (queue(Order::Any, 10), Instant::now());
    (1..=2).for_each(|sequence| queue.push(sequence, sequence));
    assert_eq!(queue.next_event(), None);
    queue.take(1, 9, now, |_| true);
    assert_eq!(queue.next_event(), Some(now + ACK_WAIT));
    queue.nak(1, 1, Duration::from_secs(1), now);
    assert_eq!(queue.next_event(), Some(now + Duration::from_secs(1)));
    assert!(queue.settle(1, 1, now), "a late acknowledgement counts");
    assert!(!queue.settle(1, 1, now));
    assert_eq!(queue.next_event(), Some(now + ACK_WAIT));
}

/// What may happen to a queue.
#[derive(Clone, Debug)]
enum Step {
    Push { key: u64 },
    Take { max: usize },
    Settle { which: usize },
    Nak { which: usize, delay: u64 },
    Extend { which: usize },
    Forget { which: usize },
    Wait { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u64).prop_map(|key| Step::Push { key }),
        3 => (1..5_usize).prop_map(|max| Step::Take { max }),
        3 => any::<usize>().prop_map(|which| Step::Settle { which }),
        2 => (any::<usize>(), 0..15_u64).prop_map(|(which, delay)| Step::Nak { which, delay }),
        1 => any::<usize>().prop_map(|which| Step::Extend { which }),
        1 => any::<usize>().prop_map(|which| Step::Forget { which }),
        2 => (0..12_u64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A queue beside the plainest account of what is owed.
struct Checked {
    queue: Queue,
    order: Order,
    max_ack_pending: usize,
    now: Instant,
    pull: u64,
    last: u64,
    /// Every unsettled message with its key.
    owed: BTreeMap<u64, (u64, Option<InFlight>)>,
}

/// From which pull, at which attempt, until when.
type InFlight = (u64, u64, Instant);

impl Checked {
    fn new(order: Order, max_ack_pending: usize) -> Self {
        let queue = queue(order, max_ack_pending);
        let now = Instant::now();
        Self { queue, order, max_ack_pending, now, pull: 0, last: 0, owed: BTreeMap::new() }
    }

    fn pick(&self, which: usize) -> Option<(u64, u64, u64)> {
        let sequence = *self.owed.keys().nth(which % self.owed.len().max(1))?;
        let (key, flight) = self.owed[&sequence];
        Some((sequence, key, flight.map_or(0, |(_, attempt, _)| attempt)))
    }

    fn step(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Push { key } => {
                self.last += 1;
                self.queue.push(self.last, key);
                self.owed.insert(self.last, (key, None));
            }
            Step::Take { max } => self.take(max),
            Step::Settle { which } => {
                let Some((sequence, key, attempt)) = self.pick(which) else { return };
                // What was never handed out cannot be settled: nobody has it.
                if attempt > 0 {
                    assert!(self.queue.settle(sequence, key, now));
                    self.owed.remove(&sequence);
                }
            }
            Step::Nak { which, delay } => {
                let Some((sequence, _, attempt)) = self.pick(which) else { return };
                self.queue.nak(sequence, attempt, Duration::from_secs(delay), now);
                self.owed.get_mut(&sequence).unwrap().1 = None;
            }
            Step::Extend { which } => {
                let Some((sequence, _, attempt)) = self.pick(which) else { return };
                self.queue.extend(sequence, attempt, now);
                if let Some((_, _, deadline)) = &mut self.owed.get_mut(&sequence).unwrap().1 {
                    *deadline = now + ACK_WAIT;
                }
            }
            Step::Forget { which } => {
                let Some((sequence, key, attempt)) = self.pick(which) else { return };
                if attempt == 0 {
                    self.owed.remove(&sequence);
                    self.queue.forget(sequence, key, now);
                }
            }
            Step::Wait { seconds } => self.now += Duration::from_secs(seconds),
        }
    }

    fn take(&mut self, max: usize) {
        self.pull += 1;
        for (_, flight) in self.owed.values_mut() {
            *flight = flight.filter(|(_, _, deadline)| *deadline > self.now);
        }
        let owed = &self.owed;
        let taken = self.queue.take(self.pull, max, self.now, |sequence| owed.contains_key(&sequence));
        assert!(taken.len() <= max);
        for Taken { sequence, attempt } in taken {
            let (key, flight) = self.owed[&sequence];
            assert!(flight.is_none(), "{sequence} is in flight already");
            let strict = self.order == Order::Strict;
            let earlier = self.owed.range(..sequence).filter(|(_, (other, _))| strict || *other == key);
            for (earlier, (_, flight)) in earlier {
                let pull = flight.map(|(pull, _, _)| pull);
                let may = if strict { pull.is_some() } else { pull == Some(self.pull) };
                assert!(may, "{sequence} overtook {earlier}");
            }
            if strict {
                let mut later = self.owed.range(sequence + 1..);
                assert!(
                    later.all(|(_, (_, flight))| flight.is_none()),
                    "{sequence} comes behind a later one"
                );
            }
            self.owed.get_mut(&sequence).unwrap().1 = Some((self.pull, attempt, self.now + ACK_WAIT));
        }
        let in_flight = self.owed.values().filter(|(_, flight)| flight.is_some()).count();
        assert_eq!(self.queue.in_flight(), in_flight);
        assert!(in_flight <= self.max_ack_pending);
        assert_eq!(self.queue.waiting() + in_flight, self.owed.len());
    }

    /// Everything that is owed comes, and then nothing is left.
    fn drain(&mut self) {
        for _ in 0..1_000 {
            if self.owed.is_empty() {
                break;
            }
            self.now += Duration::from_secs(20);
            self.take(3);
            let held: Vec<u64> = self.owed.iter().filter(|one| one.1.1.is_some()).map(|one| *one.0).collect();
            for sequence in held {
                let (key, _) = self.owed.remove(&sequence).unwrap();
                assert!(self.queue.settle(sequence, key, self.now));
            }
        }
        assert!(self.owed.is_empty(), "never delivered: {:?}", self.owed);
        assert_eq!(self.queue.take(u64::MAX, 9, self.now, |_| false), vec![]);
        assert!(self.queue.lines.is_empty() && self.queue.ready.is_empty());
        assert!(self.queue.delayed.is_empty() && self.queue.deadlines.is_empty());
    }
}

proptest! {
    #[test]
    fn whatever_happens_nothing_is_lost_doubled_or_overtaken(
        steps in steps(),
        order in prop_oneof![Just(Order::Strict), Just(Order::Any), Just(Order::Any)],
        max_ack_pending in 1..6_usize,
    ) {
        let mut checked = Checked::new(order, max_ack_pending);
        steps.iter().for_each(|step| checked.step(step));
        checked.drain();
    }
}
