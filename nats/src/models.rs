//! Which ModelSet is live.
//!
//! | what | bucket | from | to | delivery |
//! |---|---|---|---|---|
//! | [`LivePointer`] | `registry`, key [`LIVE_KEY`] | registry of the leading master | servers, workers | newest; history kept |
//! | [`GateVerdict`] | `verdicts`, key [`GateVerdict::key`] | registry | dashboard, operators | newest |
//! | a ModelSet | objects `models`, name [`LivePointer::object`] | trainer | servers, workers | immutable, digest checked |
//!
//! The pointer moves by compare-and-set, and only forward: [`advance`] refuses a fencing token older than the one that
//! wrote the present pointer, so a master that lost its lease without noticing publishes nothing.

use serde::{Deserialize, Serialize};
use ulex_domain::Timestamp;

use crate::bus::{Bucket, Stored};
use crate::leases::FencingToken;
use crate::{BusError, Token};

/// Key of the [`LivePointer`].
pub const LIVE_KEY: &str = "live";

/// The ModelSet to serve with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePointer {
    /// Its id.
    pub model_set: String,
    /// Its name in the object bucket `models`.
    pub object: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub digest: String,
    /// Counts the moves of this pointer, also back to an older ModelSet.
    pub epoch: u64,
    /// The lease under which it was moved.
    pub token: FencingToken,
    /// When.
    pub published_at: Timestamp,
}

/// Where to move the pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub model_set: String,
    /// Its name in the object bucket `models`.
    pub object: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub digest: String,
}

/// What came of [`advance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advance {
    /// The pointer is now this.
    Moved(LivePointer),
    /// A newer lease has moved the pointer: whoever called is not the leader any more.
    Fenced {
        /// Whose pointer stands.
        by: FencingToken,
    },
}

/// Moves the pointer to `candidate` under the lease `token`.
///
/// # Errors
///
/// [`BusError::Conflict`] if somebody else moved it at the same moment: ask again, the answer may be
/// [`Advance::Fenced`]. [`BusError::Malformed`] if the present pointer cannot be read.
pub async fn advance(
    registry: &Bucket<LivePointer>,
    candidate: Candidate,
    token: FencingToken,
    now: Timestamp,
) -> Result<Advance, BusError> {
    let present = registry.get(LIVE_KEY).await?;
    let Some(next) = next_pointer(present.as_ref(), candidate, token, now) else {
        let by = present.map_or(token, |stored| stored.value.token);
        return Ok(Advance::Fenced { by });
    };
    match present {
        None => registry.create(LIVE_KEY, &next).await?,
        Some(stored) => registry.update(LIVE_KEY, &next, stored.revision).await?,
    };
    Ok(Advance::Moved(next))
}

/// Puts the token of a new lease on the pointer without moving it: from then on an older lease publishes nothing, however
/// late it wakes up.
///
/// # Errors
///
/// [`BusError::Conflict`] if somebody else wrote the pointer at the same moment: ask again.
pub async fn fence(registry: &Bucket<LivePointer>, token: FencingToken) -> Result<(), BusError> {
    let Some(present) = registry.get(LIVE_KEY).await? else { return Ok(()) };
    if present.value.token < token {
        registry.update(LIVE_KEY, &LivePointer { token, ..present.value }, present.revision).await?;
    }
    Ok(())
}

/// The pointer after a move, or `None` if the token is too old.
fn next_pointer(
    present: Option<&Stored<LivePointer>>,
    candidate: Candidate,
    token: FencingToken,
    now: Timestamp,
) -> Option<LivePointer> {
    if present.is_some_and(|stored| stored.value.token > token) {
        return None;
    }
    let epoch = present.map_or(0, |stored| stored.value.epoch) + 1;
    let Candidate { model_set, object, digest } = candidate;
    Some(LivePointer { model_set, object, digest, epoch, token, published_at: now })
}

/// What the gate said about a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateVerdict {
    /// Which ModelSet.
    pub model_set: String,
    /// Whether it may go live.
    pub passed: bool,
    /// Why not, or what was measured; one sentence each.
    pub reasons: Vec<String>,
    /// The live ModelSet it was compared with.
    pub compared_with: Option<String>,
    /// Its metrics on the test users.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// When.
    pub at: Timestamp,
}

impl GateVerdict {
    /// Its key in the bucket: `verdict.<id>`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("verdict.{}", Token::escape(&self.model_set).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate() -> Candidate {
        Candidate { model_set: "m".to_owned(), object: "o".to_owned(), digest: "d".to_owned() }
    }

    fn present(epoch: u64, token: u64) -> Stored<LivePointer> {
        let value = next_pointer(None, candidate(), FencingToken(token), Timestamp::ZERO).unwrap();
        Stored { key: LIVE_KEY.to_owned(), value: LivePointer { epoch, ..value }, revision: 9 }
    }

    #[test]
    fn every_move_has_a_higher_epoch() {
        let first = next_pointer(None, candidate(), FencingToken(4), Timestamp::ZERO).unwrap();
        assert_eq!(first.epoch, 1);
        let next = next_pointer(Some(&present(7, 4)), candidate(), FencingToken(4), Timestamp::ZERO);
        assert_eq!(next.unwrap().epoch, 8);
    }

    #[test]
    fn a_deposed_leader_moves_nothing() {
        assert_eq!(next_pointer(Some(&present(7, 5)), candidate(), FencingToken(4), Timestamp::ZERO), None);
    }
}
