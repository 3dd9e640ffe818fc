//! Faults that today's code does not hold, with the numbers of the findings that they show.
//!
//! A fault is taken off the list with the change that repairs it.

/// Kinds of faults that no run draws.
pub const DISABLED_FAULTS: &[&str] = &[];
