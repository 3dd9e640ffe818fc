//! `[compat]`: which version of Gorse to follow where its versions differ.

use crate::resolve::{Checks, Keyword};
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Compat {
    /// Bodies of answers with status 404.
    pub not_found_style: NotFoundStyle,
}

/// Bodies of answers with status 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFoundStyle {
    /// As Gorse's development branch.
    Head,
    /// As Gorse's releases 0.5.x.
    V0_5,
}

impl Keyword for NotFoundStyle {
    const WORDS: &'static [(&'static str, Self)] = &[("head", Self::Head), ("v0.5", Self::V0_5)];
}

impl Compat {
    pub(crate) fn resolve(written: &written::Compat, checks: &mut Checks<'_>) -> Self {
        Self { not_found_style: checks.keyword("compat.not_found_style", &written.not_found_style) }
    }
}
