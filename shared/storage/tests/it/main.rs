//! The backends against the conformance suites, against each other, and against broken files.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic like the test")]

mod agreement;
mod cache;
mod data;
mod sqlite_files;
