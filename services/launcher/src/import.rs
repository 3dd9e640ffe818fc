//! Puts a data set from files into a store.
//!
//! A thread reads and checks the files, record by record; batches of [`Options::batch_rows`] rows go through a
//! bounded queue to the target, several on their way at once. Memory is bounded by
//! `batch_rows * (in_flight + QUEUE + 1)` rows, whatever the size of the files.
//!
//! A record that cannot be used is counted, reported with file, line and reason, and left out. Every batch carries
//! an event id, `import:<digest>:<batch><kind>`, and its position is written to a small file once the target has
//! acknowledged it: after a crash, `resume` goes on there, and a batch that was stored but not noted has no effect.

pub mod command;
pub mod csv;
pub mod progress;
pub mod records;
pub mod target;

mod batches;
mod fields;
mod folder;
mod jsonl;
mod movielens;
mod movielens_100k;
mod movietweetings;
mod recbole;
mod rejects;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, stream};
use smol_str::SmolStr;
use thiserror::Error;
use tokio::sync::mpsc;
use ulex_domain::FeedbackMode;

use crate::command_line::{ImportArguments, ImportFormat};
use batches::{Batch, BatchBuilder};
use csv::ColumnNames;
use progress::Progress;
use records::{Records, Source};
use rejects::Rejects;
use state::{Fingerprint, Position, StateFile};
use target::{ImportTarget, TargetError};

/// Batches that were read and wait to be sent.
const QUEUE: usize = 2;

/// What to import and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the files are written.
    pub format: ImportFormat,
    /// File or folder.
    pub path: PathBuf,
    /// What feedback is when its file does not say.
    pub defaults: FeedbackDefaults,
    /// What happens to feedback that exists.
    pub mode: FeedbackMode,
    /// Feedback creates users that do not exist; otherwise it is left out.
    pub insert_users: bool,
    /// Feedback creates items that do not exist; otherwise it is left out.
    pub insert_items: bool,
    /// Columns of a csv file.
    pub columns: ColumnNames,
    /// Go on where an earlier import of the same files stopped.
    pub resume: bool,
    /// Directory of the file that remembers the position.
    pub state_dir: PathBuf,
    /// File for all rejected records.
    pub rejects: Option<PathBuf>,
    /// Rows per batch.
    pub batch_rows: usize,
    /// Batches that are on their way to the target at once.
    pub in_flight: usize,
}

impl From<&ImportArguments> for Options {
    fn from(arguments: &ImportArguments) -> Self {
        let columns = arguments.columns.clone();
        Self {
            format: arguments.format,
            path: arguments.path.clone(),
            defaults: FeedbackDefaults::new(&arguments.feedback_type),
            mode: if arguments.accumulate { FeedbackMode::Accumulate } else { FeedbackMode::Overwrite },
            insert_users: true,
            insert_items: true,
            columns: ColumnNames {
                user: columns.user,
                item: columns.item,
                feedback_type: columns.feedback_type,
                value: columns.value,
                timestamp: columns.timestamp,
            },
            resume: arguments.resume,
            state_dir: arguments.place.data_dir.clone(),
            rejects: arguments.rejects.clone(),
            batch_rows: 8192,
            in_flight: 4,
        }
    }
}

/// What feedback is when its file does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackDefaults {
    /// Its type.
    pub feedback_type: SmolStr,
}

impl FeedbackDefaults {
    /// Feedback of this type.
    #[must_use]
    pub fn new(feedback_type: &str) -> Self {
        Self { feedback_type: SmolStr::new(feedback_type) }
    }
}

