//! The mathematics: data in, model out. No IO, no async, no clock, no global state.

pub mod click_through;
pub mod dictionary;
pub mod evaluation;
pub mod interactions;
pub mod linear_algebra;
pub mod list;
pub mod matrix_factorization;
pub mod model_set;
pub mod progress;
pub mod random;
pub mod sampling;
pub mod simd;
pub mod similarity;
pub mod snapshot;
pub mod split;
pub mod top_k;
