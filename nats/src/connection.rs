//! The connection to a nats-server: where, as whom, and what happens when it is lost.
//!
//! A lost connection is taken up again for ever, with growing pauses that differ from process to process, so that a
//! server that comes back is not met by all of them at once.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use metrics::counter;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::BusError;
use crate::backoff::pause;

/// Oldest server that keeps the promises of [`crate::transport`]: it must remove expired keys and say so.
const OLDEST: (u32, u32) = (2, 11);
/// How long one try may take.
const TRY_WITHIN: Duration = Duration::from_secs(5);

/// Where the server is and who this is.
#[derive(Clone, Default)]
pub struct ConnectionSettings {
    /// `nats://host:port` or `tls://host:port`; any of them will do.
    pub urls: Vec<String>,
    /// Name of this process, for the server's monitoring.
    pub name: String,
    /// User, with [`ConnectionSettings::password`].
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<String>,
    /// Token, instead of a user.
    pub token: Option<String>,
    /// File with the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
    /// File with a JWT and its seed (`.creds`).
    pub credentials_file: Option<PathBuf>,
    /// Certificates that the server's is checked against, besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate of this client, with [`ConnectionSettings::key_file`].
    pub certificate_file: Option<PathBuf>,
    /// Key of this client's certificate.
    pub key_file: Option<PathBuf>,
    /// Whether a connection without TLS is refused.
    pub require_tls: bool,
    /// Copies of every stream and bucket: 1, or 3 on a cluster of three.
    pub replicas: usize,
}

