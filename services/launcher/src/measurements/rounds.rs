//! What only the servers of the bus know, asked for every few seconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::debug;
use ulex_nats::topology::{CHANGES, DEAD, EVENTS, INGEST, JOBS, REFRESH};
use ulex_nats::transport::{ConsumerSpec, StreamSpec};
use ulex_nats::{Bus, BusError};

use crate::vitals::Figures;

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// How long a round may take.
const ROUND_WITHIN: Duration = Duration::from_secs(4);

/// Asks until it is dropped.
pub struct Rounds(JoinHandle<()>);

impl Drop for Rounds {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Rounds {
    /// Begins. `position` is how far this process has followed the stream `CHANGES`, if it does.
    #[must_use]
    pub fn begin(bus: Bus, position: Option<Arc<watch::Sender<u64>>>, figures: Arc<Figures>) -> Self {
        let asking = async move {
            loop {
                super::settle();
                match tokio::time::timeout(ROUND_WITHIN, round(&bus, position.as_deref(), &figures)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(BusError::Closed)) => return,
                    // Whoever uses the bus says so in the log.
                    Ok(Err(reason)) => missed(&reason.to_string()),
                    Err(_elapsed) => missed("no answer in time"),
                }
                tokio::time::sleep(ROUND).await;
            }
        };
        Self(tokio::spawn(asking))
    }
}

fn missed(reason: &str) {
    debug!(reason, "the bus could not be asked for its figures");
    counter!("ulex_bus_rounds_missed_total").increment(1);
}

async fn round(bus: &Bus, position: Option<&watch::Sender<u64>>, figures: &Figures) -> Result<(), BusError> {
    figures.events_waiting.store(backlog(bus, &INGEST).await?, Ordering::Relaxed);
    figures.jobs_waiting.store(backlog(bus, &REFRESH).await?, Ordering::Relaxed);
    for stream in [&EVENTS, &DEAD, &JOBS] {
        state(bus, stream).await?;
    }
    let last = state(bus, &CHANGES).await?;
    if let Some(position) = position {
        let behind = last.saturating_sub(*position.borrow());
        gauge!("ulex_changes_lag").set(behind as f64);
    }
    Ok(())
}

/// Messages that wait for the consumer.
async fn backlog(bus: &Bus, consumer: &ConsumerSpec) -> Result<u64, BusError> {
    let backlog = bus.backlog(consumer).await?;
    let name = consumer.name.to_string();
    gauge!("ulex_consumer_waiting", "consumer" => name.clone()).set(backlog.waiting as f64);
    gauge!("ulex_consumer_in_flight", "consumer" => name).set(backlog.in_flight as f64);
    Ok(backlog.waiting)
}

/// The position of the last message.
async fn state(bus: &Bus, stream: &StreamSpec) -> Result<u64, BusError> {
    let state = bus.stream_state(&stream.name).await?;
    let name = stream.name.to_string();
    gauge!("ulex_stream_messages", "stream" => name.clone()).set(state.messages as f64);
    gauge!("ulex_stream_bytes", "stream" => name).set(state.bytes as f64);
    Ok(state.last_sequence)
}
