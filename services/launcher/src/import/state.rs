//! Where an import stands, in a small file that is replaced as a whole.
//!
//! The file belongs to one import: the same files with the same contents under the same settings. It is gone when
//! the import is complete. `run` tells two imports of the same files apart, so that a second one is not taken for a
//! repetition of the first.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ImportError;
use super::batches::Batch;

const FILE_NAME: &str = "import-state.json";

/// Where reading goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Which file.
    pub(super) part: usize,
    /// How many of its records are done.
    pub(super) records: u64,
    /// Records of all files that are done.
    pub(super) records_before: u64,
}

/// What is imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    /// Names and sizes.
    files: Vec<(PathBuf, u64)>,
    /// Size of all files.
    pub(super) bytes: u64,
    /// Digest of contents and settings.
    digest: String,
}

impl Fingerprint {
    /// Reads all files once.
    pub(super) fn of(paths: &[PathBuf], settings: &str) -> Result<Self, ImportError> {
        let mut hash = Sha256::new();
        hash.update(settings.as_bytes());
        let mut files = Vec::new();
        for path in paths {
            let read = |source| ImportError::Read { path: path.clone(), line: 0, source };
            let size = digest_file(path, &mut hash).map_err(read)?;
            files.push((path.clone(), size));
        }
        let mut digest = String::new();
        for byte in &hash.finalize()[..8] {
            write!(digest, "{byte:02x}").expect("a string can grow");
        }
        Ok(Self { bytes: files.iter().map(|(_, size)| size).sum(), files, digest })
    }
}

fn digest_file(path: &Path, hash: &mut Sha256) -> std::io::Result<u64> {
    let (mut file, mut buffer, mut size) = (File::open(path)?, vec![0; 256 << 10], 0);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            hash.update(size.to_string());
            return Ok(size);
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

/// Everything an interrupted import needs to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    fingerprint: Fingerprint,
    run: u64,
    /// Number of the next batch.
    pub(super) batch: u64,
    /// Where reading goes on.
    pub(super) position: Position,
}

impl State {
    /// Stands in the event ids of this import and of no other.
    pub(super) fn event_digest(&self) -> String {
        format!("{}{:x}", self.fingerprint.digest, self.run)
    }
}

/// The file.
pub(super) struct StateFile(PathBuf);

impl StateFile {
    /// Begins an import, or finds the one to go on with.
    pub(super) fn open(
        folder: &Path,
        fingerprint: Fingerprint,
        resume: bool,
    ) -> Result<(Self, State), ImportError> {
        let file = Self(folder.join(FILE_NAME));
        if resume {
            let state = file.read()?;
            if state.fingerprint != fingerprint {
                return Err(file.refused("belongs to other files or settings; import without --resume"));
            }
            return Ok((file, state));
        }
        fs::create_dir_all(folder).map_err(|error| file.refused(&error.to_string()))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state =
            State { fingerprint, run: since.as_millis() as u64, batch: 0, position: Position::default() };
        file.store(&state)?;
        Ok((file, state))
    }

    fn read(&self) -> Result<State, ImportError> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(self.refused("there is no interrupted import to resume"));
            }
            Err(error) => return Err(self.refused(&error.to_string())),
        };
        serde_json::from_str(&text)
            .map_err(|error| self.refused(&format!("cannot be read ({error}); import without --resume")))
    }

    /// Notes that everything up to and including `batch` is stored.
    pub(super) fn write(&self, begun: &State, batch: &Batch) -> Result<(), ImportError> {
        self.store(&State { batch: batch.next, position: batch.position, ..begun.clone() })
    }

    fn store(&self, state: &State) -> Result<(), ImportError> {
        let text = serde_json::to_string_pretty(state).map_err(|error| self.refused(&error.to_string()))?;
        let fresh = self.0.with_extension("tmp");
        let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.0));
        written.map_err(|error| self.refused(&error.to_string()))
    }

    /// The import is complete.
    pub(super) fn remove(&self) -> Result<(), ImportError> {
        match fs::remove_file(&self.0) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.refused(&error.to_string())),
        }
    }

    fn refused(&self, reason: &str) -> ImportError {
        ImportError::State { path: self.0.clone(), reason: reason.to_owned() }
    }
}
