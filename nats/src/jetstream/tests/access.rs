//! Who is let in: user, token, nkey, TLS with a certificate of the client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::private_server::PrivateServer;
use super::*;
use crate::conformance::Place;
use crate::transport::Retention;

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects and appends, so that the settings are good for more than a greeting.
async fn works(settings: &ConnectionSettings) {
    let bus = JetStream::connect(settings, PATIENCE).await.unwrap();
    let place = Place::new(Arc::new(bus));
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    place.append(&[("a", "1")]).await;
    place.bus.close().await;
}

/// Connects in vain; what is said about it.
async fn refusal(settings: &ConnectionSettings, patience: Duration) -> BusError {
    match JetStream::connect(settings, patience).await {
        Ok(_) => panic!("let in"),
        Err(reason) => reason,
    }
}

/// A certificate authority, a server certificate for 127.0.0.1 and one of a client.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/servers/certificates.sh");
        assert!(Command::new(script).arg(folder.path()).status().unwrap().success());
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// The configuration of every server of ours, and more.
fn configured(folder: &Path, more: &str) -> PathBuf {
    let file = folder.join("nats.conf");
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/server.conf");
    fs::write(&file, format!("{}\n{more}\n", fs::read_to_string(ours).unwrap())).unwrap();
    file
}

mod on_nats {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn a_user_is_let_in_by_the_password_only() {
        let server = PrivateServer::start_with(&["--user", "anna", "--pass", "open-sesame"]);
        let user = |password: &str| ConnectionSettings {
            user: Some("anna".to_owned()),
            password: Some(password.to_owned()),
            ..server.settings()
        };
        works(&user("open-sesame")).await;
        for settings in [user("wrong-word"), server.settings()] {
            let reason = refusal(&settings, Duration::MAX).await;
            assert!(matches!(reason, BusError::Refused { .. }), "{reason:?}");
            assert!(!format!("{reason} {reason:?} {settings:?}").contains("wrong-word"));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn a_token_lets_in() {
        let server = PrivateServer::start_with(&["--auth", "secret-token"]);
        let token = |text: &str| ConnectionSettings { token: Some(text.to_owned()), ..server.settings() };
        works(&token("secret-token")).await;
        let reason = refusal(&token("wrong-token"), Duration::MAX).await;
        assert!(matches!(reason, BusError::Refused { .. }), "{reason:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn the_seed_of_an_nkey_lets_in() {
        let folder = tempfile::tempdir().unwrap();
        let pair = nkeys::KeyPair::new_user();
        let known = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", pair.public_key());
        let configuration = configured(folder.path(), &known);
        let server = PrivateServer::start_with(&["--config", &configuration.display().to_string()]);
        let with = |name: &str, pair: &nkeys::KeyPair| {
            let file = folder.path().join(name);
            fs::write(&file, format!("{}\n", pair.seed().unwrap())).unwrap();
            ConnectionSettings { nkey_file: Some(file), ..server.settings() }
        };
        works(&with("known", &pair)).await;
        let reason = refusal(&with("stranger", &nkeys::KeyPair::new_user()), Duration::MAX).await;
        assert!(matches!(reason, BusError::Refused { .. }), "{reason:?}");
        let absent = ConnectionSettings { nkey_file: Some(folder.path().join("no")), ..server.settings() };
        let reason = refusal(&absent, Duration::MAX).await;
        assert!(matches!(reason, BusError::Refused { .. }), "{reason:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn with_tls_both_sides_show_who_they_are() {
        let certificates = Certificates::make();
        let (certificate, key, authority) =
            (certificates.text("server.pem"), certificates.text("server.key"), certificates.text("ca.pem"));
        let server = PrivateServer::start_with(&[
            "--tlsverify",
            "--tlscert",
            &certificate,
            "--tlskey",
            &key,
            "--tlscacert",
            &authority,
        ]);
        let ours = ConnectionSettings {
            urls: vec![server.url().replace("nats://", "tls://")],
            ca_file: Some(certificates.path("ca.pem")),
            certificate_file: Some(certificates.path("client.pem")),
            key_file: Some(certificates.path("client.key")),
            require_tls: true,
            ..server.settings()
        };
        works(&ours).await;
        let unknown_server = ConnectionSettings { ca_file: None, ..ours.clone() };
        let unknown_client = ConnectionSettings { certificate_file: None, key_file: None, ..ours.clone() };
        for settings in [unknown_server, unknown_client] {
            let reason = refusal(&settings, Duration::from_secs(1)).await;
            assert!(matches!(reason, BusError::Transport { .. } | BusError::Refused { .. }), "{reason:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn a_connection_that_must_have_tls_does_not_do_without() {
        let server = PrivateServer::start();
        let settings = ConnectionSettings { require_tls: true, ..server.settings() };
        let reason = refusal(&settings, Duration::from_secs(1)).await;
        assert!(matches!(reason, BusError::Transport { .. } | BusError::Refused { .. }), "{reason:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn opening_leaves_a_definition_as_it_is() {
        let server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
        let before = place.bus.stream_state(&place.name("STREAM")).await.unwrap();
        place.bus.ensure_stream(&place.stream_spec(Retention::WorkQueue)).await.unwrap();
        assert_eq!(place.bus.stream_state(&place.name("STREAM")).await.unwrap(), before);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn ten_processes_can_define_everything_at_once() {
        let server = PrivateServer::start();
        let starting = (0..10).map(|_| async {
            let transport: Arc<dyn Transport> = Arc::new(server.connect().await);
            let bus = crate::Bus::new(transport, ulex_domain::TenantId::default());
            crate::topology::ensure_topology(&bus, Duration::from_secs(10)).await.unwrap();
        });
        futures_util::future::join_all(starting).await;
    }
}
