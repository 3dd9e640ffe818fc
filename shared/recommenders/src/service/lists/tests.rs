use std::sync::Arc;

use ulex_algorithms::model_set::{Leaderboard, ModelSet};
use ulex_storage::cache::MemoryCache;

use super::*;
use crate::plan::Plan;
use crate::two_tastes::{World, model_set, plan, row, seconds};

fn page(n: usize, offset: usize) -> ListQuery {
    ListQuery { n, offset, categories: None }
}

fn of_category(name: &str) -> ListQuery {
    ListQuery { n: 100, offset: 0, categories: Some(vec![name.to_owned()]) }
}

fn ids(list: &[ScoredId]) -> Vec<&str> {
    list.iter().map(|entry| entry.id.as_str()).collect()
}

#[tokio::test]
async fn latest_is_newest_first_in_unix_seconds_without_what_the_reader_met() {
    let world = World::new(plan()).await;
    let recommender = &world.recommender;
    let list = recommender.latest(None, &page(3, 0)).await.unwrap();
    assert_eq!(ids(&list), ["blue-19", "blue-18", "blue-17"]);
    assert_eq!(list[0].score, 40.0);
    world.put_item("of the future", 4_000_000_000, &["film"]).await;
    world.put_feedback(vec![row("read", "reader", "without a time", seconds(1))]).await;
    let reader = UserId::new("reader");
    world.feedback("read", "reader", &["blue-19"]).await;
    let list = recommender.latest(Some(&reader), &page(2, 0)).await.unwrap();
    assert_eq!(ids(&list), ["of the future", "blue-18"]);
    assert_eq!(list[0].score, 4e9);
    let page_two = recommender.latest(Some(&reader), &page(2, 1)).await.unwrap();
    assert_eq!(ids(&page_two), ["blue-18", "blue-17"], "pages are of what is left");
    assert_eq!(ids(&recommender.latest(None, &of_category("film")).await.unwrap()), ["of the future"]);
    let all = recommender.latest(None, &page(usize::MAX, 0)).await.unwrap();
    assert_eq!((all.len(), all.last().unwrap().id.as_str()), (42, "without a time"));
    assert!(recommender.latest(None, &page(0, 0)).await.unwrap().is_empty());
}

#[tokio::test]
async fn feedback_that_is_a_little_ahead_of_our_clock_counts_as_met() {
    let world = World::new(plan()).await;
    let ahead = |seconds: i64| Timestamp::now().plus_nanos(seconds * 1_000_000_000);
    world.put_feedback(vec![row("read", "reader", "blue-19", ahead(4))]).await;
    world.put_feedback(vec![row("read", "reader", "blue-18", ahead(3_600))]).await;
    let list = world.recommender.latest(Some(&UserId::new("reader")), &page(1, 0)).await.unwrap();
    assert_eq!(ids(&list), ["blue-18"]);
}

#[tokio::test]
async fn a_leaderboard_is_its_first_entries_or_with_categories_all_that_qualify() {
    let world = World::new(Plan { cache_size: 3, ..plan() }).await;
    let entries = [(0, 9.0), (1, 8.0), (2, 7.5), (3, 7.0), (4, 6.0), (39, 0.123_456_789_012)];
    let board = Leaderboard { name: "popular".to_owned(), entries: entries.to_vec() };
    world.recommender.use_models(Arc::new(ModelSet { leaderboards: vec![board], ..model_set() }));
    let ask = async |reader: Option<&str>, query: &ListQuery| {
        let reader = reader.map(UserId::new);
        world.recommender.leaderboard("popular", reader.as_ref(), query).await.unwrap()
    };
    assert_eq!(ids(&ask(None, &page(10, 0)).await), ["red-0", "red-1", "red-2"]);
    assert_eq!(ids(&ask(None, &page(10, 2)).await), ["red-2"]);
    let no_restriction = ListQuery { categories: Some(Vec::new()), ..page(10, 0) };
    let all = ask(None, &no_restriction).await;
    assert_eq!((all.len(), all[5].score), (6, 0.123_456_789_012), "scores are exact");

    world.hide("red-0", true).await;
    assert_eq!(ids(&ask(None, &page(10, 0)).await), ["red-1", "red-2", "red-3"]);
    world.feedback("like", "reader", &["red-1"]).await;
    assert_eq!(ids(&ask(Some("reader"), &page(10, 0)).await), ["red-2", "red-3"]);
    world.put_item("red-4", 1, &["film"]).await;
    world.put_item("red-0", 1, &["film"]).await;
    assert_eq!(ids(&ask(None, &of_category("film")).await), ["red-0", "red-4"]);
    assert!(ask(None, &of_category("song")).await.is_empty());
    let unknown = world.recommender.leaderboard("unheard of", None, &page(5, 0)).await.unwrap();
    assert!(unknown.is_empty());
}

#[tokio::test]
async fn item_neighbours_are_similar_items_that_may_be_shown() {
    let world = World::new(plan()).await;
    let ask = async |name: Option<&str>, item: &str, query: &ListQuery| {
        world.recommender.item_neighbors(name, &ItemId::new(item), None, query).await
    };
    let list = ask(None, "red-1", &page(100, 0)).await.unwrap();
    assert!(
        list.len() == 14 && ids(&list).iter().all(|id| id.starts_with("red") && *id != "red-1"),
        "{list:?}"
    );
    assert!(list.is_sorted_by(|a, b| a.score >= b.score));
    assert_eq!(ask(Some("also"), "red-1", &page(3, 2)).await.unwrap(), list[2..5]);
    world.put_item(&list[4].id, 1, &["film"]).await;
    assert_eq!(ids(&ask(None, "red-1", &of_category("film")).await.unwrap()), [&list[4].id]);
    for nobody in ["red-19", "unheard of"] {
        assert!(ask(None, nobody, &page(5, 0)).await.unwrap().is_empty());
    }
    let unknown = ask(Some("other"), "red-1", &page(5, 0)).await.unwrap_err();
    assert_eq!(unknown.to_string(), "item-to-item recommender other not found");
    world.recommender.use_plan(Plan { item_to_item: Vec::new(), ..plan() });
    let disabled = ask(None, "red-1", &page(5, 0)).await.unwrap_err();
    assert_eq!(disabled.to_string(), "item-to-item recommendation is not enabled");
}

