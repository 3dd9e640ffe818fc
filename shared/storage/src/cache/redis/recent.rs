//! The removals of the last minute, for the case that they reached a server that was about to lose them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ulex_domain::UserId;

/// Removals that are remembered; more are "everybody".
const REMEMBERED: usize = 100_000;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Recent {
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    users: VecDeque<(Instant, UserId)>,
    /// When somebody was noted last who is not in the list.
    everybody: Option<Instant>,
}

impl Recent {
    /// Longer than copies lag behind, and than it takes to depose a server that others cannot reach.
    pub const SPAN: Duration = Duration::from_secs(60);

    /// Must be done before a removal is sent.
    pub fn note(&self, ids: &[UserId]) {
        let now = Instant::now();
        let mut noted = self.noted.lock();
        noted.forget(now);
        noted.users.extend(ids.iter().map(|id| (now, id.clone())));
        while noted.users.len() > REMEMBERED {
            noted.everybody = noted.users.pop_front().map(|(when, _id)| when).max(noted.everybody);
        }
    }

    pub fn note_everything(&self) {
        let mut noted = self.noted.lock();
        noted.users.clear();
        noted.everybody = Some(Instant::now());
    }

    /// Whose removals to repeat; `None`: everybody's.
    pub fn all(&self) -> Option<Vec<UserId>> {
        let mut noted = self.noted.lock();
        noted.forget(Instant::now());
        noted.everybody.is_none().then(|| noted.users.iter().map(|(_when, id)| id.clone()).collect())
    }
}

impl Noted {
    fn forget(&mut self, now: Instant) {
        let is_old = |when: Instant| now.duration_since(when) > Recent::SPAN;
        while self.users.front().is_some_and(|(when, _id)| is_old(*when)) {
            self.users.pop_front();
        }
        self.everybody = self.everybody.filter(|when| !is_old(*when));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<UserId> {
        (0..count).map(|user| UserId::new(user.to_string())).collect()
    }

    #[test]
    fn what_was_noted_is_repeated_until_it_is_old() {
        let recent = Recent::default();
        recent.note(&ids(3));
        assert_eq!(recent.all(), Some(ids(3)));
        let later = Instant::now() + Recent::SPAN + Duration::from_secs(1);
        recent.noted.lock().forget(later);
        assert_eq!(recent.all(), Some(Vec::new()));
    }

    #[test]
    fn more_than_is_remembered_is_everybody_for_as_long() {
        let recent = Recent::default();
        recent.note(&ids(REMEMBERED + 1));
        assert_eq!(recent.all(), None);
        let later = Instant::now() + Recent::SPAN + Duration::from_secs(1);
        recent.noted.lock().forget(later);
        assert_eq!(recent.all(), Some(Vec::new()));
        recent.note_everything();
        assert_eq!(recent.all(), None);
    }
}
