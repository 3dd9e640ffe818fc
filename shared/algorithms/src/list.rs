//! From several candidate lists to one good list.

pub mod blend;
pub mod fusion;
