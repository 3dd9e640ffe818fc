//! The promises of [`CacheStore`].

use std::sync::Arc;

use ulex_domain::{ItemId, Timestamp, UserId};

use crate::cache::{CacheStore, UserEntry};

/// Checks every promise. Removes what the cache holds.
///
/// # Panics
///
/// Panics at the first broken promise.
pub async fn check(store: &Arc<dyn CacheStore>) {
    store.clear().await.expect("clear");
    what_was_put_is_found(store.as_ref()).await;
    a_list_from_before_a_change_is_refused(store.as_ref()).await;
    invalidating_drops_the_entry(store.as_ref()).await;
    clearing_drops_everything_and_moves_every_mark(store.as_ref()).await;
    ids_may_be_any_text(store.as_ref()).await;
    a_stale_list_never_survives_a_change([store, store]).await;
    store.ping().await.expect("ping");
}

/// Checks what holds between two processes with one cache. Removes what the cache holds.
///
/// # Panics
///
/// Panics at the first broken promise.
pub async fn check_shared(one: &Arc<dyn CacheStore>, other: &Arc<dyn CacheStore>) {
    one.clear().await.expect("clear");
    what_one_process_puts_the_other_finds(one.as_ref(), other.as_ref()).await;
    what_one_process_changes_the_other_does_not_keep(one.as_ref(), other.as_ref()).await;
    a_stale_list_never_survives_a_change([one, other]).await;
}

/// Checks that a mark that was lost does not look like one that has not moved. `forget` makes the cache forget
/// everything, as an operator, an eviction or a failure would.
///
/// # Panics
///
/// Panics at the first broken promise.
pub async fn check_forgetting(store: &dyn CacheStore, forget: impl AsyncFn()) {
    let (kept, absent) = (UserId::new("kept"), UserId::new("absent"));
    let mark = store.user(&kept).await.expect("read").mark;
    assert!(store.put_user(&kept, list("a", 1), mark).await.expect("put"));
    let of_absent = store.user(&absent).await.expect("read").mark;
    forget().await;
    // Somebody may have changed meanwhile: nobody would know any more.
    assert!(!store.put_user(&kept, list("b", 1), mark).await.expect("put"), "nothing is left of the mark");
    assert!(!store.put_user(&absent, list("b", 1), of_absent).await.expect("put"));
    for (id, old) in [(&kept, mark), (&absent, of_absent)] {
        let view = store.user(id).await.expect("read");
        assert!(view.entry.is_none() && view.mark != old, "{id}");
        assert!(!store.put_user(id, list("b", 1), old).await.expect("put"), "another mark is there");
        assert!(store.put_user(id, list("c", 2), view.mark).await.expect("put"));
        assert_eq!(store.user(id).await.expect("read").entry.as_deref(), Some(&list("c", 2)));
    }
}

/// Checks that a cache forgets rather than grows: puts `entries` lists into it and returns how many are found.
///
/// # Panics
///
/// Panics if the cache fails.
pub async fn fill(store: &dyn CacheStore, entries: usize) -> usize {
    let ids: Vec<_> = (0..entries).map(|user| UserId::new(format!("user {user}"))).collect();
    for id in &ids {
        let mark = store.user(id).await.expect("read").mark;
        store.put_user(id, list("filled", 100), mark).await.expect("put");
    }
    let mut found = 0;
    for id in &ids {
        found += usize::from(store.user(id).await.expect("read").entry.is_some());
    }
    found
}

fn list(model_set: &str, items: usize) -> UserEntry {
    UserEntry {
        model_set: model_set.to_owned(),
        digest: "digest".to_owned(),
        computed: Timestamp::from_unix_seconds(1_700_000_000),
        stale_at: Some(Timestamp::from_unix_seconds(1_800_000_000)),
        items: (0..items).map(|item| (ItemId::new(format!("item/{item}")), 0.25)).collect(),
        catalogue: 7,
    }
}

async fn what_was_put_is_found(store: &dyn CacheStore) {
    let id = UserId::new("put");
    let before = store.user(&id).await.expect("read");
    assert!(before.entry.is_none());
    assert!(store.put_user(&id, list("a", 3), before.mark).await.expect("put"));
    let view = store.user(&id).await.expect("read");
    assert_eq!(view.entry.as_deref(), Some(&list("a", 3)));
    assert_eq!(view.mark, before.mark, "storing a list is no change of the user");
    assert!(store.put_user(&id, list("b", 2), view.mark).await.expect("put"));
    assert_eq!(store.user(&id).await.expect("read").entry.as_deref(), Some(&list("b", 2)));
    if let Some(now) = store.user_now(&id) {
        assert_eq!((now.entry.as_deref(), now.mark), (Some(&list("b", 2)), view.mark));
    }
}

