//! Object buckets.

use std::sync::Arc;

use bytes::Bytes;

use super::Place;
use crate::transport::{ObjectInfo, RawObjects, Transport};

/// SHA-256 of "abc", from FIPS 180-2.
const DIGEST_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

async fn open(bus: Arc<dyn Transport>) -> Box<dyn RawObjects> {
    let place = Place::new(bus);
    place.bus.objects(&place.name("objects")).await.unwrap()
}

/// Empty, small, and larger than any message.
pub async fn an_object_comes_back_as_it_was_stored(bus: Arc<dyn Transport>) {
    let objects = open(bus).await;
    assert_eq!(objects.get("nothing").await.unwrap(), None);
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    for (name, bytes) in [("empty", Vec::new()), ("abc", b"abc".to_vec()), ("sets/large 1", large)] {
        let info = objects.put(name, Bytes::from(bytes.clone())).await.unwrap();
        assert_eq!((info.name.as_str(), info.size), (name, bytes.len() as u64));
        assert_eq!(objects.get(name).await.unwrap().unwrap(), bytes, "{name}");
    }
}

/// The shorter leaves nothing of the longer.
pub async fn an_object_is_replaced_as_a_whole(bus: Arc<dyn Transport>) {
    let objects = open(bus).await;
    objects.put("a", Bytes::from(vec![1; 500_000])).await.unwrap();
    objects.put("a", Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(objects.get("a").await.unwrap().unwrap().as_ref(), b"abc");
    assert_eq!(objects.list().await.unwrap().len(), 1);
}

/// SHA-256, lower-case hexadecimal.
pub async fn objects_are_listed_with_their_digests(bus: Arc<dyn Transport>) {
    let objects = open(bus).await;
    let stored = objects.put("b", Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(stored, ObjectInfo { name: "b".to_owned(), size: 3, digest: DIGEST_OF_ABC.to_owned() });
    let first = objects.put("a", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(objects.info("b").await.unwrap().as_ref(), Some(&stored));
    assert_eq!(objects.info("c").await.unwrap(), None);
    let mut listed = objects.list().await.unwrap();
    listed.sort_by(|left, right| left.name.cmp(&right.name));
    assert_eq!(listed, vec![first, stored]);
}

/// Removing what is not there is nothing.
pub async fn a_removed_object_is_gone(bus: Arc<dyn Transport>) {
    let objects = open(bus).await;
    objects.put("a", Bytes::from_static(b"abc")).await.unwrap();
    objects.delete("a").await.unwrap();
    objects.delete("a").await.unwrap();
    assert_eq!(objects.get("a").await.unwrap(), None);
    assert_eq!(objects.list().await.unwrap(), vec![]);
}
