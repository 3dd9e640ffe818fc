//! `[database]`: where users, items, feedback, lists and vectors are kept.
//!
//! An address is checked for a known scheme only; whether this program was built with that backend is known to the
//! storage layer, which refuses the others by name.

use std::time::Duration;

use serde_json::json;

use crate::given::Given;
use crate::resolve::{Checks, Keyword};
use crate::secret::{StoreUrl, mask_url};
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// None: a file in the data directory, see [`crate::Settings::data_store_url`].
    pub data_store: Option<StoreUrl>,
    /// Finished recommendation lists.
    pub cache_store: StoreUrl,
    /// None: vectors are searched inside the process.
    pub vector_store: Option<StoreUrl>,
    /// What the two prefixes below inherit.
    pub table_prefix: String,
    /// Before every name in the data store; inherited already.
    pub data_table_prefix: String,
    /// Before every name in the cache store; inherited already.
    pub cache_table_prefix: String,
    /// Before every name in the vector store; not inherited.
    pub vector_table_prefix: String,
    /// How connections call themselves in Redis.
    pub cache_client_name: String,
    /// MySQL.
    pub mysql: Mysql,
    /// PostgreSQL.
    pub postgres: Connections,
    /// Page size of Redis searches.
    pub redis_max_search_results: usize,
    /// How vectors are stored.
    pub quantization: Quantization,
    /// 0: what the vector store thinks best.
    pub quantization_bits: u32,
}

/// `[database.mysql]`
#[derive(Clone, Debug, PartialEq)]
pub struct Mysql {
    /// Of every transaction.
    pub isolation_level: IsolationLevel,
    /// Limits of the pool.
    pub connections: Connections,
}

/// Limits of a connection pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// 0: the driver's default.
    pub max_open: u32,
    /// 0: the driver's default.
    pub max_idle: u32,
    /// Zero: a connection is never too old.
    pub max_lifetime: Duration,
}

/// What a transaction sees of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Gorse's default.
    ReadUncommitted,
    /// Only what is committed.
    ReadCommitted,
    /// One snapshot per transaction.
    RepeatableRead,
    /// As if alone.
    Serializable,
}

impl Keyword for IsolationLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("READ-UNCOMMITTED", Self::ReadUncommitted),
        ("READ-COMMITTED", Self::ReadCommitted),
        ("REPEATABLE-READ", Self::RepeatableRead),
        ("SERIALIZABLE", Self::Serializable),
    ];
}

/// How vectors are made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// Not at all.
    None,
    /// Each number by itself.
    Scalar,
    /// Groups of numbers by a codebook.
    Product,
    /// Residuals by several codebooks.
    Residual,
}

impl Keyword for Quantization {
    const WORDS: &'static [(&'static str, Self)] =
        &[("", Self::None), ("sq", Self::Scalar), ("pq", Self::Product), ("rq", Self::Residual)];
}

const DATA_SCHEMES: [&str; 10] = [
    "sqlite",
    "memory",
    "mysql",
    "postgres",
    "postgresql",
    "mongodb",
    "mongodb+srv",
    "clickhouse",
    "chhttp",
    "chhttps",
];
const CACHE_SCHEMES: [&str; 13] = [
    "memory",
    "sqlite",
    "redis",
    "rediss",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
    "mysql",
    "postgres",
    "postgresql",
    "mongodb",
    "mongodb+srv",
];
const VECTOR_SCHEMES: [&str; 5] = ["xvec", "qdrant", "weaviate", "weaviates", "milvus"];

/// The only store that may be empty, because the process has its own.
const VECTOR_STORE: &str = "database.vector_store";

impl Database {
    pub(crate) fn resolve(written: &written::Database, checks: &mut Checks<'_>) -> Self {
        let inherited = checks.text("database.table_prefix", &written.table_prefix);
        let or_inherited = |own: String| if own.is_empty() { inherited.clone() } else { own };
        let data = checks.text("database.data_table_prefix", &written.data_table_prefix);
        let cache = checks.text("database.cache_table_prefix", &written.cache_table_prefix);
        Self {
            data_store: store(checks, "database.data_store", &written.data_store, &DATA_SCHEMES),
            cache_store: store(checks, "database.cache_store", &written.cache_store, &CACHE_SCHEMES)
                .unwrap_or_else(|| StoreUrl::new("memory://")),
            vector_store: store(checks, VECTOR_STORE, &written.vector_store, &VECTOR_SCHEMES),
            data_table_prefix: or_inherited(data),
            cache_table_prefix: or_inherited(cache),
            table_prefix: inherited,
            vector_table_prefix: checks.text("database.vector_table_prefix", &written.vector_table_prefix),
            cache_client_name: checks.text("database.cache_client_name", &written.cache_client_name),
            mysql: mysql(&written.mysql, checks),
            postgres: postgres(&written.postgres, checks),
            redis_max_search_results: checks.integer(
                "database.redis.max_search_results",
                &written.redis.max_search_results,
                1..=i64::MAX,
            ),
            quantization: checks
                .keyword("database.vector.quantization_type", &written.vector.quantization_type),
            quantization_bits: checks.integer(
                "database.vector.quantization_bits",
                &written.vector.quantization_bits,
                0..=64,
            ),
        }
    }
}

/// An address whose scheme is one of `schemes`.
fn store(checks: &mut Checks<'_>, key: &str, given: &Given<String>, schemes: &[&str]) -> Option<StoreUrl> {
    if let Given::Wrong(value) = given {
        checks.problem(key, value, expected_store(schemes));
        return None;
    }
    let url = checks.optional(key, given)?;
    if url.is_empty() && key == VECTOR_STORE {
        return None;
    }
    let known = url.split_once("://").is_some_and(|(scheme, _)| schemes.contains(&scheme));
    if known {
        return Some(StoreUrl::new(url));
    }
    checks.problem(key, &json!(mask_url(&url)), expected_store(schemes));
    None
}

fn expected_store(schemes: &[&str]) -> String {
    let prefixes: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    format!("an address that begins with one of {}", prefixes.join(" "))
}

fn mysql(written: &written::Mysql, checks: &mut Checks<'_>) -> Mysql {
    Mysql {
        isolation_level: checks.keyword("database.mysql.isolation_level", &written.isolation_level),
        connections: Connections {
            max_open: checks.integer("database.mysql.max_open_conns", &written.max_open_conns, CONNECTIONS),
            max_idle: checks.integer("database.mysql.max_idle_conns", &written.max_idle_conns, CONNECTIONS),
            max_lifetime: checks.duration("database.mysql.conn_max_lifetime", &written.conn_max_lifetime),
        },
    }
}

fn postgres(written: &written::Postgres, checks: &mut Checks<'_>) -> Connections {
    Connections {
        max_open: checks.integer("database.postgres.max_open_conns", &written.max_open_conns, CONNECTIONS),
        max_idle: checks.integer("database.postgres.max_idle_conns", &written.max_idle_conns, CONNECTIONS),
        max_lifetime: checks.duration("database.postgres.conn_max_lifetime", &written.conn_max_lifetime),
    }
}

const CONNECTIONS: std::ops::RangeInclusive<i64> = 0..=1_000_000;
