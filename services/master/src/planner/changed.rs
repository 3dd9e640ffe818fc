//! Users whose data changed, until it is their turn.
//!
//! A user who is in the middle of doing something will do more: a list that is made now is out of date when he asks for the
//! next one, which is computed then anyway. So his turn comes when he was quiet for a round, or after [`MOST_ROUNDS`].

use rustc_hash::FxHashMap;
use ulex_domain::UserId;
use ulex_nats::transport::Headers;

/// Users remembered; beyond it they are computed when they ask.
const MOST_USERS: usize = 200_000;
/// Rounds after which the turn of a user comes who keeps changing.
const MOST_ROUNDS: u64 = 5;

/// See the module.
#[derive(Default)]
pub(super) struct ChangedUsers {
    users: FxHashMap<UserId, Waiting>,
    round: u64,
}

struct Waiting {
    /// Trace of the latest change, if somebody records one.
    trace: Headers,
    since: u64,
    latest: u64,
}

impl ChangedUsers {
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// These have changed just now.
    pub(super) fn note(&mut self, users: impl IntoIterator<Item = (UserId, Headers)>) {
        let round = self.round;
        for (user, trace) in users {
            if let Some(waiting) = self.users.get_mut(&user) {
                waiting.latest = round;
                waiting.trace = trace;
            } else if self.users.len() < MOST_USERS {
                self.users.insert(user, Waiting { trace, since: round, latest: round });
            }
        }
    }

    /// Ends a round; whose turn it is, those who have waited longest first, with the trace of their latest change.
    pub(super) fn due(&mut self) -> Vec<(UserId, Headers)> {
        let round = self.round;
        self.round += 1;
        let is_due = |_: &UserId, waiting: &mut Waiting| {
            waiting.latest < round || round >= waiting.since + MOST_ROUNDS
        };
        let mut due: Vec<(UserId, Waiting)> = self.users.extract_if(is_due).collect();
        due.sort_by(|(left_id, left), (right_id, right)| {
            left.since.cmp(&right.since).then_with(|| left_id.cmp(right_id))
        });
        due.into_iter().map(|(user, waiting)| (user, waiting.trace)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(due: Vec<(UserId, Headers)>) -> Vec<String> {
        due.into_iter().map(|(user, _)| user.as_str().to_owned()).collect()
    }

    fn change(of: &str, trace: &str) -> [(UserId, Headers); 1] {
        [(UserId::new(of), Headers::from([("traceparent".to_owned(), trace.to_owned())]))]
    }

    #[test]
    fn a_user_is_due_when_he_was_quiet_for_a_round() {
        let mut changed = ChangedUsers::default();
        changed.note(change("anna", "1"));
        assert!(changed.due().is_empty(), "he changed in this very round");
        changed.note(change("bea", "2"));
        assert_eq!(ids(changed.due()), ["anna"]);
        assert_eq!(ids(changed.due()), ["bea"]);
        assert!(changed.due().is_empty());
        assert_eq!(changed.len(), 0);
    }

    #[test]
    fn one_who_never_is_quiet_is_due_after_a_number_of_rounds_with_his_latest_trace() {
        let mut changed = ChangedUsers::default();
        for round in 0..MOST_ROUNDS {
            changed.note(change("anna", &round.to_string()));
            assert!(changed.due().is_empty(), "{round}");
        }
        changed.note(change("anna", "last"));
        changed.note(change("bea", "other"));
        let due = changed.due();
        assert_eq!(due[0].1["traceparent"], "last");
        assert_eq!(ids(due), ["anna"], "bea has changed just now");
    }

    #[test]
    fn who_has_waited_longest_comes_first() {
        let mut changed = ChangedUsers::default();
        changed.note(change("zoe", ""));
        changed.due();
        changed.note(change("zoe", ""));
        changed.note(change("anna", ""));
        changed.due();
        assert_eq!(ids(changed.due()), ["zoe", "anna"]);
    }

    #[test]
    fn no_more_are_remembered_than_fit() {
        let mut changed = ChangedUsers::default();
        changed.note((0..MOST_USERS + 10).map(|number| (UserId::new(number.to_string()), Headers::new())));
        assert_eq!(changed.len(), MOST_USERS);
    }
}
