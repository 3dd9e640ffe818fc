//! The configuration of every role: as written, resolved, described.
//!
//! A configuration passes through two types. [`written`](crate) structs hold what a file says and nothing else;
//! [`Settings`] holds what the program runs on: every default filled in, every range and cross-check done, so code that
//! has a `Settings` cannot meet an invalid value. Everything wrong with a configuration is reported at once
//! ([`SettingsError`]). Defaults are the commented sample file [`DEFAULTS`], which is compiled in.
//!
//! Gorse's files and environment variables work unchanged; where our defaults differ, the sample file says how and why.

use std::path::{Path, PathBuf};

mod blob;
mod byte_size;
mod compat;
mod database;
mod describe;
mod digest;
mod duration;
mod environment;
mod given;
mod ingest;
mod load;
mod log;
mod login;
mod master;
mod nats;
mod not_yet;
mod openai;
mod overlay;
mod problem;
mod quota;
mod recommend;
mod resolve;
mod secret;
mod server;
mod serving;
mod tracing;
mod training;
mod written;

pub use blob::{Azure, Blob, Gcs, S3};
pub use byte_size::{ByteSize, NotASize};
pub use compat::{Compat, NotFoundStyle};
pub use database::{Connections, Database, IsolationLevel, Mysql, Quantization};
pub use describe::describe;
pub use digest::lists_digest;
pub use duration::{GoDuration, NotADuration};
pub use ingest::Ingest;
pub use load::{DEFAULTS, LoadError, Loaded, from_json, from_toml, load};
pub use log::{Log, LogFormat, LogLevel};
pub use login::Oidc;
pub use master::{Login, Master, Ssl};
pub use nats::Nats;
pub use openai::{ChatCompletion, Embedding, OpenAi};
pub use overlay::{Overrides, changed, masked, overlay, whole_section};
pub use problem::{Problem, SettingsError};
pub use quota::Quota;
pub use recommend::{
    Collaborative, CollaborativeType, DataSource, External, ItemToItem, ItemToItemType, NonPersonalized,
    Ranker, RankerType, Recommend, RecommenderName, Replacement, RerankerApi, UnknownRecommender, UserToUser,
    UserToUserType,
};
pub use secret::{MASK, Secret, StoreUrl};
pub use server::Server;
pub use serving::Serving;
pub use tracing::{Sampler, Tracing, TracingExporter};
pub use training::Training;

/// Everything the program runs on. Checked and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where things are kept.
    pub database: Database,
    /// Listeners, dashboard and threads.
    pub master: Master,
    /// The REST API.
    pub server: Server,
    /// The recommendation pipeline.
    pub recommend: Recommend,
    /// When models are fitted and which one goes live.
    pub training: Training,
    /// How requests are answered.
    pub serving: Serving,
    /// How writes reach the data store.
    pub ingest: Ingest,
    /// Where processes of a cluster meet.
    pub nats: Nats,
    /// Where versions of Gorse differ.
    pub compat: Compat,
    /// What the program tells about itself.
    pub log: Log,
    /// Traces of requests.
    pub tracing: Tracing,
    /// Login by OpenID Connect.
    pub oidc: Oidc,
    /// A language model service.
    pub openai: OpenAi,
    /// Where fitted models are kept.
    pub blob: Blob,
    /// What is refused with status 429.
    pub quota: Quota,
    /// Keys that were set and are accepted, but whose feature does not exist yet: to be named once in the log.
    pub not_yet: Vec<String>,
}

impl Settings {
    /// The data store: as configured, else `data.sqlite` in the data directory.
    #[must_use]
    pub fn data_store_url(&self, data_dir: &Path) -> String {
        match &self.database.data_store {
            Some(url) => String::from(url.expose()),
            None => format!("sqlite://{}", data_dir.join("data.sqlite").display()),
        }
    }

    /// The place of fitted models: as configured, else `blob` in the data directory.
    #[must_use]
    pub fn blob_uri(&self, data_dir: &Path) -> String {
        match &self.blob.uri {
            Some(uri) => uri.clone(),
            None => data_dir.join("blob").display().to_string(),
        }
    }
}

impl Default for Settings {
    /// The settings of the sample file.
    fn default() -> Self {
        from_toml("").expect("the compiled-in defaults are valid, which a test checks").settings
    }
}

/// Where local state is kept unless `--data-dir` says otherwise: `./ulex-data`.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    PathBuf::from("./ulex-data")
}
