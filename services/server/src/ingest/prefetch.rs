//! Messages that were read while the ones before them are applied.

use std::collections::VecDeque;

use super::entry::IngestEntry;

/// Decoded messages that no transaction has begun with, in stream order.
#[derive(Default)]
pub(super) struct PrefetchBuffer {
    entries: VecDeque<IngestEntry>,
    rows: usize,
    bytes: usize,
}

impl PrefetchBuffer {
    pub(super) fn push(&mut self, entry: IngestEntry) {
        self.rows += entry.row_count();
        self.bytes += entry.body_bytes();
        self.entries.push_back(entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Rows of the store that these may touch.
    pub(super) const fn row_count(&self) -> usize {
        self.rows
    }

    pub(super) fn message_count(&self) -> usize {
        self.entries.len()
    }

    /// Size of the bodies.
    pub(super) const fn body_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &IngestEntry> {
        self.entries.iter()
    }

    /// Takes everything, in order.
    pub(super) fn take_all(&mut self) -> Vec<IngestEntry> {
        std::mem::take(self).entries.into()
    }

    /// Takes messages of one log off the front for one transaction of about `most` rows; at least one if there is one.
    pub(super) fn next_group(&mut self, most: usize) -> Vec<IngestEntry> {
        let (mut group, mut rows): (Vec<IngestEntry>, usize) = (Vec::new(), 0);
        while let Some(next) = self.entries.front() {
            rows += next.row_count();
            if group.first().is_some_and(|first| rows > most || first.delivery.log() != next.delivery.log()) {
                break;
            }
            self.rows -= next.row_count();
            self.bytes -= next.body_bytes();
            group.extend(self.entries.pop_front());
        }
        group
    }
}
