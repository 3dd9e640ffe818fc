//! Users, items and types that the writer knows to exist, so that it does not ask for them again and again.
//!
//! What is known holds as long as nobody else writes. Every writer has a name; the tables say who wrote last. A
//! transaction that finds another name there forgets everything and writes its own.

use std::collections::HashSet;
use std::hash::Hash;

use smol_str::SmolStr;
use ulex_domain::{ItemId, UserId};

/// Ids of a kind that are remembered; about 40 bytes each.
const REMEMBERED: usize = 1 << 20;

/// Ids that exist. Forgets everything when it is full, because the ids in use come back by themselves.
#[derive(Debug)]
pub(super) struct Ids<Id> {
    ids: HashSet<Id>,
    capacity: usize,
}

impl<Id: Hash + Eq + Clone> Ids<Id> {
    fn new(capacity: usize) -> Self {
        Self { ids: HashSet::new(), capacity }
    }

    pub fn contains(&self, id: &Id) -> bool {
        self.ids.contains(id)
    }

    pub fn insert(&mut self, id: &Id) {
        if self.ids.len() >= self.capacity {
            self.ids.clear();
        }
        self.ids.insert(id.clone());
    }

    pub fn remove(&mut self, id: &Id) {
        self.ids.remove(id);
    }
}

/// What a writer knows.
#[derive(Debug)]
pub(super) struct Known {
    pub users: Ids<UserId>,
    pub items: Ids<ItemId>,
    pub types: Ids<SmolStr>,
}

impl Default for Known {
    fn default() -> Self {
        Self { users: Ids::new(REMEMBERED), items: Ids::new(REMEMBERED), types: Ids::new(REMEMBERED) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_forgets_and_goes_on() {
        let mut ids = Ids::new(2);
        ["a", "b"].iter().for_each(|id| ids.insert(id));
        assert!(ids.contains(&"a") && ids.contains(&"b"));
        ids.insert(&"c");
        assert!(!ids.contains(&"a") && ids.contains(&"c"));
        ids.remove(&"c");
        assert!(!ids.contains(&"c"));
    }
}
