//! The connection to NATS that the settings describe.

use std::path::PathBuf;

use ulex_nats::ConnectionSettings;
use ulex_settings::Nats;

/// As whom and where `name`, a process, connects.
#[must_use]
pub fn connection_settings(settings: &Nats, name: String) -> ConnectionSettings {
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let path = |value: &str| (!value.is_empty()).then(|| PathBuf::from(value));
    ConnectionSettings {
        urls: settings.urls.clone(),
        name,
        user: text(&settings.user),
        password: text(settings.password.expose()),
        token: text(settings.token.expose()),
        nkey_file: path(&settings.nkey_file),
        credentials_file: path(&settings.credentials_file),
        ca_file: path(&settings.tls_ca),
        certificate_file: path(&settings.tls_cert),
        key_file: path(&settings.tls_key),
        require_tls: settings.tls_required,
        replicas: settings.replicas,
    }
}
