//! From texts to the numbers that stand for them, as far as the writer remembers.

use std::collections::HashMap;
use std::hash::Hash;

/// What a [`Dictionary`] knows of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It has this number.
    Number(i64),
    /// The table does not have it.
    Absent,
    /// Ask the table.
    Unknown,
}

/// A bounded memory of a table `text -> number`. Forgets everything when it is full, because the texts in use
/// come back by themselves. Hashes with a secret key: the texts come from outside.
#[derive(Debug)]
pub(super) struct Dictionary<Text> {
    numbers: HashMap<Text, i64>,
    capacity: usize,
    /// What is not in here is not in the table.
    complete: bool,
}

impl<Text: Hash + Eq + Clone> Dictionary<Text> {
    /// A dictionary of a table that may hold anything, for up to `capacity` texts.
    pub fn new(capacity: usize) -> Self {
        Self { numbers: HashMap::new(), capacity, complete: false }
    }

    /// Forgets everything; `table_is_empty` promises that there is nothing to know.
    pub fn reset(&mut self, table_is_empty: bool) {
        self.numbers.clear();
        self.complete = table_is_empty;
    }

    /// What is known of `text`.
    pub fn get(&self, text: &Text) -> Known {
        match self.numbers.get(text) {
            Some(number) => Known::Number(*number),
            None if self.complete => Known::Absent,
            None => Known::Unknown,
        }
    }

    /// Learns that the table has `text`.
    pub fn insert(&mut self, text: &Text, number: i64) {
        if self.numbers.len() >= self.capacity && !self.numbers.contains_key(text) {
            self.reset(false);
        }
        self.numbers.insert(text.clone(), number);
    }

    /// Learns that the table no longer has `text`.
    pub fn remove(&mut self, text: &Text) {
        self.numbers.remove(text);
    }
}

#[cfg(test)]
mod tests {
    use super::{Dictionary, Known};

    #[test]
    fn a_dictionary_of_an_empty_table_knows_what_is_absent() {
        let mut dictionary = Dictionary::new(2);
        assert_eq!(dictionary.get(&"a"), Known::Unknown);
        dictionary.reset(true);
        assert_eq!(dictionary.get(&"a"), Known::Absent);
        dictionary.insert(&"a", 1);
        assert_eq!(dictionary.get(&"a"), Known::Number(1));
        dictionary.remove(&"a");
        assert_eq!(dictionary.get(&"a"), Known::Absent);
    }

    #[test]
    fn a_full_dictionary_forgets_and_stops_claiming_to_know() {
        let mut dictionary = Dictionary::new(2);
        dictionary.reset(true);
        dictionary.insert(&"a", 1);
        dictionary.insert(&"b", 2);
        dictionary.insert(&"b", 2);
        assert_eq!(dictionary.get(&"a"), Known::Number(1));
        dictionary.insert(&"c", 3);
        assert_eq!(dictionary.get(&"c"), Known::Number(3));
        assert_eq!(dictionary.get(&"a"), Known::Unknown);
    }
}
