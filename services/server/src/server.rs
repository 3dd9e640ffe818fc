//! The HTTP server of a process that serves nothing but the REST routes; a process that serves more registers
//! them with [`start_with`].

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};

use crate::Api;
use crate::api::{ApiState, routes};

/// How the server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Threads that serve; at least 1.
    pub workers: usize,
    /// How long a request's head may take to arrive.
    pub head_time: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long requests under way may take once the server is told to stop.
    pub shutdown_time: Duration,
    /// Whether less is done for each answer while more is asked than can be answered, and at last some are refused.
    pub degrade: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            head_time: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            shutdown_time: Duration::from_secs(10),
            degrade: true,
        }
    }
}

/// Serves all REST routes on `listener`. The server runs when the returned future is polled and stops through its
/// handle; signals are left to the caller. Paths outside the routes are answered by 404.
///
/// # Errors
///
/// Whatever the operating system says about the listener.
pub fn start(listener: TcpListener, state: ApiState, settings: ServerSettings) -> io::Result<Server> {
    start_with(listener, routes(state), settings, |_| {})
}

/// [`start`] with further services beside the routes.
///
/// # Errors
///
/// As [`start`].
pub fn start_with(
    listener: TcpListener,
    api: Api,
    settings: ServerSettings,
    more: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Server> {
    // Called once on each thread that serves.
    let application = move || {
        if settings.degrade {
            api.watch_load();
        }
        App::new().configure(more.clone()).service(api.clone()).default_service(api.clone())
    };
    let server = HttpServer::new(application)
        .workers(settings.workers.max(1))
        .client_request_timeout(settings.head_time)
        .keep_alive(settings.keep_alive)
        .shutdown_timeout(settings.shutdown_time.as_secs())
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::double::Double;
    use crate::settings::{ApiSettings, Limits};

    fn running(limits: Limits) -> (SocketAddr, actix_web::dev::ServerHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = ApiState::new(Arc::new(Double::new()), ApiSettings { limits, ..ApiSettings::default() });
        let server =
            start(listener, state, ServerSettings { workers: 1, ..ServerSettings::default() }).unwrap();
        let handle = server.handle();
        actix_rt::spawn(server);
        (address, handle)
    }

    /// Sends `head` and as much of `body` as is taken, and reads all there is to read.
    async fn talk(address: SocketAddr, head: String, body: Vec<u8>) -> String {
        actix_rt::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let _refused_early = stream.write_all(&body);
            let mut answer = Vec::new();
            let _reset_at_end = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
        .unwrap()
    }

    fn post(length: usize) -> String {
        format!(
            "POST /api/user HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    }

    #[actix_web::test]
    async fn a_body_that_does_not_come_is_given_up_after_its_time() {
        let limits = Limits { body_time: Duration::from_millis(30), ..Limits::default() };
        let (address, server) = running(limits);
        let answer = talk(address, post(100), b"{\"UserId\":".to_vec()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn a_body_over_the_limit_is_refused_before_it_is_read() {
        let limits = Limits { body: 1 << 20, ..Limits::default() };
        let (address, server) = running(limits);
        let answer = talk(address, post(50 << 20), Vec::new()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        let chunked = post(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
        let mut body = b"200000\r\n".to_vec();
        body.extend(vec![b' '; 2 << 20]);
        body.extend(b"\r\n0\r\n\r\n");
        let answer = talk(address, chunked, body).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn a_connection_is_kept_after_a_refusal() {
        let (address, server) = running(Limits::default());
        let refused = post(2).replace("Connection: close\r\n", "") + "{}";
        let get = "GET /api/recommend/u HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = talk(address, refused + get, Vec::new()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("HTTP/1.1 200"), "{answer}");
        server.stop(false).await;
    }
}
