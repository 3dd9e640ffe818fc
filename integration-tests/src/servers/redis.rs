//! A Redis that keeps nothing on disk by itself: after an end it is empty, or what [`Redis::save`] has kept.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{TRIES, from_environment};
use crate::child::Running;
use crate::ports::free_port;

/// One Redis, with nothing in it.
pub struct Redis {
    process: Running,
    port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if there is no program or it does not answer within a minute.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for _ in 1..TRIES {
            let port = free_port();
            let mut process = run(&folder, port);
            if process.became_ready(|| answers(port)) {
                return Self { process, port, folder };
            }
        }
        let port = free_port();
        let mut redis = Self { process: run(&folder, port), port, folder };
        redis.wait_until_ready();
        redis
    }

    /// `redis://127.0.0.1:PORT`, the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
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

    /// Writes everything to its dump (SAVE), with which it comes back.
    ///
    /// # Panics
    ///
    /// Panics if it does not answer.
    pub fn save(&self) {
        let answer = say(self.port, b"SAVE\r\n").unwrap();
        assert_eq!(&answer[..3], b"+OK");
    }

    /// Holds it still; connections stay open (SIGSTOP).
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Starts it again on its port, with what was last saved, after it has ended, and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if it does not answer within a minute.
    pub fn restart(&mut self) {
        self.kill();
        self.process = run(&self.folder, self.port);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let port = self.port;
        self.process.wait_until_ready(|| answers(port));
    }
}

fn run(folder: &TempDir, port: u16) -> Running {
    let mut command = Command::new(from_environment("ULEX_TEST_REDIS_SERVER"));
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path());
    Running::start("redis-server", &mut command, &folder.path().join("log"))
}

fn answers(port: u16) -> bool {
    ping(port).is_ok_and(|answer| answer.starts_with(b"+PONG"))
}

fn ping(port: u16) -> std::io::Result<[u8; 5]> {
    say(port, b"PING\r\n")
}

/// The beginning of the answer.
fn say(port: u16, command: &[u8]) -> std::io::Result<[u8; 5]> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(command)?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer)?;
    Ok(answer)
}
