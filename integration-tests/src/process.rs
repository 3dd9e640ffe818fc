//! The real program, on a port and a data directory of its own.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Client, wait_until};

/// How long a start or an orderly stop may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How many lines of the log a failing test prints.
const PRINTED: usize = 80;

/// `ulex one`, running. Killed when dropped; its log is printed if the test is failing then.
pub struct Ulex {
    process: Child,
    port: u16,
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Ulex {
    /// Starts it with an empty data directory and the default configuration, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be built or does not become ready within a minute.
    #[must_use]
    pub fn start() -> Self {
        Self::configured("")
    }

    /// [`Ulex::start`] with a configuration file; its port is replaced.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be built or does not become ready within a minute.
    #[must_use]
    pub fn configured(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), toml).unwrap();
        let (process, port) = spawn(folder.path(), &[]);
        let mut ulex = Self { process, port, folder, environment: Vec::new() };
        ulex.wait_until_ready();
        ulex
    }

    /// Sets an environment variable for the next [`Ulex::restart`].
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Where it listens, such as `http://127.0.0.1:4711`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A connection of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.base_url())
    }

    /// Where its data is.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Everything it has logged since the first start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.folder.path())).unwrap_or_default()
    }

    /// Ends it as a power failure would: SIGKILL, no farewell.
    ///
    /// # Panics
    ///
    /// Panics if the operating system refuses.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Panics
    ///
    /// Panics if it is still there after a minute.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    ///
    /// Panics if the operating system refuses.
    pub fn terminate(&self) {
        let signal = format!("kill -TERM {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &signal]).status().unwrap().success());
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// Panics if it is still there after a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the process has ended after SIGTERM", LIMIT, || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Starts it again on the same data, after [`Ulex::kill`] or [`Ulex::stop`], and waits until it is ready.
    /// It listens on another port then.
    ///
    /// # Panics
    ///
    /// Panics if it does not become ready within a minute.
    pub fn restart(&mut self) {
        self.restart_without_waiting();
        self.wait_until_ready();
    }

    /// [`Ulex::restart`], returning at once.
    ///
    /// # Panics
    ///
    /// Panics if the program cannot be started.
    pub fn restart_without_waiting(&mut self) {
        (self.process, self.port) = spawn(self.folder.path(), &self.environment);
    }

    /// Waits until `/api/health/ready` answers 200.
    ///
    /// # Panics
    ///
    /// Panics if the process ends instead, or after a minute.
    pub fn wait_until_ready(&mut self) {
        let mut client = self.client();
        wait_until("/api/health/ready answers 200", LIMIT, || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the program ended with {status}:\n{}", self.log());
            }
            client.status("/api/health/ready") == Some(200)
        });
    }
}

impl Drop for Ulex {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(PRINTED)..];
            eprintln!("the program's last words ({} lines in all):\n{}", lines.len(), last.join("\n"));
        }
    }
}

/// Runs another command of the program to its end, such as `ulex models list`.
///
/// # Panics
///
/// Panics if it cannot be built or started.
#[must_use]
pub fn ulex(arguments: &[&str]) -> Output {
    let mut command = without_environment();
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Starts the program on a port that was free a moment ago.
fn spawn(folder: &Path, environment: &[(String, String)]) -> (Child, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log: File = OpenOptions::new().create(true).append(true).open(log_path(folder)).unwrap();
    let mut command = without_environment();
    let process = command
        .arg("one")
        .arg("--config")
        .arg(folder.join("config.toml"))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .env("ULEX_MASTER_HTTP_HOST", "127.0.0.1")
        .env("ULEX_MASTER_HTTP_PORT", port.to_string())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    (process.unwrap_or_else(|error| panic!("{}: {error}", program().display())), port)
}

/// The program without what is set for the tests, which is not meant for it.
pub(crate) fn without_environment() -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ULEX_") || text.starts_with("GORSE_") {
            command.env_remove(&name);
        }
    }
    // A machine that tests has no time to spare, and lists are compared: they must be the best there are.
    command.env("ULEX_SERVING_DEGRADE", "false");
    command
}

/// The program: `ULEX_BIN`, or the one beside this test, built now so that it is never older than the sources.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("ULEX_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    // This test is <target>/<profile>/deps/it-<hash>.
    let test = std::env::current_exe().unwrap();
    let profile_folder = test.ancestors().nth(2).unwrap();
    let name = profile_folder.file_name().unwrap().to_str().unwrap();
    let profile = if name == "debug" { "dev" } else { name };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo tells this test about its package: a build script that looks at it would run again, and all that needs it.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let status = command
        // With the tests, so that features are the same and nothing is compiled twice.
        .args(["build", "--quiet", "--workspace", "--locked", "--bins", "--tests", "--profile", profile])
        .arg("--target-dir")
        .arg(profile_folder.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.unwrap().success(), "the program does not build");
    profile_folder.join("ulex")
}
