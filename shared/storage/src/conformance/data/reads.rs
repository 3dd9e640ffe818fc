//! Reads: order, pages, times, scans, counts, search.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde_json::json;
use smol_str::SmolStr;
use ulex_domain::{Command, Feedback, FeedbackKey, Item, ItemId, UserId};

use super::dump::dump;
use super::{apply, at, item, item_ids, key, post, row, user_ids};
use crate::data::{Counts, DataStore, FeedbackRow};

pub(super) async fn check(store: &dyn DataStore) {
    store.purge().await.expect("purge");
    fill(store).await;
    lists_are_in_byte_order_and_begin_where_asked(store).await;
    several_ids_are_read_at_once(store).await;
    feedback_is_in_order_and_respects_the_time(store).await;
    a_page_of_feedback_begins_at_its_key(store).await;
    pages_follow_each_other_without_gap_or_overlap(store).await;
    a_rare_type_is_listed_completely(store).await;
    a_scan_visits_every_row_once(store).await;
    counts_are_right(store).await;
    search_finds_any_word_and_keeps_up(store).await;
    no_query_is_an_error(store).await;
}

/// In the order in which bytes sort, which is not the order in which they are written.
const USERS: [&str; 6] = ["", "B", "a", "a/b", "b", "é"];
const ITEMS: [&str; 5] = ["10", "9", "Z", "x", "🦀"];
const TYPES: [&str; 3] = ["Star", "read", "read>=3"];

/// One row for each user, item and type, the star of the crab in the far future.
async fn fill(store: &dyn DataStore) {
    let mut rows = all_rows();
    rows.reverse();
    for chunk in rows.chunks(7) {
        apply(store, post(chunk.to_vec())).await;
    }
}

fn all_rows() -> Vec<Feedback> {
    let pairs = USERS.iter().flat_map(|user| ITEMS.iter().map(move |item| (*user, *item)));
    let keys = TYPES.iter().flat_map(|name| pairs.clone().map(move |(user, item)| (*name, user, item)));
    let is_future = |name: &str, item: &str| (name, item) == ("Star", "🦀");
    keys.map(|(name, user, item)| {
        let time = if is_future(name, item) { at(1_000_000) } else { at(1) };
        row(name, user, item, 1.0, time)
    })
    .collect()
}

fn visible(rows: Vec<Feedback>) -> Vec<Feedback> {
    rows.into_iter().filter(|row| row.timestamp <= at(1)).collect()
}

async fn lists_are_in_byte_order_and_begin_where_asked(store: &dyn DataStore) {
    assert_eq!(user_ids(&store.list_users(None, 100).await.expect("list")), USERS);
    assert_eq!(item_ids(&store.list_items(None, 100).await.expect("list")), ITEMS);
    let from = UserId::new("a/a");
    assert_eq!(user_ids(&store.list_users(Some(&from), 2).await.expect("list")), ["a/b", "b"]);
    let from = ItemId::new("Z");
    assert_eq!(item_ids(&store.list_items(Some(&from), 2).await.expect("list")), ["Z", "x"]);
    assert!(store.list_users(Some(&UserId::new("ö")), 2).await.expect("list").is_empty());
    assert!(store.list_items(None, 0).await.expect("list").is_empty());
}

async fn several_ids_are_read_at_once(store: &dyn DataStore) {
    let ids = ["b", "nobody", "a", "b"].map(UserId::new);
    let users = store.users(&ids).await.expect("read");
    assert_eq!(user_ids(&users).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["a", "b"]));
    assert_eq!(users.len(), 2, "an id asked for twice is answered once");
    let many: Vec<_> = (0..500).map(|number| ItemId::new(number.to_string())).collect();
    let items = store.items(&many).await.expect("read");
    assert_eq!(item_ids(&items).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["10", "9"]));
    assert!(store.items(&[]).await.expect("read").is_empty());
    let mut rows = store.users_feedback(&ids, Some(at(1))).await.expect("read");
    rows.sort_by_key(Feedback::key);
    let expected = visible(all_rows()).into_iter().filter(|row| ["a", "b"].contains(&row.user_id.as_str()));
    assert_eq!(rows, expected.collect::<Vec<_>>());
}

