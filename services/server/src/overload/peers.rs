//! Who asks more than others, by the address of the connection. Headers such as `X-Forwarded-For` are written by whoever
//! likes to, so they do not count: behind one proxy all callers are one.
//!
//! Addresses share a fixed number of places, so two may be taken for one; the counts fade by half at every look.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

const PLACES: usize = 256;

/// See the module documentation.
pub(super) struct Peers {
    counts: [AtomicU32; PLACES],
    /// From how many requests on somebody asks much.
    much: AtomicU32,
    hasher: RandomState,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
            much: AtomicU32::new(0),
            hasher: RandomState::new(),
        }
    }
}

impl Peers {
    /// Notes a request; whether its peer asks as much as the average of those who ask, or more.
    pub(super) fn note(&self, peer: Option<IpAddr>) -> bool {
        let place = self.hasher.hash_one(peer) as usize % PLACES;
        self.counts[place].fetch_add(1, Ordering::Relaxed) >= self.much.load(Ordering::Relaxed)
    }

    /// Lets counts fade and finds the average anew.
    pub(super) fn settle(&self) {
        let (mut sum, mut asking) = (0, 0);
        for count in &self.counts {
            let half = count.load(Ordering::Relaxed) / 2;
            count.store(half, Ordering::Relaxed);
            sum += half;
            asking += u32::from(half > 0);
        }
        // A single peer is its own average, and so asks much.
        self.much.store(sum / asking.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(number: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
    }

    fn ask(peers: &Peers, number: u8, times: usize) {
        for _ in 0..times {
            peers.note(peer(number));
        }
    }

    #[test]
    fn whoever_asks_more_than_the_average_asks_much() {
        let peers = Peers::default();
        for _ in 0..20 {
            ask(&peers, 1, 500);
            ask(&peers, 2, 5);
            peers.settle();
        }
        assert!(peers.note(peer(1)));
        assert!(!peers.note(peer(2)));
    }

    #[test]
    fn a_single_peer_asks_much() {
        let peers = Peers::default();
        ask(&peers, 1, 100);
        peers.settle();
        assert!(peers.note(peer(1)));
    }

    #[test]
    fn what_was_asked_is_forgotten() {
        let peers = Peers::default();
        ask(&peers, 1, 1000);
        (0..12).for_each(|_| peers.settle());
        ask(&peers, 2, 10);
        peers.settle();
        assert!(!peers.note(peer(1)), "it is the other that asks now");
    }
}
