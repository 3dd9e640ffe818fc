//! An entry in few bytes: a version, then its fields one after the other.
//!
//! | field | form |
//! |---|---|
//! | version | 1 byte, [`VERSION`] |
//! | ModelSet, digest | length, bytes |
//! | computed, stale at, catalogue | 8 bytes each, little end first; no "stale at" is the greatest number |
//! | items | number of them; of each the length of its id, the id, 4 bytes of score |
//!
//! Lengths and numbers are 7 bits a byte, the lowest first, the eighth bit says that more follow. A list of a hundred ids
//! of eight bytes takes 1.4 KB. What cannot be read is no entry: it may be of another version.

use std::sync::Arc;

use ulex_domain::{ItemId, Timestamp};

use crate::cache::UserEntry;

const VERSION: u8 = 1;

pub(super) fn pack(entry: &UserEntry) -> Vec<u8> {
    let ids: usize = entry.items.iter().map(|(id, _)| id.as_str().len() + 5).sum();
    let mut out = Vec::with_capacity(48 + entry.model_set.len() + entry.digest.len() + ids);
    out.push(VERSION);
    text(&mut out, &entry.model_set);
    text(&mut out, &entry.digest);
    out.extend(entry.computed.as_nanos().to_le_bytes());
    out.extend(entry.stale_at.map_or(i64::MAX, Timestamp::as_nanos).to_le_bytes());
    out.extend(entry.catalogue.to_le_bytes());
    number(&mut out, entry.items.len());
    for (id, score) in &entry.items {
        text(&mut out, id.as_str());
        out.extend(score.to_le_bytes());
    }
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len());
    out.extend(text.as_bytes());
}

fn number(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn unpack(bytes: &[u8]) -> Option<Arc<UserEntry>> {
    let mut input = Input(bytes);
    if input.take(1)? != [VERSION] {
        return None;
    }
    let (model_set, digest) = (input.text()?.to_owned(), input.text()?.to_owned());
    let computed = Timestamp::from_nanos(i64::from_le_bytes(input.array()?));
    let stale_at = i64::from_le_bytes(input.array()?);
    let stale_at = (stale_at != i64::MAX).then(|| Timestamp::from_nanos(stale_at));
    let catalogue = u64::from_le_bytes(input.array()?);
    let count = input.number()?;
    // Each takes five bytes at least, so a count that lies allocates nothing.
    if count > input.0.len() / 5 {
        return None;
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let id = ItemId::new(input.text()?);
        items.push((id, f32::from_le_bytes(input.array()?)));
    }
    input
        .0
        .is_empty()
        .then(|| Arc::new(UserEntry { model_set, digest, computed, stale_at, items, catalogue }))
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = UserEntry> {
        let items = proptest::collection::vec((".{0,300}", any::<f32>()), 0..20);
        let times = (any::<i64>(), proptest::option::of(i64::MIN..i64::MAX));
        (".{0,20}", ".{0,20}", times, any::<u64>(), items).prop_map(
            |(model_set, digest, (computed, stale_at), catalogue, items)| UserEntry {
                model_set,
                digest,
                computed: Timestamp::from_nanos(computed),
                stale_at: stale_at.map(Timestamp::from_nanos),
                items: items.into_iter().map(|(id, score)| (ItemId::new(id), score)).collect(),
                catalogue,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(entry in entries()) {
            let bytes = pack(&entry);
            let read = unpack(&bytes).unwrap();
            // A score that is no number is not equal to itself.
            prop_assert_eq!(pack(&read), bytes);
            prop_assert_eq!(&read.model_set, &entry.model_set);
            prop_assert_eq!((read.computed, read.stale_at), (entry.computed, entry.stale_at));
        }

        #[test]
        fn whatever_else_stands_there_is_no_entry(
            entry in entries(), place in any::<prop::sample::Index>(), junk in any::<Vec<u8>>(),
        ) {
            let bytes = pack(&entry);
            prop_assert_eq!(unpack(&bytes[..place.index(bytes.len())]), None);
            let _ = unpack(&junk);
            let mut longer = bytes;
            longer.push(0);
            prop_assert_eq!(unpack(&longer), None);
        }
    }

    #[test]
    fn a_usual_list_is_small() {
        let items = (0..100).map(|item| (ItemId::new(format!("{item:08}")), 0.5)).collect();
        let entry = UserEntry {
            model_set: "ms-01795574045131".to_owned(),
            digest: "0123456789abcdef".to_owned(),
            computed: Timestamp::ZERO,
            stale_at: None,
            items,
            catalogue: 1,
        };
        assert!(pack(&entry).len() < 1_400, "{}", pack(&entry).len());
    }
}
