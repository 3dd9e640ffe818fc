//! Connections: where, with which protection, and on which runtime they are driven.
//!
//! A connection is a task that somebody's runtime must drive. It is the runtime that opened the store, never the one of
//! whichever actor happens to ask first: an actor's thread that is busy would hold up everybody's queries.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use crate::address::Address;

/// Connections of one process unless the URL says `pool_size`.
const CONNECTIONS: usize = 16;
/// How long a call waits for a connection, and a connection for the server.
const WAIT: Duration = Duration::from_secs(5);

/// How the server proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Not at all: the connection may be encrypted, but to anybody.
    Anybody,
    /// By a certificate of a known authority, of whatever name.
    Authority,
    /// By a certificate of a known authority for this host.
    Host,
}

/// Opens a pool for a URL. Options of ours: `pool_size`, `sslmode` (also `verify-ca` and `verify-full`), `sslrootcert`.
///
/// # Errors
///
/// [`PostgresError::Url`] or [`PostgresError::Tls`] if the URL cannot be used; nothing is connected yet.
pub(crate) fn open(url: &str) -> Result<Pool, PostgresError> {
    let address = Address::parse(url);
    let (mut size, mut mode, mut authority, mut rest) = (CONNECTIONS, "prefer", None, Vec::new());
    for (name, value) in address.options() {
        match name {
            "pool_size" => {
                let wrong = || PostgresError::Url(format!("pool_size={value} is not a number from 1"));
                size = value.parse().ok().filter(|size| *size > 0).ok_or_else(wrong)?;
            }
            "sslmode" => mode = value,
            "sslrootcert" => authority = Some(value),
            _ => rest.push(format!("{name}={value}")),
        }
    }
    let plain = format!("postgres://{}?{}", address.location, rest.join("&"));
    let mut config: Config = plain.parse().map_err(|reason: tokio_postgres::Error| {
        PostgresError::Url(match std::error::Error::source(&reason) {
            Some(source) => format!("{reason}: {source}"),
            None => reason.to_string(),
        })
    })?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(WAIT);
    }
    if config.get_application_name().is_none() {
        config.application_name("ulex");
    }
    config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(20));
    let (ssl_mode, trust) = match mode {
        "disable" => (SslMode::Disable, None),
        "prefer" | "allow" => (SslMode::Prefer, Some(Trust::Anybody)),
        "require" => (SslMode::Require, Some(Trust::Anybody)),
        "verify-ca" => (SslMode::Require, Some(Trust::Authority)),
        "verify-full" => (SslMode::Require, Some(Trust::Host)),
        other => {
            return Err(PostgresError::Url(format!(
                "sslmode={other} is none of disable, allow, prefer, require, verify-ca, verify-full"
            )));
        }
    };
    config.ssl_mode(ssl_mode);
    let tls = trust.map(|trust| tls(trust, authority)).transpose()?;
    let connect = OnHandle { handle: Handle::current(), tls };
    let manager =
        Manager::from_connect(config, connect, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT))
        .create_timeout(Some(WAIT))
        .recycle_timeout(Some(WAIT))
        .build()
        .map_err(|reason| PostgresError::Url(reason.to_string()))
}

fn tls(trust: Trust, authority: Option<&str>) -> Result<MakeRustlsConnect, PostgresError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let failed = |reason: String| PostgresError::Tls(reason);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|reason| failed(reason.to_string()))?;
    if trust == Trust::Anybody {
        let verifier = Arc::new(AnyServer(provider));
        let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        return Ok(MakeRustlsConnect::new(config));
    }
    let mut roots = RootCertStore::empty();
    match authority {
        Some(path) => {
            let read = CertificateDer::pem_file_iter(path).map_err(|e| failed(format!("{path}: {e}")))?;
            for certificate in read {
                let certificate = certificate.map_err(|reason| failed(format!("{path}: {reason}")))?;
                roots.add(certificate).map_err(|reason| failed(format!("{path}: {reason}")))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if trust == Trust::Host {
        return Ok(MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth()));
    }
    let inner = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|reason| failed(reason.to_string()))?;
    let verifier = Arc::new(AnyName(inner));
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Connects, and drives the connection on a runtime of its own choice.
struct OnHandle {
    handle: Handle,
    tls: Option<MakeRustlsConnect>,
}

impl Connect for OnHandle {
    fn connect(
        &self,
        config: &Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let (config, tls, handle) = (config.clone(), self.tls.clone(), self.handle.clone());
        Box::pin(async move {
            let driving = handle.clone();
            let connecting = handle.spawn(async move {
                match tls {
                    Some(tls) => {
                        let (client, connection) = config.connect(tls).await?;
                        Ok((client, driving.spawn(drive(connection))))
                    }
                    None => {
                        let (client, connection) = config.connect(NoTls).await?;
                        Ok((client, driving.spawn(drive(connection))))
                    }
                }
            });
            match connecting.await {
                Ok(connected) => connected,
                // The runtime is going down.
                Err(_cancelled) => std::future::pending().await,
            }
        })
    }
}

async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(reason) = connection.await {
        tracing::debug!(%reason, "a connection to PostgreSQL ended");
    }
}

/// Accepts every certificate, as `sslmode=require` does.
#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts a certificate of a known authority whatever its name, as `sslmode=verify-ca` does.
#[derive(Debug)]
struct AnyName(Arc<rustls::client::WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        match self.0.verify_server_cert(certificate, chain, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_url_says_wrongly_is_named() {
        for (url, word) in [
            ("postgres://localhost/db?sslmode=maybe", "sslmode=maybe"),
            ("postgres://localhost/db?pool_size=0", "pool_size=0"),
            ("postgres://localhost:port/db", "port"),
            ("postgres://localhost/db?sslmode=verify-full&sslrootcert=/nowhere", "/nowhere"),
        ] {
            let error = open(url).expect_err("it must be refused").to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn usual_urls_are_understood() {
        for url in [
            "postgres://user:pass@localhost:5432/db?sslmode=disable",
            "postgresql://localhost/db?sslmode=verify-full",
            "postgres://localhost/db?application_name=mine&pool_size=3",
        ] {
            open(url).unwrap();
        }
    }
}
