//! String id ⇄ dense index, in one block of bytes.

use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

/// Assigns 0, 1, 2, ... to strings in the order they are first seen.
///
/// Cost: the bytes of the strings, 8 bytes for each offset and at most 8 for each slot of the hash table.
#[derive(Clone, Debug)]
pub struct Dictionary {
    bytes: Vec<u8>,
    ends: Vec<u64>,
    /// Open addressing, linear probing; index + 1, 0 is free. Length is a power of two.
    slots: Vec<u32>,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), slots: vec![0; 8] }
    }
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.ends == other.ends
    }
}

impl Dictionary {
    /// Rebuilds a dictionary from [`Dictionary::bytes`] and [`Dictionary::ends`]; `None` if they do not
    /// describe distinct UTF-8 strings.
    #[must_use]
    pub fn from_parts(bytes: &[u8], ends: &[u64]) -> Option<Self> {
        let mut dictionary = Self::default();
        dictionary.bytes.reserve(bytes.len());
        let mut start = 0;
        for &end in ends {
            let text = bytes.get(start..usize::try_from(end).ok()?)?;
            let before = dictionary.len();
            dictionary.intern(std::str::from_utf8(text).ok()?);
            if dictionary.len() == before {
                return None;
            }
            start = end as usize;
        }
        (start == bytes.len()).then_some(dictionary)
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no string.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The index of `id`, assigning the next one if it is new.
    ///
    /// # Panics
    ///
    /// Panics at 2³² - 1 strings.
    pub fn intern(&mut self, id: &str) -> u32 {
        if (self.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.slot(id);
        if self.slots[slot] == 0 {
            self.bytes.extend_from_slice(id.as_bytes());
            self.ends.push(self.bytes.len() as u64);
            self.slots[slot] = u32::try_from(self.len()).expect("fewer than 2^32 ids");
        }
        self.slots[slot] - 1
    }

    /// The index of `id`, or `None`.
    #[must_use]
    pub fn index(&self, id: &str) -> Option<u32> {
        self.slots[self.slot(id)].checked_sub(1)
    }

    /// The string with this index.
    ///
    /// # Panics
    ///
    /// Panics if `index` was never assigned.
    #[must_use]
    pub fn id(&self, index: u32) -> &str {
        std::str::from_utf8(self.text(index as usize)).expect("only whole strings are stored")
    }

    /// All strings by index.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|index| self.id(index))
    }

    /// The strings one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each string ends in [`Dictionary::bytes`].
    #[must_use]
    pub fn ends(&self) -> &[u64] {
        &self.ends
    }

    fn text(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// Where `id` is, or the free slot where it belongs.
    fn slot(&self, id: &str) -> usize {
        let mask = self.slots.len() - 1;
        let hash = FxBuildHasher.hash_one(id.as_bytes());
        let mut slot = (hash ^ (hash >> 32)) as usize & mask;
        while let Some(index) = self.slots[slot].checked_sub(1) {
            if self.text(index as usize) == id.as_bytes() {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for index in 0..self.len() as u32 {
            let slot = self.slot(self.id(index));
            self.slots[slot] = index + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_string_is_found_under_its_first_index(ids in proptest::collection::vec(".{0,12}", 0..200)) {
            let mut dictionary = Dictionary::default();
            let mut expected: Vec<&str> = Vec::new();
            for id in &ids {
                let known = expected.iter().position(|&other| other == id);
                let index = known.unwrap_or(expected.len());
                if known.is_none() {
                    expected.push(id);
                }
                prop_assert_eq!(dictionary.intern(id) as usize, index);
            }
            prop_assert_eq!(dictionary.iter().collect::<Vec<_>>(), expected);
            let again = Dictionary::from_parts(dictionary.bytes(), dictionary.ends());
            prop_assert_eq!(again.as_ref(), Some(&dictionary));
            prop_assert_eq!(dictionary.index("never seen, longer than twelve"), None);
        }
    }

    #[test]
    fn broken_parts_are_refused() {
        assert!(Dictionary::from_parts(b"ab", &[1, 3]).is_none());
        assert!(Dictionary::from_parts(b"aa", &[1, 2]).is_none(), "the same string twice");
        assert!(Dictionary::from_parts(b"ab", &[1]).is_none(), "bytes left over");
        assert!(Dictionary::from_parts(&[0xff], &[1]).is_none());
    }
}
