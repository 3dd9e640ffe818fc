//! SIGTERM and SIGINT: the first asks for an orderly shutdown, the second ends the process at once.
//!
//! [`listen`] installs the handlers; [`Shutdown::requested`] resolves for everybody who waits once the first
//! signal has come, and at once for whoever asks later.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit status after the second signal, as shells report a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// Tells whether the process was asked to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Waits until somebody asks the process to stop.
    pub async fn requested(&self) {
        let mut asked = self.0.clone();
        // An error means that the listener is gone, which happens only while the runtime stops.
        let _ = asked.wait_for(|&asked| asked).await;
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// Installs the handlers. Must be called inside a runtime.
///
/// # Errors
///
/// An [`io::Error`] if the operating system refuses a handler.
pub fn listen() -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (asked, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if hear(name, &asked) == Step::Leave {
                std::process::exit(INTERRUPTED);
            }
        }
    });
    Ok(Shutdown(shutdown))
}

/// What follows from a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wait,
    Leave,
}

/// First signal: tell everybody. Second: leave.
fn hear(name: &str, asked: &watch::Sender<bool>) -> Step {
    if asked.send_replace(true) {
        tracing::warn!(signal = name, "ending at once");
        return Step::Leave;
    }
    tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
    Step::Wait
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_leaves() {
        let (asked, receiver) = watch::channel(false);
        let shutdown = Shutdown(receiver);
        assert!(!shutdown.is_requested());
        assert_eq!(hear("SIGTERM", &asked), Step::Wait);
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
        assert_eq!(hear("SIGINT", &asked), Step::Leave);
    }
}
