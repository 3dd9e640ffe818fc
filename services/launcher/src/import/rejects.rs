//! Records that could not be used: the first few are printed, all are counted and, if asked for, written to a file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::ImportError;
use super::progress::Progress;

/// How many are printed.
const PRINTED: u64 = 20;

/// One record that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) file: PathBuf,
    pub(super) line: u64,
    pub(super) reason: String,
}

impl std::fmt::Display for Reject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}: {}", self.file.display(), self.line, self.reason)
    }
}

/// Where they go.
pub(super) struct Rejects {
    file: Option<(PathBuf, BufWriter<File>)>,
    count: u64,
}

impl Rejects {
    /// Opens the file, if there is to be one; a resumed import adds to it.
    pub(super) fn open(path: Option<&Path>, append: bool) -> Result<Self, ImportError> {
        let Some(path) = path else { return Ok(Self { file: None, count: 0 }) };
        let opened = OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(path);
        let file = opened.map_err(|error| failed(path, &error))?;
        Ok(Self { file: Some((path.to_path_buf(), BufWriter::new(file))), count: 0 })
    }

    pub(super) fn add(&mut self, reject: &Reject, progress: &Progress) -> Result<(), ImportError> {
        self.count += 1;
        if self.count <= PRINTED {
            progress.print(&format!("rejected {reject}"));
        }
        match &mut self.file {
            Some((path, file)) => writeln!(file, "{reject}").map_err(|error| failed(path, &error)),
            None => Ok(()),
        }
    }

    /// Says how many more there were, and makes sure that the file is complete.
    pub(super) fn finish(&mut self, progress: &Progress) -> Result<(), ImportError> {
        if self.count > PRINTED {
            let more = self.count - PRINTED;
            let hint = if self.file.is_some() { "" } else { "; --rejects FILE keeps them all" };
            progress.print(&format!("... and {more} more rejected{hint}"));
        }
        match &mut self.file {
            Some((path, file)) => file.flush().map_err(|error| failed(path, &error)),
            None => Ok(()),
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> ImportError {
    ImportError::State { path: path.to_path_buf(), reason: error.to_string() }
}
