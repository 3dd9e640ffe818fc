//! The HTTP server of a process that serves nothing but the REST routes; a process that serves more registers
//! [`crate::routes`] with its own.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer};

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
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            head_time: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            shutdown_time: Duration::from_secs(10),
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
    let api = routes(state);
    let server = HttpServer::new(move || App::new().service(api.clone()).default_service(api.clone()))
        .workers(settings.workers.max(1))
        .client_request_timeout(settings.head_time)
        .keep_alive(settings.keep_alive)
        .shutdown_timeout(settings.shutdown_time.as_secs())
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}
