//! `[recommend]` as it is written.

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::given::{Given, Tables};

/// `[recommend]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recommend {
    pub cache_size: Given<i64>,
    pub cache_expire: Given<GoDuration>,
    pub context_size: Given<i64>,
    pub active_user_ttl: Given<i64>,
    pub data_source: DataSource,
    pub search: Search,
    #[serde(rename = "non-personalized")]
    pub non_personalized: Given<Tables<NonPersonalized>>,
    #[serde(rename = "item-to-item")]
    pub item_to_item: Given<Tables<Neighbors>>,
    #[serde(rename = "user-to-user")]
    pub user_to_user: Given<Tables<Neighbors>>,
    pub external: Given<Tables<External>>,
    pub collaborative: Collaborative,
    pub replacement: Replacement,
    pub ranker: Ranker,
    pub fallback: Fallback,
}

/// `[recommend.data_source]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSource {
    pub positive_feedback_types: Given<Vec<String>>,
    pub negative_feedback_types: Given<Vec<String>>,
    pub read_feedback_types: Given<Vec<String>>,
    pub positive_feedback_ttl: Given<i64>,
    pub item_ttl: Given<i64>,
}

/// `[recommend.search]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    pub columns: Given<Vec<String>>,
}

/// One `[[recommend.non-personalized]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NonPersonalized {
    pub name: Given<String>,
    pub score: Given<String>,
    pub filter: Given<String>,
}

/// One `[[recommend.item-to-item]]` or `[[recommend.user-to-user]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbors {
    pub name: Given<String>,
    pub r#type: Given<String>,
    pub column: Given<String>,
}

/// One `[[recommend.external]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct External {
    pub name: Given<String>,
    pub script: Given<String>,
}

/// `[recommend.collaborative]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Collaborative {
    pub r#type: Given<String>,
    pub fit_period: Given<GoDuration>,
    pub fit_epoch: Given<i64>,
    pub optimize_period: Given<GoDuration>,
    pub optimize_trials: Given<i64>,
    pub early_stopping: EarlyStopping,
}

/// `[recommend.*.early_stopping]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlyStopping {
    pub patience: Given<i64>,
}

/// `[recommend.replacement]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Replacement {
    pub enable_replacement: Given<bool>,
    pub positive_replacement_decay: Given<f64>,
    pub read_replacement_decay: Given<f64>,
}

/// `[recommend.ranker]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ranker {
    pub r#type: Given<String>,
    pub recommenders: Given<Vec<String>>,
    pub cache_expire: Given<GoDuration>,
    pub fit_period: Given<GoDuration>,
    pub fit_epoch: Given<i64>,
    pub optimize_period: Given<GoDuration>,
    pub optimize_trials: Given<i64>,
    pub query_template: Given<String>,
    pub document_template: Given<String>,
    pub early_stopping: EarlyStopping,
    pub reranker_api: RerankerApi,
}

/// `[recommend.ranker.reranker_api]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RerankerApi {
    pub url: Given<String>,
    pub model: Given<String>,
    pub auth_token: Given<String>,
}

/// `[recommend.fallback]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fallback {
    pub recommenders: Given<Vec<String>>,
}
