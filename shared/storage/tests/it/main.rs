//! The backends against the conformance suites, against each other, and against broken files.

mod agreement;
mod cache;
mod data;
mod sqlite_files;
