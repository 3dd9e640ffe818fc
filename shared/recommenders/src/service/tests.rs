use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use ulex_algorithms::model_set::{Manifest, ModelSet};
use ulex_domain::{Command, Timestamp, UserId};
use ulex_storage::StorageError;
use ulex_storage::cache::{CacheStore, Mark, MemoryCache, UserEntry, UserView};
use ulex_storage::data::DataStore;

use super::*;
use crate::plan::{Replacement, Source};
use crate::two_tastes::{ITEMS, World, item, item_id, model_set, plan, row, seconds};

fn query(n: usize, offset: usize, categories: &[&str]) -> ListQuery {
    let categories = categories.iter().map(|&name| name.to_owned()).collect();
    ListQuery { n, offset, categories: Some(categories) }
}

fn all_of(list: &[String], taste: &str) -> bool {
    list.iter().all(|item| item.starts_with(taste))
}

/// The cached list of a user.
async fn kept(world: &World, user: &str) -> Option<Arc<UserEntry>> {
    world.recommender.cache().user(&UserId::new(user)).await.unwrap().entry
}

/// The latest source alone, without a ranking.
fn latest_only() -> Plan {
    Plan { sources: vec![Source::Latest], fallback: Vec::new(), ranked: false, ..plan() }
}

#[tokio::test]
async fn two_new_users_with_different_likes_get_different_lists_of_their_taste() {
    let world = World::new(plan()).await;
    let (before, other) = (world.list("newcomer", 5).await, world.list("stranger", 5).await);
    assert_eq!(before, other, "nothing is known about either");
    world.feedback("like", "newcomer", &["red-1", "red-2"]).await;
    world.feedback("like", "stranger", &["blue-1", "blue-2"]).await;
    let (red, blue) = (world.list("newcomer", 5).await, world.list("stranger", 5).await);
    assert!(red.len() == 5 && all_of(&red, "red"), "{red:?}");
    assert!(blue.len() == 5 && all_of(&blue, "blue"), "{blue:?}");
}

#[tokio::test]
async fn every_kind_of_feedback_changes_the_very_next_answer() {
    let world = World::new(plan()).await;
    for kind in ["like", "read", "dislike", "of no configured meaning"] {
        let before = world.list("red-fan-3", 10).await;
        assert_eq!(before, world.list("red-fan-3", 10).await);
        world.feedback(kind, "red-fan-3", &[&before[0], &before[4]]).await;
        let after = world.list("red-fan-3", 10).await;
        assert!(after.len() == 10 && !after.contains(&before[0]) && !after.contains(&before[4]), "{kind}");
    }
}

#[tokio::test]
async fn a_list_is_kept_and_used_until_something_it_depends_on_changes() {
    let world = World::new(plan()).await;
    assert!(world.recommender.recommend_now(&UserId::new("red-fan-0"), &query(5, 0, &[])).is_none());
    let list = world.list("red-fan-0", 5).await;
    let first = kept(&world, "red-fan-0").await.unwrap();
    assert_eq!((first.items.len(), first.model_set.as_str()), (10, "first"));
    assert!(world.recommender.recommend_now(&UserId::new("red-fan-0"), &query(5, 0, &[])).is_some());
    assert_eq!(world.list("red-fan-0", 5).await, list);
    assert_eq!(kept(&world, "red-fan-0").await.unwrap().computed, first.computed, "nothing was computed");

    world.recommender.use_plan(Plan { digest: "another".to_owned(), ..plan() });
    world.list("red-fan-0", 5).await;
    assert_eq!(kept(&world, "red-fan-0").await.unwrap().digest, "another");
    let second = Manifest { id: "second".to_owned(), ..Manifest::default() };
    world.recommender.use_models(Arc::new(ModelSet { manifest: second, ..model_set() }));
    world.list("red-fan-0", 5).await;
    assert_eq!(kept(&world, "red-fan-0").await.unwrap().model_set, "second");
    world.feedback("like", "red-fan-0", &["red-19"]).await;
    assert!(kept(&world, "red-fan-0").await.is_none());
    world.list("red-fan-0", 5).await;
    world.write(Command::DeleteUser { user_id: UserId::new("red-fan-0") }).await;
    assert!(kept(&world, "red-fan-0").await.is_none());
}