/// Why an import ended early. What was acknowledged until then is stored.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The files are not there.
    #[error("{}: expected {expected}", path.display())]
    Missing {
        /// Where they were sought.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// A file cannot be read or its header cannot be used.
    #[error("{}:{line}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// After which line; 0 is the file as a whole.
        line: u64,
        /// What went wrong.
        source: io::Error,
    },
    /// The position or the rejected records cannot be written, or the position not be used.
    #[error("{}: {reason}", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The feedback type of the command line is no feedback type.
    #[error("--type: {reason}")]
    FeedbackType {
        /// Why.
        reason: String,
    },
    /// The store did not take the rows.
    #[error("{source}; once that is mended, run the same command with --resume")]
    Target {
        /// What it said.
        source: TargetError,
    },
    /// The reader came to an end it did not announce.
    #[error("the reader stopped unexpectedly; run the same command with --resume")]
    ReaderLost,
}

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Users stored.
    pub users: u64,
    /// Items stored.
    pub items: u64,
    /// Feedback rows stored.
    pub feedback: u64,
    /// Records left out.
    pub rejected: u64,
    /// Records of an earlier run that were skipped.
    pub skipped: u64,
    /// Batches that the target had already.
    pub repeated: u64,
    /// Seconds it took.
    pub seconds: f64,
}

impl Summary {
    /// Everything that was stored.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.users + self.items + self.feedback
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rows() as f64 / self.seconds.max(1e-3);
        write!(
            formatter,
            "imported {} users, {} items, {} feedback in {:.1} s ({rate:.0} rows/s); {} rejected",
            self.users, self.items, self.feedback, self.seconds, self.rejected
        )?;
        if self.skipped > 0 {
            write!(formatter, "; {} records were there from before", self.skipped)?;
        }
        if self.repeated > 0 {
            write!(formatter, "; {} batches had been stored already", self.repeated)?;
        }
        Ok(())
    }
}

/// How to get at the records of one file.
type OpenRecords = Arc<dyn Fn(Source) -> io::Result<Records> + Send + Sync>;

/// One file of a data set.
#[derive(Clone)]
pub(crate) struct Part {
    path: PathBuf,
    open: OpenRecords,
}

impl Part {
    fn new(path: &Path, open: impl Fn(Source) -> io::Result<Records> + Send + Sync + 'static) -> Self {
        Self { path: path.to_path_buf(), open: Arc::new(open) }
    }

    fn read_error(&self, line: u64, source: io::Error) -> ImportError {
        ImportError::Read { path: self.path.clone(), line, source }
    }
}

/// The files of the data set, users before items before feedback.
fn parts(options: &Options) -> Result<Vec<Part>, ImportError> {
    fields::feedback_type(&options.defaults.feedback_type)
        .map_err(|reason| ImportError::FeedbackType { reason })?;
    let (path, defaults) = (options.path.as_path(), &options.defaults);
    if !path.exists() {
        return Err(ImportError::Missing { path: path.to_path_buf(), expected: "a file or folder" });
    }
    match options.format {
        ImportFormat::MovieLens => movielens::parts(path, defaults),
        ImportFormat::RecBole => recbole::parts(path, defaults),
        ImportFormat::MovieTweetings => movietweetings::parts(path, defaults),
        ImportFormat::Csv => csv::parts(path, &options.columns, defaults),
        ImportFormat::Jsonl => jsonl::parts(path, defaults),
    }
}

