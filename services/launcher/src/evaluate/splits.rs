//! Folders that say what is training and what is test, so that any difference is the model and not the split.
//!
//! Ranking: `train.txt`, `test.txt` and if there `valid.txt`, one `user<TAB>item` a line, 0-based, in time order per
//! user where times exist; `negatives.txt` if there: user, positive, then the items it is ranked against.
//! Clicks: `train.libfm`, `valid.libfm`, `test.libfm`: label 1 or -1, then `feature:value`.
//! Any file may be gzipped under its name with `.gz`. `meta.json` tells sizes; without it they follow from the files.
//!
//! Indexes are those of the files: user 7 of the file is row 7, and its id is "7".

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use thiserror::Error;
use ulex_algorithms::dictionary::Dictionary;
use ulex_algorithms::interactions::Interactions;

/// Largest index that is accepted, to notice files that are something else before memory runs out.
const MAX_INDEX: u32 = 200_000_000;

/// Why a split cannot be used.
#[derive(Debug, Error)]
pub enum SplitError {
    /// There is no such folder.
    #[error("{}: no such folder; a split is a folder, or temporal, leave-last-out or random", folder.display())]
    NoFolder {
        /// Which folder.
        folder: PathBuf,
    },
    /// There is no split in this folder.
    #[error("{}: expected train.txt and test.txt, or train.libfm and test.libfm, gzipped or not", folder.display())]
    Missing {
        /// Which folder.
        folder: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A line makes no sense.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: u64,
        /// What was expected.
        reason: String,
    },
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Split {
    /// Lists are to be made and scored.
    Ranking(RankingSplit),
    /// Probabilities are to be estimated.
    Clicks(ClickSplit),
}

/// Users × items, divided.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingSplit {
    /// Its name.
    pub name: String,
    /// User ids; the index is the row.
    pub users: Dictionary,
    /// Item ids; the index is the column.
    pub items: Dictionary,
    /// What may be learnt from; weights are 1.
    pub train: Interactions,
    /// Items of each user in the training part in the order of the file, oldest first where times exist.
    pub sequences: Vec<Vec<u32>>,
    /// To choose parameters by, if there is such a part.
    pub valid: Option<Interactions>,
    /// What the lists are scored against.
    pub test: Interactions,
    /// If there: not all items are ranked but only these.
    pub negatives: Option<Vec<Negatives>>,
}

/// One test case of a split that brings its own candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negatives {
    /// Row of the user.
    pub user: u32,
    /// The item that is right.
    pub positive: u32,
    /// The items that are wrong.
    pub items: Vec<u32>,
}

/// Examples, divided.
#[derive(Clone, Debug, PartialEq)]
pub struct ClickSplit {
    /// Its name.
    pub name: String,
    /// Number of features.
    pub n_features: usize,
    /// Number of features of each field, in order, if it is known.
    pub field_sizes: Vec<usize>,
    /// To learn from.
    pub train: Examples,
    /// To choose the epoch by, if there is such a part.
    pub valid: Option<Examples>,
    /// To report on.
    pub test: Examples,
}

/// Sparse rows with a label: row `r` is `offsets[r]..offsets[r + 1]` of `features` and `values`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// Whether it was a click.
    pub labels: Vec<bool>,
    /// Row boundaries, one more than rows.
    pub offsets: Vec<usize>,
    /// Feature of each entry.
    pub features: Vec<u32>,
    /// Value of each entry.
    pub values: Vec<f32>,
}

impl Examples {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Features and values of a row.
    ///
    /// # Panics
    ///
    /// Panics if there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let span = self.offsets[row]..self.offsets[row + 1];
        (&self.features[span.clone()], &self.values[span])
    }
}

/// What `meta.json` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: Option<String>,
    users: usize,
    items: usize,
    features: usize,
    field_sizes: Vec<usize>,
}