#[tokio::test]
async fn a_list_expires_and_ends_with_hidden_feedback_and_with_new_items() {
    let world = World::new(plan()).await;
    world.list("red-fan-0", 5).await;
    let entry = (*kept(&world, "red-fan-0").await.unwrap()).clone();
    let later = |seconds: i64| entry.computed.plus_nanos(seconds * 1_000_000_000);
    let fresh = |entry: &UserEntry, now: Timestamp| world.recommender.is_fresh(entry, &plan(), now);
    assert!(fresh(&entry, later(3_599)) && !fresh(&entry, later(3_600)));
    let ends = UserEntry { stale_at: Some(later(10)), ..entry.clone() };
    assert!(fresh(&ends, later(9)) && !fresh(&ends, later(10)));

    let live = world.recommender.live().unwrap();
    let fresh_item = crate::fresh_items::FreshItem {
        slot: 0,
        index: None,
        liked_at: later(0),
        users: 1,
        vectors: vec![vec![0.0; 4], Vec::new()],
    };
    live.change_fresh_items(|items| items.with(std::slice::from_ref(&fresh_item), &[], later(20)));
    assert!(fresh(&entry, later(59)) && !fresh(&entry, later(60)), "a minute after it was made");
    let made_since = UserEntry { computed: later(21), ..entry };
    assert!(fresh(&made_since, later(3_000)));
}

#[tokio::test]
async fn future_feedback_is_invisible_until_its_time_and_the_list_ends_then() {
    let world = World::new(plan()).await;
    let before = world.list("red-fan-0", 10).await;
    let soon = Timestamp::now().plus_nanos(3_600_000_000_000);
    world.put_feedback(vec![row("read", "red-fan-0", &before[0], soon)]).await;
    assert_eq!(world.list("red-fan-0", 10).await, before);
    let entry = kept(&world, "red-fan-0").await.unwrap();
    assert_eq!(entry.stale_at, Some(soon));
    assert!(!world.recommender.is_fresh(&entry, &plan(), soon));
    let rows = world.store.user_feedback(&UserId::new("red-fan-0"), None).await.unwrap();
    let user = UserId::new("red-fan-0");
    let at_that_time = world.recommender.compute((&user, &rows), &query(10, 0, &[]), None, soon);
    assert!(at_that_time.answer.iter().all(|entry| entry.id != before[0].as_str()));
    assert_eq!(at_that_time.entry.unwrap().stale_at, None);
}

#[tokio::test]
async fn a_list_computed_before_a_write_never_overwrites_what_came_after() {
    let world = World::new(plan()).await;
    let user = UserId::new("red-fan-0");
    for (refresh, seen) in [(false, "red-19"), (true, "red-16")] {
        let (recommender, of_user) = (world.recommender.clone(), user.clone());
        world.store.waits.store(true, Ordering::Relaxed);
        let overtaken = tokio::spawn(async move {
            if refresh {
                return recommender.refresh(&of_user).await.map(|_| Vec::new());
            }
            Ok(recommender.recommend(&of_user, &query(40, 0, &[])).await.unwrap())
        });
        world.store.arrived.acquire().await.unwrap().forget();
        world.feedback("read", "red-fan-0", &[seen]).await;
        world.store.waits.store(false, Ordering::Relaxed);
        world.store.go.add_permits(1);
        let list = overtaken.await.unwrap().unwrap();
        assert_eq!(list.iter().any(|entry| entry.id == seen), !refresh, "it was asked before the write");
        assert!(kept(&world, "red-fan-0").await.is_none(), "the list is of before the write");
        assert!(!world.list("red-fan-0", 40).await.contains(&seen.to_owned()));
        world.feedback("read", "red-fan-0", &["red-17"]).await;
    }
}

