//! What a durable bucket writes to disk: one file of records, each with its length and its checksum.
//!
//! A record is appended and synchronised before its write is acknowledged. A file whose end was torn by a crash is
//! cut back to its last whole record: nothing behind it was acknowledged. A file with much garbage is rewritten beside
//! itself and takes its own place atomically.
//!
//! Layout: the eight bytes of [`MAGIC`], then records of `length u32, checksum u64 (FNV-1a of the body), body`; a body is
//! `operation u8, revision u64, written u64 (milliseconds), key length u16, key, value`. Numbers are little-endian.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tracing::warn;

use super::bucket::millis;
use super::files::{put_in_place, sync_folder};
use crate::subject::fnv1a_64;

const MAGIC: &[u8; 8] = b"ULEXKV01";
const HEAD: usize = 12;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) revision: u64,
    pub(super) written: SystemTime,
    pub(super) key: String,
    /// `None` removes the key.
    pub(super) value: Option<Bytes>,
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let key_length = u16::try_from(self.key.len()).map_err(io::Error::other)?;
        let (operation, value) = match &self.value {
            Some(value) => (PUT, value.as_ref()),
            None => (DELETE, &[][..]),
        };
        let length = u32::try_from(19 + self.key.len() + value.len()).map_err(io::Error::other)?;
        let start = out.len();
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.push(operation);
        out.extend_from_slice(&self.revision.to_le_bytes());
        out.extend_from_slice(&millis(self.written).to_le_bytes());
        out.extend_from_slice(&key_length.to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(value);
        let checksum = fnv1a_64(&out[start + HEAD..]);
        out[start + 4..start + HEAD].copy_from_slice(&checksum.to_le_bytes());
        Ok(())
    }

    /// The first record in `bytes` and its length; `None` if it is not whole.
    fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let checksum = u64::from_le_bytes(bytes.get(4..HEAD)?.try_into().ok()?);
        let body = bytes.get(HEAD..HEAD.checked_add(length)?)?;
        if fnv1a_64(body) != checksum {
            return None;
        }
        let operation = *body.first()?;
        let revision = u64::from_le_bytes(body.get(1..9)?.try_into().ok()?);
        let written = u64::from_le_bytes(body.get(9..17)?.try_into().ok()?);
        let key_end = 19 + usize::from(u16::from_le_bytes(body.get(17..19)?.try_into().ok()?));
        let key = std::str::from_utf8(body.get(19..key_end)?).ok()?.to_owned();
        let value = match operation {
            PUT => Some(Bytes::copy_from_slice(&body[key_end..])),
            DELETE => None,
            _ => return None,
        };
        let written = UNIX_EPOCH + Duration::from_millis(written);
        Some((Self { revision, written, key, value }, HEAD + length))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Length of the whole records.
    length: u64,
    records: usize,
}

impl Journal {
    /// Opens a journal, creating it if need be, with what it holds.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Record>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(MAGIC)?;
            file.sync_all()?;
            sync_folder(path)?;
            bytes = MAGIC.to_vec();
        }
        if !bytes.starts_with(MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no journal", path.display()),
            ));
        }
        let (mut records, mut end) = (Vec::new(), MAGIC.len());
        while let Some((record, length)) = Record::decode(&bytes[end..]) {
            records.push(record);
            end += length;
        }
        if end < bytes.len() {
            warn!(journal = %path.display(), bytes = bytes.len() - end, "cut off an unfinished record");
            file.set_len(end as u64)?;
            file.sync_all()?;
        }
        let journal = Self { path: path.to_owned(), file, length: end as u64, records: records.len() };
        Ok((journal, records))
    }

    /// Appends a record; it is on disk when this returns. After a failure the file is as before.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // A part of it may be there; the next record or the next start overwrites or cuts it off.
            let _ = self.file.set_len(self.length);
            return written;
        }
        self.length += bytes.len() as u64;
        self.records += 1;
        Ok(())
    }

    /// Whether [`Self::rewrite`] with this many records is worth it.
    pub(super) const fn is_mostly_garbage(&self, live: usize) -> bool {
        self.records > 2 * live + 256
    }

    /// Replaces everything by `records`. After a failure the journal still holds what it held.
    pub(super) fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        for record in records {
            record.encode(&mut bytes)?;
        }
        self.file = put_in_place(&self.path, &[&bytes])?;
        self.length = bytes.len() as u64;
        self.records = records.len();
        sync_folder(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(revision: u64, value: Option<&'static str>) -> Record {
        let written = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        Record { revision, written, key: "a.key".to_owned(), value: value.map(Bytes::from) }
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let written = vec![record(1, Some("one")), record(2, None), record(3, Some(""))];
        let (mut journal, found) = Journal::open(&path).unwrap();
        assert!(found.is_empty());
        written.iter().for_each(|record| journal.append(record).unwrap());
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1, written);
    }

    #[test]
    fn a_journal_cut_at_any_byte_holds_the_whole_records_before_the_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&record(1, Some("one"))).unwrap();
        let first = journal.length as usize;
        journal.append(&record(2, Some("two"))).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut journal, found) = Journal::open(&path).unwrap();
            let expected = usize::from(length >= first) + usize::from(length == whole.len());
            assert_eq!(found.len(), expected, "cut at {length}");
            journal.append(&record(9, Some("after"))).unwrap();
            let again = Journal::open(&path).unwrap().1;
            assert_eq!(again.last(), Some(&record(9, Some("after"))), "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_journal_instead_of_being_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&record(1, Some("one"))).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(Journal::open(&path).unwrap().1.is_empty());
    }

    #[test]
    fn a_file_of_another_kind_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "something else entirely").unwrap();
        assert!(Journal::open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"something else entirely");
    }

    #[test]
    fn a_rewritten_journal_holds_only_what_it_was_given_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        (1..400).for_each(|revision| journal.append(&record(revision, Some("x"))).unwrap());
        assert!(journal.is_mostly_garbage(1));
        journal.rewrite(&[record(399, Some("x"))]).unwrap();
        assert!(!journal.is_mostly_garbage(1));
        journal.append(&record(400, Some("y"))).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1, vec![record(399, Some("x")), record(400, Some("y"))]);
    }
}
