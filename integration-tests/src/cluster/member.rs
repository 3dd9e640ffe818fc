//! One process of a cluster.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::Client;
use crate::child::Running;
use crate::ports::free_port;
use crate::process::without_environment;

/// How many lines of its log are printed for a failing test.
const PRINTED: usize = 60;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trains and plans; one leads, others stand by.
    Master,
    /// Computes lists.
    Worker,
    /// Answers REST.
    Server,
}

impl fmt::Display for Role {
    /// As on the command line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Master => "master",
            Self::Worker => "worker",
            Self::Server => "server",
        })
    }
}

/// What one process is given that others are not.
#[derive(Clone, Debug, Default)]
pub struct MemberSetup {
    /// Reaches PostgreSQL here instead.
    pub postgres: Option<String>,
    /// Reaches NATS here instead.
    pub nats: Option<String>,
    /// Copies that its file asks for instead.
    pub replicas: Option<usize>,
    /// Lines of the section `[nats]`, such as an account.
    pub nats_lines: String,
    /// Whole sections.
    pub sections: String,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

/// A process of a [`Cluster`](super::Cluster).
pub struct Member {
    role: Role,
    number: usize,
    port: u16,
    log: PathBuf,
    configuration: PathBuf,
    environment: Vec<(String, String)>,
    process: Running,
}

impl Member {
    pub(super) fn start(role: Role, number: usize, folder: &Path) -> Self {
        Self::start_with(role, number, folder, folder.join("ulex.toml"), Vec::new())
    }

    pub(super) fn start_with(
        role: Role,
        number: usize,
        folder: &Path,
        configuration: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        let (port, log) = (free_port(), folder.join(format!("{role}{number}.log")));
        let process = run(role, port, &configuration, &environment, &log);
        Self { role, number, port, log, configuration, environment, process }
    }

    /// The file it was started with.
    #[must_use]
    pub fn configuration(&self) -> String {
        self.configuration.display().to_string()
    }

    /// The most memory it has had resident, in MiB.
    ///
    /// # Panics
    ///
    /// Panics if it has ended.
    #[must_use]
    pub fn peak_memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// What it does.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Which of its role, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Such as `worker0`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", self.role, self.number)
    }

    /// Such as `http://127.0.0.1:23456`, the same after a restart.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A connection of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.base_url())
    }

    /// Everything it has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub(super) fn last_words(&self) -> String {
        self.process.last_words(PRINTED)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.status().is_none()
    }

    /// Ends it as a power failure would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Panics
    ///
    /// Panics if it is still there after a minute.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop("TERM")
    }

    /// Holds it still, as a long pause of its machine would (SIGSTOP).
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Starts it again, killing it if it is there, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics if it does not become ready within a minute.
    pub fn restart(&mut self) {
        self.restart_without_waiting();
        self.wait_until_ready();
    }

    /// [`Member::restart`], returning at once.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn restart_without_waiting(&mut self) {
        self.kill();
        self.process = run(self.role, self.port, &self.configuration, &self.environment, &self.log);
    }

    /// Waits until `/api/health/ready` answers 200.
    ///
    /// # Panics
    ///
    /// Panics if the process ends instead, or after a minute.
    pub fn wait_until_ready(&mut self) {
        let base_url = self.base_url();
        self.process.wait_until_ready(|| Client::new(&base_url).status("/api/health/ready") == Some(200));
    }
}

fn run(role: Role, port: u16, configuration: &Path, environment: &[(String, String)], log: &Path) -> Running {
    let mut command = without_environment();
    command
        .arg(role.to_string())
        .arg("-c")
        .arg(configuration)
        .args(["--http", &format!("127.0.0.1:{port}")])
        .envs(environment.iter().map(|(name, value)| (name, value)));
    Running::start(&role.to_string(), &mut command, log)
}
