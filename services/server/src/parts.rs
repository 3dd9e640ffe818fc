//! Cutting a write into parts that a bus takes.

use std::collections::HashSet;
use std::hash::Hash;

use ulex_domain::event_id::MAX_EVENT_ID_LENGTH;
use ulex_domain::{Change, Command, EventId};
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

/// Something that can be cut in two that together are the whole, in order.
pub(crate) trait Halve: Sized {
    /// The two halves; the thing itself if it is one piece.
    fn halve(self) -> Result<(Self, Self), Self>;
}

/// Cuts until every part `fits`, or is one piece.
pub(crate) fn cut<T: Halve>(whole: T, fits: &impl Fn(&T) -> bool) -> Vec<T> {
    let (mut waiting, mut parts) = (vec![whole], Vec::new());
    while let Some(next) = waiting.pop() {
        if fits(&next) {
            parts.push(next);
            continue;
        }
        match next.halve() {
            Ok((first, second)) => waiting.extend([second, first]),
            Err(piece) => parts.push(piece),
        }
    }
    parts
}

fn halves<T>(mut rows: Vec<T>) -> Result<(Vec<T>, Vec<T>), Vec<T>> {
    if rows.len() < 2 {
        return Err(rows);
    }
    let second = rows.split_off(rows.len() / 2);
    Ok((rows, second))
}

impl Halve for Command {
    fn halve(self) -> Result<(Self, Self), Self> {
        match self {
            Self::PutUsers { users } => {
                let two = |users| Self::PutUsers { users };
                halves(users).map(|(a, b)| (two(a), two(b))).map_err(two)
            }
            Self::PutItems { items } => {
                let two = |items| Self::PutItems { items };
                halves(items).map(|(a, b)| (two(a), two(b))).map_err(two)
            }
            Self::PutFeedback { rows, mode, insert_users, insert_items } => {
                let two = |rows| Self::PutFeedback { rows, mode, insert_users, insert_items };
                halves(rows).map(|(a, b)| (two(a), two(b))).map_err(two)
            }
            one @ (Self::PatchUser { .. }
            | Self::DeleteUser { .. }
            | Self::PatchItem { .. }
            | Self::SetCategory { .. }
            | Self::DeleteItem { .. }
            | Self::DeleteFeedback { .. }) => Err(one),
        }
    }
}

impl Halve for Change {
    fn halve(self) -> Result<(Self, Self), Self> {
        match self {
            Self::Users { user_ids } => {
                let two = |user_ids| Self::Users { user_ids };
                halves(user_ids).map(|(a, b)| (two(a), two(b))).map_err(two)
            }
            Self::Items { items } => {
                let two = |items| Self::Items { items };
                halves(items).map(|(a, b)| (two(a), two(b))).map_err(two)
            }
            Self::Feedback { pairs } => {
                let two = |pairs| Self::Feedback { pairs };
                halves(pairs).map(|(a, b)| (two(a), two(b))).map_err(two)
            }
            one @ (Self::UserDeleted { .. } | Self::ItemDeleted { .. }) => Err(one),
        }
    }
}

impl Halve for Vec<Change> {
    fn halve(self) -> Result<(Self, Self), Self> {
        match halves(self) {
            Err(mut alone) => match alone.pop().map(Halve::halve) {
                Some(Ok((first, second))) => Ok((vec![first], vec![second])),
                Some(Err(piece)) => Err(vec![piece]),
                None => Err(alone),
            },
            both @ Ok(_) => both,
        }
    }
}

/// Drops rows whose key an earlier row of the same event has: they have no effect in one event, and must have none in
/// the parts of it.
pub(crate) fn without_repetitions(event: Command) -> Command {
    match event {
        Command::PutUsers { users } => {
            Command::PutUsers { users: first_of(users, |user| user.user_id.clone()) }
        }
        Command::PutItems { items } => {
            Command::PutItems { items: first_of(items, |item| item.item_id.clone()) }
        }
        Command::PutFeedback { rows, mode, insert_users, insert_items } => {
            let rows = first_of(rows, ulex_domain::Feedback::key);
            Command::PutFeedback { rows, mode, insert_users, insert_items }
        }
        one @ (Command::PatchUser { .. }
        | Command::DeleteUser { .. }
        | Command::PatchItem { .. }
        | Command::SetCategory { .. }
        | Command::DeleteItem { .. }
        | Command::DeleteFeedback { .. }) => one,
    }
}

fn first_of<T, K: Hash + Eq>(rows: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::with_capacity(rows.len());
    rows.into_iter().filter(|row| seen.insert(key(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ulex_domain::{FeedbackMode, User, UserId};

    fn users(numbers: impl IntoIterator<Item = u32>) -> Command {
        let user = |number| User {
            user_id: UserId::new(format!("u{number}")),
            labels: serde_json::Value::Null,
            comment: String::new(),
        };
        Command::PutUsers { users: numbers.into_iter().map(user).collect() }
    }

    fn count(event: &Command) -> usize {
        let Command::PutUsers { users } = event else { panic!("{event:?}") };
        users.len()
    }

    proptest! {
        #[test]
        fn parts_fit_and_make_up_the_whole_in_order(rows in 0_u32..200, most in 1_usize..20) {
            let parts = cut(users(0..rows), &|event| count(event) <= most);
            prop_assert!(parts.iter().all(|part| count(part) <= most));
            let mut together = Vec::new();
            for part in parts {
                if let Command::PutUsers { users } = part {
                    together.extend(users);
                }
            }
            prop_assert_eq!(Command::PutUsers { users: together }, users(0..rows));
        }

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

    #[test]
    fn what_cannot_be_cut_stays_whole() {
        assert_eq!(cut(users([1]), &|_| false), vec![users([1])]);
        let deletion = Command::DeleteUser { user_id: UserId::new("u") };
        assert_eq!(cut(deletion.clone(), &|_| false), vec![deletion]);
        assert_eq!(cut(Vec::<Change>::new(), &|_| false), vec![Vec::new()]);
    }

    #[test]
    fn a_list_with_one_large_change_is_cut_inside_of_it() {
        let pairs = (0..10).map(|n| (UserId::new(format!("u{n}")), ulex_domain::ItemId::new("i"))).collect();
        let size = |changes: &Vec<Change>| serde_json::to_vec(changes).unwrap().len();
        let parts = cut(vec![Change::Feedback { pairs }], &|changes| size(changes) <= 60);
        assert!(parts.len() > 1 && parts.iter().all(|part| size(part) <= 60), "{parts:?}");
    }

    #[test]
    fn of_rows_with_one_key_the_first_stays() {
        let row = |value| ulex_domain::Feedback {
            feedback_type: "a".into(),
            user_id: UserId::new("u"),
            item_id: ulex_domain::ItemId::new("i"),
            value,
            timestamp: ulex_domain::Timestamp::ZERO,
            updated: ulex_domain::Timestamp::ZERO,
            labels: serde_json::Value::Null,
            comment: String::new(),
        };
        let event = |values: &[f64]| Command::PutFeedback {
            rows: values.iter().copied().map(row).collect(),
            mode: FeedbackMode::Accumulate,
            insert_users: true,
            insert_items: true,
        };
        assert_eq!(without_repetitions(event(&[1.0, 2.0])), event(&[1.0]));
    }
}