async fn feedback_is_in_order_and_respects_the_time(store: &dyn DataStore) {
    let of_user =
        |id: &str| all_rows().into_iter().filter(|row| row.user_id.as_str() == id).collect::<Vec<_>>();
    for id in USERS {
        let rows = store.user_feedback(&UserId::new(id), None).await.expect("read");
        assert_eq!(rows, of_user(id), "by (type, item)");
        let rows = store.user_feedback(&UserId::new(id), Some(at(1))).await.expect("read");
        assert_eq!(rows, visible(of_user(id)), "equal to the limit is visible");
    }
    let crab = ItemId::new("🦀");
    let of_crab: Vec<_> = all_rows().into_iter().filter(|row| row.item_id == crab).collect();
    assert_eq!(store.item_feedback(&crab, None, None).await.expect("read"), of_crab, "by (type, user)");
    assert_eq!(store.item_feedback(&crab, Some(at(1)), None).await.expect("read"), visible(of_crab.clone()));
    assert!(store.item_feedback(&crab, Some(at(0)), None).await.expect("read").is_empty());
    for limit in 0..of_crab.len() + 2 {
        let mut rest = of_crab.iter();
        let rows = store.item_feedback(&crab, None, Some(limit)).await.expect("read");
        assert_eq!(rows.len(), limit.min(of_crab.len()), "as many as asked for, if there are so many");
        assert!(rows.iter().all(|row| rest.any(|other| other == row)), "each once, by (type, user)");
    }
    let rows = store.pair_feedback(&UserId::new("b"), &crab).await.expect("read");
    let types: Vec<_> = rows.iter().map(|row| row.feedback_type.as_str()).collect();
    assert_eq!(types, TYPES, "of whatever time, by type");
    assert!(store.pair_feedback(&UserId::new("b"), &ItemId::new("no")).await.expect("read").is_empty());
}

async fn a_page_of_feedback_begins_at_its_key(store: &dyn DataStore) {
    let all = all_rows();
    let starts = [
        None,
        Some(key("", "", "")),
        Some(key("read", "a", "9")),
        Some(key("read", "a", "90")),
        Some(key("read", "a.", "")),
        Some(key("readx", "", "")),
        Some(key("read>=3", "é", "🦀")),
        Some(key("zzz", "", "")),
    ];
    for from in starts {
        for (limit, feedback_type, until) in [
            (1, None, None),
            (7, Some("read"), None),
            (1_000, None, Some(at(1))),
            (40, Some("Star"), Some(at(1))),
        ] {
            let wanted = |row: &&Feedback| {
                from.as_ref().is_none_or(|from| row.key() >= *from)
                    && feedback_type.is_none_or(|name| row.feedback_type == name)
                    && until.is_none_or(|until| row.timestamp <= until)
            };
            let expected: Vec<_> = all.iter().filter(wanted).take(limit).cloned().collect();
            let name = feedback_type.map(SmolStr::new);
            let page = store.list_feedback(from.as_ref(), limit, name.as_ref(), until).await.expect("list");
            assert_eq!(page, expected, "from {from:?}, {limit} of {feedback_type:?} until {until:?}");
        }
    }
    let none = SmolStr::new("no such type");
    assert!(store.list_feedback(None, 10, Some(&none), None).await.expect("list").is_empty());
    assert!(store.list_feedback(None, 0, None, None).await.expect("list").is_empty());
}

async fn pages_follow_each_other_without_gap_or_overlap(store: &dyn DataStore) {
    for page in [1, 4, 1_000] {
        let dump = dump(store, NonZeroUsize::new(page).expect("not zero")).await;
        assert_eq!(user_ids(&dump.users), USERS);
        assert_eq!(item_ids(&dump.items), ITEMS);
        assert_eq!(dump.feedback, all_rows());
    }
}

