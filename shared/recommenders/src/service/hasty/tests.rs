use std::sync::Arc;

use ulex_algorithms::model_set::{Manifest, ModelSet};

use super::*;
use crate::two_tastes::{World, model_set, plan};

fn first(n: usize) -> ListQuery {
    ListQuery { n, ..ListQuery::default() }
}

/// The same models under another name: every kept list is out of date.
fn replace_models(world: &World) {
    let second = Manifest { id: "second".to_owned(), ..Manifest::default() };
    world.recommender.use_models(Arc::new(ModelSet { manifest: second, ..model_set() }));
}

async fn within(world: &World, user: &str, n: usize, effort: Effort) -> (Vec<String>, Quality) {
    let made = world.recommender.recommend_within(&UserId::new(user), &first(n), effort).await.unwrap();
    (made.list.into_iter().map(|entry| entry.id.to_string()).collect(), made.quality)
}

#[tokio::test]
async fn a_fresh_kept_list_is_the_answer_whatever_the_effort() {
    let world = World::new(plan()).await;
    let list = world.list("red-fan-0", 5).await;
    for effort in [Effort::Full, Effort::Kept, Effort::Unranked, Effort::Leaderboard] {
        assert_eq!(within(&world, "red-fan-0", 5, effort).await, (list.clone(), Quality::Full));
        let now = world.recommender.recommend_now_within(&UserId::new("red-fan-0"), &first(5), effort);
        assert_eq!(now.unwrap().quality, Quality::Full);
    }
}

#[tokio::test]
async fn a_kept_list_that_is_out_of_date_will_do_with_less_than_full_effort() {
    let world = World::new(plan()).await;
    let list = world.list("red-fan-0", 5).await;
    replace_models(&world);
    let user = UserId::new("red-fan-0");
    assert_eq!(world.recommender.recommend_now_within(&user, &first(5), Effort::Full), None);
    for effort in [Effort::Kept, Effort::Unranked, Effort::Leaderboard] {
        assert_eq!(within(&world, "red-fan-0", 5, effort).await, (list.clone(), Quality::Stale));
        let now = world.recommender.recommend_now_within(&user, &first(5), effort).unwrap();
        assert_eq!(now.quality, Quality::Stale);
    }
    assert_eq!(within(&world, "red-fan-0", 5, Effort::Full).await.1, Quality::Full);
}

#[tokio::test]
async fn an_item_that_was_hidden_is_in_no_list_out_of_date() {
    let world = World::new(plan()).await;
    let list = world.list("red-fan-0", 5).await;
    replace_models(&world);
    world.hide(&list[0], true).await;
    let (stale, quality) = within(&world, "red-fan-0", 5, Effort::Kept).await;
    assert_eq!(quality, Quality::Stale);
    assert!(stale.len() == 5 && !stale.contains(&list[0]), "{stale:?}");
}

#[tokio::test]
async fn who_has_no_kept_list_gets_what_the_effort_allows_without_what_was_met() {
    let world = World::new(plan()).await;
    let (full, quality) = within(&world, "red-fan-0", 5, Effort::Kept).await;
    assert_eq!((full.len(), quality), (5, Quality::Full));
    for (effort, expected) in
        [(Effort::Unranked, Quality::Unranked), (Effort::Leaderboard, Quality::Leaderboard)]
    {
        world.feedback("read", "red-fan-1", &[&full[0]]).await;
        let (list, quality) = within(&world, "red-fan-1", 5, effort).await;
        assert_eq!((list.len(), quality), (5, expected));
        assert!(!list.contains(&full[0]), "{list:?}");
        let kept = world.recommender.cache().user(&UserId::new("red-fan-1")).await.unwrap();
        assert!(kept.entry.is_none(), "what was made for less is not kept");
    }
}

#[tokio::test]
async fn without_models_there_is_an_answer_for_every_effort() {
    let world = World::with_cache(plan(), Arc::new(ulex_storage::cache::MemoryCache::new(1 << 20))).await;
    for effort in [Effort::Full, Effort::Kept, Effort::Unranked, Effort::Leaderboard] {
        assert_eq!(within(&world, "nobody", 3, effort).await.0.len(), 3);
    }
}