impl fmt::Debug for ConnectionSettings {
    /// Without secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<&str> = self.urls.iter().map(|url| without_user(url)).collect();
        formatter
            .debug_struct("ConnectionSettings")
            .field("urls", &urls)
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

/// A URL behind its user and password.
fn without_user(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

impl ConnectionSettings {
    /// Connects, trying for at most `patience`; `Duration::MAX` is for ever.
    ///
    /// # Errors
    ///
    /// [`BusError::Refused`] if the settings cannot be used, the server does not let this client in, is too old or has
    /// no JetStream; [`BusError::Transport`] if it could not be reached in time.
    pub(crate) async fn connect(&self, patience: Duration) -> Result<Client, BusError> {
        let until = Instant::now().checked_add(patience);
        let mut tries = 0;
        loop {
            let options = self.options()?;
            let failed = match tokio::time::timeout(TRY_WITHIN, options.connect(self.urls.clone())).await {
                Ok(Ok(client)) => {
                    check_server(&client)?;
                    return Ok(client);
                }
                Ok(Err(reason)) if is_final(&reason) => return Err(self.refused(reason.to_string())),
                Ok(Err(reason)) => BusError::transport(self.servers(), reason),
                Err(_late) => BusError::transport(self.servers(), "no answer"),
            };
            let wait = pause(tries);
            if until.is_some_and(|until| Instant::now() + wait >= until) {
                return Err(failed);
            }
            warn!(servers = self.servers(), reason = ?failed, "NATS cannot be reached, trying again");
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    fn servers(&self) -> String {
        self.urls.iter().map(|url| without_user(url)).collect::<Vec<_>>().join(", ")
    }

    fn refused(&self, reason: String) -> BusError {
        BusError::Refused { name: format!("the connection to {}", self.servers()), reason }
    }

    fn options(&self) -> Result<ConnectOptions, BusError> {
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .max_reconnects(None)
            .connection_timeout(TRY_WITHIN)
            .ping_interval(Duration::from_secs(10))
            .subscription_capacity(64 * 1024)
            .client_capacity(8 * 1024)
            .reconnect_delay_callback(pause)
            .event_callback(|event| async move { report(&event) });
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some(file) = &self.nkey_file {
            options = options.nkey(self.read(file)?.trim().to_owned());
        }
        if let Some(file) = &self.credentials_file {
            let text = self.read(file)?;
            options = options
                .credentials(&text)
                .map_err(|reason| self.refused(format!("{}: {reason}", file.display())))?;
        }
        if let Some(file) = &self.ca_file {
            options = options.add_root_certificates(file.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.certificate_file, &self.key_file) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        if self.require_tls {
            options = options.require_tls(true);
        }
        Ok(options)
    }

    fn read(&self, file: &PathBuf) -> Result<String, BusError> {
        std::fs::read_to_string(file)
            .map_err(|reason| self.refused(format!("{} cannot be read: {reason}", file.display())))
    }
}

/// Whether trying again is of no use.
fn is_final(reason: &async_nats::ConnectError) -> bool {
    use async_nats::ConnectErrorKind as Kind;
    matches!(reason.kind(), Kind::ServerParse | Kind::Authentication | Kind::AuthorizationViolation)
}

fn report(event: &Event) {
    match event {
        Event::Connected => {
            counter!("ulex_bus_connected_total").increment(1);
            info!("connected to NATS");
        }
        Event::Disconnected => {
            counter!("ulex_bus_disconnected_total").increment(1);
            warn!("the connection to NATS is lost");
        }
        Event::SlowConsumer(subscription) => {
            counter!("ulex_bus_slow_consumers_total").increment(1);
            warn!(subscription, "messages were dropped: nobody took them");
        }
        Event::LameDuckMode => info!("the NATS server is about to stop"),
        Event::Draining | Event::Closed => {}
        Event::ServerError(reason) => warn!(%reason, "the NATS server reports an error"),
        Event::ClientError(reason) => warn!(%reason, "the NATS client reports an error"),
    }
}

fn check_server(client: &Client) -> Result<(), BusError> {
    let server = client.server_info();
    let refused = |reason: String| {
        Err(BusError::Refused { name: format!("the NATS server {}", server.server_name), reason })
    };
    if version(&server.version).is_none_or(|version| version < OLDEST) {
        return refused(format!(
            "it is of version {}, and {}.{} is the oldest that removes expired keys",
            server.version, OLDEST.0, OLDEST.1
        ));
    }
    if !server.jetstream {
        return refused("it runs without JetStream: start it with -js or a jetstream block".to_owned());
    }
    Ok(())
}

/// Major and minor number.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let settings = ConnectionSettings {
            urls: vec!["nats://anna:hidden@host:4222".to_owned()],
            password: Some("hidden".to_owned()),
            token: Some("hidden".to_owned()),
            ..ConnectionSettings::default()
        };
        let shown = format!("{settings:?} {}", settings.servers());
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(shown.contains("host:4222"));
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(version("2.9.10") < Some(OLDEST));
        assert!(version("2.11.0-preview.1") >= Some(OLDEST));
        assert!(version("3.0") >= Some(OLDEST));
        assert_eq!(version("unknown"), None);
    }

    /// A server that says this about itself and is silent afterwards, but for an answer to each ping.
    async fn refusal_of(information: &'static str) -> String {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (reading, mut writing) = stream.split();
            writing.write_all(format!("INFO {information}\r\n").as_bytes()).await.unwrap();
            let mut lines = BufReader::new(reading).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("PING") {
                    writing.write_all(b"PONG\r\n").await.unwrap();
                }
            }
        });
        let settings =
            ConnectionSettings { urls: vec![url], name: "test".to_owned(), ..ConnectionSettings::default() };
        let outcome = settings.connect(Duration::from_secs(20)).await;
        server.abort();
        match outcome {
            Err(reason @ BusError::Refused { .. }) => reason.to_string(),
            outcome => panic!("{outcome:?}"),
        }
    }

    #[tokio::test]
    async fn a_server_that_is_too_old_is_refused_by_its_version() {
        let information = r#"{"server_id":"I","server_name":"old","version":"2.10.29","host":"h","port":1,"headers":true,"jetstream":true,"max_payload":1048576,"proto":1}"#;
        let refusal = refusal_of(information).await;
        assert!(
            refusal.contains("old") && refusal.contains("2.10.29") && refusal.contains("2.11"),
            "{refusal}"
        );
    }

    #[tokio::test]
    async fn a_server_without_jetstream_is_refused_with_what_to_do() {
        let information = r#"{"server_id":"I","server_name":"plain","version":"2.15.1","host":"h","port":1,"headers":true,"max_payload":1048576,"proto":1}"#;
        let refusal = refusal_of(information).await;
        assert!(refusal.contains("plain") && refusal.contains("-js"), "{refusal}");
    }
}
