//! A version 4 UUID for every answer, without a system call for each.

use std::cell::Cell;

use actix_web::http::header::{HeaderName, HeaderValue};
use uuid::{Builder, Uuid};

/// Under which the id stands.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a write: repeated as `Idempotency-Key` the write has its effect once.
pub(crate) const X_ULEX_EVENT_ID: HeaderName = HeaderName::from_static("x-ulex-event-id");

thread_local! {
    /// Seeded from the system once per thread, then a splitmix64 sequence.
    static STATE: Cell<(u64, u64)> = Cell::new(Uuid::new_v4().as_u64_pair());
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The next id. Unique, not secret.
pub(crate) fn next_request_id() -> HeaderValue {
    let (high, low) = STATE.with(|state| {
        let (high, low) = state.get();
        let step = high.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set((step, low));
        (mix(step), mix(step ^ low))
    });
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    let id = Builder::from_random_bytes(bytes).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut text))
        .expect("hexadecimal digits are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_uuids_of_version_4() {
        let ids: std::collections::BTreeSet<String> =
            (0..1000).map(|_| next_request_id().to_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 4);
        }
    }
}
