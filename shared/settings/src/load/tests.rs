use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{RankerType, RecommenderName, StoreUrl};

/// What the conformance suite of the REST API runs with.
const GORSE_FILE: &str = r#"
[master]
port = 8086
host = "0.0.0.0"
ssl_mode = false
ssl_ca = ""
http_port = 8088
http_host = "0.0.0.0"
http_cors_domains = []
http_cors_methods = []
n_jobs = 1
meta_timeout = "10s"
dashboard_user_name = ""
admin_api_key = ""
[server]
default_n = 10
api_key = ""
clock_error = "5s"
auto_insert_user = true
auto_insert_item = true
cache_expire = "10s"
[recommend]
cache_size = 100
cache_expire = "72h"
context_size = 100
active_user_ttl = 0
[recommend.search]
columns = ["item.Comment"]
[recommend.data_source]
positive_feedback_types = ["rating>=4"]
read_feedback_types = ["rating"]
positive_feedback_ttl = 0
item_ttl = 0
[[recommend.non-personalized]]
name = "popular"
score = "len(feedback)"
[[recommend.item-to-item]]
name = "neighbors"
type = "embedding"
column = "item.Labels.embedding"
[[recommend.user-to-user]]
name = "neighbors"
type = "items"
[recommend.collaborative]
type = "mf"
fit_period = "60m"
fit_epoch = 100
[recommend.collaborative.early_stopping]
patience = 10
[recommend.ranker]
type = "none"
recommenders = ["latest"]
"#;

fn settings(text: &str) -> Settings {
    from_toml(text).unwrap().settings
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect()
}

fn with_environment(pairs: &[(&str, &str)]) -> Loaded {
    load(None, variables(pairs), &[]).unwrap()
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn problems(result: Result<Loaded, LoadError>) -> Vec<Problem> {
    match result.unwrap_err() {
        LoadError::Invalid(error) => error.problems,
        other @ (LoadError::Unreadable { .. } | LoadError::Syntax { .. } | LoadError::Format { .. }) => {
            panic!("{other}")
        }
    }
}

#[test]
fn every_key_stands_in_the_sample_file() {
    let mut section = String::new();
    let mut documented = BTreeSet::new();
    for line in DEFAULTS.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(header) = line.strip_prefix('[') {
            section = String::from(header.trim_matches(['[', ']']));
            documented.insert(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ") {
            documented.insert(format!("{section}.{key}"));
        }
    }
    let missing: Vec<String> = keys().into_iter().filter(|key| !documented.contains(key)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_sample_file_has_no_unknown_key_and_is_what_holds_without_it() {
    let loaded = from_toml(DEFAULTS).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.settings, Settings::default());
}

#[test]
fn a_file_written_for_gorse_loads_as_it_is() {
    let loaded = from_toml(GORSE_FILE).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let settings = loaded.settings;
    assert_eq!(settings.not_yet, Vec::<String>::new());
    assert_eq!(settings.master.n_jobs, 1);
    assert_eq!(settings.master.http_cors_domains, Vec::<String>::new());
    let recommend = settings.recommend;
    assert_eq!(recommend.cache_expire, Duration::from_secs(72 * 3600));
    assert_eq!(recommend.data_source.positive_feedback_types[0].to_string(), "rating>=4");
    assert_eq!(recommend.item_to_item[0].column.as_deref(), Some("item.Labels.embedding"));
    assert_eq!(recommend.ranker.kind, RankerType::None);
    assert_eq!(recommend.ranker.recommenders, [RecommenderName::Latest]);
}

#[test]
fn keys_may_be_written_in_any_case() {
    let text = "[MASTER]\nHTTP_Port = 1\n[[Recommend.Non-Personalized]]\nName = 'x'\nSCORE = '1'";
    let settings = settings(text);
    assert_eq!(settings.master.http_port, 1);
    assert_eq!(settings.recommend.non_personalized[0].name, "x");
}

#[test]
fn values_are_converted_weakly() {
    let settings = settings(
        "[master]\nhttp_port = '1'\nmeta_timeout = 1000\n[server]\nauto_insert_user = 0\napi_key = 12",
    );
    assert_eq!(settings.master.http_port, 1);
    assert_eq!(settings.master.meta_timeout, Duration::from_micros(1));
    assert!(!settings.server.auto_insert_user);
    assert_eq!(settings.server.api_key.expose(), "12");
}

#[test]
fn unknown_keys_are_ignored_with_a_warning() {
    let text = "[server]\ndefault_m = 3\n[old]\nx = 1\n[[recommend.non-personalized]]\nname = 'x'\nscore = '1'\nfitler = 'true'";
    assert_eq!(
        from_toml(text).unwrap().warnings,
        [
            "the text: there is no setting old; it is ignored",
            "the text: there is no setting recommend.non-personalized.fitler; it is ignored",
            "the text: there is no setting server.default_m; it is ignored",
        ]
    );
}

#[test]
fn all_problems_are_reported_at_once_with_key_value_expectation_and_origin() {
    let (_directory, path) = file(
        "ulex.toml",
        "[server]\ndefault_n = 0\n[recommend]\ncache_size = 'many'\n[quota]\nmax_users_count = -1\n",
    );
    let error = load(
        Some(&path),
        variables(&[("ULEX_MASTER_HTTP_PORT", "http"), ("GORSE_SERVER_API_KEY", "k")]),
        &[(String::from("training.keep"), String::from("0")), (String::from("nonsense"), String::from("1"))],
    )
    .unwrap_err();
    let file = path.display();
    assert_eq!(
        error.to_string(),
        format!(
            "6 settings are wrong:\n  \
             nonsense: got \"1\" from the command line, expected the name of a setting before the value\n  \
             master.http_port: got \"http\" from ULEX_MASTER_HTTP_PORT, expected a whole number from 0 to 65535\n  \
             server.default_n: got 0 from {file}, expected a whole number from 1 to 10000\n  \
             recommend.cache_size: got \"many\" from {file}, expected a whole number from 1 to 10000\n  \
             training.keep: got 0 from the command line, expected a whole number greater than 0\n  \
             quota.max_users_count: got -1 from {file}, expected a whole number of at least 0"
        )
    );
}

#[test]
fn a_section_that_is_no_table_is_a_problem() {
    let found = problems(from_toml("master = 3\nrecommend = 'all'\n[server]\ndefault_n = {a = 1}"));
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "master: got 3 from the text, expected a table",
            "recommend: got \"all\" from the text, expected a table",
            "server.default_n: got {\"a\":1} from the text, expected a whole number from 1 to 10000",
        ]
    );
}

