//! Bytes of a set of models: named tensors and one JSON manifest in a file of format `safetensors`.
//!
//! Any reader of that format can open the tensors; ours also checks, from the file's metadata:
//!
//! | key | what |
//! |---|---|
//! | `ulex` | magic, [`MAGIC`] |
//! | `ulex.version` | version of this layer, [`VERSION`]; newer ones are refused |
//! | `ulex.kind` | what the tensors are, chosen by the writer |
//! | `ulex.manifest` | JSON, chosen by the writer |
//! | `ulex.digest` | SHA-256 tree over everything else |
//!
//! The digest is the SHA-256 of: kind, manifest, for every tensor its name, type, shape and place (each part preceded by its length), then the
//! SHA-256 of every MiB of every tensor. The chunks are hashed in parallel, so opening costs little more than reading memory:
//! about a second per gigabyte and core with SHA instructions.
//!
//! Opening never panics: truncated, altered, foreign or newer bytes are a [`SnapshotError`]. Tensors are read in place where memory is
//! aligned for them (it is for what an allocator returns), else copied once.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// First thing a reader looks at.
pub const MAGIC: &str = "ulex model set";
/// Version written, and the highest that is read.
pub const VERSION: u32 = 1;
/// Bytes hashed together.
const CHUNK: usize = 1 << 20;

const _: () = assert!(cfg!(target_endian = "little"), "tensors are stored in little-endian order");

/// Why bytes are not a snapshot that can be used, or could not become one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// Not a file of this kind at all, or cut off in its head.
    #[error("not a model snapshot: {0}")]
    NotASnapshot(String),
    /// Written by a newer program.
    #[error("the snapshot has version {found}, this program reads up to {VERSION}: update it")]
    TooNew {
        /// Its version.
        found: u32,
    },
    /// Changed or cut off after it was written.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// There is no such tensor.
    #[error("the snapshot has no tensor {0:?}")]
    Missing(String),
    /// A tensor is of another type or shape than the reader needs.
    #[error("tensor {name:?} is {found}, expected {expected}")]
    Mismatch {
        /// The tensor.
        name: String,
        /// What it is.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// A name used twice, or data that does not fill its shape.
    #[error("cannot write tensor {name:?}: {reason}")]
    Unwritable {
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Collects tensors, borrowed or owned, until they are written together.
#[derive(Debug)]
pub struct SnapshotWriter<'a> {
    kind: String,
    tensors: BTreeMap<String, Pending<'a>>,
}

/// Type, shape and data of a tensor that is to be written.
type Pending<'a> = (Dtype, Vec<usize>, Cow<'a, [u8]>);

