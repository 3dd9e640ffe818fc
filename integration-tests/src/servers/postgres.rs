//! A PostgreSQL that survives its own crash, but not one of the machine: nothing is forced to the disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{TRIES, from_environment};
use crate::child::{LIMIT, Running};
use crate::ports::free_port;
use crate::wait_until;

/// The account for a test that is root, which PostgreSQL refuses to be, if the machine has no account `postgres`.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// One PostgreSQL with an empty database `ulex`.
pub struct Postgres {
    process: Running,
    port: u16,
    folder: TempDir,
    settings: Vec<String>,
}

impl Postgres {
    /// Makes its files, starts it and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if there is no program or it does not answer within a minute.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with settings of its configuration, `name=value`.
    ///
    /// # Panics
    ///
    /// As [`Postgres::start`].
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        // The account that is not root has to pass through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let data = data(&folder);
        fs::create_dir(&data).unwrap();
        if let Some((user, group)) = other_account() {
            chown(&data, Some(user), Some(group)).unwrap();
        }
        initialise(&data);
        for _ in 1..TRIES {
            let port = free_port();
            let mut process = run(&folder, port, &settings);
            if process.became_ready(|| query_at(port, "postgres", "select 1").is_ok()) {
                return Self { process, port, folder, settings }.with_database();
            }
        }
        let port = free_port();
        let mut postgres = Self { process: run(&folder, port, &settings), port, folder, settings };
        postgres.wait_until_ready();
        postgres.with_database()
    }

    /// Makes a file the server's own: it takes no key that others may read.
    ///
    /// # Panics
    ///
    /// Panics if this may not give files away.
    pub fn give_away(file: &Path) {
        if let Some((user, group)) = other_account() {
            chown(file, Some(user), Some(group)).unwrap();
        }
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }

    fn with_database(self) -> Self {
        query_at(self.port, "postgres", "create database ulex").unwrap();
        self
    }

    /// `postgres://ulex@127.0.0.1:PORT/ulex?sslmode=disable`, the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://ulex@{}/ulex?sslmode=disable", self.address())
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Executes a statement; the rows it returns, one a line, fields separated by `|`.
    ///
    /// # Errors
    ///
    /// What the server says against it, or that it could not be asked.
    pub fn query(&self, statement: &str) -> Result<String, String> {
        query_at(self.port, "ulex", statement)
    }

    /// [`Postgres::url`] of another account.
    #[must_use]
    pub fn url_of(&self, account: &str) -> String {
        self.url().replace("ulex@", &format!("{account}@"))
    }

    /// From now on this account has a password, which it is asked for; others are not.
    ///
    /// # Panics
    ///
    /// Panics if that cannot be said to the server.
    pub fn demand_password(&self, account: &str, password: &str) {
        let hba = data(&self.folder).join("pg_hba.conf");
        let text = format!("host all {account} all scram-sha-256\nhost all all all trust\n");
        fs::write(&hba, text).unwrap();
        self.query(&format!("alter role {account} password '{password}'; select pg_reload_conf()")).unwrap();
    }

    /// Dumps the database to a file of its own (`pg_dump`).
    ///
    /// # Panics
    ///
    /// Panics if it cannot be dumped.
    #[must_use]
    pub fn dump(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        self.run("pg_dump", &["--format=custom", "--file", &dump_file(&folder)]);
        folder
    }

    /// Replaces the tables by those of a dump (`pg_restore --clean`), beside whatever is connected.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be restored.
    pub fn restore(&self, dump: &TempDir) {
        self.run("pg_restore", &["--clean", "--if-exists", &dump_file(dump)]);
    }

    fn run(&self, name: &str, arguments: &[&str]) {
        let output = program(name)
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--username", "ulex", "--dbname", "ulex"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends it and all its sessions as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it in order; sessions are rolled back (SIGINT).
    ///
    /// # Panics
    ///
    /// Panics if it has not ended within a minute.
    pub fn stop(&mut self) {
        self.process.stop("INT");
    }

    /// Holds it and all its sessions still; connections stay open (SIGSTOP).
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Starts it again on its data and its port, after it has ended, and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if it does not answer within a minute.
    pub fn restart(&mut self) {
        self.kill();
        let (port, folder, settings, process) = (self.port, &self.folder, &self.settings, &mut self.process);
        // It refuses to start as long as one session of its predecessor has not died yet.
        wait_until("PostgreSQL is up again", LIMIT, || {
            *process = run(folder, port, settings);
            process.became_ready(|| query_at(port, "postgres", "select 1").is_ok())
        });
    }

    fn wait_until_ready(&mut self) {
        let port = self.port;
        self.process.wait_until_ready(|| query_at(port, "postgres", "select 1").is_ok());
    }
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn dump_file(folder: &TempDir) -> String {
    folder.path().join("ulex.dump").display().to_string()
}

/// A program of PostgreSQL, not as root.
fn program(name: &str) -> Command {
    other_program(&from_environment("ULEX_TEST_POSTGRES_BIN").join(name))
}

/// Any program, not as root.
pub(super) fn other_program(path: &Path) -> Command {
    let mut command = Command::new(path);
    // Over TLS psql looks for certificates at home, and gives up if that is somebody else's.
    command.current_dir("/").env("HOME", "/");
    if let Some((user, group)) = other_account() {
        command.uid(user).gid(group);
    }
    command
}

fn initialise(data: &Path) {
    let output = program("initdb")
        .arg("--pgdata")
        .arg(data)
        .args(["--username", "ulex", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"])
        .output()
        .unwrap();
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

fn run(folder: &TempDir, port: u16, more: &[String]) -> Running {
    let mut command = program("postgres");
    command.arg("-D").arg(data(folder)).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    for setting in ["unix_socket_directories=", "fsync=off", "full_page_writes=off", "max_connections=300"] {
        command.args(["-c", setting]);
    }
    for setting in more {
        command.args(["-c", setting]);
    }
    Running::start("postgres", &mut command, &folder.path().join("log"))
}

pub(super) fn query_at(port: u16, database: &str, statement: &str) -> Result<String, String> {
    let output = program("psql")
        .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--host", "127.0.0.1"])
        .args([
            "--port",
            &port.to_string(),
            "--username",
            "ulex",
            "--dbname",
            database,
            "--command",
            statement,
        ])
        .env("PGCONNECT_TIMEOUT", "5")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    }
}

/// User and group to be instead of root; `None` if this is not root.
fn other_account() -> Option<(u32, u32)> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    is_root.then(|| {
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let line = accounts.lines().find(|line| line.starts_with("postgres:"));
        line.and_then(|line| {
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .unwrap_or(NOBODY)
    })
}
