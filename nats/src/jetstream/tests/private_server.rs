//! A nats-server that belongs to one test, which may kill it, hold it still and start it again.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{ConnectionSettings, JetStream};

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/server.conf");
/// How long a server may take to listen.
const START_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct PrivateServer {
    process: Option<Child>,
    arguments: Vec<String>,
    port: u16,
    folder: TempDir,
}

impl PrivateServer {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments.
    pub(super) fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::prepare(arguments);
        server.launch();
        server.wait_until_it_listens();
        server
    }

    fn prepare(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { process: None, arguments, port: free_port(), folder: tempfile::tempdir().unwrap() }
    }

    /// Three that keep copies for one another.
    pub(super) fn start_three() -> [Self; 3] {
        let routes: [String; 3] = std::array::from_fn(|_| format!("nats://127.0.0.1:{}", free_port()));
        let all = routes.join(",");
        let mut servers: [Self; 3] = std::array::from_fn(|number| {
            let (name, route) = (format!("node{number}"), &routes[number]);
            Self::prepare(&["--name", &name, "--cluster_name", "ulex", "--cluster", route, "--routes", &all])
        });
        servers.iter_mut().for_each(Self::launch);
        servers.iter_mut().for_each(Self::wait_until_it_listens);
        servers
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(super) fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            urls: vec![self.url()],
            name: "test".to_owned(),
            replicas: 1,
            ..ConnectionSettings::default()
        }
    }

    pub(super) async fn connect(&self) -> JetStream {
        JetStream::connect(&self.settings(), START_WITHIN).await.unwrap()
    }

    /// As a crash would.
    pub(super) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = process.kill();
        let _ = process.wait();
    }

    /// On its data and its port, after it was killed.
    pub(super) fn restart(&mut self) {
        self.launch();
        self.wait_until_it_listens();
    }

    /// On its data and another port, where those who knew it do not find it; what port it had.
    pub(super) fn restart_elsewhere(&mut self) -> u16 {
        let before = std::mem::replace(&mut self.port, free_port());
        self.restart();
        before
    }

    pub(super) fn restart_on(&mut self, port: u16) {
        self.port = port;
        self.restart();
    }

    /// Holds it still; connections stay open.
    pub(super) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(super) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn launch(&mut self) {
        let program = std::env::var_os("ULEX_TEST_NATS_SERVER").expect("ULEX_TEST_NATS_SERVER is not set");
        let mut command = Command::new(program);
        command
            .args(["--config", CONFIGURATION, "--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .args(&self.arguments)
            .env("NATS_STORE_DIR", self.folder.path().join("store"))
            .env("NATS_SYNC_INTERVAL", "1m")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
    }

    fn wait_until_it_listens(&mut self) {
        let until = Instant::now() + START_WITHIN;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "nats-server ended: {ended:?}, {:?}", self.arguments);
            assert!(Instant::now() < until, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Below those that the system gives out by itself, so that nobody else gets it between two starts of a server.
fn free_port() -> u16 {
    let seed = uuid::Uuid::new_v4().as_u128();
    let candidates = (0_u128..).map(|step| u16::try_from(20_000 + (seed + step * 7919) % 12_000).unwrap());
    candidates.take(1000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