async fn a_list_from_before_a_change_is_refused(store: &dyn CacheStore) {
    let id = UserId::new("changed");
    let old = store.user(&id).await.expect("read").mark;
    store.invalidate_users(std::slice::from_ref(&id)).await.expect("invalidate");
    assert!(!store.put_user(&id, list("old", 1), old).await.expect("put"));
    let view = store.user(&id).await.expect("read");
    assert!(view.entry.is_none() && view.mark != old);
    assert!(store.put_user(&id, list("new", 1), view.mark).await.expect("put"));
}

async fn invalidating_drops_the_entry(store: &dyn CacheStore) {
    let ids = ["one", "two", "three"].map(UserId::new);
    for id in &ids {
        let mark = store.user(id).await.expect("read").mark;
        store.put_user(id, list("a", 1), mark).await.expect("put");
    }
    store.invalidate_users(&ids[..2]).await.expect("invalidate");
    store.invalidate_users(&[]).await.expect("invalidate");
    for (id, stays) in ids.iter().zip([false, false, true]) {
        assert_eq!(store.user(id).await.expect("read").entry.is_some(), stays, "{id}");
    }
}

async fn clearing_drops_everything_and_moves_every_mark(store: &dyn CacheStore) {
    let ids = ["x", "y"].map(UserId::new);
    let mark = store.user(&ids[0]).await.expect("read").mark;
    store.put_user(&ids[0], list("a", 1), mark).await.expect("put");
    let absent = store.user(&ids[1]).await.expect("read").mark;
    store.clear().await.expect("clear");
    assert!(store.user(&ids[0]).await.expect("read").entry.is_none());
    assert!(!store.put_user(&ids[0], list("a", 1), mark).await.expect("put"));
    assert!(!store.put_user(&ids[1], list("a", 1), absent).await.expect("put"));
}

async fn ids_may_be_any_text(store: &dyn CacheStore) {
    let long = "x".repeat(1_024);
    let ids = ["", "a/b", "a:b", "*", "🦀", "\"", "\n", long.as_str()].map(UserId::new);
    for (number, id) in ids.iter().enumerate() {
        let mark = store.user(id).await.expect("read").mark;
        assert!(store.put_user(id, list("a", number), mark).await.expect("put"));
    }
    for (number, id) in ids.iter().enumerate() {
        let entry = store.user(id).await.expect("read").entry.expect("it is there");
        assert_eq!(entry.items.len(), number, "{id}");
    }
}

async fn what_one_process_puts_the_other_finds(one: &dyn CacheStore, other: &dyn CacheStore) {
    let id = UserId::new("shared");
    let mark = one.user(&id).await.expect("read").mark;
    assert_eq!(other.user(&id).await.expect("read").mark, mark, "there is one mark for all");
    assert!(other.put_user(&id, list("a", 3), mark).await.expect("put"));
    assert_eq!(one.user(&id).await.expect("read").entry.as_deref(), Some(&list("a", 3)));
}

async fn what_one_process_changes_the_other_does_not_keep(one: &dyn CacheStore, other: &dyn CacheStore) {
    let ids = ["invalidated", "cleared"].map(UserId::new);
    for id in &ids {
        let mark = one.user(id).await.expect("read").mark;
        assert!(one.put_user(id, list("a", 1), mark).await.expect("put"));
        if id.as_str() == "cleared" {
            other.clear().await.expect("clear");
        } else {
            other.invalidate_users(std::slice::from_ref(id)).await.expect("invalidate");
        }
        assert!(one.user(id).await.expect("read").entry.is_none());
        assert!(!one.put_user(id, list("a", 1), mark).await.expect("put"));
    }
}

/// Writers read the "data", compute a list from it and store it, while the data changes. When all is quiet, a list
/// of old data must not be there. One process writes, the other changes.
async fn a_stale_list_never_survives_a_change([store, changing]: [&Arc<dyn CacheStore>; 2]) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let id = UserId::new("raced");
    let data = Arc::new(AtomicUsize::new(0));
    let writers = (0..4).map(|_writer| {
        let (store, data, id) = (Arc::clone(store), Arc::clone(&data), id.clone());
        tokio::spawn(async move {
            for _turn in 0..500 {
                let mark = store.user(&id).await.expect("read").mark;
                let seen = data.load(Ordering::SeqCst);
                tokio::task::yield_now().await;
                store.put_user(&id, list("raced", seen), mark).await.expect("put");
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for change in 1..=50 {
        data.store(change, Ordering::SeqCst);
        changing.invalidate_users(std::slice::from_ref(&id)).await.expect("invalidate");
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    if let Some(entry) = store.user(&id).await.expect("read").entry {
        assert_eq!(entry.items.len(), 50, "the list is of the data as it is now");
    }
}
