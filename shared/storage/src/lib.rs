//! Where users, items, feedback and cached recommendations live.
//!
//! [`data`] is the system of record and [`cache`] what can be computed again; one trait and one file per
//! backend. Backends are chosen by URL in [`data::open`] and [`cache::open`], the only places that know them all.

mod address;
pub mod cache;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod data;
mod error;
mod layers;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod tls;

pub use error::{ErrorKind, StorageError};
pub use layers::Deadlines;
#[cfg(feature = "conformance")]
pub use layers::{Call, Layer, Layered, Length};
