//! Servers of a test's own, for tests that kill them, hold them still or start them again. They run on loopback, keep their
//! data in a temporary directory, come back on the same port, and are gone when the test ends.
//!
//! Where the programs are is said by `ULEX_TEST_NATS_SERVER`, `ULEX_TEST_POSTGRES_BIN` (a directory) and
//! `ULEX_TEST_REDIS_SERVER`, which `deploy/servers.sh` sets; tests that need them are in a module `on_cluster`.

mod nats;
mod pgbouncer;
mod postgres;
mod redis;

use std::path::PathBuf;

pub use nats::{NatsCluster, NatsServer};
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use redis::Redis;

/// How often a server is tried on another port, if it ends at once.
const TRIES: usize = 3;

/// A program or a directory named by the environment.
fn from_environment(variable: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set")))
}