async fn a_rare_type_is_listed_completely(store: &dyn DataStore) {
    const CROWD: usize = 6_000;
    let crowd: Vec<_> =
        (0..CROWD).map(|user| row("read", &format!("crowd {user:05}"), "x", 1.0, at(1))).collect();
    let rare =
        crowd.iter().step_by(1_111).map(|row| Feedback { feedback_type: "rare".into(), ..row.clone() });
    let rare: Vec<_> = rare.collect();
    apply(store, post(crowd.clone())).await;
    apply(store, post(rare.clone())).await;
    let name = SmolStr::new("rare");
    for limit in [2, 100] {
        let mut listed: Vec<Feedback> = Vec::new();
        let mut from: Option<FeedbackKey> = None;
        loop {
            let mut page =
                store.list_feedback(from.as_ref(), limit + 1, Some(&name), None).await.expect("list");
            let next = (page.len() > limit).then(|| page.pop().expect("a full page").key());
            listed.append(&mut page);
            from = next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(listed, rare);
    }
    store.purge().await.expect("purge");
    fill(store).await;
}

async fn a_scan_visits_every_row_once(store: &dyn DataStore) {
    for batch in [1, 13, 10_000] {
        let mut scanned = Vec::new();
        let mut longest = 0;
        let mut visit = |rows: &[FeedbackRow<'_>]| {
            longest = longest.max(rows.len());
            scanned.extend(rows.iter().map(|scanned| Feedback {
                updated: scanned.updated,
                ..row(
                    scanned.feedback_type,
                    scanned.user_id,
                    scanned.item_id,
                    scanned.value,
                    scanned.timestamp,
                )
            }));
            true
        };
        store.scan_feedback(batch, &mut visit).await.expect("scan");
        assert!(longest <= batch, "{longest} rows at once");
        scanned.sort_by_key(Feedback::key);
        assert_eq!(scanned, all_rows());
    }
    let mut visits = 0;
    let mut stop = |_rows: &[FeedbackRow<'_>]| {
        visits += 1;
        visits < 3
    };
    store.scan_feedback(2, &mut stop).await.expect("scan");
    assert_eq!(visits, 3, "a scan ends when it is told to");
}

async fn counts_are_right(store: &dyn DataStore) {
    let counts = store.counts().await.expect("count");
    assert_eq!(counts, Counts { users: 6, items: 5, feedback: 90 });
}

async fn found(store: &dyn DataStore, query: &str) -> BTreeSet<String> {
    let found = store.search_items(query, 100).await.expect("search");
    assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1), "best first");
    found.into_iter().map(|(item, _score)| item.item_id.to_string()).collect()
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

async fn search_finds_any_word_and_keeps_up(store: &dyn DataStore) {
    let film = |id: &str, comment: &str, tags: &[&str]| Item {
        comment: comment.to_owned(),
        labels: json!({"tags": tags, "cast": {"lead": "Ada"}}),
        is_hidden: id == "f2",
        ..item(id)
    };
    let items = vec![
        film("f1", "A quiet voyage, to the Moon", &["space"]),
        film("f2", "A loud voyage", &["sea"]),
        film("f3", "voyage voyage voyage", &["rail"]),
    ];
    apply(store, Command::PutItems { items }).await;
    let columns = ["item.Comment", "item.Labels.tags", "nonsense"].map(str::to_owned);
    store.set_search_columns(&columns).await.expect("define");
    assert_eq!(found(store, "MOON").await, ids(&["f1"]));
    assert_eq!(found(store, "moon sea").await, ids(&["f1", "f2"]), "any word; hidden items too");
    assert_eq!(found(store, "Ada").await, ids(&[]), "only the named columns");
    let best = store.search_items("quiet moon voyage", 1).await.expect("search");
    assert_eq!(best[0].0.item_id.as_str(), "f1");
    assert!(store.search_items("voyage", 0).await.expect("search").is_empty());
    // Later writes are searchable at once.
    apply(store, Command::PutItems { items: vec![film("f1", "A walk", &[])] }).await;
    apply(store, Command::DeleteItem { item_id: ItemId::new("f3") }).await;
    apply(store, post(vec![row("read", "a", "fresh moon", 1.0, at(1))])).await;
    assert_eq!(found(store, "voyage moon").await, ids(&["f2"]));
    let columns = ["item.ItemId", "item.Categories", "item.Labels"].map(str::to_owned);
    store.set_search_columns(&columns).await.expect("define");
    assert_eq!(found(store, "moon").await, ids(&["fresh moon"]));
    assert_eq!(found(store, "ada old").await, ids(&["f1", "f2"]));
    apply(store, post(vec![row("read", "a", "second moon", 1.0, at(1))])).await;
    assert_eq!(found(store, "moon").await, ids(&["fresh moon", "second moon"]), "created items too");
    store.set_search_columns(&[]).await.expect("define");
    assert_eq!(found(store, "moon voyage ada").await, ids(&[]), "nothing is searchable");
}

async fn no_query_is_an_error(store: &dyn DataStore) {
    store.set_search_columns(&["item.Comment".to_owned()]).await.expect("define");
    let strange = [
        "", " ", "\"", "a\" OR", "NEAR(", "-x", "*", "x*", "^", "a:b", "'", "(", "\0x\0", "AND AND", "{a}",
        "🦀",
    ];
    for query in strange {
        store.search_items(query, 5).await.expect(query);
    }
    store.search_items(&"word ".repeat(10_000), 5).await.expect("a long query");
    store
        .search_items(&(0..5_000).map(|word| format!("w{word} ")).collect::<String>(), 5)
        .await
        .expect("many words");
}
