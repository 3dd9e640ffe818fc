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

/// A process of a [`Cluster`](super::Cluster).
pub struct Member {
    role: Role,
    number: usize,
    port: u16,
    folder: PathBuf,
    process: Running,
}

impl Member {
    pub(super) fn start(role: Role, number: usize, folder: &Path) -> Self {
        let port = free_port();
        let process = run(role, number, port, folder);
        Self { role, number, port, folder: folder.to_owned(), process }
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
        self.process = run(self.role, self.number, self.port, &self.folder);
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

fn run(role: Role, number: usize, port: u16, folder: &Path) -> Running {
    let name = format!("{role}{number}");
    let mut command = without_environment();
    command
        .arg(role.to_string())
        .arg("-c")
        .arg(folder.join("ulex.toml"))
        .args(["--http", &format!("127.0.0.1:{port}")]);
    Running::start(&name, &mut command, &folder.join(format!("{name}.log")))
}
