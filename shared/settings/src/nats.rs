//! `[nats]`: where processes of a cluster meet.

use serde_json::json;

use crate::resolve::Checks;
use crate::secret::Secret;
use crate::written;

/// See the module documentation. `ulex one` needs none of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Nats {
    /// `nats://host:port` or `tls://host:port`, any of them.
    pub urls: Vec<String>,
    /// User; empty if there is none.
    pub user: String,
    /// Password of the user.
    pub password: Secret,
    /// Token, instead of a user.
    pub token: Secret,
    /// File with the seed of an nkey; empty if there is none.
    pub nkey_file: String,
    /// File with credentials (`.creds`); empty if there is none.
    pub credentials_file: String,
    /// File of the authority that the server's certificate is checked against, besides those of the system.
    pub tls_ca: String,
    /// File of the own certificate.
    pub tls_cert: String,
    /// File of the own key.
    pub tls_key: String,
    /// Refuse a connection without TLS.
    pub tls_required: bool,
    /// Copies of streams and buckets, 1 to 5.
    pub replicas: usize,
}

impl Nats {
    pub(crate) fn resolve(written: &written::Nats, checks: &mut Checks<'_>) -> Self {
        let nats = Self {
            urls: checks.texts("nats.urls", &written.urls),
            user: checks.text("nats.user", &written.user),
            password: checks.secret("nats.password", &written.password),
            token: checks.secret("nats.token", &written.token),
            nkey_file: checks.text("nats.nkey_file", &written.nkey_file),
            credentials_file: checks.text("nats.credentials_file", &written.credentials_file),
            tls_ca: checks.text("nats.tls_ca", &written.tls_ca),
            tls_cert: checks.text("nats.tls_cert", &written.tls_cert),
            tls_key: checks.text("nats.tls_key", &written.tls_key),
            tls_required: checks.flag("nats.tls_required", &written.tls_required),
            replicas: checks.integer("nats.replicas", &written.replicas, 1..=5),
        };
        for url in &nats.urls {
            let known = ["nats://", "tls://"]
                .iter()
                .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
            if !known {
                checks.problem("nats.urls", &json!(url), "nats://host:port or tls://host:port");
            }
        }
        if nats.user.is_empty() != nats.password.is_empty() {
            checks.warn("nats.user and nats.password have an effect only together".to_owned());
        }
        if nats.tls_cert.is_empty() != nats.tls_key.is_empty() {
            checks.warn("nats.tls_cert and nats.tls_key have an effect only together".to_owned());
        }
        nats
    }
}

#[cfg(test)]
mod tests {
    use crate::from_toml;

    fn refused(text: &str) -> String {
        from_toml(&format!("[nats]\n{text}")).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, word) in [("urls = ['localhost:4222']", "nats.urls"), ("replicas = 7", "nats.replicas")] {
            assert!(refused(text).contains(word), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn nothing_is_set_by_itself() {
        let nats = from_toml("").unwrap().settings.nats;
        assert!(nats.urls.is_empty());
        assert_eq!(nats.replicas, 1);
        let nats =
            from_toml("[nats]\nurls = ['nats://a:1', 'tls://b:2']\nreplicas = 3").unwrap().settings.nats;
        assert_eq!((nats.urls.len(), nats.replicas), (2, 3));
    }
}
