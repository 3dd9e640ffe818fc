//! A client of NATS with an account of its own: it publishes with any headers, asks JetStream, backs streams up and restores them.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A call is answered within this on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A connection that can be used without being asynchronous.
pub struct NatsClient {
    runtime: Runtime,
    client: Client,
}

/// A stream as JetStream's own backup keeps it.
pub struct StreamBackup {
    name: String,
    description: Value,
    chunks: Vec<bytes::Bytes>,
}

impl NatsClient {
    /// Connects without an account.
    ///
    /// # Panics
    ///
    /// Panics if no server answers.
    #[must_use]
    pub fn connect(urls: &[String]) -> Self {
        Self::with_options(urls, ConnectOptions::new())
    }

    /// Connects with name and password.
    ///
    /// # Panics
    ///
    /// Panics if no server lets it in.
    #[must_use]
    pub fn log_in(urls: &[String], user: &str, password: &str) -> Self {
        Self::with_options(urls, ConnectOptions::with_user_and_password(user.into(), password.into()))
    }

    fn with_options(urls: &[String], options: ConnectOptions) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = options.request_timeout(Some(ANSWER_LIMIT)).retry_on_initial_connect();
        let client = runtime.block_on(async_nats::connect_with_options(urls, options)).unwrap();
        Self { runtime, client }
    }

    /// Sends a message with headers and waits for the answer.
    ///
    /// # Errors
    ///
    /// That there is none, such as for lack of the right to publish.
    pub fn request(&self, subject: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Value, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let call = self.client.request_with_headers(subject.to_owned(), map, body.to_vec().into());
        let answer = self.runtime.block_on(call).map_err(|error| error.to_string())?;
        serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())
    }

    /// Publishes an event of the REST API's shape to `event.feedback.shop` and waits until EVENTS has it.
    ///
    /// # Panics
    ///
    /// Panics if the stream does not take it.
    pub fn publish_feedback(&self, row: &Value) {
        let answer =
            self.request("ulex.v1.default.event.feedback.shop", &[], row.to_string().as_bytes()).unwrap();
        assert!(answer["seq"].is_u64(), "{answer}");
    }

    /// A call of JetStream's interface, such as `STREAM.PURGE.CHANGES`.
    ///
    /// # Panics
    ///
    /// Panics if it is refused.
    pub fn ask(&self, call: &str, body: &Value) -> Value {
        let answer = self.request(&format!("$JS.API.{call}"), &[], body.to_string().as_bytes()).unwrap();
        assert!(answer["error"].is_null(), "{call}: {answer}");
        answer
    }

    /// Configuration and state of a stream.
    ///
    /// # Panics
    ///
    /// Panics if there is no such stream.
    #[must_use]
    pub fn stream(&self, name: &str) -> Value {
        self.ask(&format!("STREAM.INFO.{name}"), &json!({}))
    }

    /// How many messages a stream has.
    ///
    /// # Panics
    ///
    /// Panics if there is no such stream.
    #[must_use]
    pub fn messages(&self, name: &str) -> u64 {
        self.stream(name)["state"]["messages"].as_u64().unwrap()
    }

    /// All streams by name, buckets included.
    ///
    /// # Panics
    ///
    /// Panics if JetStream does not answer.
    #[must_use]
    pub fn stream_names(&self) -> Vec<String> {
        let answer = self.ask("STREAM.NAMES", &json!({}));
        let names = answer["streams"].as_array().cloned().unwrap_or_default();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Backs a stream up as `nats stream backup` does.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be backed up.
    #[must_use]
    pub fn back_up(&self, name: &str) -> StreamBackup {
        let inbox = self.client.new_inbox();
        let mut incoming = self.runtime.block_on(self.client.subscribe(inbox.clone())).unwrap();
        let wanted = json!({"deliver_subject": inbox, "chunk_size": 65_536});
        let description = self.ask(&format!("STREAM.SNAPSHOT.{name}"), &wanted);
        let chunks = self.runtime.block_on(async {
            let mut chunks = Vec::new();
            while let Some(message) = futures_util::StreamExt::next(&mut incoming).await {
                if message.payload.is_empty() {
                    break;
                }
                chunks.push(message.payload);
                if let Some(reply) = message.reply {
                    self.client.publish(reply, bytes::Bytes::new()).await.unwrap();
                }
            }
            chunks
        });
        StreamBackup { name: name.to_owned(), description, chunks }
    }

    /// Restores a stream that is not there as `nats stream restore` does.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be restored.
    pub fn restore(&self, backup: &StreamBackup) {
        let wanted = json!({"config": backup.description["config"], "state": backup.description["state"]});
        let answer = self.ask(&format!("STREAM.RESTORE.{}", backup.name), &wanted);
        let target = answer["deliver_subject"].as_str().unwrap().to_owned();
        let answer = self.runtime.block_on(async {
            for chunk in &backup.chunks {
                self.client.request(target.clone(), chunk.clone()).await.unwrap();
            }
            self.client.request(target, bytes::Bytes::new()).await.unwrap()
        });
        let said: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(said["error"].is_null(), "{}: {said}", backup.name);
    }
}
