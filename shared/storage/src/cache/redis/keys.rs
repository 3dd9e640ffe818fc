//! The names of keys, and what stands under them.
//!
//! | key | what |
//! |---|---|
//! | `<prefix>{NN}u<user>` | a [`Head`], and after it the packed entry if there is one |
//! | `<prefix>{NN}q` | sorted set: users of bucket `NN` with an entry, by when it was put |
//!
//! `NN` is the bucket of the user, two digits to the base 16. What stands in braces decides where in a cluster a key lies, so
//! everything about one bucket lies on one server.

use ulex_domain::UserId;

/// Users are spread over this many buckets.
pub(super) const BUCKETS: usize = 256;

/// Names the keys of one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// `None`: under such a prefix a bucket would be spread over a cluster.
    pub fn new(prefix: &str) -> Option<Self> {
        // The first pair of braces counts, unless nothing is in it; then everything does.
        let is_empty = prefix.split_once('{').is_some_and(|(_before, within)| within.starts_with('}'));
        (!is_empty).then(|| Self { prefix: prefix.to_owned() })
    }

    /// Where a user belongs. Every process, of every version, must agree: this is FNV-1a, folded.
    pub fn bucket(id: &UserId) -> usize {
        let hash = hash(id.as_str().as_bytes());
        usize::from((hash ^ (hash >> 32)) as u8)
    }

    /// Begins the key of every user of a bucket.
    pub fn base(&self, bucket: usize) -> String {
        format!("{}{{{bucket:02x}}}u", self.prefix)
    }

    pub fn user(&self, bucket: usize, id: &UserId) -> String {
        format!("{}{{{bucket:02x}}}u{}", self.prefix, id.as_str())
    }

    pub fn queue(&self, bucket: usize) -> String {
        format!("{}{{{bucket:02x}}}q", self.prefix)
    }

    /// Matches all keys of this prefix and no others.
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 8);
        for letter in self.prefix.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push_str("{[0-9a-f][0-9a-f]}[uq]*");
        pattern
    }
}

/// FNV-1a.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a value begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Which reign of which server it was written in; never 0.
    pub identity: u64,
    /// Another one after every change of the user.
    pub mark: u64,
}

impl Head {
    pub const BYTES: usize = 16;

    pub fn bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.identity.to_le_bytes());
        bytes[8..].copy_from_slice(&self.mark.to_le_bytes());
        bytes
    }

    /// The head of a value and what follows it.
    pub fn read(value: &[u8]) -> Option<(Self, &[u8])> {
        let (identity, rest) = value.split_first_chunk()?;
        let (mark, rest) = rest.split_first_chunk()?;
        Some((Self { identity: u64::from_le_bytes(*identity), mark: u64::from_le_bytes(*mark) }, rest))
    }
}

#[cfg(test)]
mod tests {
    use fred::util::redis_keyslot;

    use super::*;

    #[test]
    fn everything_of_a_bucket_lies_on_one_server_whatever_the_ids_and_the_prefix() {
        for prefix in ["", "a:", "{b}", "c{", "}", "d}{"] {
            let keys = Keys::new(prefix).unwrap();
            for id in ["", "x", "{y}", "}{", "🦀"].map(UserId::new) {
                let bucket = Keys::bucket(&id);
                let slot = redis_keyslot(keys.queue(bucket).as_bytes());
                assert_eq!(redis_keyslot(keys.user(bucket, &id).as_bytes()), slot, "{prefix:?} {id:?}");
                assert_eq!(keys.user(bucket, &id), keys.base(bucket) + id.as_str());
            }
        }
        assert!(Keys::new("{}a").is_none());
    }

    #[test]
    fn users_are_spread_over_all_buckets_and_stay_where_they_are() {
        let mut count = [0_usize; BUCKETS];
        (0..25_600).for_each(|user| count[Keys::bucket(&UserId::new(user.to_string()))] += 1);
        assert!(count.iter().all(|count| (40..200).contains(count)), "{count:?}");
        assert_eq!(["", "u1", "müller"].map(|id| Keys::bucket(&UserId::new(id))), [193, 244, 20]);
    }

    #[test]
    fn a_head_is_read_back_and_too_few_bytes_are_none() {
        let head = Head { identity: 7, mark: u64::MAX };
        let mut value = head.bytes().to_vec();
        assert_eq!(Head::read(&value), Some((head, &[][..])));
        value.push(1);
        assert_eq!(Head::read(&value), Some((head, &[1][..])));
        assert_eq!(Head::read(&value[..15]), None);
    }
}
