//! Scores our recommenders and the ranker on the fixed splits in `ULEX_DATA_DIR`, one JSON line each.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "a program may look at the clock and at files")]

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::time::Instant;

use flate2::bufread::MultiGzDecoder;
use serde_json::json;
use ulex_algorithms::click_through::calibration::{area_under_curve, mean_log_loss};
use ulex_algorithms::click_through::{FeatureRows, FmParams, Layout, Samples, fit, parse_libfm};
use ulex_algorithms::progress::Unattended;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let task = std::env::args().nth(1).unwrap_or_default();
    let setting = std::env::args().nth(2).unwrap_or_else(|| "{}".to_owned());
    match task.as_str() {
        "fm" => factorization_machine(serde_json::from_str(&setting)?),
        other => Err(format!("unknown task {other:?}").into()),
    }
}

fn data_dir() -> PathBuf {
    std::env::var_os("ULEX_DATA_DIR").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from)
}

fn read_text(path: &str) -> Outcome<String> {
    let file = BufReader::new(File::open(data_dir().join(path))?);
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text)?;
    Ok(text)
}

fn factorization_machine(params: FmParams) -> Outcome {
    let load = |part: &str| -> Outcome<(FeatureRows, Vec<bool>)> {
        Ok(parse_libfm(&read_text(&format!("splits/frappe/{part}.libfm.gz"))?)?)
    };
    let (train, valid, test) = (load("train")?, load("valid")?, load("test")?);
    let samples = |(rows, labels): &(FeatureRows, Vec<bool>)| -> Samples<'static> {
        let rows: &'static FeatureRows = Box::leak(Box::new(rows.clone()));
        Samples::from_table(rows, labels.clone())
    };
    let (train, valid, test) = (samples(&train), samples(&valid), samples(&test));
    let mut layout = Layout::default();
    let meta: serde_json::Value = serde_json::from_reader(File::open(data_dir().join("splits/frappe/meta.json"))?)?;
    let sizes = meta["field_sizes"].as_array().ok_or("no field sizes")?;
    for (name, size) in meta["fields"].as_array().ok_or("no fields")?.iter().zip(sizes) {
        layout.push(name.as_str().unwrap_or_default(), size.as_u64().unwrap_or_default() as u32);
    }
    let start = Instant::now();
    let fitted = fit(&layout, &train, &valid, &params, &Unattended)?;
    let seconds = start.elapsed().as_secs_f64();
    for report in &fitted.epochs {
        eprintln!("{}", json!(report));
    }
    let logits = fitted.model.predict(&test);
    println!(
        "{}",
        json!({"task": "fm", "params": params, "epoch": fitted.best_epoch, "fit_seconds": seconds,
            "auc": area_under_curve(&logits, test.labels()), "logloss": mean_log_loss(&logits, test.labels())})
    );
    Ok(())
}
