//! Group commit: what waits in a writer's queue is committed together, up to a limit.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use tokio::sync::mpsc;

use super::Submission;

/// A group is closed when it has this many rows or calls: some tens of milliseconds of work.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const ROWS: usize = 20_000;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const CALLS: usize = 1_024;

/// How many rows submissions have together, at least one each.
pub(crate) fn rows_of<'call>(submissions: impl IntoIterator<Item = &'call Submission>) -> usize {
    submissions.into_iter().map(|submission| submission.event.row_count().max(1)).sum()
}

/// Adds to `first`, which has `rows` rows, the jobs that wait behind it and fit into its group. `rows_of` says how many
/// rows a job has, or that it is none that can be committed with others. Returns the first job that was
/// taken from the queue and is not in the group.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) fn gather<Job>(
    group: &mut Vec<Job>,
    mut rows: usize,
    jobs: &mut mpsc::Receiver<Job>,
    rows_of: impl Fn(&Job) -> Option<usize>,
) -> Option<Job> {
    while rows < ROWS && group.len() < CALLS {
        let job = jobs.try_recv().ok()?;
        match rows_of(&job) {
            Some(more) if rows + more <= ROWS => {
                rows += more;
                group.push(job);
            }
            _ => return Some(job),
        }
    }
    None
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    /// The sizes of groups that are made of jobs of these sizes; a job of no size is none for a group.
    fn groups(sizes: &[Option<usize>]) -> Vec<usize> {
        let (sender, mut jobs) = mpsc::channel(sizes.len());
        for size in sizes {
            sender.try_send(*size).expect("there is room");
        }
        let mut groups = Vec::new();
        let mut next = jobs.try_recv().ok();
        while let Some(first) = next.take() {
            let mut group = vec![first];
            next = first.and_then(|rows| gather(&mut group, rows, &mut jobs, |job| *job));
            groups.push(group.len());
            next = next.or_else(|| jobs.try_recv().ok());
        }
        groups
    }

    #[test]
    fn what_waits_goes_together_up_to_a_limit_and_nothing_is_lost() {
        assert_eq!(groups(&[Some(1), Some(2), Some(3)]), [3]);
        assert_eq!(groups(&[Some(1), None, Some(3), Some(4)]), [1, 1, 2]);
        assert_eq!(groups(&[Some(ROWS), Some(1), Some(1)]), [1, 2]);
        assert_eq!(groups(&[Some(10), Some(ROWS), Some(1)]), [1, 1, 1]);
        assert_eq!(groups(&[Some(ROWS + 5), Some(1)]), [1, 1]);
        assert_eq!(groups(&vec![Some(1); CALLS + 3]), [CALLS, 3]);
    }
}
