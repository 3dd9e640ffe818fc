//! Typed subjects: one Rust type, one subject pattern, one payload.
//!
//! A subject is `ulex.v1.<tenant>.<pattern>`; each `*` of the pattern is filled with a [`Token`]. The last token of a
//! subject is its key: messages with the same key keep their order where a consumer promises one.
//!
//! A user or an item stands in a subject as [`Token::of_id`]: FNV-1a with 64 bits of the id's UTF-8 bytes, most
//! significant bit first, in lower-case base32 (RFC 4648 alphabet, no padding): 13 characters, a few lines in any
//! language. Ids never stand there themselves: they may hold anything, and subjects are logged and listed.
//! Two ids with one token (odds 10^-7 among 1.5 million) share their order and, where a stream keeps one
//! message per subject, its place; the payload names the id, so nothing is ever attributed to the wrong one.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Root of every subject. The version changes when an old reader could misread a new message.
pub const ROOT: &str = "ulex.v1";

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// One dot-free part of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(String);

/// A string that cannot be a subject token or a key.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} cannot be a subject token or a key")]
pub struct TokenError(pub(crate) String);

impl Token {
    /// Accepts names we chose ourselves: node ids, model kinds.
    ///
    /// # Errors
    ///
    /// [`TokenError`] if `raw` is empty or has a dot, a wildcard, whitespace or a control character.
    pub fn new(raw: &str) -> Result<Self, TokenError> {
        let forbidden = |c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control();
        if raw.is_empty() || raw.contains(forbidden) {
            return Err(TokenError(raw.to_owned()));
        }
        Ok(Self(raw.to_owned()))
    }

    /// Encodes a string somebody else chose, such as a feedback type. Reversible; never fails; also a valid key.
    #[must_use]
    pub fn escape(raw: &str) -> Self {
        let mut token = String::with_capacity(raw.len() + 1);
        for byte in raw.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                token.push(char::from(byte));
            } else {
                let _ = write!(token, "={byte:02x}");
            }
        }
        Self(if token.is_empty() { "=".to_owned() } else { token })
    }

    /// What [`Token::escape`] was given; `None` if `token` is none of its results.
    #[must_use]
    pub fn unescape(token: &str) -> Option<String> {
        if token == "=" {
            return Some(String::new());
        }
        let (mut bytes, mut rest) = (Vec::with_capacity(token.len()), token.as_bytes());
        while let Some((&first, behind)) = rest.split_first() {
            let (byte, behind) = match (first, behind) {
                (b'=', [high, low, behind @ ..]) => {
                    let digits = [*high, *low];
                    (u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?, behind)
                }
                (b'=', _) => return None,
                (byte, behind) => (byte, behind),
            };
            bytes.push(byte);
            rest = behind;
        }
        String::from_utf8(bytes).ok()
    }

    /// The token of a user or an item, see the module.
    #[must_use]
    pub fn of_id(id: &str) -> Self {
        let hash = fnv1a_64(id.as_bytes());
        // 13 groups of 5 bits are 65: the hash is followed by one zero bit.
        let bits = u128::from(hash) << 1;
        let letter = |group: u32| char::from(BASE32[(bits >> (60 - 5 * group) & 31) as usize]);
        Self((0..13).map(letter).collect())
    }

    /// The token as it stands in the subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// FNV-1a with 64 bits.
pub(crate) fn fnv1a_64(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The last token of a subject.
pub(crate) fn last_token(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or(subject)
}

/// Whether `filter`, with wildcards `*` (one token) and a final `>` (one or more), covers `subject`.
#[must_use]
pub fn covers(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

/// Whether some subject is covered by both filters.
#[must_use]
pub fn overlap(left: &str, right: &str) -> bool {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some(l), Some(r)) if l == r || l == "*" || r == "*" => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

/// Something with a schema of its own.
pub trait Payload: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name and version: `event/1`. The version changes when an old reader could misread a new payload.
    const SCHEMA: &'static str;
}

/// A message that is published or appended.
pub trait Subject: Payload {
    /// Subject pattern below root and tenant; each `*` is filled from [`Subject::tokens`], left to right.
    const PATTERN: &'static str;

    /// One token for each `*` in the pattern.
    fn tokens(&self) -> Vec<Token>;
}

/// A message that expects one answer.
pub trait Request: Subject {
    /// The answer.
    type Reply: Payload;

    /// How long a caller waits for it.
    const TIMEOUT: Duration;
}

/// The subject everyone interested in `E` subscribes to.
pub(crate) fn filter_of<E: Subject>(tenant: &str) -> String {
    format!("{ROOT}.{tenant}.{}", E::PATTERN)
}

/// The subject this very message is published on.
pub(crate) fn subject_of<E: Subject>(tenant: &str, event: &E) -> String {
    let tokens = event.tokens();
    let mut tokens = tokens.iter();
    let parts = E::PATTERN.split('.').map(|part| match part {
        "*" => Cow::Borrowed(tokens.next().map_or("*", Token::as_str)),
        literal => Cow::Borrowed(literal),
    });
    let parts: Vec<Cow<'_, str>> = parts.collect();
    format!("{ROOT}.{tenant}.{}", parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_cannot_widen_a_subject() {
        assert_eq!(Token::escape("read>=3").as_str(), "read=3e=3d3");
        assert_eq!(Token::escape("a.*").as_str(), "a=2e=2a");
        assert_eq!(Token::escape("").as_str(), "=");
        assert_eq!(Token::new("a.b"), Err(TokenError("a.b".to_owned())));
        assert_eq!(Token::new(""), Err(TokenError(String::new())));
    }

    #[test]
    fn what_was_escaped_can_be_read_back() {
        for raw in ["", "read>=3", "a.*", "plain-name_1", "é 漢 =", "=", "=3d"] {
            assert_eq!(Token::unescape(Token::escape(raw).as_str()).as_deref(), Some(raw));
        }
        assert_eq!(Token::unescape("a=3"), None);
    }

    #[test]
    fn hashes_are_those_of_the_published_test_vectors() {
        assert_eq!(fnv1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_token_of_an_id_is_its_hash_in_base32() {
        // Python: base64.b32encode(bytes.fromhex("85944171f73967e8")).decode().lower().rstrip("=")
        assert_eq!(Token::of_id("foobar").as_str(), "qwkec4pxhft6q");
        assert_eq!(Token::of_id("").as_str().len(), 13);
    }

    #[test]
    fn filters_cover_what_nats_says_they_cover() {
        for (filter, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.*", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("*.b", "a.b", true),
            ("a.b", "a.c", false),
        ] {
            assert_eq!(covers(filter, subject), expected, "{filter} on {subject}");
        }
    }

    #[test]
    fn two_filters_overlap_if_one_subject_satisfies_both() {
        assert!(overlap("a.*", "*.b"));
        assert!(overlap("a.>", "a.b.c"));
        assert!(!overlap("a.b", "a.c"));
        assert!(!overlap("a.*", "a.b.c"));
        assert!(!overlap("a.>", "a"));
    }
}
