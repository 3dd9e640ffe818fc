//! The mathematics: data in, model out. No IO, no async, no clock, no global state.

pub mod click_through;
pub mod dictionary;
pub mod interactions;
pub mod progress;
pub mod similarity;
pub mod top_k;
