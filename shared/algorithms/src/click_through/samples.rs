//! What the ranker learns from: feature rows kept once per user and per item, and samples that point at them.
//!
//! A sample names one row of every table instead of copying it, so ten million samples of items with
//! 512-dimensional embeddings cost 12 bytes each and the embeddings are held once. A data set without such
//! structure (lines of `index:value`) is one table with as many rows as samples.

use thiserror::Error;

use crate::snapshot::{Snapshot, SnapshotError, SnapshotWriter};

/// Sparse rows of `(feature, value)`, optionally each with dense vectors.
///
/// Features are numbered over all tables together, as are fields; see [`Layout`].
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRows {
    offsets: Vec<u64>,
    features: Vec<u32>,
    values: Vec<f32>,
    dense: Vec<DenseRows>,
}

/// One dense vector per row, all zeros where a row has none. Dimension `d` is feature `first_feature + d`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DenseRows {
    pub(super) first_feature: u32,
    pub(super) dimensions: usize,
    vectors: Vec<f32>,
}

impl DenseRows {
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.dimensions..(row + 1) * self.dimensions]
    }
}

impl Default for FeatureRows {
    fn default() -> Self {
        Self { offsets: vec![0], features: Vec::new(), values: Vec::new(), dense: Vec::new() }
    }
}

impl FeatureRows {
    /// An empty table whose rows carry dense vectors: `(first feature, dimensions)` of each.
    #[must_use]
    pub fn with_dense(dense: &[(u32, usize)]) -> Self {
        let dense = dense
            .iter()
            .map(|&(first_feature, dimensions)| DenseRows { first_feature, dimensions, vectors: Vec::new() })
            .collect();
        Self { dense, ..Self::default() }
    }

    /// Appends a row. `vectors` are those of the dense blocks in order; one that is missing, of another
    /// length or not finite counts as zeros.
    pub fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>, vectors: &[Option<&[f32]>]) {
        for (feature, value) in entries {
            self.features.push(feature);
            self.values.push(value);
        }
        self.offsets.push(self.features.len() as u64);
        for (block, dense) in self.dense.iter_mut().enumerate() {
            let vector = vectors.get(block).copied().flatten();
            let usable = vector.filter(|v| v.len() == dense.dimensions && v.iter().all(|x| x.is_finite()));
            match usable {
                Some(vector) => dense.vectors.extend_from_slice(vector),
                None => dense.vectors.resize(dense.vectors.len() + dense.dimensions, 0.0),
            }
        }
    }

    /// Adds everything to a snapshot, each name beginning with `prefix`.
    pub fn write(&self, prefix: &str, writer: &mut SnapshotWriter) {
        writer.add_u64(format!("{prefix}.offsets"), &self.offsets);
        writer.add_u32(format!("{prefix}.features"), &self.features);
        writer.add_f32(format!("{prefix}.values"), &self.values);
        let blocks = self.dense.iter().flat_map(|dense| [dense.first_feature, dense.dimensions as u32]);
        writer.add_u32(format!("{prefix}.dense"), &blocks.collect::<Vec<_>>());
        for (block, dense) in self.dense.iter().enumerate() {
            writer.add_f32(format!("{prefix}.dense.{block}"), &dense.vectors);
        }
    }

    /// Reads what [`FeatureRows::write`] wrote.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if a part is missing or the parts do not fit together.
    pub fn read(prefix: &str, snapshot: &Snapshot<'_>) -> Result<Self, SnapshotError> {
        let offsets = snapshot.u64s(&format!("{prefix}.offsets"))?;
        let features = snapshot.u32s(&format!("{prefix}.features"))?;
        let values = snapshot.f32s(&format!("{prefix}.values"))?;
        let blocks = snapshot.u32s(&format!("{prefix}.dense"))?;
        let rows = offsets.len().saturating_sub(1);
        let mut dense = Vec::new();
        for (block, shape) in blocks.chunks_exact(2).enumerate() {
            let vectors = snapshot.f32s(&format!("{prefix}.dense.{block}"))?;
            dense.push(DenseRows { first_feature: shape[0], dimensions: shape[1] as usize, vectors });
        }
        let sound = offsets.first() == Some(&0)
            && offsets.is_sorted()
            && offsets.last() == Some(&(features.len() as u64))
            && features.len() == values.len()
            && dense.iter().all(|dense| Some(dense.vectors.len()) == rows.checked_mul(dense.dimensions));
        if !sound {
            return Err(SnapshotError::Tensor {
                name: prefix.to_owned(),
                reason: "its parts do not fit together",
            });
        }
        Ok(Self { offsets, features, values, dense })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Features and values of one row.
    ///
    /// # Panics
    ///
    /// Panics if there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let span = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        (&self.features[span.clone()], &self.values[span])
    }

    pub(super) fn dense(&self) -> &[DenseRows] {
        &self.dense
    }

    /// Whether every feature is below `n_features`.
    #[must_use]
    pub fn fits(&self, n_features: usize) -> bool {
        self.max_feature().is_none_or(|max| (max as usize) < n_features)
    }

    /// Largest feature in use, for checking against a layout.
    fn max_feature(&self) -> Option<u32> {
        let dense = self.dense.iter().map(|block| block.first_feature + block.dimensions as u32 - 1);
        self.features.iter().copied().chain(dense).max()
    }
}