#[tokio::test]
async fn a_store_that_is_away_costs_no_kept_list_and_is_an_error_otherwise() {
    let world = World::new(plan()).await;
    let list = world.list("red-fan-0", 5).await;
    world.store.fails.store(true, Ordering::Relaxed);
    assert_eq!(world.list("red-fan-0", 5).await, list);
    let asked = query(5, 0, &[]);
    let other = world.recommender.recommend(&UserId::new("red-fan-1"), &asked).await;
    assert!(matches!(other, Err(RecommendError::Storage(_))));
    assert_eq!(world.recommender.latest(None, &asked).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_cache_that_is_away_costs_no_answer() {
    struct Away;
    fn away<T>() -> Result<T, StorageError> {
        Err(StorageError::Unavailable { backend: "test", action: "answer", source: "away".into() })
    }
    #[async_trait]
    impl CacheStore for Away {
        async fn user(&self, _id: &UserId) -> Result<UserView, StorageError> {
            away()
        }
        async fn put_user(&self, _: &UserId, _: UserEntry, _: Mark) -> Result<bool, StorageError> {
            away()
        }
        async fn invalidate_users(&self, _: &[UserId]) -> Result<(), StorageError> {
            Ok(())
        }
        async fn clear(&self) -> Result<(), StorageError> {
            away()
        }
        async fn ping(&self) -> Result<(), StorageError> {
            away()
        }
    }
    let world = World::with_cache(plan(), Arc::new(Away)).await;
    assert_eq!(world.list("red-fan-0", 5).await.len(), 5);
    assert!(world.recommender.refresh(&UserId::new("red-fan-0")).await.is_err());
}

/// Whether `id` is in any of the lists there are, each asked for everything.
async fn anywhere(world: &World, user: &str, id: &str) -> Vec<&'static str> {
    let (everything, user) = (query(1_000, 0, &[]), UserId::new(user));
    let recommender = &world.recommender;
    let liked = item_id(if id.starts_with("red") { 1 } else { ITEMS + 1 });
    let session = [row("like", "nobody", &liked, seconds(5))];
    let lists = [
        ("recommend", recommender.recommend(&user, &everything).await.unwrap()),
        ("recommend for", recommender.recommend_for(&user, Some(&user), &everything).await.unwrap()),
        ("latest", recommender.latest(Some(&user), &everything).await.unwrap()),
        ("leaderboard", recommender.leaderboard("popular", Some(&user), &everything).await.unwrap()),
        (
            "item neighbors",
            recommender.item_neighbors(None, &ItemId::new(&liked), Some(&user), &everything).await.unwrap(),
        ),
        ("session", recommender.session(&session, &everything).unwrap()),
        (
            "collaborative",
            recommender.single_source(&user, &Source::Collaborative, &everything).await.unwrap(),
        ),
    ];
    let holding = lists.iter().filter(|(_, list)| list.iter().any(|entry| entry.id == id));
    holding.map(|(name, _)| *name).collect()
}

#[tokio::test]
async fn hidden_deleted_and_seen_items_come_from_no_list_from_the_moment_of_the_write() {
    let world = World::new(plan()).await;
    let everywhere =
        ["recommend", "recommend for", "latest", "leaderboard", "item neighbors", "session", "collaborative"];
    world.feedback("like", "newcomer", &["red-1", "red-2"]).await;
    assert_eq!(anywhere(&world, "newcomer", "red-5").await, everywhere);
    world.hide("red-5", true).await;
    assert_eq!(anywhere(&world, "newcomer", "red-5").await, [""; 0]);
    world.hide("red-5", false).await;
    assert_eq!(anywhere(&world, "newcomer", "red-5").await, everywhere);
    world.delete_item("red-5").await;
    assert_eq!(anywhere(&world, "newcomer", "red-5").await, [""; 0]);
    world.put_item("red-5", 7, &[]).await;
    assert_eq!(anywhere(&world, "newcomer", "red-5").await, everywhere, "an item may come back");
    world.feedback("read", "newcomer", &["red-5"]).await;
    assert_eq!(anywhere(&world, "newcomer", "red-5").await, ["session"], "a session is nobody's");
}

#[tokio::test]
async fn an_item_changes_its_category_at_once_and_expired_ones_are_gone() {
    let world = World::new(plan()).await;
    let films = query(5, 0, &["film"]);
    assert!(world.recommend("red-fan-0", &films).await.is_empty(), "no item is a film");
    world.put_item("blue-3", 24, &["film", "short"]).await;
    world.put_item("blue-4", 25, &["film"]).await;
    let mut found = world.recommend("red-fan-0", &films).await;
    found.sort();
    assert_eq!(found, ["blue-3", "blue-4"]);
    assert_eq!(world.recommend("red-fan-0", &query(5, 0, &["film", "short"])).await, ["blue-3"]);
    world.put_item("blue-4", 25, &["song"]).await;
    assert_eq!(world.recommend("red-fan-0", &films).await, ["blue-3"]);

    let age = Timestamp::now().as_unix_seconds() - 30;
    world.recommender.use_plan(Plan { item_ttl: Some(Duration::from_secs(age as u64)), ..plan() });
    let left = world.list("red-fan-0", 100).await;
    assert!(!left.is_empty() && left.iter().all(|item| item.starts_with("blue")), "{left:?}");
    assert!(!left.contains(&"blue-8".to_owned()) && left.contains(&"blue-12".to_owned()), "{left:?}");
}

#[tokio::test]
async fn lists_are_full_whatever_n_offset_and_categories_and_pages_do_not_overlap() {
    let world = World::new(plan()).await;
    for index in 0..2 * ITEMS {
        let categories: &[&str] = if index % 3 == 0 { &["third"] } else { &[] };
        world.put_item(&item_id(index), i64::from(index) + 1, categories).await;
    }
    world.feedback("like", "newcomer", &["red-1", "red-2"]).await;
    let exactly = |list: &[String], count: usize| {
        let mut distinct = list.to_vec();
        distinct.sort();
        distinct.dedup();
        (list.len(), distinct.len()) == (count, count)
    };
    for categories in [&[][..], &["third"]] {
        let of_world = if categories.is_empty() { 38 } else { 14 };
        for _ in 0..2 {
            let everything = world.recommend("newcomer", &query(1_000, 0, categories)).await;
            assert!(exactly(&everything, of_world), "{everything:?}");
            let mut pages = Vec::new();
            for page in 0..20 {
                pages.extend(world.recommend("newcomer", &query(3, page * 3, categories)).await);
            }
            assert!(exactly(&pages, of_world), "{pages:?}");
        }
        assert!(world.recommend("newcomer", &query(0, 0, categories)).await.is_empty());
        assert!(world.recommend("newcomer", &query(5, usize::MAX, categories)).await.is_empty());
        assert_eq!(world.recommend("newcomer", &query(usize::MAX, 1, categories)).await.len(), of_world - 1);
    }
}

#[tokio::test]
async fn a_short_list_grows_as_soon_as_there_is_another_item() {
    let world = World::with_cache(plan(), Arc::new(MemoryCache::new(1 << 20))).await;
    for index in 0..2 * ITEMS - 3 {
        world.delete_item(&item_id(index)).await;
    }
    assert_eq!(world.list("nobody", 10).await, ["blue-19", "blue-18", "blue-17"]);
    assert_eq!(world.list("nobody", 10).await.len(), 3);
    let now = world.recommender.recommend_now(&UserId::new("nobody"), &query(10, 0, &[]));
    assert_eq!(now.map(|list| list.len()), Some(3), "all there is needs no second look");
    world.put_item("red-0", 1, &[]).await;
    assert_eq!(world.list("nobody", 10).await, ["blue-19", "blue-18", "blue-17", "red-0"]);
    world.recommender.use_models(Arc::new(model_set()));
    assert_eq!(world.list("nobody", 10).await.len(), 4);
    world.hide("red-0", true).await;
    assert_eq!(world.list("nobody", 10).await.len(), 3);
    world.hide("red-0", false).await;
    assert_eq!(world.list("nobody", 10).await.len(), 4);
    world.put_item("brand new", 1, &[]).await;
    assert_eq!(world.list("nobody", 10).await.len(), 5);
}

#[tokio::test]
async fn before_the_first_fit_lists_follow_the_catalogue_too() {
    let world = World::with_cache(plan(), Arc::new(MemoryCache::new(1 << 20))).await;
    assert_eq!(world.list("nobody", 2).await, ["blue-19", "blue-18"]);
    world.put_item("brand new", 1_000, &[]).await;
    assert_eq!(world.list("nobody", 2).await, ["brand new", "blue-19"]);
}

#[tokio::test]
async fn what_lies_beyond_a_kept_list_goes_on_after_it() {
    let world = World::new(plan()).await;
    let user = UserId::new("red-fan-0");
    world.list("red-fan-0", 10).await;
    let mut entry = (*kept(&world, "red-fan-0").await.unwrap()).clone();
    entry.items.reverse();
    let order: Vec<String> = entry.items.iter().map(|(item, _)| item.to_string()).collect();
    let mark = world.recommender.cache().user(&user).await.unwrap().mark;
    let keep = async |entry: UserEntry| {
        assert!(world.recommender.cache().put_user(&user, entry, mark).await.unwrap());
    };
    keep(entry.clone()).await;
    assert_eq!(world.list("red-fan-0", 4).await, order[..4]);
    let further = world.list("red-fan-0", 25).await;
    assert_eq!(further[..10], order);
    let mut distinct = further.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((further.len(), distinct.len()), (25, 25));
    keep(entry).await;
    assert_eq!(world.recommend("red-fan-0", &query(15, 8, &[])).await, further[8..23]);
}

#[tokio::test]
async fn an_unranked_list_follows_the_catalogue() {
    let world = World::new(latest_only()).await;
    assert_eq!(world.list("nobody", 3).await, ["blue-19", "blue-18", "blue-17"]);
    world.put_item("brand new", 1_000, &[]).await;
    assert_eq!(world.list("nobody", 3).await, ["brand new", "blue-19", "blue-18"]);
    world.put_item("brand new", 0, &[]).await;
    assert_eq!(world.list("nobody", 3).await, ["blue-19", "blue-18", "blue-17"]);
    let scores = world.recommender.recommend(&UserId::new("nobody"), &query(1, 0, &[])).await.unwrap();
    assert_eq!(scores[0].score, 40.0, "unix seconds");
}

#[tokio::test]
async fn without_kept_lists_every_answer_is_computed_and_nothing_is_refreshed() {
    let world = World::new(Plan { cached_lists: false, ..plan() }).await;
    let user = UserId::new("red-fan-0");
    assert_eq!(world.list("red-fan-0", 5).await, World::new(plan()).await.list("red-fan-0", 5).await);
    assert!(!world.recommender.refresh(&user).await.unwrap());
    assert!(kept(&world, "red-fan-0").await.is_none());
}

#[tokio::test]
async fn refreshing_computes_what_a_request_would_and_only_if_need_be() {
    let world = World::new(plan()).await;
    let user = UserId::new("red-fan-0");
    assert!(world.recommender.refresh(&user).await.unwrap());
    assert!(!world.recommender.refresh(&user).await.unwrap());
    let kept = world.recommender.recommend_now(&user, &query(10, 0, &[])).unwrap();
    world.recommender.cache().invalidate_users(std::slice::from_ref(&user)).await.unwrap();
    assert_eq!(world.recommender.recommend(&user, &query(10, 0, &[])).await.unwrap(), kept);
}

#[tokio::test]
async fn what_the_reader_has_met_is_left_out_of_somebody_elses_list() {
    let world = World::new(plan()).await;
    let list = world.list("red-fan-0", 5).await;
    world.feedback("read", "reader", &[&list[0], &list[2]]).await;
    let (fan, reader) = (UserId::new("red-fan-0"), UserId::new("reader"));
    let seen = world.recommender.recommend_for(&fan, Some(&reader), &query(8, 0, &[])).await.unwrap();
    assert_eq!(seen.len(), 8);
    assert_eq!(seen[..2].iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), [&list[1], &list[3]]);
    let page = world.recommender.recommend_for(&fan, Some(&reader), &query(3, 2, &[])).await.unwrap();
    assert_eq!(page, seen[2..5]);
    let own = world.recommender.recommend_for(&fan, None, &query(5, 0, &[])).await.unwrap();
    assert_eq!(own.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), list);
}

