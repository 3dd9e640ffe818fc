//! Servers of a test's own, which it may stop, kill and start again.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Raw, server, until};

/// A running server. Killed when it is dropped.
pub struct Process {
    child: Child,
    folder: TempDir,
    port: u16,
    program: String,
}

impl Process {
    /// Starts a Redis that keeps nothing on disk unless it is told to.
    pub async fn start(options: &[&str]) -> Self {
        Self::start_program(&server("ULEX_TEST_REDIS_SERVER"), options).await
    }

    pub async fn start_program(program: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = launch(program, &folder, port, options);
        let process = Self { child, folder, port, program: program.to_owned() };
        process.until_ready().await;
        process
    }

    /// Starts a sentinel that watches a server as `lists`.
    pub async fn start_sentinel(watched: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let settings = format!(
            "sentinel monitor lists 127.0.0.1 {} 1\nsentinel down-after-milliseconds lists 300\n\
             sentinel failover-timeout lists 3000\n",
            watched.port
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, settings).unwrap();
        let program = watched.program.clone();
        let child = Command::new(&program)
            .arg(&file)
            .args(["--sentinel", "--bind", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, folder, port, program };
        process.until_ready().await;
        process
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub async fn raw(&self) -> Raw {
        Raw::connect(&self.url()).await
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it has on disk.
    pub async fn start_again(&mut self, options: &[&str]) {
        self.child = launch(&self.program, &self.folder, self.port, options);
        self.until_ready().await;
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    async fn until_ready(&self) {
        until("the server answers", async || {
            let connected = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
            let Ok(mut stream) = connected else { return false };
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut answer = [0; 5];
            let asked = async {
                stream.write_all(b"PING\r\n").await?;
                stream.read_exact(&mut answer).await
            };
            tokio::time::timeout(Duration::from_secs(1), asked).await.is_ok() && &answer == b"+PONG"
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(program: &str, folder: &TempDir, port: u16, options: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--appendonly", "no", "--save", ""]);
    command.arg("--dir").arg(folder.path()).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A port that nobody has, below those that outgoing connections get.
pub fn free_port() -> u16 {
    let mut port = 12_000 + (uuid::Uuid::new_v4().as_u128() % 18_000) as u16;
    while std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
        port += 1;
    }
    port
}
