//! Everything that crosses a process boundary: subjects, messages, streams and buckets.
//!
//! A message type belongs here when it is sent over the bus, and next to its actor when it is not. [`Bus`] is what
//! everybody uses, [`topology`] is what there is, [`transport`] is what a bus must be able to do.

mod backoff;
pub mod bus;
pub mod changes;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connection;
pub mod dead_letters;
mod error;
pub mod events;
pub mod follow;
pub mod handshake;
mod in_process;
mod jetstream;
pub mod leases;
pub mod membership;
pub mod models;
pub mod overrides;
mod queue;
pub mod refresh;
#[cfg(not(feature = "simulation"))]
mod strict;
#[cfg(feature = "simulation")]
pub mod strict;
mod subject;
pub mod topology;
pub mod trace_context;
pub mod training;
pub mod transport;

#[cfg(feature = "simulation")]
pub use backoff::seed_jitter;
pub use bus::Bus;
pub use connection::ConnectionSettings;
pub use error::{BusError, Cause};
pub use follow::{Followed, Follower, StreamPosition, follow};
pub use in_process::{InProcess, InProcessOptions};
pub use jetstream::JetStream;
pub use subject::{Payload, ROOT, Request, Subject, Token, TokenError, covers, overlap};
