//! What holds on every kind of server.

use fred::interfaces::KeysInterface as _;
use fred::types::Expiration;
use ulex_domain::{Timestamp, UserId};
use ulex_storage::conformance;

use super::{Raw, found, list, open, patient, prefix, put};

pub async fn it_conforms(url: &str) {
    let prefix = prefix();
    let store = open(&patient(url), &prefix).await;
    conformance::cache::check(&store).await;
    let other = open(&patient(url), &prefix).await;
    conformance::cache::check_shared(&store, &other).await;
    let raw = Raw::connect(url).await;
    conformance::cache::check_forgetting(store.as_ref(), async || raw.evict(&prefix).await).await;
    raw.evict(&prefix).await;
}

pub async fn prefixes_are_apart(url: &str) {
    let (one, two) = (prefix(), prefix());
    let first = open(&patient(url), &one).await;
    let second = open(&patient(url), &format!("{one}{two}")).await;
    let id = UserId::new("u");
    assert!(put(first.as_ref(), &id, 1).await);
    assert!(put(second.as_ref(), &id, 2).await);
    first.clear().await.unwrap();
    assert_eq!(found(first.as_ref(), &id).await, None);
    assert_eq!(found(second.as_ref(), &id).await, Some(2));
    Raw::connect(url).await.evict(&one).await;
}

pub async fn every_key_expires_no_later_than_its_list(url: &str) {
    let prefix = prefix();
    let store = open(&patient(url), &prefix).await;
    let raw = Raw::connect(url).await;
    let [kept, hurried, absent] = ["kept", "hurried", "absent"].map(UserId::new);
    assert!(put(store.as_ref(), &kept, 3).await);
    let mark = store.user(&hurried).await.unwrap().mark;
    let soon = Timestamp::now().plus_nanos(20_000_000_000);
    let entry = ulex_storage::cache::UserEntry { stale_at: Some(soon), ..list(3) };
    assert!(store.put_user(&hurried, entry, mark).await.unwrap());
    store.user(&absent).await.unwrap();
    let keys = raw.keys(&prefix).await;
    assert_eq!(keys.len(), 3 + 2, "{keys:?}");
    for key in keys {
        let left: i64 = raw.client().ttl(key.as_str()).await.unwrap();
        assert!((1..=600).contains(&left), "{key} lives {left} s");
    }
    let left: i64 = raw.client().ttl(raw.key_of(&prefix, &hurried).await).await.unwrap();
    assert!(left <= 20, "{left} s");
    let left: i64 = raw.client().ttl(raw.key_of(&prefix, &absent).await).await.unwrap();
    assert!(left <= 120, "{left} s");
    raw.evict(&prefix).await;
}

pub async fn what_is_no_list_of_ours_is_not_there(url: &str) {
    let prefix = prefix();
    let store = open(&patient(url), &prefix).await;
    let raw = Raw::connect(url).await;
    let id = UserId::new("u");
    assert!(put(store.as_ref(), &id, 3).await);
    let key = raw.key_of(&prefix, &id).await;
    let good: Vec<u8> = raw.client().get(key.as_str()).await.unwrap();
    let mut broken: Vec<Vec<u8>> = vec![Vec::new(), b"x".to_vec(), good[..good.len() - 1].to_vec()];
    broken.extend([16, 17, 40].map(|place| {
        let mut value = good.clone();
        value[place] ^= 0xff;
        value
    }));
    for value in broken {
        let life = Some(Expiration::EX(60));
        let _set: () = raw.client().set(key.as_str(), value.as_slice(), life, None, false).await.unwrap();
        assert_eq!(found(store.as_ref(), &id).await, None, "{value:?}");
        assert!(put(store.as_ref(), &id, 4).await, "after {value:?}");
        assert_eq!(found(store.as_ref(), &id).await, Some(4));
    }
    let _deleted: i64 = raw.client().del(key.as_str()).await.unwrap();
    let _pushed: i64 = fred::interfaces::ListInterface::rpush(raw.client(), key.as_str(), "x").await.unwrap();
    assert_eq!(found(store.as_ref(), &id).await, None);
    assert!(put(store.as_ref(), &id, 5).await);
    assert_eq!(found(store.as_ref(), &id).await, Some(5));
    raw.evict(&prefix).await;
}

pub async fn thousands_of_users_are_dropped_in_one_call(url: &str) {
    let prefix = prefix();
    let store = open(&patient(url), &prefix).await;
    let ids: Vec<_> = (0..3_000).map(|user| UserId::new(format!("u{user}"))).collect();
    for id in &ids {
        assert!(put(store.as_ref(), id, 1).await);
    }
    store.invalidate_users(&ids[..2_900]).await.unwrap();
    for (place, id) in ids.iter().enumerate() {
        assert_eq!(found(store.as_ref(), id).await.is_some(), place >= 2_900, "{id}");
    }
    Raw::connect(url).await.evict(&prefix).await;
}
