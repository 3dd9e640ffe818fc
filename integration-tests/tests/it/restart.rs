//! What was trained survives: after a restart the stored models answer, without a new fit.

use std::time::Duration;

use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, two_tastes};
use ulex_integration_tests::{Ulex, wait_until};

const N: usize = 10;

#[test]
fn stored_models_serve_personal_lists_after_a_kill() {
    let mut ulex = Ulex::configured(TWO_TASTES_CONFIG);
    let mut client = ulex.client();
    two_tastes().load(&mut client);
    wait_until("a model is live", Duration::from_secs(120), || client.has_models());
    let before = client.recommend("tea-user-1", N);
    ulex.kill();

    ulex.restart();
    let mut client = ulex.client();
    let after = client.recommend("tea-user-1", N);
    assert_eq!(after.len(), N);
    let fitting = after.iter().filter(|item| item.starts_with("tea-")).count();
    assert!(fitting >= N - 2, "before {before:?}, after {after:?}");
    assert!(client.has_models(), "the model is there from the first request on");
    assert_ne!(after, client.recommend("bike-user-1", N));
}
