use std::collections::BTreeSet;

use serde_json::Map;

use super::*;
use crate::{from_json, from_toml};

fn described(text: &str) -> Value {
    describe(&from_toml(text).unwrap().settings, Path::new("/d"))
}

#[test]
fn every_key_of_the_file_is_described_and_no_other() {
    fn leaves(tree: &Value, path: &str, found: &mut BTreeSet<String>) {
        match tree.as_object() {
            Some(table) => {
                table.iter().for_each(|(key, below)| leaves(below, &format!("{path}.{key}"), found))
            }
            None => drop(found.insert(String::from(path.trim_start_matches('.')))),
        }
    }
    let mut found = BTreeSet::new();
    leaves(&described(""), "", &mut found);
    assert_eq!(found, crate::load::keys());
}

#[test]
fn values_have_the_forms_of_gorse() {
    let tree = described("[recommend.data_source]\npositive_feedback_types = ['rating>=4.0']");
    assert_eq!(tree["database"]["data_store"], "sqlite:///d/data.sqlite");
    assert_eq!(tree["database"]["postgres"]["conn_max_lifetime"], "1m");
    assert_eq!(tree["recommend"]["cache_expire"], "72h");
    assert_eq!(tree["recommend"]["collaborative"]["fit_period"], "1h");
    assert_eq!(tree["recommend"]["collaborative"]["optimize_period"], "0s");
    assert_eq!(tree["recommend"]["data_source"]["positive_feedback_types"], json!(["rating>=4"]));
    assert_eq!(tree["recommend"]["external"], json!([]));
    assert_eq!(
        tree["recommend"]["item-to-item"],
        json!([{"name": "similar", "type": "users", "column": ""}])
    );
    assert_eq!(tree["blob"]["uri"], "/d/blob");
}

#[test]
fn what_is_described_loads_as_the_same_settings() {
    let text = "
        [database]
        data_store = 'memory://'
        vector_store = 'qdrant://h:1'
        [master]
        n_jobs = 3
        dashboard_user_name = 'me'
        [recommend]
        active_user_ttl = 4
        [[recommend.non-personalized]]
        name = 'a'
        score = '1'
        filter = 'true'
        [[recommend.external]]
        name = 'x'
        script = '[]'
        [blob]
        uri = '/m'
        [tracing]
        sampler = 'ratio'
        ratio = 0.25
    ";
    let settings = from_toml(text).unwrap().settings;
    let again = from_json(describe(&settings, Path::new("/d"))).unwrap();
    assert_eq!(again.settings, settings);
    assert_eq!(again.warnings, Vec::<String>::new());
}

#[test]
fn the_description_of_the_defaults_is_valid() {
    let again = from_json(described("")).unwrap().settings;
    let defaults = Settings::default();
    assert_eq!(again.recommend, defaults.recommend);
    assert_eq!(again.master, defaults.master);
}

#[test]
fn secrets_are_masked_when_there_are_any() {
    let mut file: Map<String, Value> = Map::new();
    for key in crate::secret::SECRET_KEYS {
        let mut parts: Vec<&str> = key.split('.').collect();
        let last = parts.pop().unwrap();
        let mut table = &mut file;
        for part in parts {
            let below = table.entry(part).or_insert_with(|| json!({}));
            table = below.as_object_mut().unwrap();
        }
        table.insert(String::from(last), json!("hush"));
    }
    file.insert(String::from("database"), json!({"cache_store": "redis://me:hush@h:1/0"}));
    let settings = from_json(Value::Object(file)).unwrap().settings;
    let tree = describe(&settings, Path::new("/d"));
    for key in crate::secret::SECRET_KEYS {
        let at = |tree: &Value| key.split('.').fold(tree.clone(), |table, name| table[name].clone());
        assert_eq!(at(&tree), "******", "{key}");
        assert_eq!(at(&described("")), "", "{key}");
    }
    assert_eq!(tree["database"]["cache_store"], "redis://me:******@h:1/0");
    assert!(!tree.to_string().contains("hush"));
    assert!(!format!("{settings:?}").contains("hush"));
}
