//! Feedback changes the very next answer, also for somebody who did not exist a second ago.

use std::time::Duration;

use serde_json::{Value, json};
use ulex_integration_tests::datasets::{TASTES, TWO_TASTES_CONFIG, feedback, two_tastes};
use ulex_integration_tests::{Client, Ulex, wait_until};

const N: usize = 10;

/// The program with [`two_tastes`] loaded and a first training cycle behind it.
fn trained() -> (Ulex, Client) {
    let ulex = Ulex::configured(TWO_TASTES_CONFIG);
    let mut client = ulex.client();
    two_tastes().load(&mut client);
    wait_until("a model is live", Duration::from_secs(120), || client.has_models());
    (ulex, client)
}

fn likes(user: &str, items: &[String]) -> Value {
    json!(items.iter().map(|item| feedback("like", user, item)).collect::<Vec<_>>())
}

#[test]
fn the_next_answer_after_feedback_is_another_one_without_what_was_seen() {
    let (_ulex, mut client) = trained();
    let before = client.recommend("tea-user-1", N);
    assert_eq!(before.len(), N);
    let seen = before[..2].to_vec();
    client.post("/api/feedback", &likes("tea-user-1", &seen));
    let after = client.recommend("tea-user-1", N);
    assert_eq!(after.len(), N);
    assert!(after.iter().all(|item| !seen.contains(item)), "{after:?} holds {seen:?}");
    assert_ne!(before, after);
}

#[test]
fn two_new_people_with_different_likes_get_different_lists_at_once() {
    let (_ulex, mut client) = trained();
    let lists = TASTES.map(|taste| {
        let (user, liked) = (format!("new-{taste}"), vec![format!("{taste}-1"), format!("{taste}-2")]);
        client.post("/api/feedback", &likes(&user, &liked));
        let list = client.recommend(&user, N);
        assert_eq!(list.len(), N);
        assert!(list.iter().all(|item| !liked.contains(item)), "{list:?} holds {liked:?}");
        let fitting = list.iter().filter(|item| item.starts_with(&format!("{taste}-"))).count();
        assert!(fitting >= N - 2, "{user}: {list:?}");
        list
    });
    assert_ne!(lists[0], lists[1]);
}

#[test]
fn what_is_hidden_or_deleted_is_gone_from_the_next_answer() {
    let (_ulex, mut client) = trained();
    let before = client.recommend("bike-user-1", N);
    let hide = client.send_json("PATCH", &format!("/api/item/{}", before[0]), &json!({"IsHidden": true}));
    assert_eq!(hide.unwrap().status, 200);
    let delete = client.send("DELETE", &format!("/api/item/{}", before[1]), &[], None);
    assert_eq!(delete.unwrap().status, 200);
    let after = client.recommend("bike-user-1", N);
    assert_eq!(after.len(), N);
    assert!(!after.contains(&before[0]) && !after.contains(&before[1]), "{before:?} then {after:?}");
}
