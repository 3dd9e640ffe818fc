//! The mathematics: data in, model out. No IO, no async, no clock, no global state.

pub mod click_through;
pub mod dictionary;
pub mod interactions;
pub mod leaderboard;
pub mod list;
pub mod model_slot;
pub mod progress;
pub mod similarity;
pub mod snapshot;
pub mod top_k;