#[tokio::test]
async fn user_neighbours_share_the_taste_also_of_a_user_who_is_new() {
    let world = World::new(plan()).await;
    let ask = async |name: Option<&str>, user: &str, query: &ListQuery| {
        world.recommender.user_neighbors(name, &UserId::new(user), query).await
    };
    let list = ask(None, "blue-fan-4", &page(100, 0)).await.unwrap();
    assert!(ids(&list).iter().all(|id| id.starts_with("blue-fan") && *id != "blue-fan-4"), "{list:?}");
    assert!(list.len() == 19 && list.is_sorted_by(|a, b| a.score >= b.score));
    assert_eq!(ask(Some("similar"), "blue-fan-4", &page(2, 1)).await.unwrap(), list[1..3]);
    assert!(ask(None, "newcomer", &page(5, 0)).await.unwrap().is_empty());
    world.feedback("like", "newcomer", &["red-1", "red-2"]).await;
    let of_newcomer = ask(None, "newcomer", &page(15, 0)).await.unwrap();
    assert_eq!(of_newcomer.len(), 15);
    assert!(ids(&of_newcomer).iter().all(|id| id.starts_with("red-fan")));
    let unknown = ask(Some("other"), "newcomer", &page(5, 0)).await.unwrap_err();
    assert_eq!(unknown.to_string(), "user-to-user recommender other not found");
    world.recommender.use_plan(Plan { user_to_user: Vec::new(), ..plan() });
    let disabled = ask(None, "newcomer", &page(5, 0)).await.unwrap_err();
    assert_eq!(disabled.to_string(), "user-to-user recommendation is not enabled");
}

#[tokio::test]
async fn a_session_is_answered_by_what_is_similar_to_its_positive_items() {
    let world = World::new(plan()).await;
    let ask = |rows: &[Feedback], query: &ListQuery| world.recommender.session(rows, query).unwrap();
    let liked = |item: &str, time: i64| row("like", "", item, seconds(time));
    let one = ask(&[liked("red-1", 5)], &page(100, 0));
    let neighbors = world.recommender.item_neighbors(None, &ItemId::new("red-1"), None, &page(100, 0)).await;
    assert_eq!(one, neighbors.unwrap());
    let both = ask(&[liked("red-1", 5), liked("red-2", 6)], &page(100, 0));
    assert!(ids(&both).iter().all(|id| *id != "red-1" && *id != "red-2"));
    let score =
        |list: &[ScoredId], id: &str| list.iter().find(|entry| entry.id == id).map(|entry| entry.score);
    let two = ask(&[liked("red-2", 5)], &page(100, 0));
    let sum = score(&one, "red-3").unwrap() + score(&two, "red-3").unwrap();
    assert!((score(&both, "red-3").unwrap() - sum).abs() < 1e-6, "scores are summed");
    assert_eq!(ask(&[liked("red-1", 5), liked("red-2", 6)], &page(3, 2)), both[2..5]);

    let without = ask(&[liked("red-1", 5), row("read", "", "red-3", seconds(9))], &page(100, 0));
    assert_eq!((without.len(), score(&without, "red-3")), (13, None), "items of the session are left out");
    assert!(ask(&[row("read", "", "red-1", seconds(1))], &page(5, 0)).is_empty());
    assert!(ask(&[], &page(5, 0)).is_empty());
    assert!(ask(&[liked("unheard of", 1)], &page(5, 0)).is_empty());
    let in_the_future = ask(&[liked("red-1", 9_000_000_000)], &page(100, 0));
    assert_eq!(in_the_future, one);
    world.put_item("red-3", 1, &["film"]).await;
    assert_eq!(ids(&ask(&[liked("red-1", 5)], &of_category("film"))), ["red-3"]);

    world.recommender.use_plan(Plan { context_size: 1, ..plan() });
    assert!(
        ids(&ask(&[liked("red-1", 5), liked("blue-2", 6)], &page(5, 0)))
            .iter()
            .all(|id| id.starts_with("blue"))
    );
    world.recommender.use_plan(Plan { item_to_item: Vec::new(), ..plan() });
    assert!(matches!(world.recommender.session(&[], &page(5, 0)), Err(RecommendError::Disabled(_))));
}

#[tokio::test]
async fn before_the_first_fit_lists_of_models_are_empty() {
    let world = World::with_cache(plan(), Arc::new(MemoryCache::new(1 << 20))).await;
    let (recommender, user, item) = (&world.recommender, UserId::new("red-fan-0"), ItemId::new("red-1"));
    assert!(recommender.leaderboard("popular", None, &page(5, 0)).await.unwrap().is_empty());
    assert!(recommender.item_neighbors(None, &item, None, &page(5, 0)).await.unwrap().is_empty());
    assert!(recommender.user_neighbors(None, &user, &page(5, 0)).await.unwrap().is_empty());
    assert!(recommender.session(&[row("like", "", "red-1", seconds(1))], &page(5, 0)).unwrap().is_empty());
    let alone = recommender.single_source(&user, &Source::Collaborative, &page(5, 0)).await.unwrap();
    assert!(alone.is_empty());
    assert_eq!(recommender.recommend(&user, &page(5, 0)).await.unwrap().len(), 5);
}
