//! What a reader yields, and the lines most readers stand on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use ulex_domain::{Feedback, Item, User};

/// Longest line that is read; a longer one is rejected and skipped without being held in memory.
const MAX_LINE: u64 = 4 << 20;

const BUFFER: usize = 256 << 10;

/// Something to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Somebody.
    User(User),
    /// Something.
    Item(Item),
    /// Somebody did something to something.
    Feedback(Feedback),
}

/// One record of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Line on which it begins, counted from 1.
    pub line: u64,
    /// What it says, or why it cannot be used.
    pub row: Result<Row, String>,
}

/// The records of one file in order. An error ends them.
pub type Records = Box<dyn Iterator<Item = io::Result<Record>> + Send>;

/// Text to read records from.
pub type Source = Box<dyn BufRead + Send>;

/// Opens a file, gzipped or not, told by its first bytes. Adds the bytes that are read from disk to `progress`.
pub(super) fn open(path: &Path, progress: Arc<AtomicU64>) -> io::Result<Source> {
    let file = Counted { inner: File::open(path)?, progress };
    let mut raw = BufReader::with_capacity(BUFFER, file);
    if raw.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw))));
    }
    Ok(Box::new(raw))
}

/// Counts what passes through.
struct Counted<R> {
    inner: R,
    progress: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.progress.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// How bytes that are not UTF-8 are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// They make the line unusable.
    Utf8,
    /// Such a line is ISO 8859-1, as in data sets of the last century.
    Utf8OrLatin1,
}

/// Numbered lines without their ends, each bounded in length.
pub(super) struct Lines<R> {
    source: R,
    encoding: Encoding,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R, encoding: Encoding) -> Self {
        Self { source, encoding, number: 0, buffer: Vec::new() }
    }

    /// The next line and its number, or why it cannot be used; `None` at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<(u64, Result<&str, String>)>> {
        self.buffer.clear();
        let read = (&mut self.source).take(MAX_LINE + 1).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 > MAX_LINE && self.buffer.last() != Some(&b'\n') {
            skip_to_line_end(&mut self.source)?;
            return Ok(Some((self.number, Err(format!("the line is longer than {MAX_LINE} bytes")))));
        }
        while matches!(self.buffer.last(), Some(b'\n' | b'\r')) {
            self.buffer.pop();
        }
        if self.number == 1 && self.buffer.starts_with("\u{feff}".as_bytes()) {
            self.buffer.drain(..3);
        }
        if self.encoding == Encoding::Utf8OrLatin1 && std::str::from_utf8(&self.buffer).is_err() {
            let text: String = self.buffer.iter().map(|&byte| char::from(byte)).collect();
            self.buffer = text.into_bytes();
        }
        let text =
            std::str::from_utf8(&self.buffer).map_err(|error| format!("the line is not UTF-8: {error}"));
        Ok(Some((self.number, text)))
    }

    /// Every line that is not blank, turned into a row by `parse`.
    pub(super) fn records<P>(self, parse: P) -> Records
    where
        R: Send + 'static,
        P: FnMut(&str) -> Result<Row, String> + Send + 'static,
    {
        Box::new(ParsedLines { lines: self, parse })
    }
}

/// Reads up to and including the next line end, keeping nothing.
fn skip_to_line_end(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = source.fill_buf()?;
        if available.is_empty() {
            return Ok(());
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let n = end.map_or(available.len(), |end| end + 1);
        source.consume(n);
        if end.is_some() {
            return Ok(());
        }
    }
}

struct ParsedLines<R, P> {
    lines: Lines<R>,
    parse: P,
}

impl<R: BufRead, P: FnMut(&str) -> Result<Row, String>> Iterator for ParsedLines<R, P> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (line, text) = match self.lines.next_line() {
                Ok(next) => next?,
                Err(error) => return Some(Err(error)),
            };
            match text {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => return Some(Ok(Record { line, row: (self.parse)(text) })),
                Err(reason) => return Some(Ok(Record { line, row: Err(reason) })),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A source over a string.
    pub fn text(text: &str) -> Source {
        Box::new(io::Cursor::new(text.as_bytes().to_vec()))
    }

    /// All rows, rejected ones as `line: reason`.
    pub fn all(records: Records) -> (Vec<Row>, Vec<String>) {
        let (mut rows, mut rejects) = (Vec::new(), Vec::new());
        for record in records {
            let record = record.expect("strings can be read");
            match record.row {
                Ok(row) => rows.push(row),
                Err(reason) => rejects.push(format!("{}: {reason}", record.line)),
            }
        }
        (rows, rejects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(bytes: &[u8], encoding: Encoding) -> Vec<(u64, Result<String, String>)> {
        let mut lines = Lines::new(bytes, encoding);
        let mut all = Vec::new();
        while let Some((number, text)) = lines.next_line().unwrap() {
            all.push((number, text.map(str::to_owned)));
        }
        all
    }

    #[test]
    fn line_ends_of_every_system_and_byte_order_marks_are_removed() {
        let expected = vec![(1, Ok("a".to_owned())), (2, Ok(String::new())), (3, Ok("b".to_owned()))];
        assert_eq!(lines("\u{feff}a\r\n\nb".as_bytes(), Encoding::Utf8), expected);
    }

    #[test]
    fn a_line_without_end_is_rejected_and_the_next_one_is_read() {
        let mut bytes = vec![b'x'; MAX_LINE as usize + 10];
        bytes.extend_from_slice(b"\nshort\n");
        let found = lines(&bytes, Encoding::Utf8);
        assert!(found[0].1.as_ref().unwrap_err().contains("longer than"));
        assert_eq!(found[1], (2, Ok("short".to_owned())));
    }

    #[test]
    fn old_encodings_are_read_where_they_are_expected() {
        assert!(lines(b"caf\xe9", Encoding::Utf8)[0].1.is_err());
        assert_eq!(lines(b"caf\xe9", Encoding::Utf8OrLatin1)[0].1.as_deref(), Ok("café"));
    }

    #[test]
    fn gzip_is_told_by_its_bytes_and_progress_counts_what_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plain.name");
        let mut packer =
            flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        packer.write_all(&vec![b'a'; 100_000]).unwrap();
        packer.finish().unwrap();
        let progress = Arc::new(AtomicU64::new(0));
        let mut text = Vec::new();
        open(&path, progress.clone()).unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text.len(), 100_000);
        assert_eq!(progress.load(Ordering::Relaxed), path.metadata().unwrap().len());
    }
}
