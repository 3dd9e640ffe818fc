//! The whole system, seen from outside: one program, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up should stop there")]

mod feedback_path;
mod freshness;
mod rest_contract;
mod restart;