/// Reads the files and hands them to `target`.
///
/// # Errors
///
/// [`ImportError`]; all batches before the failing one are stored and noted.
pub async fn run(
    options: &Options,
    target: Arc<dyn ImportTarget>,
    progress: &Progress,
) -> Result<Summary, ImportError> {
    let started = std::time::Instant::now();
    let parts = parts(options)?;
    let bytes_read = Arc::new(AtomicU64::new(0));
    let fingerprint = fingerprint(options, &parts).await?;
    progress.total(fingerprint.bytes);
    let (state_file, state) = StateFile::open(&options.state_dir, fingerprint, options.resume)?;
    let mut rejects = Rejects::open(options.rejects.as_deref(), options.resume)?;

    let reader = Reader {
        parts,
        from: state.position,
        builder: BatchBuilder::new(&state, options),
        bytes_read: bytes_read.clone(),
    };
    let (queue, batches) = mpsc::channel(QUEUE);
    let reading = tokio::task::spawn_blocking(move || reader.read_all(&queue));
    let sent = stream::unfold(batches, async |mut batches| Some((batches.recv().await?, batches)))
        .map(|batch: Batch| submit(batch, &target))
        .buffered(options.in_flight.max(1));
    let mut sent = std::pin::pin!(sent);

    let mut summary = Summary { skipped: state.position.records_before, ..Summary::default() };
    while let Some(done) = sent.next().await {
        let (batch, repeated) = done.map_err(|source| ImportError::Target { source })?;
        state_file.write(&state, &batch)?;
        for reject in &batch.rejects {
            rejects.add(reject, progress)?;
        }
        summary.add(&batch, repeated);
        progress.advance(bytes_read.load(Ordering::Relaxed), summary.rows());
    }
    reading.await.map_err(|_lost| ImportError::ReaderLost)??;
    rejects.finish(progress)?;
    state_file.remove()?;
    progress.finish();
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

impl Summary {
    fn add(&mut self, batch: &Batch, repeated: bool) {
        self.users += batch.users;
        self.items += batch.items;
        self.feedback += batch.feedback;
        self.rejected += batch.rejects.len() as u64;
        self.repeated += u64::from(repeated);
    }
}

async fn fingerprint(options: &Options, parts: &[Part]) -> Result<Fingerprint, ImportError> {
    let files: Vec<PathBuf> = parts.iter().map(|part| part.path.clone()).collect();
    let settings =
        format!("{:?} {:?} {:?} {:?}", options.format, options.defaults, options.mode, options.columns);
    let rows = options.batch_rows;
    let take = move || Fingerprint::of(&files, &format!("{settings} {rows}"));
    tokio::task::spawn_blocking(take).await.map_err(|_lost| ImportError::ReaderLost)?
}

async fn submit(mut batch: Batch, target: &Arc<dyn ImportTarget>) -> Result<(Batch, bool), TargetError> {
    let submissions = std::mem::take(&mut batch.submissions);
    if submissions.is_empty() {
        return Ok((batch, false));
    }
    let repeated = target::submit_patiently(target.as_ref(), submissions).await?;
    Ok((batch, repeated))
}

/// The reading half, on a thread of its own.
struct Reader {
    parts: Vec<Part>,
    from: Position,
    builder: BatchBuilder,
    bytes_read: Arc<AtomicU64>,
}

impl Reader {
    /// Sends the batches of all files. Returns early without an error if nobody receives them any more.
    fn read_all(mut self, queue: &mpsc::Sender<Batch>) -> Result<(), ImportError> {
        let parts = std::mem::take(&mut self.parts);
        for (index, part) in parts.iter().enumerate() {
            if index < self.from.part {
                let size = part.path.metadata().map_or(0, |metadata| metadata.len());
                self.bytes_read.fetch_add(size, Ordering::Relaxed);
                continue;
            }
            if !self.read_part(index, part, queue)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads one file; `false` if nobody listens any more. Batches never span files.
    fn read_part(
        &mut self,
        index: usize,
        part: &Part,
        queue: &mpsc::Sender<Batch>,
    ) -> Result<bool, ImportError> {
        let source =
            records::open(&part.path, self.bytes_read.clone()).map_err(|error| part.read_error(0, error))?;
        let records = (part.open)(source).map_err(|error| part.read_error(1, error))?;
        let skip = if index == self.from.part { self.from.records } else { 0 };
        let (mut line, mut done) = (1, 0);
        for record in records {
            let record = record.map_err(|error| part.read_error(line, error))?;
            line = record.line;
            done += 1;
            if done <= skip {
                continue;
            }
            self.builder.add(&part.path, record);
            if self.builder.is_full() && queue.blocking_send(self.builder.take(index, done)).is_err() {
                return Ok(false);
            }
        }
        Ok(queue.blocking_send(self.builder.take(index + 1, 0)).is_ok())
    }
}
