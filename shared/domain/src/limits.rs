//! Largest sizes of the values that callers send. Each entrance checks them, so that every store can hold every row.

/// Bytes of an id, of a type of feedback and of a category. PostgreSQL has the tightest bound: the key of a row of
/// feedback is made of three such texts, and an entry of an index holds at most 2,704 bytes.
pub const MAX_ID_BYTES: usize = 512;

/// Categories of one item.
pub const MAX_CATEGORIES: usize = 1_000;

/// Bytes of all texts and keys in the labels of one record.
pub const MAX_LABELS_BYTES: usize = 256 << 10;

/// Values in the labels of one record, counting each element of each list.
pub const MAX_LABELS_VALUES: usize = 32_768;

/// Bytes of a comment.
pub const MAX_COMMENT_BYTES: usize = 512 << 10;
