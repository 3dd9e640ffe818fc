//! Named tensors and a description in one file: how models travel and are kept.
//!
//! The form is safetensors (a JSON header, then the tensors, aligned), so any tool that reads those can look inside. The
//! header's metadata hold our own under `ulex`: what it is, the version of the form, the description, and a SHA-256 over
//! all of it, the tensors in chunks, which is verified in parallel before anything is used.
//!
//! # Failure
//!
//! Bytes that are truncated, changed, of another kind or of a newer version are refused with a reason; no input panics.

use std::collections::HashMap;
use std::fmt::Write as _;

use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Version of the form; raised when an old reader could misread a new file.
pub const VERSION: u32 = 1;
/// Where our own part of the header stands.
const LABEL: &str = "ulex";
/// Bytes of one chunk of the digest.
const CHUNK: usize = 4 << 20;

/// Our own part of the header.
#[derive(Serialize, Deserialize)]
struct Label {
    kind: String,
    version: u32,
    digest: String,
    description: String,
}

/// Why bytes are no snapshot.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// Not a file of this form, or cut off.
    #[error("not a snapshot: {0}")]
    Malformed(String),
    /// Something else, or made by a newer program.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The bytes are not what was written.
    #[error("the digest does not match: the snapshot is damaged")]
    Damaged,
    /// A tensor is missing or has another type or shape.
    #[error("tensor {name}: {reason}")]
    Tensor {
        /// Which.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Collects tensors.
#[derive(Debug, Default)]
pub struct SnapshotWriter {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl SnapshotWriter {
    /// Adds 32-bit floats.
    pub fn add_f32(&mut self, name: impl Into<String>, data: &[f32]) {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.into(), Dtype::F32, vec![data.len()], bytes));
    }

    /// Adds 64-bit floats.
    pub fn add_f64(&mut self, name: impl Into<String>, data: &[f64]) {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.into(), Dtype::F64, vec![data.len()], bytes));
    }

    /// Adds 32-bit unsigned integers.
    pub fn add_u32(&mut self, name: impl Into<String>, data: &[u32]) {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.into(), Dtype::U32, vec![data.len()], bytes));
    }

    /// Adds 64-bit unsigned integers.
    pub fn add_u64(&mut self, name: impl Into<String>, data: &[u64]) {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.into(), Dtype::U64, vec![data.len()], bytes));
    }

    /// Adds bytes.
    pub fn add_bytes(&mut self, name: impl Into<String>, data: &[u8]) {
        self.tensors.push((name.into(), Dtype::U8, vec![data.len()], data.to_vec()));
    }

    /// The file. Tensors are kept in the order of their names, so the same content gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Malformed`] if two tensors have the same name.
    pub fn finish(mut self, kind: &str, description: &Value) -> Result<Vec<u8>, SnapshotError> {
        let description = description.to_string();
        let digest = self.digest_of(kind, &description)?;
        let label = Label { kind: kind.to_owned(), version: VERSION, digest, description };
        let label =
            serde_json::to_string(&label).map_err(|reason| SnapshotError::Malformed(reason.to_string()))?;
        // One entry: several would stand in another order every time.
        let metadata = HashMap::from([(LABEL.to_owned(), label)]);
        let malformed = |reason: safetensors::SafeTensorError| SnapshotError::Malformed(reason.to_string());
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, dtype, shape, bytes) in &self.tensors {
            views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(malformed)?));
        }
        safetensors::serialize(views, Some(metadata)).map_err(malformed)
    }

    /// The digest the snapshot would carry: SHA-256 over everything in it, lower-case hexadecimal.
    ///
    /// # Errors
    ///
    /// As [`SnapshotWriter::finish`].
    pub fn digest(mut self, kind: &str, description: &Value) -> Result<String, SnapshotError> {
        self.digest_of(kind, &description.to_string())
    }

    /// Puts the tensors in order first.
    fn digest_of(&mut self, kind: &str, description: &str) -> Result<String, SnapshotError> {
        self.tensors.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = self.tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SnapshotError::Malformed(format!("two tensors are called {}", twice[0].0)));
        }
        let tensors = self.tensors.iter().map(|(name, _, _, bytes)| (name.as_str(), &bytes[..]));
        Ok(digest(kind, description, tensors))
    }
}

/// SHA-256 over kind, description, and of each tensor the name, the length and the digests of its chunks.
fn digest<'a>(kind: &str, description: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut whole = Sha256::new();
    let text = |whole: &mut Sha256, text: &str| {
        whole.update((text.len() as u64).to_le_bytes());
        whole.update(text.as_bytes());
    };
    text(&mut whole, kind);
    text(&mut whole, description);
    for (name, bytes) in tensors {
        text(&mut whole, name);
        whole.update((bytes.len() as u64).to_le_bytes());
        let chunks: Vec<_> = bytes.par_chunks(CHUNK).map(Sha256::digest).collect();
        chunks.iter().for_each(|chunk| whole.update(chunk));
    }
    let mut text = String::with_capacity(64);
    for byte in whole.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// An opened file; borrows its bytes.
