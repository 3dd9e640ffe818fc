//! Settings that are accepted, because Gorse has them, but whose feature does not exist yet.
//!
//! Only what the user changed is listed, so a copy of the whole sample file lists nothing. A feature that arrives
//! removes its line here.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::given::Given;
use crate::load;
use crate::written::Written;

/// Keys, or sections if they end with a dot, without effect.
const KEYS: [&str; 25] = [
    "database.vector_store",
    "database.vector_table_prefix",
    "database.cache_client_name",
    "database.mysql.",
    "database.postgres.",
    "database.redis.",
    "database.vector.",
    "master.port",
    "master.host",
    "master.ssl_mode",
    "master.ssl_ca",
    "master.ssl_cert",
    "master.ssl_key",
    "master.dashboard_user_name",
    "master.dashboard_password",
    "recommend.external",
    "recommend.collaborative.optimize_period",
    "recommend.collaborative.optimize_trials",
    "recommend.ranker.optimize_period",
    "recommend.ranker.optimize_trials",
    "recommend.ranker.query_template",
    "recommend.ranker.document_template",
    "recommend.ranker.reranker_api.",
    "oidc.",
    "openai.",
];

/// Sections of other places for models, and keys of which only some values have an effect.
const BLOB_SECTIONS: [&str; 3] = ["blob.s3.", "blob.gcs.", "blob.azure."];

/// Schemes of data stores that exist.
const DATA_STORES: [&str; 4] = ["sqlite://", "memory://", "postgres://", "postgresql://"];
/// Schemes of caches that exist.
const CACHE_STORES: [&str; 5] = ["sqlite://", "memory://", "redis", "postgres://", "postgresql://"];

static DEFAULTS: LazyLock<Value> = LazyLock::new(|| json!(load::default_written()));

/// Dotted keys, in alphabetical order.
pub(crate) fn list(written: &Written) -> Vec<String> {
    let tree = json!(written);
    let mut keys: Vec<String> = load::keys()
        .into_iter()
        .filter(|key| KEYS.iter().chain(&BLOB_SECTIONS).any(|pattern| matches(key, pattern)))
        .filter(|key| at(&tree, key) != at(&DEFAULTS, key))
        .filter(|key| !is_empty(at(&tree, key)))
        .collect();
    let store = |given: &Given<String>, known: &[&str]| match given {
        Given::Value(url) => !known.iter().any(|scheme| url.starts_with(scheme)),
        Given::Absent | Given::Wrong(_) => false,
    };
    let by_value = [
        ("database.data_store", store(&written.database.data_store, &DATA_STORES)),
        ("database.cache_store", store(&written.database.cache_store, &CACHE_STORES)),
        ("blob.uri", matches!(&written.blob.uri, Given::Value(uri) if uri.contains("://"))),
        ("tracing.exporter", written.tracing.exporter == Given::Value(String::from("zipkin"))),
        ("recommend.ranker.type", written.recommend.ranker.r#type == Given::Value(String::from("llm"))),
    ];
    keys.extend(by_value.into_iter().filter(|(_, set)| *set).map(|(key, _)| String::from(key)));
    keys.sort();
    keys
}

fn matches(key: &str, pattern: &str) -> bool {
    key == pattern || (pattern.ends_with('.') && key.starts_with(pattern))
}

fn at<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |table, name| table.get(name))
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value == &json!("") || value == &json!([]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_toml;

    fn not_yet(text: &str) -> Vec<String> {
        from_toml(text).unwrap().settings.not_yet
    }

    #[test]
    fn the_sample_file_lists_nothing() {
        assert_eq!(not_yet(""), Vec::<String>::new());
        assert_eq!(not_yet(crate::DEFAULTS), Vec::<String>::new());
    }

    #[test]
    fn every_pattern_matches_a_key() {
        let keys = load::keys();
        for pattern in KEYS.iter().chain(&BLOB_SECTIONS) {
            assert!(keys.iter().any(|key| matches(key, pattern)), "{pattern}");
        }
    }

    #[test]
    fn what_was_changed_and_has_no_effect_is_listed() {
        let text = "
            [database]
            data_store = 'mysql://u:p@tcp(h)/d'
            cache_store = 'redis://h:6379/0'
            vector_store = 'qdrant://h'
            [database.postgres]
            max_open_conns = 64
            max_idle_conns = 3
            [master]
            port = '8086'
            ssl_mode = true
            [[recommend.external]]
            name = 'x'
            script = '[]'
            [recommend.collaborative]
            optimize_period = '1h'
            [recommend.ranker]
            type = 'llm'
            [tracing]
            exporter = 'zipkin'
            [blob]
            uri = 's3://bucket/models'
            s3.endpoint = 'http://h'
        ";
        assert_eq!(
            not_yet(text),
            [
                "blob.s3.endpoint",
                "blob.uri",
                "database.data_store",
                "database.postgres.max_idle_conns",
                "database.vector_store",
                "master.ssl_mode",
                "recommend.collaborative.optimize_period",
                "recommend.external",
                "recommend.ranker.type",
                "tracing.exporter",
            ]
        );
    }

    #[test]
    fn what_has_an_effect_is_not_listed() {
        let text = "
            [database]
            data_store = 'memory://'
            cache_store = 'sqlite://cache.sqlite'
            [master]
            http_port = 1
            admin_api_key = 'k'
            [server]
            api_key = 'k'
            [recommend]
            external = []
            [recommend.replacement]
            enable_replacement = true
            [blob]
            uri = '/var/models'
            [tracing]
            enable_tracing = true
            exporter = 'otlphttp'
            collector_endpoint = 'localhost:4318'
            [quota]
            max_users_count = 5
        ";
        assert_eq!(not_yet(text), Vec::<String>::new());
    }
}
