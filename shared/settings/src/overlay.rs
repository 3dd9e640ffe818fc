//! What is changed while the program runs: single keys of `[recommend]`, laid over the configuration.
//!
//! An override is checked exactly as the file is, together with everything it is laid over. Everything but
//! `[recommend]` is fixed when a process starts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::secret::{MASK, is_secret};
use crate::{Settings, SettingsError, describe, load};

/// Dotted keys, such as `recommend.cache_size`, and their values as a file would have them.
pub type Overrides = BTreeMap<String, Value>;

/// The section that can be overridden.
pub(crate) const SECTION: &str = "recommend";

/// `base` with `overrides` laid over it.
///
/// # Errors
/// Everything that is wrong: keys that do not exist or belong to another section, values that do not fit.
pub fn overlay(base: &Settings, overrides: &Overrides) -> Result<Settings, SettingsError> {
    if overrides.is_empty() {
        return Ok(base.clone());
    }
    let given = json!({ SECTION: describe::given(&base.recommend) });
    let recommend = load::overlaid(given, overrides)?.recommend;
    Ok(Settings { recommend, ..base.clone() })
}

/// The overrides after `changes`: a value sets its key, `null` gives it back to the file. A secret that comes back as the
/// mask is left as it is.
#[must_use]
pub fn changed(overrides: &Overrides, changes: &Overrides) -> Overrides {
    let mut after = overrides.clone();
    for (key, value) in changes {
        let key = key.to_ascii_lowercase();
        if value.is_null() {
            after.remove(&key);
        } else if !(is_secret(&key) && *value == json!(MASK)) {
            after.insert(key, value.clone());
        }
    }
    after
}

/// The overrides under which exactly the section `posted` is in force, whatever the file says. Keys that nobody knows are
/// ignored, keys that are missing are errors. A secret that comes back as the mask stays what it is `now`.
///
/// # Errors
/// Everything that is wrong with the section.
pub fn whole_section(now: &Settings, posted: Value) -> Result<Overrides, SettingsError> {
    let mut section = load::lower_case(posted);
    let present = describe::written(&now.recommend);
    keep_secrets(&mut section, &present);
    let recommend = load::only_section(SECTION, &section)?.recommend;
    let tree = json!({ SECTION: describe::written(&recommend) });
    let value_of = |key: String| {
        let value = key.split('.').try_fold(&tree, |table, name| table.get(name)).cloned();
        value.map(|value| (key, value))
    };
    let of_section = |key: &String| key.starts_with(&format!("{SECTION}."));
    Ok(load::keys().into_iter().filter(of_section).filter_map(value_of).collect())
}

/// The overrides as they may be shown.
#[must_use]
pub fn masked(overrides: &Overrides) -> Overrides {
    let shown = |(key, value): (&String, &Value)| {
        let hide = is_secret(key) && *value != json!("");
        (key.clone(), if hide { json!(MASK) } else { value.clone() })
    };
    overrides.iter().map(shown).collect()
}