#[test]
fn later_layers_win_over_earlier_ones() {
    let (_directory, path) =
        file("ulex.toml", "[master]\nhttp_port = 1\nport = 1\nn_jobs = 1\n[server]\ndefault_n = 1");
    let environment = [
        ("GORSE_MASTER_HTTP_PORT", "2"),
        ("GORSE_MASTER_PORT", "2"),
        ("GORSE_MASTER_JOBS", "2"),
        ("ULEX_MASTER_HTTP_PORT", "3"),
        ("ULEX_MASTER_PORT", "3"),
        ("ULEX_SERVER_DEFAULT_N", ""),
    ];
    let overrides = [(String::from("Master.HTTP_Port"), String::from("4"))];
    let settings = load(Some(&path), variables(&environment), &overrides).unwrap().settings;
    let master = &settings.master;
    assert_eq!((master.http_port, master.port, master.n_jobs, settings.server.default_n), (4, 3, 2, 1));
}

#[test]
fn the_order_of_variables_does_not_matter() {
    let ours_first =
        with_environment(&[("ULEX_DATABASE_DATA_STORE", "memory://"), ("GORSE_DATA_STORE", "sqlite://x")]);
    assert_eq!(ours_first.settings.database.data_store, Some(StoreUrl::new("memory://")));
}

