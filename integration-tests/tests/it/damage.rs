//! Files that are not what they were: a clear word or a repair, never a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, two_tastes};
use ulex_integration_tests::{Ulex, ulex, wait_until};

#[test]
fn a_database_that_is_none_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    fs::write(&config, "[master]\nhttp_host = \"127.0.0.1\"\nhttp_port = 0\n").unwrap();
    fs::write(folder.path().join("data.sqlite"), "This is a shopping list.\n".repeat(1000)).unwrap();
    let place = folder.path().to_str().unwrap();
    let output = ulex(&["one", "--config", config.to_str().unwrap(), "--data-dir", place]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("sqlite") && errors.contains("not a database"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

/// The stored ModelSets below a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if path.extension().is_some_and(|extension| extension == "object") {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_truncated_model_is_never_served_and_is_replaced_by_the_next_fit() {
    let mut server = Ulex::configured(TWO_TASTES_CONFIG);
    let mut client = server.client();
    two_tastes().load(&mut client);
    wait_until("a model is live", Duration::from_secs(120), || client.has_models());
    assert!(server.stop().success());
    let stored = objects(&server.data_dir());
    assert_eq!(stored.len(), 1, "{stored:?}");
    for path in stored {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    server.restart();
    let mut client = server.client();
    assert_eq!(client.recommend("tea-user-1", 5).len(), 5);
    assert!(server.log().contains("cannot be used"), "it is said");
    wait_until("another model is live", Duration::from_secs(120), || client.has_models());
    assert!(client.recommend("tea-user-1", 5).iter().all(|item| item.starts_with("tea-")));
    assert!(!server.log().contains("panicked"));
}
