use std::sync::Arc;
use std::sync::atomic::Ordering;

use ulex_algorithms::model_set::{Manifest, ModelSet};
use ulex_domain::Command;

use super::*;
use crate::plan::{Plan, Source};
use crate::request::ListQuery;
use crate::two_tastes::{World, likes, model_set, plan, row, seconds};

fn collaborative_only() -> Plan {
    Plan { sources: vec![Source::Collaborative], fallback: Vec::new(), ..plan() }
}

/// What collaborative filtering alone says, best first.
async fn collaborative(world: &World, user: &str) -> Vec<String> {
    let asked = ListQuery { n: 100, ..ListQuery::default() };
    let found = world.recommender.single_source(&UserId::new(user), &Source::Collaborative, &asked).await;
    found.unwrap().into_iter().map(|entry| entry.id.to_string()).collect()
}

/// A new item that some red fans like.
async fn with_liked_item(plan: Plan, id: &str) -> World {
    let world = World::new(plan).await;
    while world.recommender.fold_in_new_items().await.unwrap() > 0 {}
    world.put_item(id, 3, &[]).await;
    for fan in 0..8 {
        world.feedback("like", &format!("red-fan-{fan}"), &[id]).await;
    }
    world
}

/// How many of the items that the fans of a taste like a fan has not met.
fn unseen(user: usize) -> usize {
    15 - likes().row(user).0.len()
}

fn place(list: &[String], id: &str) -> Option<usize> {
    list.iter().position(|item| item == id)
}

#[tokio::test]
async fn a_new_item_reaches_others_of_the_taste_of_those_who_like_it_and_nobody_else() {
    for id in ["new red thing", "red-18"] {
        // The second is in the ModelSet; nobody had liked it when that was fitted.
        let world = with_liked_item(collaborative_only(), id).await;
        assert!(place(&collaborative(&world, "red-fan-9").await, "new red thing").is_none());
        assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 1);
        assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 0, "nothing has happened since");
        for fan in 8..20 {
            let list = collaborative(&world, &format!("red-fan-{fan}")).await;
            assert!(place(&list, id).unwrap() <= unseen(fan), "{id}, {fan}: {list:?}");
            let list = world.list(&format!("red-fan-{fan}"), 10).await;
            assert!(place(&list, id).is_some(), "{id}, {fan}: {list:?}");
            let list = collaborative(&world, &format!("blue-fan-{fan}")).await;
            assert!(place(&list, id).unwrap() >= unseen(20 + fan), "{id}, {fan}: {list:?}");
        }
        assert!(place(&collaborative(&world, "red-fan-0").await, id).is_none(), "who likes it has seen it");
    }
}

#[tokio::test]
async fn liking_nothing_but_new_items_gives_a_list_of_their_taste() {
    for id in ["new blue thing", "blue-18"] {
        let world = World::new(collaborative_only()).await;
        world.put_item(id, 3, &[]).await;
        for fan in 0..8 {
            world.feedback("like", &format!("blue-fan-{fan}"), &[id]).await;
        }
        world.feedback("like", "newcomer", &[id]).await;
        while world.recommender.fold_in_new_items().await.unwrap() > 0 {}
        let list = collaborative(&world, "newcomer").await;
        assert!(list[..8].iter().all(|item| item.starts_with("blue")), "{list:?}");
    }
}

#[tokio::test]
async fn a_new_item_obeys_filters_and_goes_when_its_likes_or_it_itself_go() {
    let id = "new red thing";
    let world = with_liked_item(collaborative_only(), id).await;
    world.recommender.fold_in_new_items().await.unwrap();
    world.hide(id, true).await;
    assert!(place(&collaborative(&world, "red-fan-9").await, id).is_none());
    world.hide(id, false).await;
    assert!(place(&collaborative(&world, "red-fan-9").await, id).is_some());
    world.delete_item(id).await;
    assert!(place(&collaborative(&world, "red-fan-9").await, id).is_none());
    world.put_item(id, 3, &[]).await;
    assert!(place(&collaborative(&world, "red-fan-9").await, id).is_none(), "another item of the same id");

    world.feedback("like", "red-fan-1", &[id]).await;
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 1);
    assert!(place(&collaborative(&world, "red-fan-9").await, id).is_some());
    let (user_id, item_id) = (UserId::new("red-fan-1"), ItemId::new(id));
    world.write(Command::DeleteFeedback { user_id, item_id, feedback_type: None }).await;
    world.recommender.fold_in_new_items().await.unwrap();
    assert!(place(&collaborative(&world, "red-fan-9").await, id).is_none());
}

#[tokio::test]
async fn dislikes_reads_strangers_and_the_future_say_nothing_about_an_item() {
    let world = World::new(collaborative_only()).await;
    world.put_item("thing", 3, &[]).await;
    world.feedback("read", "red-fan-1", &["thing"]).await;
    world.feedback("like", "red-fan-2", &["thing"]).await;
    world.feedback("dislike", "red-fan-2", &["thing"]).await;
    world.feedback("like", "knows nothing else", &["thing"]).await;
    let future = Timestamp::now().plus_nanos(3_600_000_000_000);
    world.put_feedback(vec![row("like", "red-fan-3", "thing", future)]).await;
    while world.recommender.fold_in_new_items().await.unwrap() > 0 {}
    assert!(world.recommender.live().unwrap().fresh_items().is_empty());
}