impl<'a> SnapshotWriter<'a> {
    /// An empty snapshot of a kind, for example `model-set`.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), tensors: BTreeMap::new() }
    }

    /// Adds numbers. The data are borrowed, not copied.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Unwritable`] if the name is taken or the shape does not hold as many elements as there are.
    pub fn add_f32(&mut self, name: &str, shape: &[usize], data: &'a [f32]) -> Result<(), SnapshotError> {
        self.add(name, Dtype::F32, shape, Cow::Borrowed(bytemuck::cast_slice(data)))
    }

    /// Adds indexes. The data are borrowed, not copied.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_u32(&mut self, name: &str, shape: &[usize], data: &'a [u32]) -> Result<(), SnapshotError> {
        self.add(name, Dtype::U32, shape, Cow::Borrowed(bytemuck::cast_slice(data)))
    }

    /// Adds offsets. The data are borrowed, not copied.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_u64(&mut self, name: &str, shape: &[usize], data: &'a [u64]) -> Result<(), SnapshotError> {
        self.add(name, Dtype::U64, shape, Cow::Borrowed(bytemuck::cast_slice(data)))
    }

    /// Adds bytes, for example the texts of a dictionary.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_bytes(&mut self, name: &str, data: impl Into<Cow<'a, [u8]>>) -> Result<(), SnapshotError> {
        let data = data.into();
        self.add(name, Dtype::U8, &[data.len()], data)
    }

    /// Adds numbers that the writer is to keep.
    ///
    /// # Errors
    ///
    /// As [`add_f32`](Self::add_f32).
    pub fn add_owned_f32(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Result<(), SnapshotError> {
        self.add(name, Dtype::F32, shape, Cow::Owned(bytemuck::cast_slice(data).to_vec()))
    }

    fn add(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        data: Cow<'a, [u8]>,
    ) -> Result<(), SnapshotError> {
        let unwritable = |reason| Err(SnapshotError::Unwritable { name: name.to_owned(), reason });
        let elements = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
        if elements.and_then(|elements| elements.checked_mul(dtype.bitsize() / 8)) != Some(data.len()) {
            return unwritable("the shape does not hold as many elements");
        }
        if self.tensors.contains_key(name) {
            return unwritable("the name is taken");
        }
        self.tensors.insert(name.to_owned(), (dtype, shape.to_vec(), data));
        Ok(())
    }

    /// Writes everything.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Unwritable`] if a tensor is refused by the format.
    pub fn finish(self, manifest: &Value) -> Result<Vec<u8>, SnapshotError> {
        let refused = |error: safetensors::SafeTensorError| SnapshotError::NotASnapshot(error.to_string());
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, (dtype, shape, data)) in &self.tensors {
            views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), data).map_err(refused)?));
        }
        let manifest = manifest.to_string();
        let head = |digest: String| {
            let entries = [
                ("ulex", MAGIC.to_owned()),
                ("ulex.version", VERSION.to_string()),
                ("ulex.kind", self.kind.clone()),
                ("ulex.manifest", manifest.clone()),
                ("ulex.digest", digest),
            ];
            Some(entries.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<HashMap<_, _>>())
        };
        let digest = digest(&self.kind, &manifest, &views);
        safetensors::serialize(views, head(digest)).map_err(refused)
    }
}

/// A verified snapshot over bytes that it owns or borrows.
#[derive(Clone, Debug)]
pub struct Snapshot<B> {
    bytes: B,
    head: Head,
}

#[derive(Clone, Debug)]
struct Head {
    kind: String,
    manifest: Value,
    digest: String,
    tensors: BTreeMap<String, Place>,
}

#[derive(Clone, Debug)]
struct Place {
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

impl<B: AsRef<[u8]>> Snapshot<B> {
    /// Opens and verifies: magic, version, structure, digest.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] says what is wrong with the bytes.
    pub fn open(bytes: B) -> Result<Self, SnapshotError> {
        let head = verify(bytes.as_ref())?;
        Ok(Self { bytes, head })
    }

    /// The digest in lower-case hexadecimal: equal for equal content, whatever the order of the metadata's keys.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.head.digest
    }

    /// What the writer said it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.head.kind
    }

    /// The writer's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Value {
        &self.head.manifest
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.head.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.head.tensors.contains_key(name)
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Missing`] if there is none of this name.
    pub fn shape(&self, name: &str) -> Result<&[usize], SnapshotError> {
        Ok(&self.place(name)?.shape)
    }

    /// Numbers, in place if memory is aligned.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Missing`] or [`SnapshotError::Mismatch`].
    pub fn f32(&self, name: &str) -> Result<Cow<'_, [f32]>, SnapshotError> {
        self.read(name, Dtype::F32)
    }

    /// Indexes, in place if memory is aligned.
    ///
    /// # Errors
    ///
    /// As [`f32`](Self::f32).
    pub fn u32(&self, name: &str) -> Result<Cow<'_, [u32]>, SnapshotError> {
        self.read(name, Dtype::U32)
    }

    /// Offsets, in place if memory is aligned.
    ///
    /// # Errors
    ///
    /// As [`f32`](Self::f32).
    pub fn u64(&self, name: &str) -> Result<Cow<'_, [u64]>, SnapshotError> {
        self.read(name, Dtype::U64)
    }

    /// Bytes.
    ///
    /// # Errors
    ///
    /// As [`f32`](Self::f32).
    pub fn bytes(&self, name: &str) -> Result<&[u8], SnapshotError> {
        let place = self.typed(name, Dtype::U8)?;
        Ok(&self.bytes.as_ref()[place.start..place.end])
    }

    fn place(&self, name: &str) -> Result<&Place, SnapshotError> {
        self.head.tensors.get(name).ok_or_else(|| SnapshotError::Missing(name.to_owned()))
    }

    fn typed(&self, name: &str, dtype: Dtype) -> Result<&Place, SnapshotError> {
        let place = self.place(name)?;
        if place.dtype == dtype {
            return Ok(place);
        }
        let (found, expected) = (format!("{:?}", place.dtype), format!("{dtype:?}"));
        Err(SnapshotError::Mismatch { name: name.to_owned(), found, expected })
    }

    fn read<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        &self,
        name: &str,
        dtype: Dtype,
    ) -> Result<Cow<'_, [T]>, SnapshotError> {
        let place = self.typed(name, dtype)?;
        let bytes = &self.bytes.as_ref()[place.start..place.end];
        Ok(match bytemuck::try_cast_slice(bytes) {
            Ok(aligned) => Cow::Borrowed(aligned),
            Err(_unaligned) => Cow::Owned(bytemuck::allocation::pod_collect_to_vec(bytes)),
        })
    }
}

