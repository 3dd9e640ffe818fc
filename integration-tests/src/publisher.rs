//! Somebody who publishes to NATS, as any client of it would.

use std::time::Duration;

use tokio::runtime::Runtime;
use ulex_nats::transport::{Message, Transport as _};
use ulex_nats::{ConnectionSettings, JetStream};

/// A connection to NATS that can be used without being asynchronous.
pub struct Publisher {
    runtime: Runtime,
    transport: JetStream,
}

impl Publisher {
    /// Connects to servers, as in `nats://127.0.0.1:4222`.
    ///
    /// # Panics
    ///
    /// Panics if none answers within ten seconds.
    #[must_use]
    pub fn connect(urls: &[String]) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let settings =
            ConnectionSettings { urls: urls.to_vec(), name: "publisher".to_owned(), ..Default::default() };
        let transport = runtime.block_on(JetStream::connect(&settings, Duration::from_secs(10))).unwrap();
        Self { runtime, transport }
    }

    /// Publishes a message and waits until its stream has it.
    ///
    /// # Panics
    ///
    /// Panics if the stream does not take it.
    pub fn append(&self, subject: &str, body: &[u8]) -> u64 {
        let message =
            Message { subject: subject.to_owned(), payload: body.to_vec().into(), ..Message::default() };
        self.runtime.block_on(self.transport.append(message)).unwrap().sequence
    }

    /// Position of the last message of a stream.
    ///
    /// # Panics
    ///
    /// Panics if there is no such stream.
    #[must_use]
    pub fn last(&self, stream: &str) -> u64 {
        self.runtime.block_on(self.transport.stream_state(stream)).unwrap().last_sequence
    }
}
