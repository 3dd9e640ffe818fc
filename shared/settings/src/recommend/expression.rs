//! Whether an expression compiles, and to the kind of value that its place needs.

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A number over an item and its feedback.
    Score,
    /// A boolean over an item and its feedback.
    Filter,
    /// Anything over an item.
    ItemColumn,
    /// Anything over a user.
    UserColumn,
}

/// Says what was expected if the text will not do.
pub(super) fn check(text: &str, usage: Use) -> Result<(), String> {
    let expected = match usage {
        Use::Score => "an expression over item and feedback that gives a number",
        Use::Filter => "an expression over item and feedback that gives true or false",
        Use::ItemColumn => "an expression over item",
        Use::UserColumn => "an expression over user",
    };
    if text.trim().is_empty() {
        return Err(String::from(expected));
    }
    Ok(())
}
