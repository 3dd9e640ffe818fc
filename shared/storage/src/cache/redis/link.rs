//! One connection (to each server of a cluster), and who is at the other end of it.
//!
//! A server's *identity* is made of its run and of its reign as a primary: another one after every restart and every
//! promotion. It is asked for whenever a connection was made. The client library reports a new connection, or another layout of
//! the cluster, before it sends the first command there. So if no report is pending *after* an answer has come, the answer is
//! of the server whose identity was known before the question was sent.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, ClusterInterface as _, EventInterface as _};
use fred::types::config::{ConnectionConfig, Options as CallOptions, Server};
use fred::types::{ClusterStateChange, InfoKind};
use fred::util::redis_keyslot;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::address::Options;
use super::keys::{BUCKETS, Keys, hash};

/// How long the server may take to say who it is.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// So many calls in a row without an answer, and nobody is asked to wait for one until the server has said who it is.
const LATE: u32 = 3;

/// See the module documentation.
pub(super) struct Link {
    client: Client,
    /// With the deadline of somebody who waits.
    pub reading: WithOptions<Client>,
    pub writing: WithOptions<Client>,
    /// Of the server that has the bucket; 0 while it is not known.
    identities: Box<[AtomicU64]>,
    reports: Mutex<Reports>,
    /// Calls in a row that were not answered in time.
    late: AtomicU32,
    /// Told when there is a reason to ask who is there.
    pub doubt: Notify,
}

/// What the client library tells.
struct Reports {
    connections: Receiver<Server>,
    layouts: Receiver<Vec<ClusterStateChange>>,
    /// How many there have been.
    heard: u64,
    /// Identities are those after this many.
    settled: u64,
    /// The last identities that were known.
    last: Vec<u64>,
}

impl Reports {
    /// Hears what has come.
    fn hear(&mut self) -> u64 {
        self.heard += drain(&mut self.connections) + drain(&mut self.layouts);
        self.heard
    }
}

fn drain<T: Clone>(receiver: &mut Receiver<T>) -> u64 {
    let mut count = 0;
    loop {
        match receiver.try_recv() {
            Ok(_) | Err(TryRecvError::Lagged(_)) => count += 1,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return count,
        }
    }
}

impl Link {
    /// A link that is not connected yet.
    pub fn new(client: Client, options: &Options, connection: &ConnectionConfig) -> Self {
        let within = |timeout| {
            let calls = CallOptions {
                timeout: Some(timeout),
                fail_fast: true,
                max_attempts: Some(connection.max_command_attempts),
                max_redirections: Some(connection.max_redirections),
                ..CallOptions::default()
            };
            client.with_options(&calls)
        };
        let reports = Reports {
            connections: client.reconnect_rx(),
            layouts: client.cluster_change_rx(),
            heard: 0,
            settled: 0,
            last: vec![0; BUCKETS],
        };
        Self {
            reading: within(options.read_timeout),
            writing: within(options.write_timeout),
            identities: (0..BUCKETS).map(|_bucket| AtomicU64::new(0)).collect(),
            reports: Mutex::new(reports),
            late: AtomicU32::new(0),
            doubt: Notify::new(),
            client,
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The identity of the server that has a bucket, if one is connected, known and not silent.
    pub fn identity(&self, bucket: usize) -> Option<u64> {
        let identity = self.identities[bucket].load(Ordering::Acquire);
        (identity != 0 && !self.is_silent() && self.client.is_connected()).then_some(identity)
    }

    /// The client library takes a connection for dead only if nothing was sent for a while, either.
    pub fn is_silent(&self) -> bool {
        self.late.load(Ordering::Relaxed) >= LATE
    }

    /// Takes note of how a call went.
    pub fn heard<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        let is_late = matches!(&done, Err(error) if *error.kind() == ErrorKind::Timeout);
        if !is_late {
            // Written only when it changes: all calls share the place.
            if self.late.load(Ordering::Relaxed) != 0 {
                self.late.store(0, Ordering::Relaxed);
            }
        } else if self.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE {
            self.doubt.notify_one();
        }
        done
    }

    /// Whether every answer up to now about this bucket came from the server of this identity.
    pub fn is_still(&self, bucket: usize, identity: u64) -> bool {
        let mut reports = self.reports.lock();
        if reports.hear() != reports.settled {
            self.identities.iter().for_each(|known| known.store(0, Ordering::Release));
            return false;
        }
        self.identities[bucket].load(Ordering::Acquire) == identity
    }

    /// How many reports there have been; what is learned from here on is void if more come.
    pub fn begin(&self) -> u64 {
        self.reports.lock().hear()
    }

    /// Asks the servers who they are: the identity for every bucket.
    ///
    /// # Errors
    ///
    /// Also if one is not a primary.
    pub async fn ask(&self, keys: &Keys) -> Result<Vec<u64>, Error> {
        if !self.client.is_clustered() {
            return Ok(vec![self.ask_one(None).await?; BUCKETS]);
        }
        let layout = self.client.cached_cluster_state();
        let layout = layout.ok_or_else(|| Error::new(ErrorKind::Cluster, "the cluster is not known yet"))?;
        let mut identities = vec![0; BUCKETS];
        for server in layout.unique_primary_nodes() {
            let identity = self.ask_one(Some(server.clone())).await?;
            for (bucket, place) in identities.iter_mut().enumerate() {
                let slot = redis_keyslot(keys.queue(bucket).as_bytes());
                if layout.get_server(slot) == Some(&server) {
                    *place = identity;
                }
            }
        }
        Ok(identities)
    }

    async fn ask_one(&self, server: Option<Server>) -> Result<u64, Error> {
        let call = CallOptions {
            timeout: Some(ASK_WITHIN),
            fail_fast: true,
            cluster_node: server,
            max_attempts: Some(1),
            ..CallOptions::default()
        };
        let client = self.client.with_options(&call);
        let run: String = client.info(Some(InfoKind::Server)).await?;
        let reign: String = client.info(Some(InfoKind::Replication)).await?;
        if field(&reign, "role").is_some_and(|role| role != "master") {
            return Err(Error::new(ErrorKind::Routing, "the server is not a primary"));
        }
        let parts = [field(&run, "run_id"), field(&reign, "master_replid")].map(Option::unwrap_or_default);
        Ok(hash(parts.join("/").as_bytes()).max(1))
    }

    /// Whether these are other servers, or other reigns, than the last that were known.
    pub fn is_news(&self, identities: &[u64]) -> bool {
        let reports = self.reports.lock();
        reports.last.iter().zip(identities).any(|(last, now)| *last != 0 && last != now)
    }

    /// Takes identities over if nothing was reported since; says so.
    pub fn settle(&self, begun: u64, identities: &[u64]) -> bool {
        let mut reports = self.reports.lock();
        if reports.hear() != begun {
            return false;
        }
        reports.settled = begun;
        self.late.store(0, Ordering::Relaxed);
        reports.last.copy_from_slice(identities);
        for (known, identity) in self.identities.iter().zip(identities) {
            known.store(*identity, Ordering::Release);
        }
        true
    }
}

/// A line `name:value` of what a server says about itself.
fn field<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_the_line_of_exactly_that_name() {
        let text = "# Server\r\nrun_id_2:x\r\nrun_id:abc\r\nrole:master\r\n";
        assert_eq!((field(text, "run_id"), field(text, "role")), (Some("abc"), Some("master")));
        assert_eq!(field(text, "run"), None);
    }
}
