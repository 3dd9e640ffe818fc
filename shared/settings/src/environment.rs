//! Which environment variable sets which key.
//!
//! Gorse's variables are a fixed list. Ours follow from the key: `recommend.cache_size` is `ULEX_RECOMMEND_CACHE_SIZE`,
//! and win over Gorse's. An empty variable counts as not set.

/// Gorse's variables and the keys they set.
const GORSE: [(&str, &str); 50] = [
    ("GORSE_CACHE_STORE", "database.cache_store"),
    ("GORSE_DATA_STORE", "database.data_store"),
    ("GORSE_VECTOR_STORE", "database.vector_store"),
    ("GORSE_TABLE_PREFIX", "database.table_prefix"),
    ("GORSE_CACHE_TABLE_PREFIX", "database.cache_table_prefix"),
    ("GORSE_DATA_TABLE_PREFIX", "database.data_table_prefix"),
    ("GORSE_VECTOR_TABLE_PREFIX", "database.vector_table_prefix"),
    ("GORSE_CACHE_CLIENT_NAME", "database.cache_client_name"),
    ("GORSE_VECTOR_QUANTIZATION_TYPE", "database.vector.quantization_type"),
    ("GORSE_VECTOR_QUANTIZATION_BITS", "database.vector.quantization_bits"),
    ("GORSE_MASTER_PORT", "master.port"),
    ("GORSE_MASTER_HOST", "master.host"),
    ("GORSE_MASTER_SSL_MODE", "master.ssl_mode"),
    ("GORSE_MASTER_SSL_CA", "master.ssl_ca"),
    ("GORSE_MASTER_SSL_CERT", "master.ssl_cert"),
    ("GORSE_MASTER_SSL_KEY", "master.ssl_key"),
    ("GORSE_MASTER_HTTP_PORT", "master.http_port"),
    ("GORSE_MASTER_HTTP_HOST", "master.http_host"),
    ("GORSE_MASTER_JOBS", "master.n_jobs"),
    ("GORSE_DASHBOARD_USER_NAME", "master.dashboard_user_name"),
    ("GORSE_DASHBOARD_PASSWORD", "master.dashboard_password"),
    ("GORSE_DASHBOARD_REDACTED", "master.dashboard_redacted"),
    ("GORSE_ADMIN_API_KEY", "master.admin_api_key"),
    ("GORSE_SERVER_API_KEY", "server.api_key"),
    ("GORSE_OIDC_ENABLE", "oidc.enable"),
    ("GORSE_OIDC_ISSUER", "oidc.issuer"),
    ("GORSE_OIDC_CLIENT_ID", "oidc.client_id"),
    ("GORSE_OIDC_CLIENT_SECRET", "oidc.client_secret"),
    ("GORSE_OIDC_REDIRECT_URL", "oidc.redirect_url"),
    ("GORSE_BLOB_URI", "blob.uri"),
    ("S3_ENDPOINT", "blob.s3.endpoint"),
    ("S3_ACCESS_KEY_ID", "blob.s3.access_key_id"),
    ("S3_SECRET_ACCESS_KEY", "blob.s3.secret_access_key"),
    ("GCS_CREDENTIALS_FILE", "blob.gcs.credentials_file"),
    ("AZURE_STORAGE_ENDPOINT", "blob.azure.endpoint"),
    ("AZURE_STORAGE_ACCOUNT_NAME", "blob.azure.account_name"),
    ("AZURE_STORAGE_ACCOUNT_KEY", "blob.azure.account_key"),
    ("AZURE_STORAGE_CONNECTION_STRING", "blob.azure.connection_string"),
    ("OPENAI_BASE_URL", "openai.base_url"),
    ("OPENAI_AUTH_TOKEN", "openai.auth_token"),
    ("OPENAI_CHAT_COMPLETION_MODEL", "openai.chat_completion_model"),
    ("RERANKER_URL", "recommend.ranker.reranker_api.url"),
    ("RERANKER_MODEL", "recommend.ranker.reranker_api.model"),
    ("RERANKER_AUTH_TOKEN", "recommend.ranker.reranker_api.auth_token"),
    ("GORSE_QUOTA_MAX_USERS_COUNT", "quota.max_users_count"),
    ("GORSE_QUOTA_MAX_ITEMS_COUNT", "quota.max_items_count"),
    ("GORSE_QUOTA_MAX_LABELS_SIZE", "quota.max_labels_size"),
    ("GORSE_QUOTA_MAX_COMMENT_SIZE", "quota.max_comment_size"),
    ("GORSE_QUOTA_MAX_CATEGORIES_COUNT", "quota.max_categories_count"),
    ("GORSE_QUOTA_MAX_CATEGORIES_SIZE", "quota.max_categories_size"),
];