#[tokio::test]
async fn with_replacement_what_was_met_comes_back_and_what_was_disliked_does_not() {
    let replacement = Some(Replacement { positive_decay: 0.5, read_decay: 0.25 });
    for ranked in [true, false] {
        let sources = if ranked { plan().sources } else { vec![Source::Latest] };
        let world = World::new(Plan { replacement, ranked, sources, ..plan() }).await;
        world.feedback("like", "newcomer", &["red-1"]).await;
        world.feedback("read", "newcomer", &["red-2"]).await;
        world.feedback("dislike", "newcomer", &["red-3"]).await;
        let list = world.list("newcomer", 1_000).await;
        assert_eq!(list.len(), 39);
        assert!(!list.contains(&"red-3".to_owned()));
    }
}

#[tokio::test]
async fn purged_items_stay_away_and_a_model_set_outlives_the_purge() {
    let world = World::new(plan()).await;
    world.recommender.catalogue().load(&ulex_storage::data::MemoryStore::new()).await.unwrap();
    assert!(world.list("red-fan-0", 10).await.is_empty());
    for id in ["blue-1", "blue-2", "red-18", "never seen"] {
        world.recommender.catalogue().put(&[(&item(id, 1, &[])).into()]);
    }
    let list = world.list("blue-fan-0", 10).await;
    assert!(list.contains(&"never seen".to_owned()) && list.contains(&"red-18".to_owned()), "{list:?}");
    let live = world.recommender.live().unwrap();
    let slot = world.recommender.catalogue().view().slot("blue-2").unwrap();
    assert_eq!(live.index(slot), live.set.items.index("blue-2"), "slots have not moved");
}

