//! A bad network: a TCP proxy between a client and a server that can be cut, slowed down or held still.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::child::LIMIT;
use crate::ports::free_port;

/// What it does to what passes.
#[derive(Clone, Copy, Default)]
struct Weather {
    cut: bool,
    paused: bool,
    ended: bool,
    delay: Duration,
    answers_held: bool,
    /// Answers are held from the moment a client says this.
    hold_after: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

#[derive(Default)]
struct Shared {
    weather: Mutex<Weather>,
    changed: Condvar,
    connections: Mutex<Connections>,
}

/// Both ends of every open connection, by its number.
#[derive(Default)]
struct Connections {
    open: HashMap<u64, [TcpStream; 2]>,
    ever: u64,
}

/// Passes bytes on to one server, as long as it is told nothing else. Gone, with its connections, when dropped.
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// A proxy in front of `server` (`host:port`), which need not be there yet.
    ///
    /// # Panics
    ///
    /// Panics if no port can be taken.
    #[must_use]
    pub fn before(server: &str) -> Self {
        let (port, listener) = listen();
        let shared = Arc::new(Shared::default());
        let (server, state) = (server.to_owned(), Arc::clone(&shared));
        let listener = std::thread::spawn(move || accept(&listener, &server, &state));
        Self { port, shared, listener: Some(listener) }
    }

    /// `127.0.0.1:PORT`, to be used instead of the server's address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Closes every connection; a new one is closed as soon as it is made, until [`FaultProxy::heal`].
    pub fn cut(&self) {
        self.change(|weather| weather.cut = true);
        self.disconnect();
    }

    /// Closes every connection; new ones are welcome.
    pub fn disconnect(&self) {
        for connection in self.shared.connections.lock().unwrap().open.values() {
            close(connection);
        }
    }

    /// Holds everything back; connections stay open, new ones are taken, nothing is lost, until [`FaultProxy::heal`].
    pub fn pause(&self) {
        self.change(|weather| weather.paused = true);
    }

    /// Holds back what the server says from the moment a client says `word`: it is heard, and the client does not know. Until
    /// [`FaultProxy::heal`].
    pub fn hold_answers_after(&self, word: &'static str) {
        self.change(|weather| weather.hold_after = Some(word));
    }

    /// Whether answers are held back.
    ///
    /// # Panics
    ///
    /// Panics if a thread of the proxy has panicked.
    #[must_use]
    pub fn holds_answers(&self) -> bool {
        self.shared.weather.lock().unwrap().answers_held
    }

    /// Every piece of at most 16 KiB waits this long in each direction.
    pub fn delay(&self, delay: Duration) {
        self.change(|weather| weather.delay = delay);
    }

    /// All is well again.
    pub fn heal(&self) {
        self.change(|weather| *weather = Weather::default());
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().open.len()
    }

    fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.shared.weather.lock().unwrap());
        self.shared.changed.notify_all();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.change(|weather| weather.ended = true);
        self.disconnect();
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            // It has nothing to say; a panic of its has been printed.
            let _ = listener.join();
        }
    }
}

/// A port may be lost to somebody else between the question and the answer.
fn listen() -> (u16, TcpListener) {
    let mut ports = std::iter::repeat_with(free_port).take(10);
    ports.find_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).ok()?))).unwrap()
}

fn accept(listener: &TcpListener, server: &str, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let weather = *shared.weather.lock().unwrap();
        if weather.ended {
            return;
        }
        // Whoever cannot be connected finds the connection closed.
        if let (Ok(client), false) = (client, weather.cut) {
            let (server, shared) = (server.to_owned(), Arc::clone(shared));
            std::thread::spawn(move || connect(&client, &server, &shared));
        }
    }
}

/// Connects a client with the server and passes bytes in both directions until one of the two ends.
fn connect(client: &TcpStream, server: &str, shared: &Shared) {
    let Ok(server) = TcpStream::connect(server) else { return };
    // Small messages pass at once, as without a proxy.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else { return };
    let Some(number) = shared.admit([client_end, server_end]) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| pass(client, &server, Direction::ToServer, shared));
        scope.spawn(|| pass(&server, client, Direction::ToClient, shared));
    });
    shared.connections.lock().unwrap().open.remove(&number);
}

/// Passes bytes on until one side closes; then closes both.
fn pass(mut from: &TcpStream, mut to: &TcpStream, direction: Direction, shared: &Shared) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if direction == Direction::ToServer {
            shared.listen_for_word(&piece[..length]);
        }
        let delay = shared.wait_while_held(direction);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // The other side may have closed them already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

