//! What a whole-system test stands on: the real program, started privately, gone when the test ends.
//!
//! [`Ulex`] is the program on a port and a data directory of its own; [`Client`] talks to it as any web application
//! would; [`ulex`] runs its other commands; [`datasets`] are small worlds in which the right answer is known; [`eventually()`] waits by predicate;
//! [`Cluster`] is all roles as processes of their own with servers of their own, [`FaultProxy`] a bad network between them;
//! [`OtlpReceiver`] takes the traces that they send; [`recording`] compares answers with recorded ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up should stop there")]

mod child;
mod cluster;
pub mod datasets;
mod eventually;
mod fault_proxy;
mod http;
mod nats_client;
mod otlp_receiver;
mod ports;
mod process;
mod publisher;
pub mod recording;
mod servers;

pub use cluster::{Cluster, ClusterBuilder, Member, MemberSetup, Nats, Proxies, Role};
pub use eventually::{eventually, wait_until};
pub use fault_proxy::FaultProxy;
pub use http::{Answer, Client, HttpError};
pub use nats_client::{NatsClient, StreamBackup};
pub use otlp_receiver::{OtlpReceiver, ReceivedSpan, Trace};
pub use process::{Ulex, ulex};
pub use publisher::Publisher;
pub use servers::{NatsCluster, NatsServer, PgBouncer, Postgres, Redis};
