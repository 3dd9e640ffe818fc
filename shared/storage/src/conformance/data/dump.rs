//! Everything a store holds, in one value, so that two stores can be compared.

use std::num::NonZeroUsize;

use ulex_domain::{Feedback, Item, User};

use crate::data::DataStore;

/// The contents of a store, each in the order of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// Users by id.
    pub users: Vec<User>,
    /// Items by id.
    pub items: Vec<Item>,
    /// Feedback by (type, user, item).
    pub feedback: Vec<Feedback>,
}

/// Reads everything page by page, `page` rows at a time.
///
/// # Panics
///
/// Panics if the store fails or a page does not begin where it was asked to.
pub async fn dump(store: &dyn DataStore, page: NonZeroUsize) -> Dump {
    // One row more than a page, as callers do: it is where the next page begins.
    let limit = page.get() + 1;
    let mut dump = Dump { users: Vec::new(), items: Vec::new(), feedback: Vec::new() };
    let mut from = None;
    loop {
        let mut rows = store.list_users(from.as_ref(), limit).await.expect("list users");
        from = (rows.len() == limit).then(|| rows.pop().expect("a full page").user_id);
        dump.users.append(&mut rows);
        if from.is_none() {
            break;
        }
    }
    let mut from = None;
    loop {
        let mut rows = store.list_items(from.as_ref(), limit).await.expect("list items");
        from = (rows.len() == limit).then(|| rows.pop().expect("a full page").item_id);
        dump.items.append(&mut rows);
        if from.is_none() {
            break;
        }
    }
    let mut from = None;
    loop {
        let mut rows = store.list_feedback(from.as_ref(), limit, None, None).await.expect("list feedback");
        from = (rows.len() == limit).then(|| rows.pop().expect("a full page").key());
        dump.feedback.append(&mut rows);
        if from.is_none() {
            return dump;
        }
    }
}