#[derive(Debug)]
pub struct Snapshot<'a> {
    tensors: SafeTensors<'a>,
    description: Value,
}

impl<'a> Snapshot<'a> {
    /// Opens and verifies bytes of this kind.
    ///
    /// # Errors
    ///
    /// See [`SnapshotError`].
    pub fn open(bytes: &'a [u8], kind: &str) -> Result<Self, SnapshotError> {
        let malformed = |reason: safetensors::SafeTensorError| SnapshotError::Malformed(reason.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let label =
            metadata.get(LABEL).ok_or_else(|| SnapshotError::Malformed("it has no label".to_owned()))?;
        let label: Label =
            serde_json::from_str(label).map_err(|reason| SnapshotError::Malformed(reason.to_string()))?;
        let expect = |expected: String, found: String| {
            if expected == found { Ok(()) } else { Err(SnapshotError::Unexpected { expected, found }) }
        };
        expect(format!("kind {kind}"), format!("kind {}", label.kind))?;
        expect(format!("version {VERSION}"), format!("version {}", label.version))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(malformed)?;
        let mut named = tensors.tensors();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let text = label.description;
        let found = digest(kind, &text, named.iter().map(|(name, view)| (name.as_str(), view.data())));
        if found != label.digest {
            return Err(SnapshotError::Damaged);
        }
        let description = serde_json::from_str(&text);
        let description = description.map_err(|reason| SnapshotError::Malformed(reason.to_string()))?;
        Ok(Self { tensors, description })
    }

    /// The description it was written with.
    #[must_use]
    pub const fn description(&self) -> &Value {
        &self.description
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Reads 32-bit floats.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Tensor`] if it is missing or of another type.
    pub fn f32s(&self, name: &str) -> Result<Vec<f32>, SnapshotError> {
        let bytes = self.data(name, Dtype::F32)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Reads 64-bit floats.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::f32s`].
    pub fn f64s(&self, name: &str) -> Result<Vec<f64>, SnapshotError> {
        let bytes = self.data(name, Dtype::F64)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
    }

    /// Reads 32-bit unsigned integers.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::f32s`].
    pub fn u32s(&self, name: &str) -> Result<Vec<u32>, SnapshotError> {
        let bytes = self.data(name, Dtype::U32)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }

    /// Reads 64-bit unsigned integers.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::f32s`].
    pub fn u64s(&self, name: &str) -> Result<Vec<u64>, SnapshotError> {
        let bytes = self.data(name, Dtype::U64)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::f32s`].
    pub fn bytes(&self, name: &str) -> Result<&'a [u8], SnapshotError> {
        self.data(name, Dtype::U8)
    }

    fn data(&self, name: &str, dtype: Dtype) -> Result<&'a [u8], SnapshotError> {
        let failed = |reason| SnapshotError::Tensor { name: name.to_owned(), reason };
        let view = self.tensors.tensor(name).map_err(|_missing| failed("is missing"))?;
        if view.dtype() == dtype { Ok(view.data()) } else { Err(failed("has another type")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn written() -> Vec<u8> {
        let mut writer = SnapshotWriter::default();
        writer.add_f32("b", &[1.5, -2.0]);
        writer.add_u32("a", &[7, 8, 9]);
        writer.add_u64("c", &[u64::MAX]);
        writer.add_bytes("d", b"text");
        writer.finish("test", &json!({ "id": "x" })).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = written();
        let snapshot = Snapshot::open(&bytes, "test").unwrap();
        assert_eq!(snapshot.description()["id"], "x");
        assert_eq!(snapshot.f32s("b").unwrap(), [1.5, -2.0]);
        assert_eq!(snapshot.u32s("a").unwrap(), [7, 8, 9]);
        assert_eq!(snapshot.u64s("c").unwrap(), [u64::MAX]);
        assert_eq!(snapshot.bytes("d").unwrap(), b"text");
        assert!(snapshot.f32s("a").is_err(), "another type");
        assert!(snapshot.f32s("z").is_err(), "missing");
    }

    #[test]
    fn another_kind_is_refused_by_name() {
        let refused = Snapshot::open(&written(), "other").unwrap_err().to_string();
        assert_eq!(refused, "expected kind other, found kind test");
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let mut writer = SnapshotWriter::default();
        writer.add_u32("a", &[]);
        writer.add_u32("a", &[]);
        assert!(writer.finish("test", &json!({})).is_err());
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_and_no_cut_goes_unnoticed(position in 0_usize..1_000, flip in 1_u8..=255, cut in any::<bool>()) {
            let mut bytes = written();
            let position = position % bytes.len();
            if cut {
                bytes.truncate(position);
            } else {
                bytes[position] ^= flip;
            }
            // White space in the header is the one thing that may change.
            if let Ok(snapshot) = Snapshot::open(&bytes, "test") {
                prop_assert!(!cut);
                prop_assert_eq!(snapshot.f32s("b").unwrap(), [1.5, -2.0]);
            }
        }
    }
}
