//! Clients written for Gorse get the answers they expect: recorded requests are sent again, in the order recorded.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ulex_integration_tests::datasets::{conformance_dir, movielens_100k};
use ulex_integration_tests::recording::{self, Case};
use ulex_integration_tests::{Client, Cluster, Role, Ulex, wait_until};

/// Recordings in the order in which they were made; the last one stores what no other expects.
const RECORDINGS: [&str; 8] =
    ["http", "users", "items", "timestamps", "feedback", "lists", "dashboard", "empty-ids"];

/// Differences that are meant, with their reasons.
const KNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/known.jsonl");

/// Replays one recording; its unexplained differences as text, and how many cases were equal and known.
fn replay(
    cases: &[Case],
    known: &BTreeMap<String, String>,
    client: &mut Client,
) -> (Vec<String>, usize, Vec<String>) {
    let (mut open, mut equal, mut used) = (Vec::new(), 0, Vec::new());
    for case in cases {
        let differences = case.replay(client);
        if differences.is_empty() {
            equal += 1;
        } else if known.contains_key(&case.name) {
            used.push(case.name.clone());
        } else {
            open.push(format!(
                "{}: {} {}\n    {}",
                case.name,
                case.method,
                case.path,
                differences.join("\n    ")
            ));
        }
    }
    (open, equal, used)
}

#[test]
#[ignore = "needs ULEX_DATA_DIR and ULEX_CONFORMANCE_DIR"]
fn recorded_requests_get_their_recorded_answers() {
    let folder = conformance_dir();
    let config = std::fs::read_to_string(folder.join("gorse.toml"))
        .unwrap_or_else(|error| panic!("{}: {error}; set ULEX_CONFORMANCE_DIR", folder.display()));
    let mut ulex = Ulex::configured(&config);
    movielens_100k().load(&mut ulex.client());
    ulex.stop();
    ulex.restart();
    let mut client = ulex.client();
    wait_until("a model is live", Duration::from_secs(180), || client.has_models());

    replay_all(&folder, "one", &mut client);
}

/// The same through a server of a cluster, whose writes another server may apply.
#[test]
#[ignore = "needs ULEX_DATA_DIR, ULEX_CONFORMANCE_DIR and the servers of a cluster: ULEX_TEST_NATS_SERVER"]
fn a_cluster_gives_the_recorded_answers_too() {
    let folder = conformance_dir();
    let config = std::fs::read_to_string(folder.join("gorse.toml")).expect("set ULEX_CONFORMANCE_DIR");
    let mut cluster = Cluster::builder().servers(2).configured(&config).start();
    let mut client = cluster.member(Role::Server, 1).client();
    movielens_100k().load(&mut client);
    wait_until("a model is live", Duration::from_secs(180), || client.has_models());
    replay_all(&folder, "cluster", &mut client);
}

/// Replays everything and fails for the first difference nobody has explained.
fn replay_all(folder: &Path, set_up: &str, client: &mut Client) {
    let meant = recording::known(Path::new(KNOWN), set_up);
    let (mut cases, mut equal, mut open, mut used) = (0, 0, Vec::new(), Vec::new());
    for name in RECORDINGS {
        let recorded = recording::cases(&folder.join(format!("{name}.jsonl")));
        let (differences, same, known) = replay(&recorded, &meant, client);
        eprintln!(
            "{name}: {} cases, {same} equal, {} known, {} open",
            recorded.len(),
            known.len(),
            differences.len()
        );
        cases += recorded.len();
        equal += same;
        open.extend(differences);
        used.extend(known);
    }
    eprintln!(
        "{cases} cases, {equal} equal, {} different for a known reason, {} different",
        used.len(),
        open.len()
    );
    assert!(open.is_empty(), "{} of {cases} cases differ:\n{}", open.len(), open.join("\n"));
    let stale: Vec<String> = meant.into_keys().filter(|name| !used.contains(name)).collect();
    assert!(stale.is_empty(), "these are equal by now, remove them from known.jsonl: {stale:?}");
}
