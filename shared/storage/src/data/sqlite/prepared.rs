//! Submissions made ready on the caller's thread, so that the one writer has less to do.

use serde_json::Value;
use ulex_domain::Command;

use crate::data::Submission;
use crate::data::group::rows_of;
use crate::data::row_text::json_text;

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
        let rows = rows_of(&submissions);
        Self { submissions: submissions.into_iter().map(Prepared::new).collect(), rows }
    }
}

impl Prepared {
    fn new(submission: Submission) -> Self {
        let labels = match &submission.event {
            Command::PutUsers { users } => texts(users.iter().map(|user| &user.labels)),
            Command::PutItems { items } => texts(items.iter().map(|item| &item.labels)),
            Command::PutFeedback { rows, .. } => texts(rows.iter().map(|row| &row.labels)),
            Command::PatchUser { .. }
            | Command::DeleteUser { .. }
            | Command::PatchItem { .. }
            | Command::SetCategory { .. }
            | Command::DeleteItem { .. }
            | Command::DeleteFeedback { .. } => Vec::new(),
        };
        Self { submission, labels }
    }

    /// The labels of a row; `None` is null.
    pub fn labels(&self, row: usize) -> Option<&str> {
        self.labels.get(row)?.as_deref()
    }
}

fn texts<'row>(labels: impl Iterator<Item = &'row Value> + Clone) -> Vec<Option<String>> {
    if labels.clone().all(Value::is_null) { Vec::new() } else { labels.map(json_text).collect() }
}