/// Which field every feature belongs to, for example "user id", "item tag", "country".
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Layout {
    /// `(name, number of features, dense)` of every field; features are numbered in this order.
    fields: Vec<(String, u32, bool)>,
}

impl Layout {
    /// Adds a field of one-hot, multi-hot or numeric features and returns its first feature.
    pub fn push(&mut self, name: &str, features: u32) -> u32 {
        let first = self.n_features() as u32;
        self.fields.push((name.to_owned(), features, false));
        first
    }

    /// Adds a field that is one dense vector and returns the feature of its first dimension.
    pub fn push_dense(&mut self, name: &str, dimensions: u32) -> u32 {
        let first = self.push(name, dimensions);
        if let Some(field) = self.fields.last_mut() {
            field.2 = true;
        }
        first
    }

    /// Number of features over all fields.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.fields.iter().map(|&(_, features, _)| features as usize).sum()
    }

    /// Number of fields.
    #[must_use]
    pub fn n_fields(&self) -> usize {
        self.fields.len()
    }

    /// Name of every field.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _, _)| name.as_str())
    }

    /// Field of every feature.
    pub(super) fn field_of_features(&self) -> Vec<u16> {
        let spans = self.fields.iter().enumerate();
        spans.flat_map(|(field, &(_, n, _))| std::iter::repeat_n(field as u16, n as usize)).collect()
    }

    /// Whether each field is dense.
    pub(super) fn dense_fields(&self) -> Vec<bool> {
        self.fields.iter().map(|&(_, _, dense)| dense).collect()
    }
}

/// Labelled samples over feature tables.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    tables: Vec<&'a FeatureRows>,
    rows: Vec<u32>,
    labels: Vec<bool>,
}

impl<'a> Samples<'a> {
    /// No samples yet over these tables, for example users and items.
    #[must_use]
    pub fn new(tables: Vec<&'a FeatureRows>) -> Self {
        Self { tables, rows: Vec::new(), labels: Vec::new() }
    }

    /// One table with a row for every label, in the same order.
    ///
    /// # Panics
    ///
    /// Panics if the numbers differ: that is a bug of the caller.
    #[must_use]
    pub fn from_table(table: &'a FeatureRows, labels: Vec<bool>) -> Self {
        assert_eq!(table.len(), labels.len(), "one label per row");
        Self { tables: vec![table], rows: (0..labels.len() as u32).collect(), labels }
    }

