//! `ulex events tail`: one line for each message.

use ulex_nats::Bus;
use ulex_nats::events::EventEnvelope;
use ulex_nats::topology::EVENTS;
use ulex_nats::transport::{ReadFrom, StreamMessage};
use ulex_server::published::{Admission, events_of};

use super::{EventsError, READ, READ_WAIT, moment};
use crate::exit::print;

pub(super) async fn run(bus: &Bus, from: ReadFrom, admission: Admission) -> Result<(), EventsError> {
    let mut reader = bus.raw_reader::<EventEnvelope>(&EVENTS.name, from).await?;
    loop {
        for kept in reader.read(READ, READ_WAIT).await? {
            print(&line(&kept, admission));
        }
    }
}

fn line(kept: &StreamMessage, admission: Admission) -> String {
    let at = moment(kept.appended_at);
    let said = match events_of(&kept.message, kept.appended_at, admission) {
        Err(reason) => format!("cannot be applied: {reason}"),
        Ok(events) if events.is_empty() => "nothing".to_owned(),
        Ok(events) => events.iter().map(described).collect::<Vec<_>>().join("; "),
    };
    format!("{:>10}  {at}  {said}\n", kept.sequence)
}

fn described(envelope: &EventEnvelope) -> String {
    let said = &envelope.event;
    match &envelope.event_id {
        Some(id) => format!("{said}  (id {:?})", id.as_str()),
        None => said.to_string(),
    }
}