/// Puts what is known now where a table has the mask.
fn keep_secrets(given: &mut Value, known: &Value) {
    fn walk(given: &mut Map<String, Value>, known: &Value, path: &str) {
        for (key, value) in given {
            let path = format!("{path}.{key}");
            let known = &known[key.as_str()];
            if is_secret(&path) && *value == json!(MASK) {
                *value = known.clone();
            } else if let Value::Object(below) = value {
                walk(below, known, &path);
            }
        }
    }
    if let Value::Object(given) = given {
        walk(given, known, SECTION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{describe as described, from_toml};

    const FILE: &str = "[recommend]\ncache_size = 7\n[recommend.ranker.reranker_api]\nauth_token = 'hush'\n\
                        [[recommend.non-personalized]]\nname = 'popular'\nscore = 'len(feedback)'";

    fn base() -> Settings {
        from_toml(FILE).unwrap().settings
    }

    fn one(key: &str, value: Value) -> Overrides {
        Overrides::from([(key.to_owned(), value)])
    }

    fn refusal(overrides: &Overrides) -> String {
        overlay(&base(), overrides).unwrap_err().to_string()
    }

    #[test]
    fn nothing_laid_over_changes_nothing() {
        assert_eq!(overlay(&base(), &Overrides::new()).unwrap(), base());
        let same = overlay(&base(), &one("recommend.cache_size", json!(7))).unwrap();
        assert_eq!(same.recommend, base().recommend, "and every other key survives, secrets too");
    }

    #[test]
    fn a_key_that_is_overridden_wins_over_the_file_and_the_others_stay() {
        let settings = overlay(&base(), &one("recommend.collaborative.fit_period", json!("2h"))).unwrap();
        assert_eq!(settings.recommend.collaborative.fit_period.as_secs(), 7200);
        assert_eq!(settings.recommend.cache_size, 7);
        assert_eq!(settings.recommend.ranker.reranker_api.auth_token.expose(), "hush");
        assert_eq!(settings.server, base().server);
    }

    #[test]
    fn lists_that_the_file_leaves_open_follow_from_what_is_overridden() {
        let boards = json!([{"name": "new", "score": "item.Timestamp.Unix()"}]);
        let settings = overlay(&base(), &one("recommend.non-personalized", boards.clone())).unwrap();
        let text = FILE.replace("'popular'", "'new'").replace("len(feedback)", "item.Timestamp.Unix()");
        assert_eq!(settings.recommend, from_toml(&text).unwrap().settings.recommend);

        let unranked = overlay(&base(), &one("recommend.ranker.type", json!("none"))).unwrap();
        assert_eq!(unranked.recommend.ranker.recommenders.len(), 1, "as a file with that type and no list");

        let said = from_toml("[recommend.fallback]\nrecommenders = ['non-personalized/popular']").unwrap();
        let text =
            overlay(&said.settings, &one("recommend.non-personalized", boards)).unwrap_err().to_string();
        assert!(text.contains("recommend.fallback.recommenders"), "{text}");
    }

    #[test]
    fn what_would_be_wrong_in_the_file_is_wrong_here_and_named() {
        let text = refusal(&Overrides::from([
            ("recommend.cache_size".to_owned(), json!(0)),
            ("recommend.ranker.type".to_owned(), json!("oracle")),
        ]));
        for word in ["recommend.cache_size", "recommend.ranker.type", "oracle", "the override"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let text = refusal(&one("recommend.fallback.recommenders", json!(["non-personalized/none"])));
        assert!(text.contains("non-personalized/none"), "{text}");
    }

    #[test]
    fn only_keys_of_the_section_can_be_overridden() {
        for key in ["master.n_jobs", "recommend.cash_size", "recommend", "recommend.ranker", "cache_size"] {
            let text = refusal(&one(key, json!(3)));
            assert!(
                text.contains(key) && text.contains("the full name of a setting of [recommend]"),
                "{text}"
            );
        }
        let text = refusal(&one("recommend.non-personalized", json!([{"name": "a", "scor": "1"}])));
        assert!(text.contains("scor"), "{text}");
    }

    #[test]
    fn changes_set_keys_and_give_them_back() {
        let overrides = changed(&Overrides::new(), &one("recommend.Cache_Size", json!(9)));
        assert_eq!(overrides, one("recommend.cache_size", json!(9)));
        assert_eq!(changed(&overrides, &one("recommend.cache_size", Value::Null)), Overrides::new());
        let secret = "recommend.ranker.reranker_api.auth_token";
        let overrides = one(secret, json!("new"));
        assert_eq!(changed(&overrides, &one(secret, json!(MASK))), overrides, "the mask is no token");
        assert_eq!(masked(&overrides), one(secret, json!(MASK)));
    }

    #[test]
    fn a_posted_section_is_in_force_as_a_whole_whatever_the_file_says() {
        let other = from_toml("[recommend]\ncontext_size = 3").unwrap().settings;
        let mut posted = described(&other, std::path::Path::new("/"))["recommend"].clone();
        posted["from_a_newer_version"] = json!(1);
        let overrides = whole_section(&base(), posted).unwrap();
        assert_eq!(overlay(&base(), &overrides).unwrap().recommend, other.recommend);
    }

    #[test]
    fn a_posted_mask_keeps_the_secret() {
        let posted = described(&base(), std::path::Path::new("/"))["recommend"].clone();
        let overrides = whole_section(&base(), posted).unwrap();
        let settings = overlay(&base(), &overrides).unwrap();
        assert_eq!(settings.recommend.ranker.reranker_api.auth_token.expose(), "hush");
    }

    #[test]
    fn a_posted_section_with_gaps_is_refused() {
        let text = whole_section(&base(), json!({"cache_size": 5})).unwrap_err().to_string();
        assert!(text.contains("recommend.context_size: got nothing"), "{text}");
        assert!(whole_section(&base(), json!("all")).is_err());
    }
}