impl Shared {
    /// Notes a connection, unless all have been closed since it was accepted.
    fn admit(&self, connection: [TcpStream; 2]) -> Option<u64> {
        let mut connections = self.connections.lock().unwrap();
        let weather = *self.weather.lock().unwrap();
        if weather.cut || weather.ended {
            return None;
        }
        connections.ever += 1;
        let number = connections.ever;
        connections.open.insert(number, connection);
        Some(number)
    }

    /// Begins to hold answers if this is what [`FaultProxy::hold_answers_after`] waits for.
    fn listen_for_word(&self, piece: &[u8]) {
        let mut weather = self.weather.lock().unwrap();
        let Some(word) = weather.hold_after else { return };
        if piece.windows(word.len()).any(|window| window == word.as_bytes()) {
            weather.hold_after = None;
            weather.answers_held = true;
        }
    }

    /// Returns the delay that holds when it goes on. A pause that a test has forgotten ends after a minute.
    fn wait_while_held(&self, direction: Direction) -> Duration {
        let weather = self.weather.lock().unwrap();
        let is_held = |weather: &mut Weather| {
            let is_held = weather.paused || weather.answers_held && direction == Direction::ToClient;
            is_held && !weather.cut && !weather.ended
        };
        let (weather, _) = self.changed.wait_timeout_while(weather, LIMIT, is_held).unwrap();
        weather.delay
    }
}

fn close(connection: &[TcpStream; 2]) {
    for end in connection {
        // It may be closed already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{eventually, wait_until};

    /// A server that sends back what it gets, for ever.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                std::thread::spawn(move || {
                    std::io::copy(&mut connection.try_clone().unwrap(), &mut connection)
                });
            }
        });
        address
    }

    fn connection(proxy: &FaultProxy) -> TcpStream {
        let connection = TcpStream::connect(proxy.address()).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection
    }

    fn exchange(mut connection: &TcpStream) -> std::io::Result<[u8; 5]> {
        connection.write_all(b"hello")?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn bytes_pass_in_both_directions() {
        let proxy = FaultProxy::before(&echo());
        assert_eq!(exchange(&connection(&proxy)).unwrap(), *b"hello");
        eventually(&0, || proxy.connections());
    }

    #[test]
    fn a_cut_closes_connections_and_refuses_new_ones_until_healed() {
        let proxy = FaultProxy::before(&echo());
        let old = connection(&proxy);
        exchange(&old).unwrap();
        proxy.cut();
        assert!(exchange(&old).is_err());
        assert!(exchange(&connection(&proxy)).is_err());
        proxy.heal();
        assert_eq!(exchange(&connection(&proxy)).unwrap(), *b"hello");
    }

    #[test]
    fn after_a_disconnect_a_new_connection_works_at_once() {
        let proxy = FaultProxy::before(&echo());
        let old = connection(&proxy);
        exchange(&old).unwrap();
        proxy.disconnect();
        assert!(exchange(&old).is_err());
        assert_eq!(exchange(&connection(&proxy)).unwrap(), *b"hello");
    }

    #[test]
    fn a_pause_holds_bytes_back_and_loses_none() {
        let proxy = FaultProxy::before(&echo());
        let mut held = connection(&proxy);
        exchange(&held).unwrap();
        proxy.pause();
        held.write_all(b"later").unwrap();
        held.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut answer = [0; 5];
        assert!(held.read_exact(&mut answer).is_err(), "{answer:?}");
        proxy.heal();
        held.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        held.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"later");
    }

    #[test]
    fn what_a_client_says_is_heard_while_the_answers_are_held_back() {
        let proxy = FaultProxy::before(&echo());
        let held = connection(&proxy);
        exchange(&held).unwrap();
        proxy.hold_answers_after("hello");
        held.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(exchange(&held).is_err());
        assert!(proxy.holds_answers());
        proxy.heal();
        held.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = [0; 5];
        (&held).read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"hello");
    }

    #[test]
    fn a_delay_is_waited_in_each_direction() {
        let proxy = FaultProxy::before(&echo());
        let slow = connection(&proxy);
        proxy.delay(Duration::from_millis(50));
        let before = Instant::now();
        exchange(&slow).unwrap();
        assert!(before.elapsed() >= Duration::from_millis(100), "{:?}", before.elapsed());
    }

    #[test]
    fn a_server_that_is_not_there_looks_like_a_closed_connection() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = FaultProxy::before(&nobody.to_string());
        let lonely = connection(&proxy);
        wait_until("it is closed", Duration::from_secs(10), || exchange(&lonely).is_err());
    }
}
