//! The factorisation machine on labelled examples: the epoch is chosen on the validation part, the figures are those of
//! the test part.

use std::time::Instant;

use ulex_algorithms::click_through::calibration::mean_log_loss;
use ulex_algorithms::click_through::{FeatureRows, FmError, FmParams, Layout, Samples, fit};
use ulex_algorithms::evaluation::classification::auc;
use ulex_algorithms::progress::Unattended;

use super::report::Report;
use super::splits::{ClickSplit, Examples};

/// Without a validation part every so many-th example of the training part serves as one.
const HELD_BACK: usize = 10;

/// Fits and reports.
///
/// # Errors
///
/// [`FmError`] if the parameters are out of range or the examples cannot be learned from.
pub fn measure(split: &ClickSplit, params: &FmParams, report: &mut Report) -> Result<(), FmError> {
    let layout = layout(split);
    let (train, valid) = match &split.valid {
        Some(valid) => (table(&split.train, |_| true), table(valid, |_| true)),
        None => {
            (table(&split.train, |row| row % HELD_BACK != 0), table(&split.train, |row| row % HELD_BACK == 0))
        }
    };
    let test = table(&split.test, |_| true);
    let begun = Instant::now();
    let fitted = fit(
        &layout,
        &Samples::from_table(&train.0, train.1),
        &Samples::from_table(&valid.0, valid.1),
        params,
        &Unattended,
    )?;
    let fit_seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let test = Samples::from_table(&test.0, test.1);
    let logits = fitted.model.predict(&test);
    let score_seconds = begun.elapsed().as_secs_f64();
    report.put("auc", auc(&logits, test.labels()).unwrap_or(f64::NAN));
    report.put("logloss", mean_log_loss(&logits, test.labels()));
    report.put(
        "valid_auc",
        fitted.epochs.get(fitted.best_epoch.saturating_sub(1)).map_or(f64::NAN, |epoch| epoch.auc),
    );
    report.put("epoch", fitted.best_epoch);
    report.put("features", split.n_features);
    report.put("train", train.0.len());
    report.put("test", test.len());
    report.put("fit_seconds", fit_seconds);
    report.put("score_seconds", score_seconds);
    Ok(())
}

/// The fields that the split tells, or one field of all features.
fn layout(split: &ClickSplit) -> Layout {
    let mut layout = Layout::default();
    if split.field_sizes.iter().sum::<usize>() == split.n_features {
        for (field, &size) in split.field_sizes.iter().enumerate() {
            layout.push(&format!("field {field}"), size as u32);
        }
    } else {
        layout.push("features", split.n_features as u32);
    }
    layout
}

fn table(examples: &Examples, chosen: impl Fn(usize) -> bool) -> (FeatureRows, Vec<bool>) {
    let (mut rows, mut labels) = (FeatureRows::default(), Vec::new());
    for row in (0..examples.len()).filter(|&row| chosen(row)) {
        let (features, values) = examples.row(row);
        rows.push(features.iter().copied().zip(values.iter().copied()), &[]);
        labels.push(examples.labels[row]);
    }
    (rows, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::report::Measure;

    /// A click exactly if the two fields have the same feature.
    fn examples(n: u32) -> Examples {
        let mut examples = Examples { offsets: vec![0], ..Examples::default() };
        for row in 0..n {
            let (left, right) = (row % 4, (row / 4) % 4);
            examples.features.extend([left, 4 + right]);
            examples.values.extend([1.0, 1.0]);
            examples.labels.push(left == right);
            examples.offsets.push(examples.features.len());
        }
        examples
    }

    #[test]
    fn pairs_that_a_line_cannot_separate_are_learned() {
        let split = ClickSplit {
            name: "pairs".to_owned(),
            n_features: 8,
            field_sizes: vec![4, 4],
            train: examples(3200),
            valid: None,
            test: examples(160),
        };
        let params =
            FmParams { learning_rate: 0.05, decay: 0.0, dropout: 0.0, batch: 64, ..FmParams::default() };
        let mut report = Report::default();
        measure(&split, &params, &mut report).unwrap();
        let Some(Measure::Number(auc)) = report.get("auc") else { panic!("no auc") };
        assert!(*auc > 0.99, "{}", report.json());
        assert_eq!(report.get("train"), Some(&2880_usize.into()));
        assert_eq!(layout(&ClickSplit { field_sizes: vec![4], ..split }).n_fields(), 1);
    }
}
