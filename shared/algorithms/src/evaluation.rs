//! How good a model is, by definitions that are written down.
//!
//! Rankings: [`ranking`]. Probabilities: [`classification`]. Whether a difference means anything: [`interval`].

pub mod classification;
pub mod interval;
pub mod ranking;
