//! A nats-server with JetStream, and three of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{TRIES, from_environment};
use crate::Client;
use crate::child::Running;
use crate::ports::free_port;

/// What every nats-server of Ulex is configured with.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../nats/server.conf");

/// One nats-server, configured as the project's servers are.
pub struct NatsServer {
    process: Running,
    arguments: Vec<String>,
    port: u16,
    monitoring: u16,
    folder: TempDir,
}

impl NatsServer {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics if there is no program or it does not become ready within a minute.
    #[must_use]
    pub fn start() -> Self {
        Self::start_configured("")
    }

    /// The same with more configuration, such as accounts.
    ///
    /// # Panics
    ///
    /// As [`NatsServer::start`].
    #[must_use]
    pub fn start_configured(more: &str) -> Self {
        for _ in 1..TRIES {
            let mut server = Self::launch(free_port(), Vec::new(), more);
            let monitoring = server.monitoring;
            if server.process.became_ready(|| is_healthy(monitoring)) {
                return server;
            }
        }
        let mut server = Self::launch(free_port(), Vec::new(), more);
        server.wait_until_ready();
        server
    }

    fn launch(port: u16, arguments: Vec<String>, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let common = fs::read_to_string(CONFIGURATION).unwrap();
        fs::write(configuration(&folder), format!("{common}\n{more}\n")).unwrap();
        let monitoring = free_port();
        let process = run(&folder, port, monitoring, &arguments);
        Self { process, arguments, port, monitoring, folder }
    }

    /// `nats://127.0.0.1:PORT`, the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order (SIGTERM).
    ///
    /// # Panics
    ///
    /// Panics if it has not ended within a minute.
    pub fn stop(&mut self) {
        self.process.stop("TERM");
    }

    /// Sends its clients to the other servers of its cluster first, then ends it (SIGUSR2), as an upgrade would.
    ///
    /// # Panics
    ///
    /// Panics if it has not ended within a minute.
    pub fn retire(&mut self) {
        self.process.stop("USR2");
    }

    /// Holds it still; connections stay open (SIGSTOP).
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Copies what is in its folder, as a backup of the machine would. It must have ended.
    ///
    /// # Panics
    ///
    /// Panics if that cannot be copied.
    #[must_use]
    pub fn copy_store(&self) -> TempDir {
        let backup = tempfile::tempdir().unwrap();
        copy(&store(&self.folder), &store(&backup));
        backup
    }

    /// Puts a copy back in the place of what is in its folder. It must have ended.
    ///
    /// # Panics
    ///
    /// Panics if that cannot be replaced.
    pub fn put_back(&self, backup: &TempDir) {
        self.lose_store();
        copy(&store(backup), &store(&self.folder));
    }

    /// Its disk is lost. It must have ended.
    ///
    /// # Panics
    ///
    /// Panics if the folder cannot be deleted.
    pub fn lose_store(&self) {
        fs::remove_dir_all(store(&self.folder)).unwrap();
    }

    /// Starts it again on its data and its port, after it has ended, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics if it does not become ready within a minute.
    pub fn restart(&mut self) {
        self.restart_without_waiting();
        self.wait_until_ready();
    }

    /// [`NatsServer::restart`], returning at once.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn restart_without_waiting(&mut self) {
        self.kill();
        self.process = run(&self.folder, self.port, self.monitoring, &self.arguments);
    }

    /// Waits until it is healthy: everything it should have is there, and it is in touch with its cluster, if any.
    ///
    /// # Panics
    ///
    /// Panics if that takes more than a minute.
    pub fn wait_until_ready(&mut self) {
        let monitoring = self.monitoring;
        self.process.wait_until_ready(|| is_healthy(monitoring));
    }
}

/// Three nats-servers that keep three copies of what is created with them.
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three and waits until they have a leader.
    ///
    /// # Panics
    ///
    /// Panics if there is no program or they do not become ready within a minute.
    #[must_use]
    pub fn start() -> Self {
        let ports: [u16; 3] = std::array::from_fn(|_| free_port());
        let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let launch = |(number, route): (usize, &String)| {
            let arguments = [
                "--name",
                &format!("node{number}"),
                "--cluster_name",
                "ulex",
                "--cluster",
                route,
                "--routes",
                &routes.join(","),
            ];
            NatsServer::launch(free_port(), arguments.map(str::to_owned).to_vec(), "")
        };
        let mut cluster = Self { nodes: routes.iter().enumerate().map(launch).collect() };
        cluster.wait_until_ready();
        cluster
    }

    /// The addresses of all, for a client that takes any of them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// One of them: 0, 1 or 2.
    ///
    /// # Panics
    ///
    /// Panics if there is none of this number.
    pub fn node(&mut self, number: usize) -> &mut NatsServer {
        &mut self.nodes[number]
    }

    /// The number of the one that leads the cluster; `None` while there is none.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let named = self.nodes.iter().find_map(|node| leader_according_to(node.monitoring))?;
        named.strip_prefix("node")?.parse().ok()
    }

    /// Waits until all three are healthy and one leads.
    ///
    /// # Panics
    ///
    /// Panics if that takes more than a minute.
    pub fn wait_until_ready(&mut self) {
        for node in &mut self.nodes {
            node.wait_until_ready();
            let monitoring = node.monitoring;
            node.process.wait_until_ready(|| leader_according_to(monitoring).is_some());
        }
    }
}

fn configuration(folder: &TempDir) -> PathBuf {
    folder.path().join("server.conf")
}

fn store(folder: &TempDir) -> PathBuf {
    folder.path().join("store")
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "{from:?} cannot be copied to {to:?}");
}

fn run(folder: &TempDir, port: u16, monitoring: u16, arguments: &[String]) -> Running {
    let mut command = Command::new(from_environment("ULEX_TEST_NATS_SERVER"));
    command
        .arg("--config")
        .arg(configuration(folder))
        .args(["--addr", "127.0.0.1"])
        .args(["--port", &port.to_string(), "--http_port", &monitoring.to_string()])
        .args(arguments)
        .env("NATS_STORE_DIR", store(folder))
        .env("NATS_SYNC_INTERVAL", "1m");
    Running::start("nats-server", &mut command, &folder.path().join("log"))
}

fn is_healthy(monitoring: u16) -> bool {
    Client::new(&format!("http://127.0.0.1:{monitoring}")).status("/healthz") == Some(200)
}

fn leader_according_to(monitoring: u16) -> Option<String> {
    let answer =
        Client::new(&format!("http://127.0.0.1:{monitoring}")).send("GET", "/jsz", &[], None).ok()?;
    let leader = answer.json().ok()?["meta_cluster"]["leader"].as_str()?.to_owned();
    (!leader.is_empty()).then_some(leader)
}