/// Variables that begin like ours and are no settings, but for tests and for scripts that start servers.
const NOT_SETTINGS: [&str; 7] = [
    "ULEX_BIN",
    "ULEX_CONFORMANCE_DIR",
    "ULEX_DATA_DIR",
    "ULEX_IMAGE",
    "ULEX_LOG",
    "ULEX_TOOLS_DIR",
    "ULEX_VERSION",
];
const NOT_SETTINGS_BEGIN: [&str; 3] = ["ULEX_LOCAL_", "ULEX_SERVERS_", "ULEX_TEST_"];

fn is_no_setting(variable: &str) -> bool {
    NOT_SETTINGS.contains(&variable) || NOT_SETTINGS_BEGIN.iter().any(|begin| variable.starts_with(begin))
}

/// One variable that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name of the variable.
    pub variable: String,
    /// The dotted key.
    pub key: String,
    /// The text, not empty.
    pub value: String,
}

/// What an environment says: settings from weak to strong, and our variables that set nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Later ones win.
    pub settings: Vec<Setting>,
    /// Names that begin with `ULEX_` and belong to no key: most likely misspelt.
    pub unknown: Vec<String>,
}

/// `recommend.item-to-item` is `ULEX_RECOMMEND_ITEM_TO_ITEM`.
#[must_use]
pub fn variable_of(key: &str) -> String {
    format!("ULEX_{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
}

/// Sorts the variables that concern us out of an environment. `keys` are all keys there are.
pub fn read(variables: impl IntoIterator<Item = (String, String)>, keys: &[&str]) -> Environment {
    let mut environment = Environment::default();
    let mut ours = Vec::new();
    for (variable, value) in variables.into_iter().filter(|(_, value)| !value.is_empty()) {
        if variable.starts_with("ULEX_") {
            match keys.iter().find(|key| variable_of(key) == variable) {
                Some(key) => ours.push(Setting { variable, key: String::from(*key), value }),
                None if is_no_setting(&variable) => {}
                None => environment.unknown.push(variable),
            }
        } else if let Some((_, key)) = GORSE.iter().find(|(name, _)| *name == variable) {
            environment.settings.push(Setting { variable, key: String::from(*key), value });
        }
    }
    environment.settings.append(&mut ours);
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (String::from(name), String::from(value))
    }

    #[test]
    fn ours_come_last_and_unknown_ones_are_named() {
        let variables = [
            pair("ULEX_MASTER_PORT", "2"),
            pair("GORSE_MASTER_PORT", "1"),
            pair("ULEX_SERVER_API_KEY", ""),
            pair("ULEX_LOG", "debug"),
            pair("ULEX_DATA_DIR", "data"),
            pair("ULEX_LOCAL_DIR", "/tmp/cluster"),
            pair("ULEX_MASTER_PROT", "3"),
            pair("HOME", "/root"),
        ];
        let environment = read(variables, &["master.port", "server.api_key"]);
        let order: Vec<&str> = environment.settings.iter().map(|setting| setting.variable.as_str()).collect();
        assert_eq!(order, ["GORSE_MASTER_PORT", "ULEX_MASTER_PORT"]);
        assert_eq!(environment.unknown, ["ULEX_MASTER_PROT"]);
    }

    #[test]
    fn every_variable_of_gorse_sets_a_key_that_exists() {
        let keys = crate::load::keys();
        for (variable, key) in GORSE {
            assert!(keys.contains(key), "{variable} sets {key}");
        }
    }

    #[test]
    fn no_two_keys_share_a_variable() {
        let keys = crate::load::keys();
        let variables: std::collections::BTreeSet<String> = keys.iter().map(|key| variable_of(key)).collect();
        assert_eq!(variables.len(), keys.len());
    }
}