fn verify(bytes: &[u8]) -> Result<Head, SnapshotError> {
    let foreign = |error: safetensors::SafeTensorError| SnapshotError::NotASnapshot(error.to_string());
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(foreign)?;
    let head = metadata.metadata().clone().unwrap_or_default();
    if head.get("ulex").map(String::as_str) != Some(MAGIC) {
        return Err(SnapshotError::NotASnapshot("the metadata lack our magic".to_owned()));
    }
    let field =
        |key: &str| head.get(key).cloned().ok_or_else(|| SnapshotError::Damaged(format!("{key} is missing")));
    let found: u32 = field("ulex.version")?.parse().map_err(|_ignored: std::num::ParseIntError| {
        SnapshotError::Damaged("the version is not a number".to_owned())
    })?;
    if found > VERSION {
        return Err(SnapshotError::TooNew { found });
    }
    // The length of the data is checked here; a file that lost its end stops at this point.
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|error| SnapshotError::Damaged(error.to_string()))?;
    let (kind, manifest) = (field("ulex.kind")?, field("ulex.manifest")?);
    let mut views = tensors.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let views: Vec<(&str, TensorView)> =
        views.iter().map(|(name, view)| (name.as_str(), view.clone())).collect();
    let digest = digest(&kind, &manifest, &views);
    if digest != field("ulex.digest")? {
        return Err(SnapshotError::Damaged("the digest does not match".to_owned()));
    }
    let manifest =
        serde_json::from_str(&manifest).map_err(|error| SnapshotError::Damaged(error.to_string()))?;
    let base = bytes.as_ptr() as usize;
    let place = |view: &TensorView| {
        let start = view.data().as_ptr() as usize - base;
        Place { dtype: view.dtype(), shape: view.shape().to_vec(), start, end: start + view.data().len() }
    };
    let tensors = views.iter().map(|(name, view)| ((*name).to_owned(), place(view))).collect();
    Ok(Head { kind, manifest, digest, tensors })
}

