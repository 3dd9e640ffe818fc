//! `ulex events dead`: what could never be applied.
//!
//! A letter that is sent again goes back to the log as it came, or with another body. It keeps its event id, or gets one,
//! so that a command that was interrupted can be repeated: the store knows it. To the stream it is a new message, which
//! must not be dropped as a repetition of the old one. Letters go in the order of the log they came from. One that replaces
//! or removes rows would undo what was written after it, and is sent only by `--overwrite`. The letter is removed once the log has the event, unless its
//! ingester says that the store is away.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ulex_domain::{Command, FeedbackMode};
use ulex_nats::Bus;
use ulex_nats::bus::{Inbox, Reader};
use ulex_nats::dead_letters::{BuryRequest, DeadBody, DeadLetter};
use ulex_nats::events::{EventEnvelope, Receipt};
use ulex_nats::topology::{BURIALS, DEAD, EVENTS};
use ulex_nats::transport::{
    EVENT_ID_HEADER, EXPIRES_HEADER, MESSAGE_ID_HEADER, Message, RECEIPT_HEADER, ReadFrom, TRACE_HEADER,
};
use ulex_server::published::{Admission, events_of};

use super::{EventsError, READ, READ_WAIT};
use crate::command_line::DeadAction;
use crate::exit::print;

/// How long a command waits to hear what became of an event.
const RECEIPT_WITHIN: Duration = Duration::from_secs(10);
/// Longest part of a reason in a list.
const REASON: usize = 100;

/// A letter and its number in the stream.
type Numbered = (u64, DeadLetter);

pub(super) async fn run(bus: &Bus, action: &DeadAction) -> Result<(), EventsError> {
    match action {
        DeadAction::List { limit } => {
            print(&list(&letters(bus, ReadFrom::First, *limit).await?));
            Ok(())
        }
        DeadAction::Show { number } => {
            let letter = letter(bus, *number).await?;
            let text = serde_json::to_string_pretty(&letter).unwrap_or_default();
            print(&format!("{text}\n"));
            Ok(())
        }
        DeadAction::Replay { number: Some(number), body, overwrite, .. } => {
            let letters = vec![(*number, letter(bus, *number).await?)];
            // A body of the operator's own says what is to be there now.
            replay(bus, letters, body.as_deref(), *overwrite || body.is_some()).await
        }
        DeadAction::Replay { number: None, overwrite, .. } => {
            let mut letters = letters(bus, ReadFrom::First, usize::MAX).await?;
            letters.sort_by_key(|(number, letter)| (letter.sequence, *number));
            replay(bus, letters, None, *overwrite).await
        }
        DeadAction::Bury { sequence } => bury(bus, *sequence).await,
    }
}

/// Asks the ingester that stands still at an event to make a dead letter of it.
async fn bury(bus: &Bus, sequence: u64) -> Result<(), EventsError> {
    let requests = bus.bucket::<BuryRequest>(&BURIALS).await?;
    requests.put(&BuryRequest::key(sequence), &BuryRequest { at: bus.clock().timestamp() }).await?;
    print(&format!(
        "asked for: the ingester buries the event at position {sequence} if it stands still there; see `ulex events dead list`\n"
    ));
    Ok(())
}

/// Whether sending a letter again could undo what was written after it: all but feedback that is added up. A letter
/// that cannot be read has no effect.
fn may_overwrite(message: &Message) -> bool {
    let admission = Admission { insert_users: true, insert_items: true };
    let events = events_of(message, SystemTime::UNIX_EPOCH, admission).unwrap_or_default();
    let adds = |event: &Command| matches!(event, Command::PutFeedback { mode: FeedbackMode::Accumulate, .. });
    !events.iter().all(|envelope| adds(&envelope.event))
}

/// The newest `limit` letters from a place on, oldest first. A letter that cannot be read is said and left out.
async fn letters(bus: &Bus, from: ReadFrom, limit: usize) -> Result<Vec<Numbered>, EventsError> {
    let last = bus.stream_state(&DEAD.name).await?.last_sequence;
    let mut found = std::collections::VecDeque::new();
    let mut reader: Reader<DeadLetter> = bus.reader(&DEAD.name, from).await?;
    loop {
        let read = reader.read(READ, READ_WAIT).await?;
        let at_end = read.last().is_none_or(|one| one.sequence >= last);
        for one in read {
            match one.body {
                Ok(letter) => found.push_back((one.sequence, letter)),
                Err(reason) => tracing::warn!(number = one.sequence, %reason, "unreadable dead letter"),
            }
            if found.len() > limit {
                found.pop_front();
            }
        }
        if at_end {
            return Ok(found.into());
        }
    }
}

async fn letter(bus: &Bus, number: u64) -> Result<DeadLetter, EventsError> {
    let mut reader: Reader<DeadLetter> = bus.reader(&DEAD.name, ReadFrom::Sequence(number)).await?;
    let read = reader.read(1, READ_WAIT * 4).await?.into_iter().next();
    let found = read.filter(|one| one.sequence == number).and_then(|one| one.body.ok());
    found.ok_or(EventsError::NoLetter(number))
}

