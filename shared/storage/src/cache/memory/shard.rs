//! One part of the cache: a map by hash, and the three queues of S3-FIFO.
//!
//! New entries go into the small queue, a tenth of the space. At its end those that were read again move to the
//! main queue; the others leave and only their hash is remembered, so that an entry that comes back soon goes
//! into the main queue at once. At the end of the main queue an entry goes round again for every time it was
//! read, at most three times. An entry that was removed leaves a ticket in its queue, which is skipped.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};
use ulex_domain::{ItemId, UserId};

use crate::cache::UserEntry;

/// Bookkeeping of one entry: its slots in the map and the queue, and the counters of the `Arc`.
const OVERHEAD: usize = 96;
/// Reads beyond this many do not count.
const MAX_READS: u8 = 3;

#[derive(Debug)]
struct Slot {
    id: UserId,
    entry: Arc<UserEntry>,
    bytes: usize,
    /// Which ticket in which queue is this one's.
    ticket: u64,
    is_main: bool,
    reads: u8,
}

/// A place in a queue.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    hash: u64,
    number: u64,
}

/// A part of the cache.
#[derive(Debug)]
pub(super) struct Shard {
    /// The hashes are of a keyed hash already, so spreading them again can be cheap.
    slots: FxHashMap<u64, Slot>,
    small: VecDeque<Ticket>,
    main: VecDeque<Ticket>,
    ghosts: VecDeque<u64>,
    is_ghost: HashSet<u64, BuildHasherDefault<FxHasher>>,
    max_bytes: usize,
    bytes: usize,
    small_bytes: usize,
    next_ticket: u64,
}

impl Shard {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            slots: FxHashMap::default(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            is_ghost: HashSet::default(),
            max_bytes,
            bytes: 0,
            small_bytes: 0,
            next_ticket: 0,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn entries(&self) -> usize {
        self.slots.len()
    }

    /// The entry of a user.
    pub fn get(&mut self, hash: u64, id: &UserId) -> Option<Arc<UserEntry>> {
        let slot = self.slots.get_mut(&hash).filter(|slot| slot.id == *id)?;
        slot.reads = (slot.reads + 1).min(MAX_READS);
        Some(Arc::clone(&slot.entry))
    }

    /// Stores an entry in place of what there was; `false` if it is larger than the shard.
    pub fn put(&mut self, hash: u64, id: &UserId, entry: Arc<UserEntry>) -> bool {
        let bytes = size_of_entry(id, &entry);
        // A list that is replaced stays where it was. Two users of one hash cannot both be here.
        let before = self.take(hash).filter(|slot| slot.id == *id);
        if bytes > self.max_bytes {
            return false;
        }
        let is_main = before.as_ref().is_some_and(|slot| slot.is_main) || self.is_ghost.remove(&hash);
        let reads = before.map_or(0, |slot| slot.reads);
        while self.bytes + bytes > self.max_bytes && self.evict() {}
        let ticket = self.enqueue(hash, is_main);
        self.bytes += bytes;
        self.small_bytes += if is_main { 0 } else { bytes };
        self.slots.insert(hash, Slot { id: id.clone(), entry, bytes, ticket, is_main, reads });
        true
    }

    /// Removes the entry of a user.
    pub fn remove(&mut self, hash: u64, id: &UserId) {
        if self.slots.get(&hash).is_some_and(|slot| slot.id == *id) {
            self.take(hash);
        }
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.max_bytes);
    }

    fn take(&mut self, hash: u64) -> Option<Slot> {
        let slot = self.slots.remove(&hash)?;
        self.bytes -= slot.bytes;
        self.small_bytes -= if slot.is_main { 0 } else { slot.bytes };
        Some(slot)
    }

    fn enqueue(&mut self, hash: u64, is_main: bool) -> u64 {
        self.next_ticket += 1;
        let number = self.next_ticket;
        let slots = &self.slots;
        let queue = if is_main { &mut self.main } else { &mut self.small };
        // Without this, replacing one entry again and again would grow the queue without bound.
        if queue.len() > 2 * slots.len() + 64 {
            queue.retain(|ticket| slots.get(&ticket.hash).is_some_and(|slot| slot.ticket == ticket.number));
        }
        queue.push_back(Ticket { hash, number });
        number
    }

    /// Makes some room; `false` if there is nothing left to remove.
    fn evict(&mut self) -> bool {
        let from_small = self.small_bytes > self.max_bytes / 10 || self.main.is_empty();
        if from_small && !self.small.is_empty() {
            self.evict_from_small();
            return true;
        }
        let Some(ticket) = self.main.pop_front() else { return false };
        let Some(slot) = self.slots.get_mut(&ticket.hash).filter(|slot| slot.ticket == ticket.number) else {
            return true;
        };
        if slot.reads > 0 {
            slot.reads -= 1;
            self.main.push_back(ticket);
        } else {
            self.take(ticket.hash);
        }
        true
    }

