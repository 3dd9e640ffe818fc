//! What a cluster shall be like.

use std::fmt::Write as _;
use std::fs;

use super::{Cluster, Member, MemberSetup, Nats, Proxies, Role};
use crate::{FaultProxy, NatsCluster, NatsServer, Postgres, Redis};

/// Made by [`Cluster::builder`].
pub struct ClusterBuilder {
    counts: [(Role, usize); 3],
    three_nats: bool,
    proxied: bool,
    accounts: String,
    configuration: String,
}

impl ClusterBuilder {
    pub(super) fn new() -> Self {
        let counts = [(Role::Master, 1), (Role::Worker, 1), (Role::Server, 1)];
        Self {
            counts,
            three_nats: false,
            proxied: false,
            accounts: String::new(),
            configuration: String::new(),
        }
    }

    /// So many masters.
    #[must_use]
    pub fn masters(self, count: usize) -> Self {
        self.count(Role::Master, count)
    }

    /// So many workers.
    #[must_use]
    pub fn workers(self, count: usize) -> Self {
        self.count(Role::Worker, count)
    }

    /// So many servers.
    #[must_use]
    pub fn servers(self, count: usize) -> Self {
        self.count(Role::Server, count)
    }

    fn count(mut self, role: Role, count: usize) -> Self {
        for entry in &mut self.counts {
            if entry.0 == role {
                entry.1 = count;
            }
        }
        self
    }

    /// Three NATS servers, and three copies of everything.
    #[must_use]
    pub fn three_nats(mut self) -> Self {
        self.three_nats = true;
        self
    }

    /// A [`FaultProxy`] before each server. Only with one NATS: several tell their clients each other's true addresses.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Only servers: neither masters nor workers.
    #[must_use]
    pub fn only_servers(self, count: usize) -> Self {
        self.masters(0).workers(0).servers(count)
    }

    /// Added to the configuration of the only NATS server, such as accounts.
    #[must_use]
    pub fn accounts(mut self, configuration: &str) -> Self {
        configuration.clone_into(&mut self.accounts);
        self
    }

    /// Added to the configuration of every process: whole sections, but neither `[database]` nor `[nats]`.
    #[must_use]
    pub fn configured(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.configuration);
        self
    }

    /// Starts the servers, then the processes, and waits until all are ready.
    ///
    /// # Panics
    ///
    /// Panics if a program is missing or something does not become ready within a minute, and if three NATS servers are to
    /// be proxied.
    #[must_use]
    pub fn start(self) -> Cluster {
        assert!(!(self.three_nats && self.proxied), "three NATS servers cannot be proxied");
        // Each takes a while that is mostly waiting.
        let (nats, postgres, redis) = std::thread::scope(|scope| {
            let nats = scope.spawn(|| self.start_nats());
            let postgres = scope.spawn(Postgres::start);
            let redis = Redis::start();
            (nats.join().unwrap(), postgres.join().unwrap(), redis)
        });
        let proxies = match &nats {
            Nats::Single(nats) if self.proxied => Some(Proxies {
                nats: FaultProxy::before(&nats.address()),
                postgres: FaultProxy::before(&postgres.address()),
                redis: FaultProxy::before(&redis.address()),
            }),
            Nats::Single(_) | Nats::Cluster(_) => None,
        };
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Cluster {
            members: Vec::new(),
            proxies,
            nats,
            postgres,
            redis,
            sections: self.configuration,
            folder,
        };
        let common = configuration(&cluster, &MemberSetup::default());
        fs::write(cluster.folder().join("ulex.toml"), common).unwrap();
        for (role, count) in self.counts {
            for number in 0..count {
                cluster.members.push(Member::start(role, number, cluster.folder.path()));
            }
        }
        for member in &mut cluster.members {
            member.wait_until_ready();
        }
        cluster
    }

    fn start_nats(&self) -> Nats {
        if self.three_nats {
            Nats::Cluster(NatsCluster::start())
        } else {
            Nats::Single(NatsServer::start_configured(&self.accounts))
        }
    }
}

/// The configuration that all processes share, where everything is, with what one process is given.
pub(super) fn configuration(cluster: &Cluster, setup: &MemberSetup) -> String {
    let (mut postgres, mut redis) = (cluster.postgres.url(), cluster.redis.url());
    let (mut urls, replicas) = match &cluster.nats {
        Nats::Single(nats) => (vec![nats.url()], 1),
        Nats::Cluster(nats) => (nats.urls(), 3),
    };
    if let Some(proxies) = &cluster.proxies {
        postgres = postgres.replace(&cluster.postgres.address(), &proxies.postgres.address());
        redis = redis.replace(&cluster.redis.address(), &proxies.redis.address());
        urls = vec![format!("nats://{}", proxies.nats.address())];
    }
    let postgres = setup.postgres.clone().unwrap_or(postgres);
    let urls = setup.nats.clone().map_or(urls, |url| vec![url]);
    let replicas = setup.replicas.unwrap_or(replicas);
    let MemberSetup { nats_lines, sections, .. } = setup;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "[database]\ndata_store = {postgres:?}\ncache_store = {redis:?}\n");
    let _ = writeln!(text, "[nats]\nurls = {urls:?}\nreplicas = {replicas}\n{nats_lines}\n");
    let _ = writeln!(text, "{}\n{sections}", cluster.sections);
    text
}