fn list(letters: &[Numbered]) -> String {
    if letters.is_empty() {
        return "there are no dead letters\n".to_owned();
    }
    let mut text = format!("{:>8}  {:<24}{:<11}{:>8}  reason\n", "number", "given up", "code", "attempts");
    for (number, letter) in letters {
        let at = letter.at.as_nanos().div_euclid(1_000_000_000);
        let at = ulex_domain::Timestamp::from_unix_seconds(at);
        let reason: String = letter.reason.chars().take(REASON).collect();
        writeln!(
            text,
            "{number:>8}  {at:<24}{:<11}{:>8}  {reason}",
            letter.code,
            letter.attempts,
            at = at.to_string()
        )
        .expect("a string can grow");
    }
    text
}

/// Sends letters in order. One that cannot be sent does not keep back the others.
async fn replay(
    bus: &Bus,
    letters: Vec<Numbered>,
    body: Option<&Path>,
    overwrite: bool,
) -> Result<(), EventsError> {
    if letters.is_empty() {
        print("there are no dead letters\n");
        return Ok(());
    }
    let body = match body {
        None => None,
        Some(path) => Some(Bytes::from(
            std::fs::read(path)
                .map_err(|source| EventsError::File { path: path.display().to_string(), source })?,
        )),
    };
    let mut inbox: Inbox<Receipt> = bus.inbox().await?;
    let mut kept = 0;
    for (number, letter) in letters {
        if !overwrite && letter.revive().is_some_and(|message| may_overwrite(&message)) {
            kept += 1;
            print(&format!(
                "{number:>8}  kept: it replaces or removes rows that may have been written since; --overwrite sends it\n"
            ));
            continue;
        }
        match send(bus, &mut inbox, (number, &letter, body.clone())).await {
            Ok(Sent { said, settled }) => {
                if settled {
                    bus.transport().remove(&DEAD.name, number).await?;
                } else {
                    kept += 1;
                }
                print(&format!("{number:>8}  {said}\n"));
            }
            Err(reason @ EventsError::NoBody { .. }) => {
                kept += 1;
                print(&format!("{number:>8}  kept: {reason}\n"));
            }
            Err(reason) => return Err(reason),
        }
    }
    if kept > 0 { Err(EventsError::Kept(kept)) } else { Ok(()) }
}

struct Sent {
    said: String,
    /// Whether the letter has done its duty.
    settled: bool,
}

async fn send(
    bus: &Bus,
    inbox: &mut Inbox<Receipt>,
    (number, letter, body): (u64, &DeadLetter, Option<Bytes>),
) -> Result<Sent, EventsError> {
    let mut message = match body {
        Some(payload) => {
            Message { subject: letter.subject.clone(), reply: None, headers: letter.headers.clone(), payload }
        }
        None => restored(bus, number, letter).await?,
    };
    let log = bus.stream_state(&DEAD.name).await?.log;
    let headers = &mut message.headers;
    for name in [RECEIPT_HEADER, EXPIRES_HEADER, TRACE_HEADER] {
        headers.remove(name);
    }
    let id = headers.remove(MESSAGE_ID_HEADER).unwrap_or_else(|| format!("replay {log} {number}"));
    headers.entry(EVENT_ID_HEADER.to_owned()).or_insert(id);
    headers.insert(RECEIPT_HEADER.to_owned(), inbox.addresses().address(number));
    bus.transport().append(message).await?;
    Ok(outcome(inbox, number).await)
}

/// What becomes of it, if somebody says so soon.
async fn outcome(inbox: &mut Inbox<Receipt>, number: u64) -> Sent {
    let receipt = async {
        loop {
            match inbox.next().await {
                Some(Ok((of, receipt))) if of == number => return Some(receipt),
                Some(_) => {}
                None => return None,
            }
        }
    };
    let sent = |said: String| Sent { said, settled: true };
    let Ok(Some(receipt)) = tokio::time::timeout(RECEIPT_WITHIN, receipt).await else {
        return sent("in the log; no ingester has come to it yet".to_owned());
    };
    match receipt.error {
        None if receipt.duplicate => sent("had been applied before".to_owned()),
        None => sent("applied".to_owned()),
        Some(error) if error.code.is_transient() => {
            Sent { said: format!("kept: {}", error.message), settled: false }
        }
        Some(error) => sent(format!("dead again: {}", error.message)),
    }
}

/// The message as it came; a body too large for a letter is looked up in the log.
async fn restored(bus: &Bus, number: u64, letter: &DeadLetter) -> Result<Message, EventsError> {
    if let Some(message) = letter.revive() {
        return Ok(message);
    }
    if !matches!(letter.body, DeadBody::Beginning { .. }) {
        return Err(EventsError::NoBody { number, reason: "it is not base64" });
    }
    let from = ReadFrom::Sequence(letter.sequence);
    let mut reader = bus.raw_reader::<EventEnvelope>(&EVENTS.name, from).await?;
    let found = reader.read(1, READ_WAIT * 4).await?.into_iter().next();
    let found =
        found.filter(|kept| kept.sequence == letter.sequence && kept.message.headers == letter.headers);
    let message = found.map(|kept| kept.message);
    message.ok_or(EventsError::NoBody { number, reason: "the log has forgotten it" })
}

#[cfg(test)]
mod tests;
