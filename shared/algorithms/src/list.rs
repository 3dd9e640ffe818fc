//! From several candidate lists to one good list.
//!
//! Scores of different sources have different scales (a dot product, a similarity, a count), so they are never compared
//! as they are: without held-out data lists are merged by rank ([`fusion`]); with it, scores are standardised per user and blended with
//! learned weights ([`blend`]). [`diversity`] then trades some of the score for variety.

pub mod blend;
pub mod diversity;
pub mod fusion;

pub use blend::{Blend, BlendData, BlendParams, Standardisation};
pub use diversity::maximal_marginal_relevance;
pub use fusion::reciprocal_rank_fusion;
