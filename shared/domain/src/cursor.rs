//! Opaque page cursors: where the next page of users, items or feedback begins.
//!
//! A cursor is base64 of the id of the first row of the next page, or of the key of the first feedback row as
//! JSON. Clients put it into a query without escaping, so it is printed in the URL-safe alphabet. The
//! standard alphabet is read as well, with `+` perhaps turned into a blank on its way, and padding is optional:
//! cursors of Gorse keep working. Linear in the length of the cursor, which the URL bounds.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

use crate::FeedbackKey;

/// Prints padding, reads with or without.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A string that is no cursor of ours.
#[derive(Debug, Error)]
pub enum CursorError {
    /// Not base64.
    #[error("the cursor {cursor:?} is not base64: {source}")]
    Encoding {
        /// What was given.
        cursor: String,
        /// What is wrong with it.
        source: base64::DecodeError,
    },
    /// Base64 of something that is no text.
    #[error("the cursor {cursor:?} does not contain text")]
    NotText {
        /// What was given.
        cursor: String,
    },
    /// Text that is no feedback key.
    #[error("the cursor {cursor:?} does not contain a feedback key: {source}")]
    NotFeedbackKey {
        /// What was given.
        cursor: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The cursor of a page that begins with the user or item `id`.
#[must_use]
pub fn encode_id(id: &str) -> String {
    URL_SAFE.encode(id)
}

/// The id of the first row of the page; "" for "", the first page.
///
/// # Errors
///
/// [`CursorError`] if `cursor` is not base64 of text.
pub fn decode_id(cursor: &str) -> Result<String, CursorError> {
    let url_safe: String = cursor
        .chars()
        .map(|symbol| match symbol {
            '+' | ' ' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    let cursor = || cursor.chars().take(100).collect::<String>();
    let bytes =
        URL_SAFE.decode(url_safe).map_err(|source| CursorError::Encoding { cursor: cursor(), source })?;
    String::from_utf8(bytes).map_err(|_not_utf8| CursorError::NotText { cursor: cursor() })
}

/// The cursor of a page that begins with the feedback row `key`.
#[must_use]
pub fn encode_feedback(key: &FeedbackKey) -> String {
    URL_SAFE.encode(serde_json::to_vec(key).expect("three strings are always JSON"))
}

/// The key of the first row of the page; `None` for "", the first page.
///
/// # Errors
///
/// [`CursorError`] if `cursor` is not base64 of a key.
pub fn decode_feedback(cursor: &str) -> Result<Option<FeedbackKey>, CursorError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let json = decode_id(cursor)?;
    serde_json::from_str(&json)
        .map(Some)
        .map_err(|source| CursorError::NotFeedbackKey { cursor: cursor.chars().take(100).collect(), source })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;

    use super::*;
    use crate::{ItemId, UserId};

    #[test]
    fn cursors_look_like_those_of_gorse() {
        assert_eq!(encode_id("10"), "MTA=");
        assert_eq!(encode_id("u3"), "dTM=");
        assert_eq!(decode_id("MTA=").unwrap(), "10");
        assert_eq!(decode_id("MTA").unwrap(), "10");
        assert_eq!(decode_id("").unwrap(), "");
        let key = FeedbackKey {
            feedback_type: "read".into(),
            user_id: UserId::new("u"),
            item_id: ItemId::new("i"),
        };
        let json = STANDARD.decode(encode_feedback(&key)).unwrap();
        assert_eq!(json, br#"{"FeedbackType":"read","UserId":"u","ItemId":"i"}"#);
    }

    #[test]
    fn a_bad_cursor_is_told_what_is_wrong() {
        for (cursor, expected) in [
            ("%%%", "the cursor \"%%%\" is not base64: Invalid symbol 37, offset 0."),
            ("gICA", "the cursor \"gICA\" does not contain text"),
        ] {
            assert_eq!(decode_id(cursor).unwrap_err().to_string(), expected);
        }
        let refused = decode_feedback("MTA=").unwrap_err().to_string();
        assert!(refused.starts_with("the cursor \"MTA=\" does not contain a feedback key: "), "{refused}");
        assert!(decode_feedback("").unwrap().is_none());
    }

    proptest! {
        #[test]
        fn an_id_comes_back_from_any_alphabet(id in any::<String>()) {
            prop_assert_eq!(&decode_id(&encode_id(&id)).unwrap(), &id);
            prop_assert!(!encode_id(&id).contains(['+', '/', ' ', '&', '%']));
            prop_assert_eq!(&decode_id(&STANDARD.encode(&id)).unwrap(), &id);
            prop_assert_eq!(decode_id(&STANDARD_NO_PAD.encode(&id).replace('+', " ")).unwrap(), id);
        }

        #[test]
        fn a_key_comes_back((feedback_type, user, item) in any::<(String, String, String)>()) {
            let key = FeedbackKey {
                feedback_type: feedback_type.into(),
                user_id: UserId::new(user),
                item_id: ItemId::new(item),
            };
            prop_assert_eq!(decode_feedback(&encode_feedback(&key)).unwrap(), Some(key));
        }

        #[test]
        fn no_string_makes_the_decoder_panic(cursor in any::<String>()) {
            let _ = decode_id(&cursor);
            let _ = decode_feedback(&cursor);
        }
    }
}
