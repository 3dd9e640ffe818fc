//! Submissions made ready on the caller's thread, so that the one writer has less to do.

use serde_json::Value;
use ulex_domain::Event;

use crate::data::Submission;

/// The submissions of one call.
#[derive(Debug)]
pub(super) struct Call {
    pub submissions: Vec<Prepared>,
    /// How many rows they have together, at least one each.
    pub rows: usize,
}

/// A submission and the labels of its rows as JSON text.
#[derive(Debug)]
pub(super) struct Prepared {
    pub submission: Submission,
    /// One for each row; empty if no row has labels.
    labels: Vec<Option<String>>,
}

impl Call {
    pub fn new(submissions: Vec<Submission>) -> Self {
        let submissions: Vec<_> = submissions.into_iter().map(Prepared::new).collect();
        let rows = submissions.iter().map(|prepared| rows_of(&prepared.submission.event)).sum();
        Self { submissions, rows }
    }
}

impl Prepared {
    fn new(submission: Submission) -> Self {
        let labels = match &submission.event {
            Event::PutUsers { users } => texts(users.iter().map(|user| &user.labels)),
            Event::PutItems { items } => texts(items.iter().map(|item| &item.labels)),
            Event::PutFeedback { rows, .. } => texts(rows.iter().map(|row| &row.labels)),
            Event::PatchUser { .. }
            | Event::DeleteUser { .. }
            | Event::PatchItem { .. }
            | Event::SetCategory { .. }
            | Event::DeleteItem { .. }
            | Event::DeleteFeedback { .. } => Vec::new(),
        };
        Self { submission, labels }
    }

    /// The labels of a row; `None` is null.
    pub fn labels(&self, row: usize) -> Option<&str> {
        self.labels.get(row)?.as_deref()
    }
}

fn rows_of(event: &Event) -> usize {
    match event {
        Event::PutUsers { users } => users.len().max(1),
        Event::PutItems { items } => items.len().max(1),
        Event::PutFeedback { rows, .. } => rows.len().max(1),
        Event::PatchUser { .. }
        | Event::DeleteUser { .. }
        | Event::PatchItem { .. }
        | Event::SetCategory { .. }
        | Event::DeleteItem { .. }
        | Event::DeleteFeedback { .. } => 1,
    }
}

/// JSON as it is stored: `None` is null.
pub(super) fn json_text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

fn texts<'row>(labels: impl Iterator<Item = &'row Value> + Clone) -> Vec<Option<String>> {
    if labels.clone().all(Value::is_null) { Vec::new() } else { labels.map(json_text).collect() }
}

/// Text as it is stored: `None` is empty.
pub(super) fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
