//! The configuration file as it is written: exactly its keys, nothing checked, nothing filled in.
//!
//! The meaning of every key stands in `defaults.toml`. Every key may be absent and may have a value of the wrong type
//! (see [`Given`]); [`crate::resolve`] turns this into [`crate::Settings`] or says what is wrong. Keys are in lower
//! case here, which the loader has seen to.

use serde::{Deserialize, Serialize};

use crate::byte_size::ByteSize;
use crate::duration::GoDuration;
use crate::given::Given;

mod recommend;

pub use recommend::*;

/// A whole configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    pub database: Database,
    pub master: Master,
    pub server: Server,
    pub recommend: Recommend,
    pub training: Training,
    pub serving: Serving,
    pub ingest: Ingest,
    pub nats: Nats,
    pub compat: Compat,
    pub log: Log,
    pub tracing: Tracing,
    pub oidc: Oidc,
    pub openai: OpenAi,
    pub blob: Blob,
    pub quota: Quota,
}

/// `[database]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Database {
    pub data_store: Given<String>,
    pub cache_store: Given<String>,
    pub vector_store: Given<String>,
    pub table_prefix: Given<String>,
    pub data_table_prefix: Given<String>,
    pub cache_table_prefix: Given<String>,
    pub vector_table_prefix: Given<String>,
    pub cache_client_name: Given<String>,
    pub mysql: Mysql,
    pub postgres: Postgres,
    pub redis: Redis,
    pub vector: Vector,
}

/// `[database.mysql]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mysql {
    pub isolation_level: Given<String>,
    pub max_open_conns: Given<i64>,
    pub max_idle_conns: Given<i64>,
    pub conn_max_lifetime: Given<GoDuration>,
}

/// `[database.postgres]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Postgres {
    pub max_open_conns: Given<i64>,
    pub max_idle_conns: Given<i64>,
    pub conn_max_lifetime: Given<GoDuration>,
}

/// `[database.redis]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redis {
    pub max_search_results: Given<i64>,
}

/// `[database.vector]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vector {
    pub quantization_type: Given<String>,
    pub quantization_bits: Given<i64>,
}

/// `[master]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Master {
    pub port: Given<i64>,
    pub host: Given<String>,
    pub ssl_mode: Given<bool>,
    pub ssl_ca: Given<String>,
    pub ssl_cert: Given<String>,
    pub ssl_key: Given<String>,
    pub http_port: Given<i64>,
    pub http_host: Given<String>,
    pub http_cors_domains: Given<Vec<String>>,
    pub http_cors_methods: Given<Vec<String>>,
    pub n_jobs: Given<i64>,
    pub meta_timeout: Given<GoDuration>,
    pub dashboard_user_name: Given<String>,
    pub dashboard_password: Given<String>,
    pub dashboard_redacted: Given<bool>,
    pub admin_api_key: Given<String>,
}

/// `[server]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    pub api_key: Given<String>,
    pub default_n: Given<i64>,
    pub clock_error: Given<GoDuration>,
    pub auto_insert_user: Given<bool>,
    pub auto_insert_item: Given<bool>,
    pub cache_expire: Given<GoDuration>,
}

/// `[training]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Training {
    pub quiet: Given<GoDuration>,
    pub first_fit_within: Given<GoDuration>,
    pub growth: Given<f64>,
    pub keep: Given<i64>,
    pub seed: Given<i64>,
    pub gate: Given<bool>,
}

/// `[serving]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Serving {
    pub cached_lists: Given<bool>,
    pub cache_bytes: Given<ByteSize>,
    pub request_timeout: Given<GoDuration>,
    pub max_body: Given<ByteSize>,
    pub degrade: Given<bool>,
}

/// `[nats]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nats {
    pub urls: Given<Vec<String>>,
    pub user: Given<String>,
    pub password: Given<String>,
    pub token: Given<String>,
    pub nkey_file: Given<String>,
    pub credentials_file: Given<String>,
    pub tls_ca: Given<String>,
    pub tls_cert: Given<String>,
    pub tls_key: Given<String>,
    pub tls_required: Given<bool>,
    pub replicas: Given<i64>,
}

/// `[ingest]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingest {
    pub batch_rows: Given<i64>,
    pub queue: Given<i64>,
}

/// `[compat]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compat {
    pub not_found_style: Given<String>,
}

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    pub level: Given<String>,
    pub format: Given<String>,
}

/// `[tracing]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tracing {
    pub enable_tracing: Given<bool>,
    pub exporter: Given<String>,
    pub collector_endpoint: Given<String>,
    pub sampler: Given<String>,
    pub ratio: Given<f64>,
}

/// `[oidc]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Oidc {
    pub enable: Given<bool>,
    pub issuer: Given<String>,
    pub client_id: Given<String>,
    pub client_secret: Given<String>,
    pub redirect_url: Given<String>,
}

/// `[openai]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenAi {
    pub base_url: Given<String>,
    pub auth_token: Given<String>,
    pub chat_completion_model: Given<String>,
    pub chat_completion_rpm: Given<i64>,
    pub chat_completion_tpm: Given<i64>,
    pub embedding_model: Given<String>,
    pub embedding_dimensions: Given<i64>,
    pub embedding_rpm: Given<i64>,
    pub embedding_tpm: Given<i64>,
    pub log_file: Given<String>,
}

/// `[blob]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blob {
    pub uri: Given<String>,
    pub s3: S3,
    pub gcs: Gcs,
    pub azure: Azure,
}

/// `[blob.s3]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct S3 {
    pub endpoint: Given<String>,
    pub access_key_id: Given<String>,
    pub secret_access_key: Given<String>,
}

/// `[blob.gcs]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gcs {
    pub credentials_file: Given<String>,
}

/// `[blob.azure]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Azure {
    pub endpoint: Given<String>,
    pub account_name: Given<String>,
    pub account_key: Given<String>,
    pub connection_string: Given<String>,
}

/// `[quota]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    pub max_users_count: Given<i64>,
    pub max_items_count: Given<i64>,
    pub max_labels_size: Given<i64>,
    pub max_comment_size: Given<i64>,
    pub max_categories_count: Given<i64>,
    pub max_categories_size: Given<i64>,
}
