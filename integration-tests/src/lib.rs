//! What a whole-system test stands on: the real program, started privately, gone when the test ends.
//!
//! [`Ulex`] is the program on a port and a data directory of its own; [`Client`] talks to it as any web application
//! would; [`ulex`] runs its other commands; [`datasets`] are small worlds in which the right answer is known; [`eventually()`] waits by predicate;
//! [`recording`] compares answers with recorded ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up should stop there")]

pub mod datasets;
mod eventually;
mod http;
mod process;
pub mod recording;

pub use eventually::{eventually, wait_until};
pub use http::{Answer, Client, HttpError};
pub use process::{Ulex, ulex};
