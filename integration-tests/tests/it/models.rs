//! Trained models can be listed, looked at and gone back to.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, World, feedback, two_tastes};
use ulex_integration_tests::{Client, Ulex, ulex, wait_until};

/// Fits soon, and again when the data has grown by half.
const EAGER: &str = "[training]\nquiet = \"300ms\"\ngrowth = 0.5\n";

fn models(data_dir: &Path, arguments: &[&str]) -> (bool, String) {
    let place = ["--data-dir", data_dir.to_str().unwrap()];
    let output = ulex(&[&["models"], arguments, &place].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// When the model in use was fitted: tells models apart.
fn fitted_at(client: &mut Client) -> Value {
    client.get("/api/dashboard/stats")["MatchingModelFitTime"].clone()
}

/// As many rows again, of the same tastes.
fn more() -> World {
    let mut world = two_tastes();
    for row in &mut world.feedback {
        let user = format!("{}-too", row["UserId"].as_str().unwrap());
        *row = feedback("like", &user, row["ItemId"].as_str().unwrap());
    }
    World { feedback: world.feedback, ..World::default() }
}

#[test]
fn a_rollback_makes_the_next_start_serve_the_earlier_model() {
    let mut server = Ulex::configured(&format!("{EAGER}{TWO_TASTES_CONFIG}"));
    let mut client = server.client();
    two_tastes().load(&mut client);
    wait_until("a model is live", Duration::from_secs(120), || client.has_models());
    let first = fitted_at(&mut client);
    more().load(&mut client);
    wait_until("another model is live", Duration::from_secs(120), || fitted_at(&mut client) != first);
    let (ok, text) = models(&server.data_dir(), &["list"]);
    assert!(!ok && text.contains("stop"), "a running server keeps its models to itself: {text}");
    assert!(server.stop().success());

    let (ok, text) = models(&server.data_dir(), &["list"]);
    assert!(ok, "{text}");
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert!(lines.len() >= 2 && lines[0].starts_with('*'), "newest first, and that one is live:\n{text}");
    let (ok, text) = models(&server.data_dir(), &["list", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(ok && listed.len() == lines.len() && listed[0]["live"] == true, "{text}");
    assert!(listed.iter().all(|kept| kept["verdict"]["model_set"] == kept["id"]), "{text}");
    let oldest = lines.last().unwrap().split_whitespace().next().unwrap();
    let (ok, text) = models(&server.data_dir(), &["show", oldest]);
    assert!(ok && text.contains("80 users, 80 items"), "{text}");
    let (ok, text) = models(&server.data_dir(), &["rollback", oldest]);
    assert!(ok && text.contains(oldest), "{text}");
    let (ok, text) = models(&server.data_dir(), &["rollback"]);
    assert!(!ok && text.contains("no earlier model"), "{text}");

    server.set_environment("ULEX_TRAINING_GROWTH", "1000");
    server.restart();
    let mut client = server.client();
    assert_eq!(fitted_at(&mut client), first);
    assert_eq!(client.recommend("tea-user-1", 5).len(), 5);
}

#[test]
fn a_directory_without_models_says_so() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(models(folder.path(), &["list"]), (true, "there are no models yet\n".to_owned()));
    let (ok, text) = models(folder.path(), &["rollback"]);
    assert!(!ok && text.contains("no models yet"), "{text}");
    let (ok, text) = models(&folder.path().join("none"), &["list"]);
    assert!(!ok && text.contains("no such directory"), "{text}");
}
