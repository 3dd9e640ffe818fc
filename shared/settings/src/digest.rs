//! Which change of the configuration makes cached lists stale.
//!
//! A list carries the digest of the configuration that made it; a list with another digest is computed again. What only
//! says when something is fitted, refreshed or searched for is left out, so changing it costs nothing.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::describe;
use crate::recommend::Recommend;

/// Keys of `[recommend]` that change no list made from the same models.
const WITHOUT_EFFECT: [&[&str]; 16] = [
    &["cache_expire"],
    &["active_user_ttl"],
    &["search"],
    &["collaborative", "fit_period"],
    &["collaborative", "fit_epoch"],
    &["collaborative", "optimize_period"],
    &["collaborative", "optimize_trials"],
    &["collaborative", "early_stopping"],
    &["ranker", "cache_expire"],
    &["ranker", "fit_period"],
    &["ranker", "fit_epoch"],
    &["ranker", "optimize_period"],
    &["ranker", "optimize_trials"],
    &["ranker", "early_stopping"],
    &["ranker", "reranker_api", "auth_token"],
    &["data_source", "positive_feedback_ttl"],
];

/// 32 hexadecimal digits; equal for equal pipelines, on every machine and in every build.
#[must_use]
pub fn lists_digest(recommend: &Recommend) -> String {
    let mut tree = describe::recommend(recommend);
    for path in WITHOUT_EFFECT {
        remove(&mut tree, path);
    }
    let mut text = String::new();
    canonical(&tree, &mut text);
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn remove(tree: &mut Value, path: &[&str]) {
    let Some((last, tables)) = path.split_last() else { return };
    let table = tables.iter().try_fold(tree, |table, name| table.get_mut(*name));
    if let Some(table) = table.and_then(Value::as_object_mut) {
        table.remove(*last);
    }
}

/// JSON without spaces and with sorted keys, whether or not the map type sorts them.
fn canonical(tree: &Value, text: &mut String) {
    match tree {
        Value::Object(table) => {
            let mut entries: Vec<(&String, &Value)> = table.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in entries {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for element in elements {
                canonical(element, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            text.push_str(&scalar.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_toml;

    fn digest(text: &str) -> String {
        lists_digest(&from_toml(text).unwrap().settings.recommend)
    }

    #[test]
    fn the_digest_of_the_defaults_is_the_same_everywhere() {
        assert_eq!(digest(""), digest("[master]\nn_jobs = 3\n[recommend]\ncache_expire = '1h'"));
        assert_eq!(digest("").len(), 32);
        assert!(digest("").chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn saying_the_default_aloud_changes_nothing() {
        let aloud = "[recommend.fallback]\nrecommenders = ['non-personalized/popular', 'latest']";
        assert_eq!(digest(aloud), digest(""));
    }

    #[test]
    fn every_path_without_effect_exists() {
        for path in WITHOUT_EFFECT {
            let tree = describe::recommend(&crate::Settings::default().recommend);
            let found = path.iter().try_fold(&tree, |table, name| table.get(*name));
            assert!(found.is_some(), "{path:?}");
        }
    }

    #[test]
    fn what_changes_lists_changes_the_digest() {
        let texts = [
            "",
            "[recommend]\ncache_size = 10",
            "[recommend]\ncontext_size = 10",
            "[recommend]\nnon-personalized = []",
            "[recommend]\nitem-to-item = []",
            "[recommend]\nuser-to-user = []",
            "[[recommend.non-personalized]]\nname = 'popular'\nscore = 'len(feedback) + 1'",
            "[[recommend.item-to-item]]\nname = 'similar'\ntype = 'auto'",
            "[recommend.data_source]\npositive_feedback_types = ['star']",
            "[recommend.data_source]\nread_feedback_types = ['star']",
            "[recommend.data_source]\nnegative_feedback_types = ['star']",
            "[recommend.data_source]\nitem_ttl = 3",
            "[recommend.collaborative]\ntype = 'none'",
            "[recommend.ranker]\ntype = 'none'",
            "[recommend.ranker]\nrecommenders = ['latest']",
            "[recommend.fallback]\nrecommenders = []",
            "[recommend.replacement]\nenable_replacement = true",
        ];
        let digests: std::collections::BTreeSet<String> = texts.into_iter().map(digest).collect();
        assert_eq!(digests.len(), texts.len());
    }
}
