//! `ulex events tail`: one line for each message.

use ulex_domain::{Command, FeedbackMode};
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
    let said = match &envelope.event {
        Command::PutUsers { users } => several("user", users.iter().map(|user| user.user_id.as_str())),
        Command::PutItems { items } => several("item", items.iter().map(|item| item.item_id.as_str())),
        Command::PatchUser { user_id, .. } => format!("change user {:?}", user_id.as_str()),
        Command::DeleteUser { user_id } => format!("delete user {:?}", user_id.as_str()),
        Command::PatchItem { item_id, .. } => format!("change item {:?}", item_id.as_str()),
        Command::SetCategory { item_id, category, present } => {
            let verb = if *present { "add" } else { "remove" };
            format!("{verb} category {category:?} of item {:?}", item_id.as_str())
        }
        Command::DeleteItem { item_id } => format!("delete item {:?}", item_id.as_str()),
        Command::DeleteFeedback { user_id, item_id, feedback_type } => {
            let kind = feedback_type.as_deref().unwrap_or("all feedback");
            format!("delete {kind} of {:?} and {:?}", user_id.as_str(), item_id.as_str())
        }
        Command::PutFeedback { rows, mode, .. } => {
            let verb = match mode {
                FeedbackMode::Accumulate => "",
                FeedbackMode::Overwrite => "replace ",
            };
            match rows.as_slice() {
                [row] => format!(
                    "{verb}{} {:?} -> {:?} {}",
                    row.feedback_type,
                    row.user_id.as_str(),
                    row.item_id.as_str(),
                    row.value
                ),
                rows => format!("{verb}{} rows of feedback", rows.len()),
            }
        }
    };
    match &envelope.event_id {
        Some(id) => format!("{said}  (id {:?})", id.as_str()),
        None => said,
    }
}

fn several<'a>(name: &str, mut ids: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = ids.len().saturating_sub(1);
    match ids.next() {
        None => format!("no {name}s"),
        Some(id) if more == 0 => format!("{name} {id:?}"),
        Some(id) => format!("{name} {id:?} and {more} more"),
    }
}