#[test]
fn variables_reach_scalars_lists_and_lists_of_tables() {
    let loaded = with_environment(&[
        ("ULEX_RECOMMEND_RANKER_TYPE", "none"),
        ("ULEX_RECOMMEND_DATA_SOURCE_POSITIVE_FEEDBACK_TYPES", "star, rating>=4"),
        ("ULEX_RECOMMEND_ITEM_TO_ITEM", r#"[{"name": "a", "type": "auto"}]"#),
        ("ULEX_TRAINING_SEED", "7"),
        ("ULEX_TRAINING_GATE", "false"),
        ("ULEX_SERVING_CACHE_BYTES", "1GiB"),
        ("ULEX_LOG_LEVEL", "debug"),
        ("S3_ENDPOINT", "http://s3"),
        ("OPENAI_AUTH_TOKEN", "hush"),
        ("RERANKER_MODEL", "m"),
        ("GORSE_QUOTA_MAX_ITEMS_COUNT", "5"),
        ("GORSE_DASHBOARD_AUTH_SERVER", "no effect"),
        ("GORSE_NO_SUCH_THING", "ignored"),
    ]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let settings = loaded.settings;
    assert_eq!(settings.recommend.ranker.recommenders, [RecommenderName::Latest]);
    assert_eq!(settings.recommend.data_source.positive_feedback_types.len(), 2);
    assert_eq!(settings.recommend.item_to_item[0].name, "a");
    assert_eq!((settings.training.seed, settings.training.gate), (7, false));
    assert_eq!(settings.serving.cache_bytes.0, 1 << 30);
    assert_eq!(settings.log.level.as_str(), "debug");
    assert_eq!(settings.blob.s3.endpoint, "http://s3");
    assert_eq!(settings.openai.auth_token.expose(), "hush");
    assert_eq!(settings.recommend.ranker.reranker_api.model, "m");
    assert_eq!(settings.quota.max_items_count, Some(5));
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in keys() {
        let variable = environment::variable_of(&key);
        let result = load(None, variables(&[(&variable, "{")]), &[]);
        let reached = match &result {
            Ok(loaded) => loaded.warnings.iter().all(|warning| !warning.contains(&variable)),
            Err(error) => error.to_string().contains(&variable),
        };
        assert!(reached, "{variable}: {result:?}");
    }
}

#[test]
fn a_misspelt_variable_of_ours_is_a_warning() {
    let loaded =
        with_environment(&[("ULEX_MASTER_HTTPPORT", "1"), ("ULEX_DATA_DIR", "x"), ("ULEX_LOG", "debug")]);
    assert_eq!(loaded.warnings, ["environment: there is no setting ULEX_MASTER_HTTPPORT; it is ignored"]);
}

#[test]
fn a_file_that_does_not_exist_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.toml");
    let refusal = load(Some(&path), [], &[]).unwrap_err().to_string();
    assert!(refusal.contains("none.toml") && refusal.starts_with("cannot read"), "{refusal}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("folder.toml");
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(load(Some(&path), [], &[]), Err(LoadError::Unreadable { .. })));
}

#[test]
fn broken_toml_is_an_error_that_says_where() {
    let (_directory, path) = file("ulex.toml", "[master]\nhttp_port = = 1\n");
    let error = load(Some(&path), [], &[]).unwrap_err().to_string();
    assert!(error.contains("ulex.toml is not valid TOML") && error.contains("line 2"), "{error}");
}

#[test]
fn json_is_read_and_yaml_is_refused_with_advice() {
    let (_directory, path) = file("ulex.json", r#"{"Master": {"HTTP_PORT": 9, "host": null}}"#);
    let settings = load(Some(&path), [], &[]).unwrap().settings;
    assert_eq!((settings.master.http_port, settings.master.host.as_str()), (9, "0.0.0.0"));

    let (_directory, path) = file("ulex.yaml", "master:\n  http_port: 9\n");
    let error = load(Some(&path), [], &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("only .toml and .json files are read, not .yaml; please convert it to TOML"),
        "{error}"
    );

    let (_directory, path) = file("ulex.json", "{");
    assert!(matches!(load(Some(&path), [], &[]), Err(LoadError::Syntax { format: "JSON", .. })));
    let (_directory, path) = file("ulex.json", "[1]");
    assert_eq!(problems(load(Some(&path), [], &[]))[0].expected, "a table of sections");
}

#[test]
fn numbers_and_dates_that_json_lacks_are_problems_not_panics() {
    let found = problems(from_toml("[training]\ngrowth = nan\nseed = 2020-01-01\n[tracing]\nratio = inf"));
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["training.growth", "training.seed", "tracing.ratio"]);
}

/// Any JSON, its keys often those of the file.
fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "latest",
            "item-to-item/a",
            "users",
            "mf",
            "none",
            "1h",
            "-1s",
            "8MiB",
            "item.Labels"
        ])
        .prop_map(Value::from),
    ];
    let names: Vec<String> =
        keys().iter().flat_map(|key| key.split('.').map(String::from).collect::<Vec<_>>()).collect();
    let name = prop_oneof![9 => prop::sample::select(names), 1 => "\\PC{0,8}"];
    scalar.prop_recursive(4, 64, 8, move |below| {
        prop_oneof![
            prop::collection::vec(below.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), below, 0..8)
                .prop_map(|table| Value::Object(table.into_iter().collect())),
        ]
    })
}

/// A document whose keys exist, with any values.
fn any_document() -> impl Strategy<Value = Value> {
    let keys: Vec<String> = keys().into_iter().collect();
    prop::collection::vec((prop::sample::select(keys), any_json()), 0..12).prop_map(|pairs| {
        let mut document = json!({});
        for (key, value) in pairs {
            *key.split('.').fold(&mut document, |table, name| &mut table[name]) = value;
        }
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_document_loads_or_is_refused_with_problems(document in prop_oneof![any_json(), any_document()]) {
        match from_json(document) {
            Ok(loaded) => {
                let described = crate::describe(&loaded.settings, Path::new("/d"));
                prop_assert!(described.is_object());
                prop_assert!(!loaded.settings.recommend.ranker.recommenders.is_empty());
            }
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                prop_assert_eq!(error.to_string().lines().count(), error.problems.len() + 1);
            }
        }
    }

    #[test]
    fn any_text_is_a_document_or_an_error(text in "\\PC*") {
        let _ = from_toml(&text);
    }
}
