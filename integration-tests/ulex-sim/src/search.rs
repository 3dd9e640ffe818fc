//! Many runs, and what becomes of one that fails.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::disabled::DISABLED_FAULTS;
use crate::oracle::INVARIANTS;
use crate::run::{Report, run_steps};
use crate::shrink::shrink;
use crate::steps::{Step, steps_of};

/// Steps of a run.
pub(crate) const STEPS_PER_RUN: usize = 120;

/// Outcome of many runs.
#[derive(Clone, Debug, Default)]
pub struct SearchSummary {
    /// Runs made.
    pub runs: u64,
    /// Seeds that broke an invariant.
    pub failed_seeds: Vec<u64>,
    /// Writes of clients.
    pub calls: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Events that took effect.
    pub effects: usize,
    /// Different ordered pairs of faults within one run.
    pub fault_pairs: usize,
}

/// Runs the seeds from `first_seed` on, for `seeds` runs or until `within` has passed. A failing run is shrunk and written
/// to `output` as steps that `regressions/` can keep.
///
/// # Errors
///
/// If `output` cannot be written to.
pub fn search(
    first_seed: u64,
    seeds: u64,
    within: Duration,
    output: &mut dyn Write,
) -> io::Result<SearchSummary> {
    let begun = Instant::now();
    let mut summary = SearchSummary::default();
    let mut pairs = BTreeSet::new();
    for seed in first_seed..first_seed.saturating_add(seeds) {
        if begun.elapsed() >= within {
            break;
        }
        let steps = steps_of(seed, STEPS_PER_RUN, DISABLED_FAULTS);
        let report = run_steps(seed, &steps);
        summary.runs += 1;
        summary.calls += report.calls;
        summary.acknowledged += report.acknowledged;
        summary.effects += report.effects;
        pairs.extend(report.fault_pairs.iter().copied());
        if !report.violations.is_empty() {
            summary.failed_seeds.push(seed);
            describe(seed, &steps, &report, output)?;
        }
    }
    summary.fault_pairs = pairs.len();
    let per_second = summary.runs as f64 / begun.elapsed().as_secs_f64();
    writeln!(output, "invariants: {}", INVARIANTS.join("; "))?;
    writeln!(
        output,
        "{} runs, {per_second:.1} a second, {} calls, {} acknowledged, {} effects, {} pairs of faults, failed seeds: {:?}",
        summary.runs,
        summary.calls,
        summary.acknowledged,
        summary.effects,
        summary.fault_pairs,
        summary.failed_seeds
    )?;
    Ok(summary)
}

fn describe(seed: u64, steps: &[Step], report: &Report, output: &mut dyn Write) -> io::Result<()> {
    writeln!(output, "seed {seed} breaks {} invariants:", report.violations.len())?;
    for violation in report.violations.iter().take(8) {
        writeln!(output, "  {violation}")?;
    }
    let Some(first) = report.violations.first() else { return Ok(()) };
    if std::env::var_os("ULEX_SIM_NO_SHRINK").is_some() {
        return Ok(());
    }
    let shorter = shrink(seed, steps, first.invariant);
    writeln!(output, "{}", serde_json::json!({ "seed": seed, "steps": shorter }))?;
    for violation in run_steps(seed, &shorter).violations.iter().take(3) {
        writeln!(output, "  after shrinking: {violation}")?;
    }
    Ok(())
}