#[tokio::test]
async fn items_of_the_models_that_arrive_late_are_found_by_the_models() {
    let store = Arc::new(ulex_storage::data::MemoryStore::new());
    let cache = Arc::new(MemoryCache::new(1 << 20));
    let recommender = Recommender::new(store, cache, plan(), Duration::ZERO);
    recommender.use_models(Arc::new(model_set()));
    let states = (0..2 * ITEMS).map(|index| (&item(&item_id(index), 1, &[])).into());
    recommender.catalogue().put(&states.collect::<Vec<_>>());
    let liked = [row("like", "x", "blue-1", seconds(1))];
    let found = recommender.session(&liked, &query(5, 0, &[])).unwrap();
    assert!(found.len() == 5 && found.iter().all(|entry| entry.id.starts_with("blue")), "{found:?}");
}

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Feedback(usize, u32, usize),
    Hide(u32, bool),
    Delete(u32),
    Put(u32, i64, bool),
    Ask(usize, usize, usize, bool),
    Models(bool),
    Fold,
}

fn step() -> impl Strategy<Value = Step> {
    let item = || 0..2 * ITEMS + 6;
    prop_oneof![
        4 => (0..3_usize, item(), 0..4_usize).prop_map(|(user, item, kind)| Step::Feedback(user, item, kind)),
        1 => (item(), any::<bool>()).prop_map(|(item, hidden)| Step::Hide(item, hidden)),
        1 => item().prop_map(Step::Delete),
        2 => (item(), 0..50_i64, any::<bool>()).prop_map(|(item, time, film)| Step::Put(item, time, film)),
        4 => (0..3_usize, 0..60_usize, 0..30_usize, any::<bool>())
            .prop_map(|(user, n, offset, film)| Step::Ask(user, n, offset, film)),
        1 => any::<bool>().prop_map(Step::Models),
        1 => Just(Step::Fold),
    ]
}

