//! Calls of clients and what they were told.

use std::cell::RefCell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::steps::Write;

/// The last word that a client heard of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It took effect.
    Done,
    /// It did not take effect and never will.
    Refused,
    /// Nothing is known.
    Unknown,
}

/// A write.
#[derive(Clone, Debug)]
pub struct Call {
    /// Number, which its command carries.
    pub number: u64,
    /// What was asked for; `None` for published feedback.
    pub write: Option<Write>,
    /// Server that was asked first.
    pub node: usize,
    /// What the client was told; `None` while it waits.
    pub answer: Option<Answer>,
    /// Order of its beginning among all beginnings and ends.
    pub began_at: u64,
    /// Order of its end.
    pub ended_at: Option<u64>,
}

/// All calls of a run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct History {
    calls: Rc<RefCell<Vec<Call>>>,
    moments: Rc<RefCell<u64>>,
}

impl History {
    fn moment(&self) -> u64 {
        let mut moments = self.moments.borrow_mut();
        *moments += 1;
        *moments
    }

    /// Begins a call; its number.
    pub fn begin(&self, node: usize, write: Option<Write>) -> u64 {
        let began_at = self.moment();
        let mut calls = self.calls.borrow_mut();
        let number = calls.len() as u64;
        calls.push(Call { number, write, node, answer: None, began_at, ended_at: None });
        number
    }

    /// Ends a call.
    pub fn end(&self, number: u64, answer: Answer) {
        tracing::info!(number, ?answer, "answered");
        let moment = self.moment();
        let mut calls = self.calls.borrow_mut();
        let call = usize::try_from(number).ok().and_then(|place| calls.get_mut(place));
        if let Some(call) = call {
            (call.answer, call.ended_at) = (Some(answer), Some(moment));
        }
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// Whether every call has ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.calls.borrow().iter().all(|call| call.answer.is_some())
    }

    /// Items that no list of a server may show, from now on until another write about them begins: the write that hid them
    /// was acknowledged, and no other that may show them can still take effect.
    #[must_use]
    pub fn certainly_hidden(&self, node: usize) -> Vec<u64> {
        let calls = self.calls.borrow();
        let hides = |call: &Call| match call.write {
            Some(Write::PutItem { item, hidden: true })
                if call.node == node && call.answer == Some(Answer::Done) =>
            {
                Some(item)
            }
            _ => None,
        };
        let mut hidden = Vec::new();
        for call in calls.iter() {
            let Some(item) = hides(call) else { continue };
            let others = calls.iter().filter(|other| shows(other, item));
            let mut settled_before = others.map(|other| {
                let known = matches!(other.answer, Some(Answer::Done | Answer::Refused));
                known && other.ended_at.is_some_and(|ended| ended < call.began_at)
            });
            if settled_before.all(|before| before) {
                hidden.push(item);
            }
        }
        hidden
    }
}

/// Whether a write may bring an item into lists.
fn shows(call: &Call, item: u64) -> bool {
    match call.write {
        Some(
            Write::PutItem { item: other, hidden: false } | Write::HideItem { item: other, hidden: false },
        ) => other == item,
        Some(Write::DeleteItem { item: other }) => other == item,
        Some(_) | None => false,
    }
}