#[tokio::test]
async fn another_model_set_starts_anew_and_finds_what_it_does_not_know() {
    let world = with_liked_item(collaborative_only(), "new red thing").await;
    world.recommender.fold_in_new_items().await.unwrap();
    let second = Manifest { id: "second".to_owned(), ..Manifest::default() };
    world.recommender.use_models(Arc::new(ModelSet { manifest: second, ..model_set() }));
    assert!(place(&collaborative(&world, "red-fan-9").await, "new red thing").is_none());
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 1);
    assert!(place(&collaborative(&world, "red-fan-9").await, "new red thing").is_some());
}

#[tokio::test]
async fn an_item_is_solved_from_its_latest_hundred_fans_and_settled_then() {
    let world = World::new(collaborative_only()).await;
    world.put_item("hit", 3, &[]).await;
    let mut rows = Vec::new();
    for fan in 0..130 {
        let (name, taste) = (format!("fan-{fan}"), if fan < 30 { "blue" } else { "red" });
        rows.push(row("like", &name, &format!("{taste}-{}", fan % 15), seconds(5)));
        rows.push(row("like", &name, "hit", seconds(100 + fan)));
    }
    world.put_feedback(rows).await;
    world.recommender.fold_in_new_items().await.unwrap();
    let live = world.recommender.live().unwrap();
    let slot = world.recommender.catalogue().view().slot("hit").unwrap();
    let item = live.fresh_items().at(slot).unwrap().clone();
    assert_eq!((item.users, item.liked_at, item.index), (100, seconds(229), None));
    let list = collaborative(&world, "blue-fan-1").await;
    assert!(place(&list, "hit").unwrap() >= unseen(21), "its blue fans are too old: {list:?}");
    world.feedback("like", "red-fan-0", &["hit"]).await;
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 0);
    assert_eq!(live.fresh_items().at(slot), Some(&item));
}

#[tokio::test]
async fn one_call_does_a_bounded_amount_and_the_next_goes_on() {
    let world = World::new(collaborative_only()).await;
    let things: Vec<String> = (0..ITEMS_A_CALL + 10).map(|number| format!("thing-{number}")).collect();
    let rows = things.iter().map(|thing| row("like", "red-fan-0", thing, seconds(9)));
    world.put_feedback(rows.collect()).await;
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap() + 10, ITEMS_A_CALL, "10 nobody likes");
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 20);
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 0);
}

#[tokio::test]
async fn items_that_many_people_see_do_not_keep_a_call_reading() {
    let world = World::new(collaborative_only()).await;
    while world.recommender.fold_in_new_items().await.unwrap() > 0 {}
    for thing in 0..8 {
        let seen =
            |user: usize| row("read", &format!("passer-{user}"), &format!("thing-{thing}"), seconds(9));
        world.put_feedback((0..ROWS_A_CALL / 4).map(seen).collect()).await;
    }
    let waiting = || world.recommender.inner.noted.waiting.lock().order.len();
    for left in [4, 0] {
        assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 0);
        assert_eq!(waiting(), left);
    }
}

#[tokio::test]
async fn of_an_item_of_very_many_rows_some_are_read() {
    let world = World::new(collaborative_only()).await;
    while world.recommender.fold_in_new_items().await.unwrap() > 0 {}
    let seen = |user: usize| row("read", &format!("passer-{user}"), "thing", seconds(9));
    world.put_feedback((0..ROWS_A_CALL * 2).map(seen).collect()).await;
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 0);
    let slot = world.recommender.catalogue().view().slot("thing").unwrap();
    let rests_until = world.recommender.inner.noted.waiting.lock().resting[&slot];
    let rest = rests_until.duration_since(Instant::now()).as_secs_f64();
    assert!(rest <= ROWS_A_CALL as f64 / ROWS_A_SECOND, "as many were read as one call may: {rest} s");
}

#[tokio::test]
async fn a_store_that_fails_loses_no_note() {
    let world = with_liked_item(collaborative_only(), "new red thing").await;
    world.store.fails.store(true, Ordering::Relaxed);
    assert!(world.recommender.fold_in_new_items().await.is_err());
    world.store.fails.store(false, Ordering::Relaxed);
    assert_eq!(world.recommender.fold_in_new_items().await.unwrap(), 1);
}

#[test]
fn waiting_items_wait_once_and_in_order_and_are_bounded() {
    let mut waiting = Waiting::default();
    [5, 3, 5, 4].into_iter().for_each(|slot| waiting.note(slot));
    assert_eq!(waiting.take(2, Instant::now()), [5, 3]);
    waiting.note(5);
    assert_eq!(waiting.take(9, Instant::now()), [4, 5]);
    (0..MAX_WAITING as u32 + 7).for_each(|slot| waiting.note(slot));
    assert_eq!(waiting.take(usize::MAX, Instant::now()).len(), MAX_WAITING);
}

#[test]
fn an_item_of_many_rows_rests_and_keeps_its_place() {
    let now = Instant::now();
    let mut waiting = Waiting::default();
    for slot in [1, 2, 3] {
        waiting.note(slot);
    }
    assert_eq!(waiting.take(2, now), [1, 2]);
    waiting.has_read(1, 1_000, now);
    waiting.has_read(2, 10, now);
    waiting.note(1);
    waiting.note(2);
    let soon = now + Duration::from_millis(200);
    assert_eq!(waiting.take(10, soon), [3, 2], "one rests for ten seconds, the other does not");
    assert_eq!(waiting.take(10, soon), [0_u32; 0]);
    assert_eq!(waiting.take(10, now + Duration::from_secs(11)), [1]);
    assert_eq!(waiting.resting.len(), 0);
}