/// Reads a folder.
///
/// # Errors
///
/// [`SplitError`] naming the file and line that cannot be used.
pub fn read(folder: &Path) -> Result<Split, SplitError> {
    if !folder.is_dir() {
        return Err(SplitError::NoFolder { folder: folder.to_path_buf() });
    }
    let meta = read_meta(folder)?;
    let fallback = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = meta.name.clone().unwrap_or(fallback);
    if let (Some(train), Some(test)) = (find(folder, "train.txt"), find(folder, "test.txt")) {
        return read_ranking(folder, name, &meta, (&train, &test)).map(Split::Ranking);
    }
    if let (Some(train), Some(test)) = (find(folder, "train.libfm"), find(folder, "test.libfm")) {
        return read_clicks(folder, name, meta, (&train, &test)).map(Split::Clicks);
    }
    Err(SplitError::Missing { folder: folder.to_path_buf() })
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

fn read_meta(folder: &Path) -> Result<Meta, SplitError> {
    let path = folder.join("meta.json");
    if !path.is_file() {
        return Ok(Meta::default());
    }
    let read = |source| SplitError::Read { path: path.clone(), source };
    let text = std::fs::read_to_string(&path).map_err(read)?;
    serde_json::from_str(&text).map_err(|error| read(io::Error::from(error)))
}

/// Calls `take` with every line that is not blank; its reason becomes an error with file and line.
fn for_each_line(path: &Path, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<(), SplitError> {
    let read = |source| SplitError::Read { path: path.to_path_buf(), source };
    let mut raw = BufReader::with_capacity(256 << 10, File::open(path).map_err(read)?);
    let packed = raw.fill_buf().map_err(read)?.starts_with(&[0x1f, 0x8b]);
    let mut source: Box<dyn BufRead> = if packed {
        Box::new(BufReader::with_capacity(256 << 10, MultiGzDecoder::new(raw)))
    } else {
        Box::new(raw)
    };
    let (mut text, mut line) = (String::new(), 0);
    loop {
        text.clear();
        if source.read_line(&mut text).map_err(read)? == 0 {
            return Ok(());
        }
        line += 1;
        if !text.trim().is_empty() {
            take(&text).map_err(|reason| SplitError::Line { path: path.to_path_buf(), line, reason })?;
        }
    }
}

fn index(text: Option<&str>, what: &str) -> Result<u32, String> {
    let text = text.ok_or_else(|| format!("the {what} is missing"))?;
    let index = text.parse::<u32>().ok().filter(|&index| index < MAX_INDEX);
    index.ok_or_else(|| format!("the {what} {text:?} is no number from 0 to {}", MAX_INDEX - 1))
}

fn read_pairs(path: &Path) -> Result<Vec<(u32, u32)>, SplitError> {
    let mut pairs = Vec::new();
    for_each_line(path, |line| {
        let mut words = line.split_whitespace();
        pairs.push((index(words.next(), "user")?, index(words.next(), "item")?));
        Ok(())
    })?;
    Ok(pairs)
}

fn read_negatives(path: &Path) -> Result<Vec<Negatives>, SplitError> {
    let mut cases = Vec::new();
    for_each_line(path, |line| {
        let mut words = line.split_whitespace();
        let (user, positive) = (index(words.next(), "user")?, index(words.next(), "positive item")?);
        let items = words.map(|word| index(Some(word), "negative item")).collect::<Result<Vec<u32>, _>>()?;
        cases.push(Negatives { user, positive, items });
        Ok(())
    })?;
    Ok(cases)
}

fn read_ranking(
    folder: &Path,
    name: String,
    meta: &Meta,
    (train, test): (&Path, &Path),
) -> Result<RankingSplit, SplitError> {
    let (train, test) = (read_pairs(train)?, read_pairs(test)?);
    let valid = find(folder, "valid.txt").map(|path| read_pairs(&path)).transpose()?;
    let negatives = find(folder, "negatives.txt").map(|path| read_negatives(&path)).transpose()?;

    let all = || train.iter().chain(&test).chain(valid.iter().flatten());
    let cases = || negatives.iter().flatten();
    let n_users = all().map(|pair| pair.0).chain(cases().map(|case| case.user)).max();
    let n_items = all().map(|pair| pair.1).chain(cases().flat_map(|case| case.items.iter().copied())).max();
    let size = |largest: Option<u32>, told: usize| told.max(largest.map_or(0, |index| index as usize + 1));
    let (n_users, n_items) = (size(n_users, meta.users), size(n_items, meta.items));

    let matrix = |pairs: &[(u32, u32)]| {
        let triples = pairs.iter().map(|&(user, item)| (user, item, 1.0)).collect();
        Interactions::from_triples(n_users, n_items, triples)
    };
    let mut sequences = vec![Vec::new(); n_users];
    for &(user, item) in &train {
        sequences[user as usize].push(item);
    }
    Ok(RankingSplit {
        name,
        users: numbers(n_users),
        items: numbers(n_items),
        train: matrix(&train),
        sequences,
        valid: valid.as_deref().map(matrix),
        test: matrix(&test),
        negatives,
    })
}

/// The ids "0", "1", ... under their own index.
fn numbers(n: usize) -> Dictionary {
    let mut dictionary = Dictionary::default();
    for number in 0..n {
        dictionary.intern(&number.to_string());
    }
    dictionary
}

fn read_examples(path: &Path) -> Result<Examples, SplitError> {
    let mut examples = Examples { offsets: vec![0], ..Examples::default() };
    for_each_line(path, |line| {
        let mut words = line.split_whitespace();
        let label = match words.next() {
            Some("1" | "+1" | "1.0") => true,
            Some("-1" | "0" | "-1.0") => false,
            other => return Err(format!("the label must be 1, -1 or 0, got {other:?}")),
        };
        for word in words {
            let (feature, value) = word.split_once(':').unwrap_or((word, "1"));
            examples.features.push(index(Some(feature), "feature")?);
            let value = value.parse::<f32>().ok().filter(|value| value.is_finite());
            examples
                .values
                .push(value.ok_or_else(|| format!("the value of {word:?} is not a finite number"))?);
        }
        examples.labels.push(label);
        examples.offsets.push(examples.features.len());
        Ok(())
    })?;
    Ok(examples)
}

fn read_clicks(
    folder: &Path,
    name: String,
    meta: Meta,
    (train, test): (&Path, &Path),
) -> Result<ClickSplit, SplitError> {
    let (train, test) = (read_examples(train)?, read_examples(test)?);
    let valid = find(folder, "valid.libfm").map(|path| read_examples(&path)).transpose()?;
    let all = [Some(&train), valid.as_ref(), Some(&test)].into_iter().flatten();
    let largest =
        all.flat_map(|examples| &examples.features).max().map_or(0, |&feature| feature as usize + 1);
    Ok(ClickSplit {
        name,
        n_features: largest.max(meta.features),
        field_sizes: meta.field_sizes,
        train,
        valid,
        test,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    const ULEX_DATA_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            if name.ends_with(".gz") {
                let file = File::create(path).unwrap();
                let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                packer.write_all(text.as_bytes()).unwrap();
            } else {
                fs::write(path, text).unwrap();
            }
        }
        folder
    }

    fn ranking(files: &[(&str, &str)]) -> Result<RankingSplit, String> {
        match read(folder(files).path()) {
            Ok(Split::Ranking(split)) => Ok(split),
            Ok(Split::Clicks(_)) => Err("clicks".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn pairs_keep_their_indexes_and_their_order() {
        let split = ranking(&[
            ("train.txt.gz", "0\t3\n0\t1\n2\t0\n"),
            ("test.txt", "2\t4\n"),
            ("negatives.txt", "2\t4\t0\t9\n"),
            ("meta.json", r#"{"name": "tiny", "users": 5, "note": "x"}"#),
        ])
        .unwrap();
        assert_eq!((split.name.as_str(), split.users.len(), split.items.len()), ("tiny", 5, 10));
        assert_eq!(split.sequences[0], [3, 1]);
        assert_eq!(split.train.row(0).0, [1, 3]);
        assert_eq!(split.test.row(2).0, [4]);
        assert_eq!(split.items.index("9"), Some(9));
        assert_eq!(split.negatives.unwrap()[0], Negatives { user: 2, positive: 4, items: vec![0, 9] });
        assert!(split.valid.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_file_and_line() {
        let refused = |train: &str| ranking(&[("train.txt", train), ("test.txt", "0\t0\n")]).unwrap_err();
        assert!(
            refused("0\t0\n0\tx\n").ends_with("train.txt:2: the item \"x\" is no number from 0 to 199999999")
        );
        assert!(refused("0\n").contains("the item is missing"));
        assert!(refused("4000000000\t1\n").contains("no number"));
        assert!(ranking(&[("train.txt", "")]).unwrap_err().contains("expected train.txt and test.txt"));
    }

    #[test]
    fn libfm_lines_become_sparse_rows() {
        let found = folder(&[("train.libfm.gz", "1 0:1 7:0.5\n-1 3\n"), ("test.libfm", "0 9:2\n")]);
        let Split::Clicks(split) = read(found.path()).unwrap() else { panic!("not a click split") };
        assert_eq!((split.n_features, split.train.len()), (10, 2));
        assert_eq!(split.train.labels, [true, false]);
        assert_eq!(split.train.row(0), (&[0, 7][..], &[1.0, 0.5][..]));
        assert_eq!(split.train.row(1), (&[3][..], &[1.0][..]));
        assert!(!split.test.labels[0]);
    }

    #[test]
    #[ignore = "needs ULEX_DATA_DIR"]
    fn the_fixed_splits_have_the_sizes_they_tell() {
        let data = PathBuf::from(std::env::var("ULEX_DATA_DIR").unwrap_or_else(|_| ULEX_DATA_DIR.to_owned()));
        for (name, train, test) in [("ml100k-80-20", 80_000, 20_000), ("gowalla", 810_128, 217_242)] {
            let Split::Ranking(split) = read(&data.join("splits").join(name)).unwrap() else {
                panic!("{name}")
            };
            assert_eq!((split.train.len(), split.test.len()), (train, test), "{name}");
        }
        let Split::Clicks(split) = read(&data.join("splits/frappe")).unwrap() else { panic!("frappe") };
        assert_eq!((split.n_features, split.train.len(), split.test.len()), (5382, 202_027, 28_860));
    }
}