    /// Adds a sample: one row of every table.
    ///
    /// # Panics
    ///
    /// Panics if a row is missing: that is a bug in the index, not bad data.
    pub fn push(&mut self, rows: &[u32], positive: bool) {
        assert_eq!(rows.len(), self.tables.len(), "one row of every table");
        for (&row, table) in rows.iter().zip(&self.tables) {
            assert!((row as usize) < table.len(), "row {row} of {}", table.len());
        }
        self.rows.extend_from_slice(rows);
        self.labels.push(positive);
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Label of every sample.
    #[must_use]
    pub fn labels(&self) -> &[bool] {
        &self.labels
    }

    /// The table rows of one sample.
    pub(super) fn parts(&self, sample: usize) -> impl Iterator<Item = (&'a FeatureRows, usize)> {
        let rows = &self.rows[sample * self.tables.len()..][..self.tables.len()];
        self.tables.iter().copied().zip(rows.iter().map(|&row| row as usize))
    }

    /// Sparse entries of one sample.
    pub(super) fn entries(&self, sample: usize) -> impl Iterator<Item = (u32, f32)> + use<'a, '_> {
        self.parts(sample).flat_map(|(table, row)| {
            let (features, values) = table.row(row);
            features.iter().copied().zip(values.iter().copied())
        })
    }

    /// Whether every feature is below `n_features`.
    pub(super) fn fits(&self, n_features: usize) -> bool {
        self.tables.iter().all(|table| table.max_feature().is_none_or(|max| (max as usize) < n_features))
    }
}

/// A line that is not `label index:value index:value …`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: expected `label index:value …` with a label of -1, 0 or 1, got {text:?}")]
pub struct LibfmError {
    /// Counted from 1.
    pub line: usize,
    /// What could not be read.
    pub text: String,
}

/// Reads the text form of libFM and libSVM: a label (1 is positive; 0 and -1 are negative), then `index:value` pairs.
///
/// # Errors
///
/// [`LibfmError`] names the first line that cannot be read.
pub fn parse_libfm(text: &str) -> Result<(FeatureRows, Vec<bool>), LibfmError> {
    let mut rows = FeatureRows::default();
    let mut labels = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let reject = |text: &str| LibfmError { line: number + 1, text: text.chars().take(40).collect() };
        let mut words = line.split_ascii_whitespace();
        let Some(label) = words.next() else { continue };
        let label: f32 = label
            .parse()
            .ok()
            .filter(|label| [-1.0, 0.0, 1.0].contains(label))
            .ok_or_else(|| reject(label))?;
        let entries: Result<Vec<(u32, f32)>, LibfmError> =
            words.map(|word| parse_entry(word).ok_or_else(|| reject(word))).collect();
        rows.push(entries?, &[]);
        labels.push(label > 0.0);
    }
    Ok((rows, labels))
}

fn parse_entry(word: &str) -> Option<(u32, f32)> {
    let (feature, value) = word.split_once(':')?;
    let value: f32 = value.parse().ok()?;
    Some((feature.parse().ok()?, value)).filter(|_| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfm_lines_become_rows_and_a_broken_one_is_named() {
        let (rows, labels) = parse_libfm("1 3:1 7:0.5\n\n-1 2:1\n").unwrap();
        assert_eq!(rows.row(0), (&[3, 7][..], &[1.0, 0.5][..]));
        assert_eq!(rows.row(1), (&[2][..], &[1.0][..]));
        assert_eq!(labels, [true, false]);
        for broken in ["2 1:1", "x", "1 1", "1 a:1", "1 1:nan", "1 -1:1"] {
            assert_eq!(parse_libfm(&format!("0 1:1\n{broken}")).unwrap_err().line, 2, "{broken}");
        }
    }

    #[test]
    fn a_missing_or_unusable_vector_counts_as_zeros() {
        let mut rows = FeatureRows::with_dense(&[(5, 2)]);
        rows.push([(0, 1.0)], &[Some(&[1.0, 2.0])]);
        rows.push([], &[None]);
        rows.push([], &[Some(&[1.0])]);
        rows.push([], &[Some(&[1.0, f32::NAN])]);
        assert_eq!(rows.dense()[0].row(0), [1.0, 2.0]);
        for row in 1..4 {
            assert_eq!(rows.dense()[0].row(row), [0.0, 0.0]);
        }
    }

    #[test]
    fn samples_share_the_rows_they_name() {
        let mut users = FeatureRows::default();
        users.push([(0, 1.0)], &[]);
        let mut items = FeatureRows::default();
        items.push([(1, 1.0)], &[]);
        items.push([(2, 1.0), (3, 0.5)], &[]);
        let mut samples = Samples::new(vec![&users, &items]);
        samples.push(&[0, 1], true);
        assert_eq!(samples.entries(0).collect::<Vec<_>>(), [(0, 1.0), (2, 1.0), (3, 0.5)]);
        assert!(samples.fits(4) && !samples.fits(3));
    }

    #[test]
    fn a_layout_numbers_fields_one_after_the_other() {
        let mut layout = Layout::default();
        assert_eq!(
            (layout.push("user", 3), layout.push_dense("item vector", 2), layout.push("tag", 1)),
            (0, 3, 5)
        );
        assert_eq!(layout.field_of_features(), [0, 0, 0, 1, 1, 2]);
        assert_eq!(layout.dense_fields(), [false, true, false]);
    }
}
