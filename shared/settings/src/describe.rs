//! Settings as JSON for people and dashboards: the keys of the file, every default filled in, secrets masked.
//!
//! The sections that Gorse has come in the shape of its `GET /api/dashboard/config`: durations as compact text, feedback
//! types as text, lists never `null`. Read back with [`crate::from_json`] it gives the same settings, except for
//! secrets, which come back as the mask.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::duration::GoDuration;
use crate::recommend::{Collaborative, Ranker, Recommend};
use crate::resolve::{Keyword, as_days};
use crate::{Blob, Database, Master, Nats, OpenAi, Quota, Settings};

/// See the module documentation. `data_dir` is where stores are that no setting places elsewhere.
#[must_use]
pub fn describe(settings: &Settings, data_dir: &Path) -> Value {
    let Settings { server, training, serving, ingest, nats, compat, log, tracing, oidc, .. } = settings;
    json!({
        "database": database(&settings.database, &settings.data_store_url(data_dir)),
        "master": master(&settings.master),
        "server": {
            "api_key": server.api_key.to_string(),
            "default_n": server.default_n,
            "clock_error": go(server.clock_error),
            "auto_insert_user": server.auto_insert_user,
            "auto_insert_item": server.auto_insert_item,
            "cache_expire": go(server.cache_expire),
        },
        "recommend": recommend(&settings.recommend),
        "training": {
            "quiet": go(training.quiet),
            "first_fit_within": go(training.first_fit_within),
            "growth": training.growth,
            "keep": training.keep,
            "seed": training.seed,
            "gate": training.gate,
        },
        "serving": {
            "cached_lists": serving.cached_lists,
            "cache_bytes": serving.cache_bytes,
            "request_timeout": go(serving.request_timeout),
            "max_body": serving.max_body,
            "degrade": serving.degrade,
        },
        "nats": nats_of(nats),
        "ingest": { "batch_rows": ingest.batch_rows, "queue": ingest.queue },
        "compat": { "not_found_style": compat.not_found_style.word() },
        "log": { "level": log.level.word(), "format": log.format.word() },
        "tracing": {
            "enable_tracing": tracing.enable,
            "exporter": tracing.exporter.word(),
            "collector_endpoint": tracing.collector_endpoint,
            "sampler": tracing.sampler.word(),
            "ratio": tracing.ratio,
        },
        "oidc": {
            "enable": oidc.enable,
            "issuer": oidc.issuer,
            "client_id": oidc.client_id,
            "client_secret": oidc.client_secret.to_string(),
            "redirect_url": oidc.redirect_url,
        },
        "openai": openai(&settings.openai),
        "blob": blob(&settings.blob, &settings.blob_uri(data_dir)),
        "quota": quota(&settings.quota),
    })
}

fn go(duration: Duration) -> GoDuration {
    GoDuration::from_std(duration)
}

fn database(database: &Database, data_store: &str) -> Value {
    json!({
        "data_store": crate::secret::mask_url(data_store),
        "cache_store": database.cache_store.to_string(),
        "vector_store": database.vector_store.as_ref().map_or(String::new(), ToString::to_string),
        "table_prefix": database.table_prefix,
        "data_table_prefix": database.data_table_prefix,
        "cache_table_prefix": database.cache_table_prefix,
        "vector_table_prefix": database.vector_table_prefix,
        "cache_client_name": database.cache_client_name,
        "mysql": {
            "isolation_level": database.mysql.isolation_level.word(),
            "max_open_conns": database.mysql.connections.max_open,
            "max_idle_conns": database.mysql.connections.max_idle,
            "conn_max_lifetime": go(database.mysql.connections.max_lifetime),
        },
        "postgres": {
            "max_open_conns": database.postgres.max_open,
            "max_idle_conns": database.postgres.max_idle,
            "conn_max_lifetime": go(database.postgres.max_lifetime),
        },
        "redis": { "max_search_results": database.redis_max_search_results },
        "vector": {
            "quantization_type": database.quantization.word(),
            "quantization_bits": database.quantization_bits,
        },
    })
}

fn master(master: &Master) -> Value {
    let login = master.login.as_ref();
    json!({
        "port": master.port,
        "host": master.host,
        "ssl_mode": master.ssl.mode,
        "ssl_ca": master.ssl.ca,
        "ssl_cert": master.ssl.cert,
        "ssl_key": master.ssl.key,
        "http_port": master.http_port,
        "http_host": master.http_host,
        "http_cors_domains": master.http_cors_domains,
        "http_cors_methods": master.http_cors_methods,
        "n_jobs": master.n_jobs,
        "meta_timeout": go(master.meta_timeout),
        "dashboard_user_name": login.map_or("", |login| login.user_name.as_str()),
        "dashboard_password": login.map_or(String::new(), |login| login.password.to_string()),
        "dashboard_redacted": master.dashboard_redacted,
        "admin_api_key": master.admin_api_key.to_string(),
    })
}

