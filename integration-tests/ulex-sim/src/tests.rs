//! Seeds, regressions and scenarios.

use std::time::Duration;

use serde::Deserialize;

use crate::run::run_steps;
use crate::search::search;
use crate::steps::{Fault, Step, Write};

fn wait(millis: u64) -> Step {
    Step::Wait { millis }
}

/// Writes of feedback without ids through one server.
fn clicks(node: usize, count: u64) -> Vec<Step> {
    let click = |number| Step::Write {
        node,
        write: Write::AddFeedback { user: number % 7, item: number % 5 },
        with_id: false,
    };
    (0..count).map(click).collect()
}

fn passes(steps: &[Step]) {
    let report = run_steps(1, steps);
    assert!(report.acknowledged > 20, "{report:?}");
    let found: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_world_without_faults_breaks_no_invariant() {
    passes(&[clicks(0, 10), vec![wait(1_000)], clicks(1, 10), vec![wait(1_000)], clicks(2, 10)].concat());
}

/// Published feedback, of which only its effect tells what became of it.
fn published(count: u64) -> Vec<Step> {
    (0..count).map(|number| Step::Publish { user: number % 7, item: number % 5 }).collect()
}

/// Finding 1: the name of the log belongs to the delivery.
#[test]
fn a_standby_that_never_pulled_applies_a_log_that_began_anew() {
    let mut steps = [clicks(0, 20), vec![wait(3_000), Step::Fault(Fault::RecreateLog), wait(500)]].concat();
    for node in 0..2 {
        steps.push(Step::Fault(Fault::Crash { node, down_millis: 20_000 }));
        steps.extend([vec![wait(8_000)], clicks(2, 4), published(4), vec![wait(3_000)]].concat());
    }
    passes(&steps);
}

/// Finding 2: a log that lost its end swallows nothing.
#[test]
fn a_log_that_lost_its_end_swallows_no_new_events() {
    let cut = Step::Fault(Fault::CutLog { messages: 15 });
    let after = [published(10), clicks(1, 10)].concat();
    passes(&[clicks(0, 20), vec![wait(3_000), cut, wait(3_000)], after].concat());
}

/// Finding 3: a log that was restored from its own backup is the same log.
#[test]
fn a_log_that_was_restored_is_not_applied_again() {
    let crash = |node| Step::Fault(Fault::Crash { node, down_millis: 2_000 });
    let restored = Step::Fault(Fault::RestoreLog);
    let crashes = vec![wait(3_000), restored, crash(0), crash(1), crash(2), wait(8_000)];
    passes(&[clicks(0, 20), crashes, clicks(1, 5)].concat());
}

/// Finding 4: a store that went back is brought forward by the log.
#[test]
fn a_store_that_went_back_is_brought_forward_by_the_log() {
    let (backup, back) = (Step::Fault(Fault::StoreSnapshot), Step::Fault(Fault::StoreBack));
    let crash = |node| Step::Fault(Fault::Crash { node, down_millis: 2_000 });
    let restored = vec![wait(2_000), back, crash(0), crash(1), crash(2), wait(8_000)];
    passes(&[clicks(0, 10), vec![wait(2_000), backup], clicks(0, 10), restored, clicks(1, 5)].concat());
}

/// Finding 6: a refusal is a promise.
#[test]
fn a_write_that_was_refused_takes_no_effect_later() {
    let slow = Step::Fault(Fault::StoreSlow { millis: 30_000 });
    passes(
        &[clicks(0, 10), vec![wait(2_000), slow], clicks(1, 10), vec![wait(60_000)], clicks(2, 10)].concat(),
    );
}

/// Finding 7: what an item was is not announced after what it is.
#[test]
fn an_ingester_that_was_held_still_announces_nothing_old() {
    let hide =
        |node, hidden| Step::Write { node, write: Write::HideItem { item: 3, hidden }, with_id: false };
    let mut steps = clicks(0, 20);
    steps.push(wait(3_000));
    for node in 0..3 {
        // The transaction is under way when the process is held.
        steps.push(Step::Fault(Fault::StoreSlow { millis: 1_500 }));
        steps.push(hide(node, false));
        steps.push(Step::Fault(Fault::Pause { node, millis: 10_000 }));
        steps.push(wait(7_000));
        steps.push(hide((node + 1) % 3, true));
        steps.push(wait(15_000));
    }
    passes(&steps);
}

/// Finding 8: a lost word of a commit is not a no.
#[test]
fn a_commit_whose_answer_is_lost_is_announced() {
    let lost = Step::Fault(Fault::StoreLosesWord { commits: 1 });
    let slow = Step::Fault(Fault::StoreSlow { millis: 500 });
    let away = Step::Fault(Fault::StoreAway { millis: 25_000 });
    let hide = Step::Write { node: 0, write: Write::HideItem { item: 3, hidden: true }, with_id: false };
    passes(&[clicks(0, 20), vec![wait(3_000), lost, slow, hide, away, wait(40_000)]].concat());
}

/// Finding 19: what comes back empty is furnished again.
#[test]
fn a_log_that_is_gone_is_made_again() {
    passes(
        &[clicks(0, 20), vec![wait(3_000), Step::Fault(Fault::LoseLog), wait(5_000)], clicks(1, 5)].concat(),
    );
}

/// Fifty seeds break no invariant.
fn fifty_seeds(first: u64) {
    let mut output = Vec::new();
    let summary = search(first, 50, Duration::from_secs(3_600), &mut output).unwrap();
    assert!(summary.failed_seeds.is_empty(), "{}", String::from_utf8_lossy(&output));
    assert_eq!(summary.runs, 50);
}

#[test]
fn seeds_from_401_break_no_invariant() {
    fifty_seeds(401);
}

#[test]
fn seeds_from_101_break_no_invariant() {
    fifty_seeds(101);
}

#[test]
fn seeds_from_201_break_no_invariant() {
    fifty_seeds(201);
}

#[test]
fn seeds_from_301_break_no_invariant() {
    fifty_seeds(301);
}

#[derive(Deserialize)]
struct Regression {
    seed: u64,
    steps: Vec<Step>,
}

#[test]
fn runs_that_failed_once_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let Regression { seed, steps } = serde_json::from_str(&text).unwrap();
        let report = run_steps(seed, &steps);
        assert!(report.violations.is_empty(), "{}: {:#?}", path.display(), report.violations);
    }
}
