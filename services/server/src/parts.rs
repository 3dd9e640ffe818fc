//! Ids of the parts of a write that is larger than a message of the bus.

use ulex_domain::EventId;
use ulex_domain::event_id::MAX_EVENT_ID_LENGTH;
use ulex_nats::Token;

/// The id of a later part of an event: `id#1`, `id#2`, ... The first part has the id itself. The same for the same
/// arguments for ever, so that whoever repeats a write repeats its parts.
pub(crate) fn part_id(id: &EventId, part: usize) -> EventId {
    if part == 0 {
        return id.clone();
    }
    let suffixed = format!("{id}#{part}");
    let short = if suffixed.len() <= MAX_EVENT_ID_LENGTH {
        suffixed
    } else {
        let mut end = MAX_EVENT_ID_LENGTH - 40;
        while !id.as_str().is_char_boundary(end) {
            end -= 1;
        }
        format!("{}~{}#{part}", &id.as_str()[..end], Token::of_id(id.as_str()).as_str())
    };
    EventId::new(&short).unwrap_or_else(|_| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_of_parts_are_valid_and_differ(id in "[a-zé]{1,128}", part in 0_usize..100_000) {
            prop_assume!(id.len() <= MAX_EVENT_ID_LENGTH);
            let id = EventId::new(&id).unwrap();
            prop_assert_ne!(part_id(&id, part), part_id(&id, part + 1));
        }
    }

    #[test]
    fn long_ids_that_begin_alike_have_parts_that_differ() {
        let id = |end: &str| EventId::new(&format!("{}{end}", "x".repeat(125))).unwrap();
        assert_ne!(part_id(&id("a"), 1), part_id(&id("b"), 1));
    }
}