/// Hex digest of tensors in order of their names; see the module.
fn digest(kind: &str, manifest: &str, tensors: &[(&str, TensorView)]) -> String {
    let mut root = Sha256::new();
    let mut part = |bytes: &[u8]| {
        root.update((bytes.len() as u64).to_le_bytes());
        root.update(bytes);
    };
    part(VERSION.to_string().as_bytes());
    part(kind.as_bytes());
    part(manifest.as_bytes());
    for (name, view) in tensors {
        part(name.as_bytes());
        part(format!("{:?} {:?} {}", view.dtype(), view.shape(), view.data().len()).as_bytes());
    }
    let chunks: Vec<&[u8]> = tensors.iter().flat_map(|(_, view)| view.data().chunks(CHUNK)).collect();
    let hashes: Vec<_> = chunks.into_par_iter().map(Sha256::digest).collect();
    hashes.iter().for_each(|hash| part(hash));
    root.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn sample() -> Vec<u8> {
        let mut writer = SnapshotWriter::new("test");
        writer.add_f32("factors", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, -0.5]).unwrap();
        writer.add_u32("ids", &[3], &[7, 8, u32::MAX]).unwrap();
        writer.add_u64("offsets", &[2], &[0, 1 << 40]).unwrap();
        writer.add_bytes("names", b"abc".as_slice()).unwrap();
        writer.add_bytes("nothing", b"".as_slice()).unwrap();
        writer.finish(&json!({"metrics": {"ndcg": 0.4}})).unwrap()
    }

    #[test]
    fn everything_comes_back() {
        let bytes = sample();
        let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
        assert_eq!((snapshot.kind(), &snapshot.manifest()["metrics"]["ndcg"]), ("test", &json!(0.4)));
        assert_eq!(snapshot.f32("factors").unwrap()[..], [1.0, 2.0, 3.0, 4.0, 5.0, -0.5]);
        assert_eq!(snapshot.shape("factors").unwrap(), [2, 3]);
        assert_eq!(snapshot.u32("ids").unwrap()[..], [7, 8, u32::MAX]);
        assert_eq!(snapshot.u64("offsets").unwrap()[..], [0, 1 << 40]);
        assert_eq!(snapshot.bytes("names").unwrap(), b"abc");
        assert_eq!(snapshot.bytes("nothing").unwrap(), b"");
        assert_eq!(snapshot.names().collect::<Vec<_>>(), ["factors", "ids", "names", "nothing", "offsets"]);
    }

    #[test]
    fn unaligned_memory_is_copied_instead() {
        let bytes = sample();
        for shift in 0..8 {
            let shifted: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
            let snapshot = Snapshot::open(&shifted[shift..]).unwrap();
            assert_eq!(snapshot.u64("offsets").unwrap()[..], [0, 1 << 40]);
        }
    }

    #[test]
    fn the_same_content_has_the_same_digest() {
        assert_eq!(Snapshot::open(sample()).unwrap().digest(), Snapshot::open(sample()).unwrap().digest());
        let other = SnapshotWriter::new("test").finish(&json!({})).unwrap();
        assert_ne!(Snapshot::open(other).unwrap().digest(), Snapshot::open(sample()).unwrap().digest());
    }

    #[test]
    fn what_is_not_there_or_of_another_type_is_named() {
        let snapshot = Snapshot::open(sample()).unwrap();
        assert_eq!(snapshot.f32("none").unwrap_err(), SnapshotError::Missing("none".to_owned()));
        assert_eq!(snapshot.f32("ids").unwrap_err().to_string(), "tensor \"ids\" is U32, expected F32");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let mut writer = SnapshotWriter::new("test");
        assert!(matches!(writer.add_f32("a", &[2], &[1.0]), Err(SnapshotError::Unwritable { .. })));
        writer.add_f32("a", &[1], &[1.0]).unwrap();
        assert!(matches!(writer.add_u32("a", &[1], &[1]), Err(SnapshotError::Unwritable { .. })));
    }

    #[test]
    fn a_newer_version_asks_for_an_update() {
        let head = HashMap::from([
            ("ulex".to_owned(), MAGIC.to_owned()),
            ("ulex.version".to_owned(), "2".to_owned()),
        ]);
        let newer = safetensors::serialize(Vec::<(String, TensorView)>::new(), Some(head)).unwrap();
        assert_eq!(Snapshot::open(newer).unwrap_err(), SnapshotError::TooNew { found: 2 });
    }

    #[test]
    fn foreign_bytes_are_no_snapshot() {
        let plain = safetensors::serialize(Vec::<(String, TensorView)>::new(), None).unwrap();
        for bytes in [&b""[..], b"hello", &[0xff; 64], &plain] {
            assert!(matches!(Snapshot::open(bytes), Err(SnapshotError::NotASnapshot(_))), "{bytes:?}");
        }
    }

    #[test]
    fn every_shorter_file_is_refused() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(Snapshot::open(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn altered_bytes_are_refused_or_mean_the_same(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let original = sample();
            let mut bytes = original.clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(snapshot) = Snapshot::open(bytes.as_slice()) {
                // Spaces or key order in the head may change without changing the content.
                let expected = Snapshot::open(original.as_slice()).unwrap();
                prop_assert_eq!(snapshot.manifest(), expected.manifest());
                prop_assert_eq!(snapshot.f32("factors").unwrap(), expected.f32("factors").unwrap());
                prop_assert_eq!(snapshot.u64("offsets").unwrap(), expected.u64("offsets").unwrap());
            }
        }

        #[test]
        fn any_bytes_at_all_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Snapshot::open(bytes).is_err());
        }
    }
}
