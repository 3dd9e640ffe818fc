//! Turns what comes over the bus into calls, one at a time, so that whoever is slow is asked less: the bus keeps what
//! is not taken. Neither a message that nobody can read nor a connection that is lost ends a listener; only the end of
//! the bus does, or dropping its future.
//!
//! Hand a message to an actor with `addr.send(..).await` inside `take`: that waits for room in its mailbox.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;
use ulex_nats::bus::{AppendOptions, Delivery, Received};
use ulex_nats::dead_letters::DeadLetter;
use ulex_nats::transport::ConsumerSpec;
use ulex_nats::{Bus, BusError, Event, Payload};

/// How long one pull waits before it looks whether the bus is still there.
const PULL_WAIT: Duration = Duration::from_secs(5);
/// First pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a listener has seen; share it with the actor that answers [`crate::Observe`].
#[derive(Debug, Default)]
pub struct Heard {
    /// Messages handed on.
    pub taken: AtomicU64,
    /// Messages that could not be read.
    pub unreadable: AtomicU64,
    /// Failures of the bus.
    pub failures: AtomicU64,
}

/// Hands every `E` on the bus to `take`. With a `queue`, one listener of that queue gets it.
pub async fn listen<E: Event>(
    bus: &Bus,
    queue: Option<&str>,
    heard: &Heard,
    mut take: impl AsyncFnMut(Received<E>),
) {
    let mut pause = PAUSE;
    loop {
        let mut subscription = match bus.subscribe::<E>(queue).await {
            Ok(subscription) => subscription,
            Err(BusError::Closed) => return,
            Err(reason) => {
                rest(heard, &mut pause, &reason).await;
                continue;
            }
        };
        pause = PAUSE;
        while let Some(received) = subscription.next().await {
            match received {
                Ok(received) => {
                    heard.taken.fetch_add(1, Ordering::Relaxed);
                    take(received).await;
                }
                Err(reason) => {
                    heard.unreadable.fetch_add(1, Ordering::Relaxed);
                    warn!(%reason, "passed over a message");
                }
            }
        }
        // The subscription has ended: with the bus, which the next attempt will say, or with its connection.
        tokio::time::sleep(pause).await;
    }
}

/// One partition of a durable consumer, and how much of it is taken at a time.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Which consumer.
    pub consumer: ConsumerSpec,
    /// Which partition.
    pub partition: u16,
    /// Most messages of one call.
    pub batch: usize,
}

/// Pulls from a durable consumer and hands batches to `take`, which settles each delivery. The next batch is pulled when
/// `take` is done. A message that cannot be read becomes a dead letter and is terminated; if the dead letter cannot be
/// kept, the message comes back later.
pub async fn drain<P: Payload>(
    bus: &Bus,
    drain: &Drain,
    heard: &Heard,
    mut take: impl AsyncFnMut(Vec<Delivery<P>>),
) {
    let (mut puller, mut pause) = (None, PAUSE);
    loop {
        let pulled = match &mut puller {
            None => bus.puller::<P>(&drain.consumer, drain.partition).await.map(|opened| {
                puller = Some(opened);
                Vec::new()
            }),
            Some(puller) => puller.pull(drain.batch, PULL_WAIT).await,
        };
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(BusError::Closed) => return,
            Err(reason) => {
                puller = None;
                rest(heard, &mut pause, &reason).await;
                continue;
            }
        };
        if pulled.is_empty() {
            continue;
        }
        pause = PAUSE;
        let (readable, unreadable): (Vec<_>, Vec<_>) = pulled.into_iter().partition(|one| one.body().is_ok());
        for delivery in unreadable {
            heard.unreadable.fetch_add(1, Ordering::Relaxed);
            give_up(bus, &delivery).await;
        }
        if !readable.is_empty() {
            heard.taken.fetch_add(readable.len() as u64, Ordering::Relaxed);
            take(readable).await;
        }
    }
}

async fn rest(heard: &Heard, pause: &mut Duration, reason: &BusError) {
    heard.failures.fetch_add(1, Ordering::Relaxed);
    warn!(%reason, "the bus cannot be reached, trying again");
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

async fn give_up<P: Payload>(bus: &Bus, delivery: &Delivery<P>) {
    let Err(reason) = delivery.body() else { return };
    warn!(%reason, sequence = delivery.sequence(), "gave up a message");
    let place = (delivery.sequence(), delivery.attempt());
    let letter = DeadLetter::of(delivery.message(), place, "malformed", in_full(reason));
    let settled = match bus.append(&letter, AppendOptions::default()).await {
        Ok(_) => delivery.term().await,
        Err(reason) => {
            warn!(%reason, "a dead letter could not be kept");
            delivery.nak(LONGEST_PAUSE).await
        }
    };
    if let Err(reason) = settled {
        warn!(%reason, "a message could not be settled");
    }
}

/// An error with its cause.
fn in_full(error: &BusError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests;
