//! Where the next page begins. Opaque to callers and safe in a URL; Gorse's own cursors are understood.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ulex_domain::FeedbackKey;

use crate::error::ApiError;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent);
const SAFE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);

fn refused() -> ApiError {
    ApiError::invalid("cursor", "a cursor that an earlier page returned")
}

fn read(cursor: &str) -> Result<Vec<u8>, ApiError> {
    SAFE.decode(cursor).or_else(|_reason| PLAIN.decode(cursor)).map_err(|_reason| refused())
}

/// Cursor of an id.
pub(super) fn of_id(id: &str) -> String {
    SAFE.encode(id)
}

/// The id a cursor stands for.
pub(super) fn id(cursor: &str) -> Result<String, ApiError> {
    String::from_utf8(read(cursor)?).map_err(|_reason| refused())
}

/// Cursor of a feedback row.
pub(super) fn of_key(key: &FeedbackKey) -> String {
    SAFE.encode(serde_json::to_vec(key).expect("three strings can be written as JSON"))
}

/// The feedback row a cursor stands for.
pub(super) fn key(cursor: &str) -> Result<FeedbackKey, ApiError> {
    serde_json::from_slice(&read(cursor)?).map_err(|_reason| refused())
}

/// Cuts a page that was read with one row more than asked: the cursor is that of the row too many.
pub(super) fn cut<T>(rows: &mut Vec<T>, n: usize, of: impl Fn(&T) -> String) -> String {
    let cursor = rows.get(n).map(of).unwrap_or_default();
    rows.truncate(n);
    cursor
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_in_both_alphabets(raw in ".{1,40}") {
            prop_assert_eq!(id(&of_id(&raw)).unwrap(), raw.clone());
            let gorse = base64::engine::general_purpose::STANDARD.encode(&raw);
            prop_assert_eq!(id(&gorse).unwrap(), raw);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _either = (id(&text).is_ok(), key(&text).is_ok());
        }
    }
}
