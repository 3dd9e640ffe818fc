//! Ports for servers that cannot be told to take any.

use std::net::TcpListener;
use std::sync::Mutex;

/// Below the ports that the system gives to outgoing connections (32768 and up), one of which would otherwise now and then
/// be taken between this question and the start of the server, or while a server is down and is to come back to it.
const LOWEST: u16 = 20_000;
const HIGHEST: u16 = 32_000;

/// The port given out last; where this process begins depends on its number, so that two begin at different ones.
static LAST: Mutex<Option<u16>> = Mutex::new(None);

/// A port that is free now and is not given out by this process again soon.
///
/// # Panics
///
/// Panics if all are taken.
pub(crate) fn free_port() -> u16 {
    let mut last = LAST.lock().unwrap();
    let width = u32::from(HIGHEST - LOWEST);
    let first = u16::try_from(std::process::id().wrapping_mul(7919) % width).unwrap();
    let mut port = last.unwrap_or(LOWEST + first);
    for _ in LOWEST..HIGHEST {
        port = if port + 1 < HIGHEST { port + 1 } else { LOWEST };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            *last = Some(port);
            return port;
        }
    }
    panic!("all ports from {LOWEST} to {HIGHEST} are taken");
}
