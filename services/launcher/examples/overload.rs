//! What callers get when four times as much is asked as can be answered.
//!
//! `cargo run --release -p ulex-launcher --example overload -- 127.0.0.1:8088 [users]` against a server that computes every
//! list (`[serving] cached_lists = false`, the README's MovieLens data). First it finds out how many lists a second the
//! server makes; then it asks for four times as many, on a schedule that does not wait for answers, while a plain client
//! with an address of its own (127.0.0.2) asks twenty times a second. It prints, for both, how long answers took, which
//! statuses they had and what they lacked.

#![expect(clippy::print_stdout, reason = "its results")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

const PHASE: Duration = Duration::from_secs(10);
/// Connections while capacity is looked for, and under overload.
const FEW: usize = 16;
const MANY: usize = 512;
const PLAIN_RATE: f64 = 20.0;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Answers of one kind of client.
#[derive(Default)]
struct Answers {
    /// Microseconds of those with status 200.
    times: Vec<u64>,
    /// How many of each status and each kind of answer.
    kinds: BTreeMap<String, u64>,
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }

    fn show(mut self, who: &str, over: Duration) {
        self.times.sort_unstable();
        let at = |share: f64| {
            let place = ((self.times.len() as f64 * share) as usize).min(self.times.len().saturating_sub(1));
            self.times.get(place).map_or(0.0, |micros| *micros as f64 / 1e3)
        };
        let rate = self.times.len() as f64 / over.as_secs_f64();
        println!(
            "{who}: {rate:.0} answers/s with status 200; p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {:?}",
            at(0.5),
            at(0.99),
            at(1.0),
            self.kinds
        );
    }
}

/// One connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(server: SocketAddr, from: &str) -> Result<Self, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(format!("{from}:0").parse()?)?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Asks for a list and says what kind of answer came: `200`, `200 stale`, `429`.
    async fn ask(&mut self, user: u64) -> Result<String, Failure> {
        let request = format!("GET /api/recommend/{user}?n=10 HTTP/1.1\r\nHost: ulex\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            if let Some(kind) = complete(&self.buffer) {
                return Ok(kind);
            }
        }
    }
}

/// What kind of answer it is, once it is there as a whole.
fn complete(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let length: usize = header("content-length")?.parse().ok()?;
    let status = head.get(9..12)?;
    (body.len() >= length).then(|| match header("x-ulex-degraded") {
        Some(how) => format!("{status} {how}"),
        None => status.to_owned(),
    })
}

/// When a connection asks.
#[derive(Clone, Copy)]
enum Pace {
    /// As soon as it has its answer.
    Eager,
    /// So many times a second, later ones not waiting for earlier ones but for the schedule.
    Every(Duration),
}

struct Load {
    server: SocketAddr,
    users: u64,
    next: AtomicU64,
}

impl Load {
    async fn one(self: Arc<Self>, from: &str, pace: Pace, offset: Duration) -> Result<Answers, Failure> {
        let mut connection = Connection::open(self.server, from).await?;
        let mut answers = Answers::default();
        let begun = Instant::now();
        let mut due = begun + offset;
        while begun.elapsed() < PHASE {
            if let Pace::Every(pause) = pace {
                sleep_until(due).await;
                // What could not be sent in time is left out: a user who waits does not click twice.
                while due <= Instant::now() {
                    due += pause;
                }
            }
            let asked = Instant::now();
            let user = 1 + self.next.fetch_add(1, Ordering::Relaxed) % self.users;
            let kind = connection.ask(user).await?;
            if kind.starts_with("200") {
                answers.times.push(asked.elapsed().as_micros() as u64);
            }
            *answers.kinds.entry(kind).or_default() += 1;
        }
        Ok(answers)
    }

    async fn all(
        self: &Arc<Self>,
        connections: usize,
        from: &'static str,
        rate: Option<f64>,
    ) -> Result<Answers, Failure> {
        let mut running = JoinSet::new();
        for number in 0..connections {
            let pause = rate.map(|rate| Duration::from_secs_f64(connections as f64 / rate));
            let offset = pause.unwrap_or_default().mul_f64(number as f64 / connections as f64);
            let pace = pause.map_or(Pace::Eager, Pace::Every);
            running.spawn(Arc::clone(self).one(from, pace, offset));
        }
        let mut answers = Answers::default();
        while let Some(done) = running.join_next().await {
            answers.add(done??);
        }
        Ok(answers)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:8088".to_owned()).parse()?;
    let users = arguments.next().map_or(Ok(943), |text| text.parse())?;
    let load = Arc::new(Load { server, users, next: AtomicU64::new(0) });

    let calm = load.all(FEW, "127.0.0.1", None).await?;
    let capacity = calm.times.len() as f64 / PHASE.as_secs_f64();
    calm.show("capacity", PHASE);
    tokio::time::sleep(Duration::from_secs(3)).await;
    load.all(1, "127.0.0.2", Some(PLAIN_RATE)).await?.show("plain client alone", PHASE);

    let (crowd, plain) = tokio::join!(
        load.all(MANY, "127.0.0.1", Some(4.0 * capacity)),
        load.all(1, "127.0.0.2", Some(PLAIN_RATE))
    );
    println!("four times as much: {:.0} asked for each second", 4.0 * capacity);
    crowd?.show("crowd", PHASE);
    plain?.show("plain client", PHASE);
    Ok(())
}
