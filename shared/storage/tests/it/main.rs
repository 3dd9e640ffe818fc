//! The backends against the conformance suites, against each other, and against broken files.

#![expect(clippy::unwrap_used, reason = "a test may panic, and its helpers too")]

mod agreement;
mod cache;
mod data;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod proxy;
#[cfg(feature = "redis")]
mod redis;
mod sqlite_files;
