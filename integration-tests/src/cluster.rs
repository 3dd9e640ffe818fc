//! A whole cluster: NATS, PostgreSQL and Redis of its own, and any number of `ulex master`, `ulex worker` and `ulex server`.
//!
//! Everything may be killed, held still, started again or reached through a bad network. All of it is gone when the test
//! ends; if it fails, the logs are kept and it is said where.

mod builder;
mod member;

use std::path::Path;

use tempfile::TempDir;

pub use builder::ClusterBuilder;
pub use member::{Member, MemberSetup, Role};

use crate::{Client, FaultProxy, NatsClient, NatsCluster, NatsServer, Postgres, Redis};

/// One NATS server, or three.
pub enum Nats {
    /// One, without copies.
    Single(NatsServer),
    /// Three, with three copies.
    Cluster(NatsCluster),
}

/// What stands between the processes and the servers, if [`ClusterBuilder::proxied`].
pub struct Proxies {
    /// Before NATS.
    pub nats: FaultProxy,
    /// Before PostgreSQL.
    pub postgres: FaultProxy,
    /// Before Redis.
    pub redis: FaultProxy,
}

/// A running cluster. The fields are there to be killed, cut and started again.
pub struct Cluster {
    // Dropped in this order: the processes before what they talk to.
    members: Vec<Member>,
    proxies: Option<Proxies>,
    /// Where events, changes and jobs wait.
    pub nats: Nats,
    /// Where users, items and feedback are.
    pub postgres: Postgres,
    /// Where finished lists are.
    pub redis: Redis,
    /// What the configuration of every process ends with.
    sections: String,
    folder: TempDir,
}

impl Cluster {
    /// A cluster to be described: one process of each role and one NATS, if nothing else is said.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    /// Starts a process that is given something of its own, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics if it does not become ready within a minute.
    pub fn join(&mut self, role: Role, setup: MemberSetup) -> &mut Member {
        let member = self.join_without_waiting(role, setup);
        member.wait_until_ready();
        member
    }

    /// [`Cluster::join`], returning at once.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn join_without_waiting(&mut self, role: Role, setup: MemberSetup) -> &mut Member {
        let number = self.members(role).count();
        let file = self.folder.path().join(format!("{role}{number}.toml"));
        std::fs::write(&file, builder::configuration(self, &setup)).unwrap();
        let member = Member::start_with(role, number, self.folder.path(), file, setup.environment);
        self.members.push(member);
        self.member(role, number)
    }

    /// Gives a process another configuration, with which it comes back after its next start.
    ///
    /// # Panics
    ///
    /// Panics if the file cannot be written.
    pub fn reconfigure(&mut self, role: Role, number: usize, setup: &MemberSetup) {
        let text = builder::configuration(self, setup);
        std::fs::write(self.member(role, number).configuration(), text).unwrap();
    }

    /// A client of NATS without an account.
    ///
    /// # Panics
    ///
    /// Panics if no server answers.
    #[must_use]
    pub fn nats_client(&self) -> NatsClient {
        NatsClient::connect(&self.nats_urls())
    }

    /// The only NATS server.
    ///
    /// # Panics
    ///
    /// Panics if there are three.
    pub fn one_nats(&mut self) -> &mut NatsServer {
        match &mut self.nats {
            Nats::Single(nats) => nats,
            Nats::Cluster(_) => panic!("there are three"),
        }
    }

    /// Runs a command of the program with the configuration that all share; what it prints.
    ///
    /// # Panics
    ///
    /// Panics if it fails.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> String {
        let file = self.folder.path().join("ulex.toml").display().to_string();
        let output = crate::ulex(&[arguments, &["-c", &file]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The processes of a role, in the order of their numbers.
    pub fn members(&mut self, role: Role) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(move |member| member.role() == role)
    }

    /// A process by its number, which begins at 0.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    pub fn member(&mut self, role: Role, number: usize) -> &mut Member {
        self.members(role).nth(number).unwrap_or_else(|| panic!("there is no {role} {number}"))
    }

    /// Where NATS is.
    #[must_use]
    pub fn nats_urls(&self) -> Vec<String> {
        match &self.nats {
            Nats::Single(nats) => vec![nats.url()],
            Nats::Cluster(nats) => nats.urls(),
        }
    }

    /// The proxies before the servers.
    ///
    /// # Panics
    ///
    /// Panics if the cluster was built without [`ClusterBuilder::proxied`].
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        self.proxies.as_ref().unwrap()
    }

    /// A connection to the REST API of the first server.
    ///
    /// # Panics
    ///
    /// Panics if there is no server.
    pub fn client(&mut self) -> Client {
        self.member(Role::Server, 0).client()
    }

    /// Starts processes of a role, or ends those with the highest numbers in order, until there are `count`; waits until
    /// the new ones are ready.
    ///
    /// # Panics
    ///
    /// Panics if one cannot be started or does not become ready, or does not end, within a minute.
    pub fn scale(&mut self, role: Role, count: usize) {
        let present = self.members(role).count();
        for number in present..count {
            self.members.push(Member::start(role, number, self.folder.path()));
        }
        for number in (count..present).rev() {
            self.member(role, number).stop();
            self.members.retain(|member| member.role() != role || member.number() != number);
        }
        for member in self.members(role).skip(present) {
            member.wait_until_ready();
        }
    }

    /// Waits until every process that has not ended is ready.
    ///
    /// # Panics
    ///
    /// Panics if that takes more than a minute.
    pub fn wait_until_ready(&mut self) {
        for member in &mut self.members {
            if member.is_running() {
                member.wait_until_ready();
            }
        }
    }

    /// Where configuration and logs are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            for member in &self.members {
                eprintln!("the last words of {}:\n{}\n", member.name(), member.last_words());
            }
            eprintln!("all logs are in {}", self.folder.path().display());
        }
    }
}