    fn evict_from_small(&mut self) {
        let Some(ticket) = self.small.pop_front() else { return };
        let Some(slot) = self.slots.get_mut(&ticket.hash).filter(|slot| slot.ticket == ticket.number) else {
            return;
        };
        if slot.reads > 0 {
            slot.reads = 0;
            slot.is_main = true;
            self.small_bytes -= slot.bytes;
            self.main.push_back(ticket);
        } else {
            self.take(ticket.hash);
            self.remember_ghost(ticket.hash);
        }
    }

    fn remember_ghost(&mut self, hash: u64) {
        if self.is_ghost.insert(hash) {
            self.ghosts.push_back(hash);
        }
        while self.ghosts.len() > self.slots.len().max(16) {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.is_ghost.remove(&oldest);
            }
        }
    }
}

/// About how many bytes an entry occupies.
fn size_of_entry(id: &UserId, entry: &UserEntry) -> usize {
    let items: usize = entry.items.iter().map(|(item, _score)| heap_of(item.as_str())).sum();
    OVERHEAD
        + size_of::<Slot>()
        + size_of::<UserEntry>()
        + heap_of(id.as_str())
        + entry.model_set.capacity()
        + entry.digest.capacity()
        + entry.items.capacity() * size_of::<(ItemId, f32)>()
        + items
}

/// What an id occupies beside its own 24 bytes: longer ids are shared texts with two counters.
fn heap_of(id: &str) -> usize {
    if id.len() <= 23 { 0 } else { id.len() + 16 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulex_domain::Timestamp;

    use super::*;

    fn entry(items: usize) -> Arc<UserEntry> {
        Arc::new(UserEntry {
            model_set: String::new(),
            digest: String::new(),
            computed: Timestamp::ZERO,
            stale_at: None,
            items: (0..items).map(|item| (ItemId::new(item.to_string()), 1.0)).collect(),
            catalogue: 0,
        })
    }

    fn id(number: u64) -> UserId {
        UserId::new(number.to_string())
    }

    fn accounted(shard: &Shard) -> (usize, usize) {
        let bytes = |small: bool| {
            shard.slots.values().filter(|slot| !small || !slot.is_main).map(|slot| slot.bytes).sum()
        };
        (bytes(false), bytes(true))
    }

    #[test]
    fn a_scan_of_entries_used_once_does_not_push_out_what_is_used_again() {
        let mut shard = Shard::new(200_000);
        for user in 0..20 {
            shard.put(user, &id(user), entry(10));
        }
        for user in 1_000..5_000 {
            for hot in 0..20 {
                shard.get(hot, &id(hot));
            }
            shard.put(user, &id(user), entry(10));
        }
        assert!((0..20).all(|user| shard.get(user, &id(user)).is_some()));
    }

    #[test]
    fn users_of_one_hash_never_see_each_others_entries() {
        let mut shard = Shard::new(100_000);
        shard.put(7, &id(1), entry(1));
        assert!(shard.get(7, &id(2)).is_none());
        shard.put(7, &id(2), entry(2));
        assert!(shard.get(7, &id(1)).is_none());
        shard.remove(7, &id(1));
        assert_eq!(shard.get(7, &id(2)).unwrap().items.len(), 2);
    }

    #[test]
    fn replacing_one_entry_forever_does_not_grow_the_queues() {
        let mut shard = Shard::new(100_000);
        for _round in 0..10_000 {
            shard.put(1, &id(1), entry(1));
            shard.remove(1, &id(1));
        }
        assert!(shard.small.len() < 100, "{} tickets", shard.small.len());
    }

    proptest! {
        #[test]
        fn bytes_are_bounded_and_add_up_whatever_happens(
            steps in prop::collection::vec((0_u64..60, 0_usize..40, 0_u8..8), 1..400),
        ) {
            let mut shard = Shard::new(10_000);
            for (user, items, action) in steps {
                match action {
                    0 => shard.remove(user, &id(user)),
                    1..=3 => drop(shard.get(user, &id(user))),
                    _ => {
                        let stored = shard.put(user, &id(user), entry(items));
                        prop_assert_eq!(stored, shard.get(user, &id(user)).is_some());
                    }
                }
                prop_assert!(shard.bytes() <= 10_000);
                prop_assert_eq!(accounted(&shard), (shard.bytes, shard.small_bytes));
            }
        }
    }
}