/// The section `recommend`, also the basis of [`crate::lists_digest`].
pub(crate) fn recommend(recommend: &Recommend) -> Value {
    let source = &recommend.data_source;
    json!({
        "cache_size": recommend.cache_size,
        "cache_expire": go(recommend.cache_expire),
        "context_size": recommend.context_size,
        "active_user_ttl": as_days(recommend.active_user_ttl),
        "data_source": {
            "positive_feedback_types": texts(&source.positive_feedback_types),
            "negative_feedback_types": texts(&source.negative_feedback_types),
            "read_feedback_types": texts(&source.read_feedback_types),
            "positive_feedback_ttl": as_days(source.positive_feedback_ttl),
            "item_ttl": as_days(source.item_ttl),
        },
        "search": { "columns": recommend.search_columns },
        "non-personalized": recommend.non_personalized.iter().map(|list| {
            json!({ "name": list.name, "score": list.score, "filter": list.filter.as_deref().unwrap_or("") })
        }).collect::<Value>(),
        "item-to-item": recommend.item_to_item.iter().map(|list| {
            json!({ "name": list.name, "type": list.kind.word(), "column": list.column.as_deref().unwrap_or("") })
        }).collect::<Value>(),
        "user-to-user": recommend.user_to_user.iter().map(|list| {
            json!({ "name": list.name, "type": list.kind.word(), "column": list.column.as_deref().unwrap_or("") })
        }).collect::<Value>(),
        "external": recommend.external.iter().map(|list| {
            json!({ "name": list.name, "script": list.script })
        }).collect::<Value>(),
        "collaborative": collaborative(&recommend.collaborative),
        "replacement": {
            "enable_replacement": recommend.replacement.enable,
            "positive_replacement_decay": recommend.replacement.positive_decay,
            "read_replacement_decay": recommend.replacement.read_decay,
        },
        "ranker": ranker(&recommend.ranker),
        "fallback": { "recommenders": texts(&recommend.fallback_recommenders) },
    })
}

/// [`recommend`] with its secret, to be laid under other values and never to be shown.
pub(crate) fn written(recommend: &Recommend) -> Value {
    let mut tree = self::recommend(recommend);
    tree["ranker"]["reranker_api"]["auth_token"] = json!(recommend.ranker.reranker_api.auth_token.expose());
    tree
}

/// [`written`] without the lists that follow from other keys, so that they follow from what is laid over those.
pub(crate) fn given(recommend: &Recommend) -> Value {
    let mut tree = written(recommend);
    if recommend.ranker.recommenders == recommend.ranked_by_default() {
        tree["ranker"]["recommenders"] = Value::Null;
    }
    if recommend.fallback_recommenders == recommend.fallback_by_default() {
        tree["fallback"]["recommenders"] = Value::Null;
    }
    tree
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn collaborative(collaborative: &Collaborative) -> Value {
    json!({
        "type": collaborative.kind.word(),
        "fit_period": go(collaborative.fit_period),
        "fit_epoch": collaborative.fit_epoch,
        "optimize_period": go(collaborative.optimize_period),
        "optimize_trials": collaborative.optimize_trials,
        "early_stopping": { "patience": collaborative.early_stopping_patience.unwrap_or(0) },
    })
}

fn ranker(ranker: &Ranker) -> Value {
    json!({
        "type": ranker.kind.word(),
        "recommenders": texts(&ranker.recommenders),
        "cache_expire": go(ranker.cache_expire),
        "fit_period": go(ranker.fit_period),
        "fit_epoch": ranker.fit_epoch,
        "optimize_period": go(ranker.optimize_period),
        "optimize_trials": ranker.optimize_trials,
        "query_template": ranker.query_template,
        "document_template": ranker.document_template,
        "early_stopping": { "patience": ranker.early_stopping_patience.unwrap_or(0) },
        "reranker_api": {
            "url": ranker.reranker_api.url,
            "model": ranker.reranker_api.model,
            "auth_token": ranker.reranker_api.auth_token.to_string(),
        },
    })
}

fn openai(openai: &OpenAi) -> Value {
    json!({
        "base_url": openai.base_url,
        "auth_token": openai.auth_token.to_string(),
        "chat_completion_model": openai.chat_completion.model,
        "chat_completion_rpm": openai.chat_completion.requests_per_minute.unwrap_or(0),
        "chat_completion_tpm": openai.chat_completion.tokens_per_minute.unwrap_or(0),
        "embedding_model": openai.embedding.model,
        "embedding_dimensions": openai.embedding.dimensions,
        "embedding_rpm": openai.embedding.requests_per_minute.unwrap_or(0),
        "embedding_tpm": openai.embedding.tokens_per_minute.unwrap_or(0),
        "log_file": openai.log_file,
    })
}

fn blob(blob: &Blob, uri: &str) -> Value {
    json!({
        "uri": uri,
        "s3": {
            "endpoint": blob.s3.endpoint,
            "access_key_id": blob.s3.access_key_id,
            "secret_access_key": blob.s3.secret_access_key.to_string(),
        },
        "gcs": { "credentials_file": blob.gcs.credentials_file },
        "azure": {
            "endpoint": blob.azure.endpoint,
            "account_name": blob.azure.account_name,
            "account_key": blob.azure.account_key.to_string(),
            "connection_string": blob.azure.connection_string.to_string(),
        },
    })
}

fn quota(quota: &Quota) -> Value {
    json!({
        "max_users_count": quota.max_users_count.unwrap_or(0),
        "max_items_count": quota.max_items_count.unwrap_or(0),
        "max_labels_size": quota.max_labels_size.unwrap_or(0),
        "max_comment_size": quota.max_comment_size.unwrap_or(0),
        "max_categories_count": quota.max_categories_count.unwrap_or(0),
        "max_categories_size": quota.max_categories_size.unwrap_or(0),
    })
}

fn nats_of(nats: &Nats) -> Value {
    json!({
        "urls": nats.urls.iter().map(|url| without_user(url)).collect::<Vec<_>>(),
        "user": nats.user,
        "password": nats.password.to_string(),
        "token": nats.token.to_string(),
        "nkey_file": nats.nkey_file,
        "credentials_file": nats.credentials_file,
        "tls_ca": nats.tls_ca,
        "tls_cert": nats.tls_cert,
        "tls_key": nats.tls_key,
        "tls_required": nats.tls_required,
        "replicas": nats.replicas,
    })
}

/// A URL without the secrets that may stand before the host.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests;