/// What must be true of every answer, from the store alone.
async fn check(world: &World, user: &str, asked: &ListQuery) {
    let list = world.recommend(user, asked).await;
    let rows = world.store.user_feedback(&UserId::new(user), None).await.unwrap();
    let items = world.store.list_items(None, 1_000).await.unwrap();
    let replaced = world.recommender.plan().replacement.is_some();
    let kept_out = |id: &ItemId| {
        rows.iter().any(|row| row.item_id == *id && (!replaced || row.feedback_type == "dislike"))
    };
    let qualifies = |stored: &ulex_domain::Item| {
        let categories = stored.categories.as_deref().unwrap_or_default();
        !stored.is_hidden
            && asked.categories().iter().all(|wanted| categories.contains(wanted))
            && !kept_out(&stored.item_id)
    };
    let eligible: Vec<&str> =
        items.iter().filter(|&stored| qualifies(stored)).map(|stored| stored.item_id.as_str()).collect();
    assert!(list.iter().all(|id| eligible.contains(&id.as_str())), "{list:?} of {eligible:?}");
    let mut distinct = list.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), list.len(), "{list:?}");
    assert_eq!(list.len(), eligible.len().saturating_sub(asked.offset).min(asked.n), "{list:?}");
}

async fn live_through(steps: Vec<Step>, variant: usize) {
    let replacement = (variant & 1 == 1).then_some(Replacement { positive_decay: 0.5, read_decay: 0.5 });
    let ranked = variant & 2 == 0;
    let of_variant = if ranked { plan() } else { latest_only() };
    let world = World::new(Plan { replacement, ranked, ..of_variant }).await;
    let users = ["red-fan-0", "blue-fan-0", "newcomer"];
    let name = |item: u32| if item < 2 * ITEMS { item_id(item) } else { format!("later-{item}") };
    for step in steps {
        match step {
            Step::Feedback(user, item, kind) => {
                let kind = ["like", "read", "dislike", "other"][kind];
                world.feedback(kind, users[user], &[&name(item)]).await;
            }
            Step::Hide(item, hidden) => {
                if world.store.item(&ItemId::new(name(item))).await.unwrap().is_some() {
                    world.hide(&name(item), hidden).await;
                }
            }
            Step::Delete(item) => world.delete_item(&name(item)).await,
            Step::Put(item, time, film) => {
                world.put_item(&name(item), time, if film { &["film"] } else { &[] }).await;
            }
            Step::Ask(user, n, offset, film) => {
                let categories: &[&str] = if film { &["film"] } else { &[] };
                check(&world, users[user], &query(n, offset, categories)).await;
            }
            Step::Models(second) => {
                let id = if second { "second" } else { "first" };
                let manifest = Manifest { id: id.to_owned(), ..Manifest::default() };
                world.recommender.use_models(Arc::new(ModelSet { manifest, ..model_set() }));
            }
            Step::Fold => _ = world.recommender.fold_in_new_items().await.unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_answer_has_duplicates_or_forbidden_items_or_is_too_short(
        steps in proptest::collection::vec(step(), 1..40), variant in 0..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live_through(steps, variant));
    }
}
