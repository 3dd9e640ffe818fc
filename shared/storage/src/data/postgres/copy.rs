//! The binary format of `COPY`: a header, rows of fields with their lengths, a trailer. Numbers are big-endian.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::error::PostgresError;
use crate::data::row_text::{filled, json_text};
use ulex_domain::Feedback;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Sent at once.
const ROWS_A_PIECE: usize = 1_024;
/// Bytes of a row, about.
const ROW: usize = 128;

/// The columns of a feedback row, in the order in which [`pieces`] writes them.
pub(super) const FEEDBACK_COLUMNS: &str =
    "value, time, updated, feedback_type, user_id, item_id, labels, comment";

/// Rows as `COPY "feedback" (...) FROM STDIN (FORMAT binary)` wants them, piece by piece; there must be some.
pub(super) fn pieces(rows: &[Feedback]) -> impl Iterator<Item = Result<Bytes, PostgresError>> {
    let pieces = rows.len().div_ceil(ROWS_A_PIECE);
    rows.chunks(ROWS_A_PIECE).enumerate().map(move |(number, rows)| {
        let mut bytes = BytesMut::with_capacity(SIGNATURE.len() + 10 + ROW * rows.len());
        if number == 0 {
            bytes.put_slice(SIGNATURE);
            bytes.put_u32(0);
            bytes.put_u32(0);
        }
        for row in rows {
            put_row(&mut bytes, row)?;
        }
        if number + 1 == pieces {
            bytes.put_i16(-1);
        }
        Ok(bytes.freeze())
    })
}

fn put_row(bytes: &mut BytesMut, row: &Feedback) -> Result<(), PostgresError> {
    bytes.put_i16(8);
    put_field(bytes, &row.value.to_be_bytes())?;
    put_field(bytes, &row.timestamp.as_nanos().to_be_bytes())?;
    put_field(bytes, &row.updated.as_nanos().to_be_bytes())?;
    put_field(bytes, row.feedback_type.as_bytes())?;
    put_field(bytes, row.user_id.as_str().as_bytes())?;
    put_field(bytes, row.item_id.as_str().as_bytes())?;
    put_text(bytes, json_text(&row.labels).as_deref())?;
    put_text(bytes, filled(&row.comment))
}

fn put_text(bytes: &mut BytesMut, text: Option<&str>) -> Result<(), PostgresError> {
    match text {
        Some(text) => put_field(bytes, text.as_bytes()),
        None => {
            bytes.put_i32(-1);
            Ok(())
        }
    }
}

fn put_field(bytes: &mut BytesMut, field: &[u8]) -> Result<(), PostgresError> {
    let length = i32::try_from(field.len())
        .map_err(|_too_long| PostgresError::Protocol("a text is too long for a field"))?;
    bytes.put_i32(length);
    bytes.put_slice(field);
    Ok(())
}

/// The fields of one message of `COPY ... TO STDOUT (FORMAT binary)`: one row, after the header in the first
/// message. `None` is the trailer.
pub(super) fn fields<const N: usize>(
    message: &[u8],
    is_first: bool,
) -> Result<Option<[std::ops::Range<usize>; N]>, PostgresError> {
    let broken = || PostgresError::Protocol("a row of COPY ends too early");
    let mut at = 0;
    if is_first {
        if !message.starts_with(SIGNATURE) {
            return Err(PostgresError::Protocol("COPY begins with something else than its signature"));
        }
        let extension = message.get(SIGNATURE.len() + 4..SIGNATURE.len() + 8).ok_or_else(broken)?;
        at = SIGNATURE.len() + 8 + length(extension).ok_or_else(broken)?;
    }
    let count = message.get(at..at + 2).ok_or_else(broken)?;
    if count == [0xff, 0xff] {
        return Ok(None);
    }
    at += 2;
    let mut fields = [const { 0..0 }; N];
    for field in &mut fields {
        let start = at + 4;
        let length = length(message.get(at..start).ok_or_else(broken)?).ok_or_else(broken)?;
        at = start + length;
        *field = start..at;
    }
    if at == message.len() { Ok(Some(fields)) } else { Err(broken()) }
}

fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_be_bytes(bytes.try_into().ok()?)).ok()
}

/// Eight bytes of a field.
pub(super) fn eight(message: &[u8], field: &std::ops::Range<usize>) -> Result<[u8; 8], PostgresError> {
    let bytes = message.get(field.clone()).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(PostgresError::Protocol("a number of COPY is not eight bytes long"))
}

/// A text field.
pub(super) fn text<'message>(
    message: &'message [u8],
    field: &std::ops::Range<usize>,
) -> Result<&'message str, PostgresError> {
    let text = message.get(field.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.ok_or(PostgresError::Protocol("a text of COPY is not UTF-8"))
}
