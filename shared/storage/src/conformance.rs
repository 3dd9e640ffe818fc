//! What every backend must do, written once and run against each of them.
//!
//! A backend's test opens a store that nobody else uses and hands it over; what it holds is removed. Every check
//! panics at the first broken promise, which is what a test is for.

pub mod cache;
pub mod data;
pub mod faults;
