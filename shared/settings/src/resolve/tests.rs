use std::path::Path;

use crate::{LoadError, Settings, StoreUrl, from_toml};

/// The problems of a text, one line each, without their origin.
fn problems(text: &str) -> Vec<String> {
    let lines = |error: LoadError| match error {
        LoadError::Invalid(error) => error
            .problems
            .into_iter()
            .map(|problem| format!("{}: got {}, expected {}", problem.key, problem.value, problem.expected))
            .collect(),
        other @ (LoadError::Unreadable { .. } | LoadError::Syntax { .. } | LoadError::Format { .. }) => {
            panic!("{other}")
        }
    };
    from_toml(text).map_or_else(lines, |_| Vec::new())
}

/// `section.key = value` as a file.
fn assignment(line: &str) -> String {
    let (key, value) = line.split_once(" = ").unwrap();
    let (section, name) = key.rsplit_once('.').unwrap();
    format!("[{section}]\n{name} = {value}\n")
}

const NUMBER: &str = "a number greater than 0, at most 1000000000";
const PERIOD: &str = "a duration of at least 1s";
const POSITIVE: &str = "a whole number greater than 0";
const NOT_NEGATIVE: &str = "a whole number of at least 0";
const DAYS: &str = "a whole number from 0 to 100000";
const ROUNDS: &str = "a whole number from 1 to 100000";
const LIST_LENGTH: &str = "a whole number from 1 to 10000";
const CONNECTIONS: &str = "a whole number from 0 to 1000000";
const LONGER: &str = "a duration greater than 0";
const LONG: &str = "a duration of at least 0";

/// A value outside each range, and what is expected instead.
const RANGES: &[(&str, &str)] = &[
    ("master.port = -1", "a whole number from 0 to 65535"),
    ("master.http_port = 65536", "a whole number from 0 to 65535"),
    ("master.n_jobs = 0", "a whole number from 1 to 4096"),
    ("master.meta_timeout = 0", LONGER),
    ("server.default_n = 0", LIST_LENGTH),
    ("server.clock_error = \"-1s\"", LONG),
    ("server.cache_expire = \"0s\"", LONGER),
    ("recommend.cache_size = 0", LIST_LENGTH),
    ("recommend.cache_size = 2000000000", LIST_LENGTH),
    ("recommend.cache_expire = \"0s\"", LONGER),
    ("recommend.context_size = -5", LIST_LENGTH),
    ("recommend.active_user_ttl = -1", DAYS),
    ("recommend.data_source.positive_feedback_ttl = -1", DAYS),
    ("recommend.data_source.item_ttl = -1", DAYS),
    ("recommend.collaborative.fit_period = \"0s\"", PERIOD),
    ("recommend.collaborative.fit_epoch = 0", ROUNDS),
    ("recommend.collaborative.optimize_period = \"-1s\"", LONG),
    ("recommend.collaborative.optimize_trials = 0", ROUNDS),
    ("recommend.collaborative.early_stopping.patience = -1", "a whole number from 0 to 100000"),
    ("recommend.replacement.positive_replacement_decay = 0.0", NUMBER),
    ("recommend.replacement.read_replacement_decay = -0.5", NUMBER),
    ("recommend.ranker.cache_expire = \"0s\"", LONGER),
    ("recommend.ranker.fit_period = \"-1s\"", PERIOD),
    ("recommend.ranker.fit_epoch = 0", ROUNDS),
    ("recommend.ranker.optimize_period = \"-1s\"", LONG),
    ("recommend.ranker.optimize_trials = 0", ROUNDS),
    ("recommend.ranker.early_stopping.patience = -1", "a whole number from 0 to 100000"),
    ("database.mysql.max_open_conns = -1", CONNECTIONS),
    ("database.mysql.max_idle_conns = -1", CONNECTIONS),
    ("database.mysql.conn_max_lifetime = \"-1s\"", LONG),
    ("database.postgres.max_open_conns = -1", CONNECTIONS),
    ("database.postgres.max_idle_conns = -1", CONNECTIONS),
    ("database.postgres.conn_max_lifetime = \"-1s\"", LONG),
    ("database.redis.max_search_results = 0", POSITIVE),
    ("database.vector.quantization_bits = -1", "a whole number from 0 to 64"),
    ("quota.max_users_count = -1", NOT_NEGATIVE),
    ("quota.max_items_count = -1", NOT_NEGATIVE),
    ("quota.max_labels_size = -1", NOT_NEGATIVE),
    ("quota.max_comment_size = -1", NOT_NEGATIVE),
    ("quota.max_categories_count = -1", NOT_NEGATIVE),
    ("quota.max_categories_size = -1", NOT_NEGATIVE),
    ("openai.chat_completion_rpm = -1", NOT_NEGATIVE),
    ("openai.embedding_dimensions = -1", NOT_NEGATIVE),
    ("training.quiet = \"-1s\"", LONG),
    ("training.first_fit_within = \"0s\"", LONGER),
    ("training.growth = 0", NUMBER),
    ("training.keep = 0", POSITIVE),
    ("training.seed = -1", NOT_NEGATIVE),
    ("serving.cache_bytes = 0", "a size greater than 0"),
    ("serving.max_body = \"0B\"", "a size greater than 0"),
    ("serving.request_timeout = \"0s\"", LONGER),
    ("ingest.batch_rows = 0", "a whole number from 1 to 10000000"),
    ("ingest.queue = 0", "a whole number from 1 to 10000000"),
];

#[test]
fn every_range_of_the_sections_is_checked() {
    for (line, expected) in RANGES {
        let found = problems(&assignment(line));
        let key = line.split_once(" = ").unwrap().0;
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].starts_with(&format!("{key}: got ")), "{line}: {found:?}");
        assert!(found[0].ends_with(&format!(", expected {expected}")), "{line}: {found:?}");
    }
}

#[test]
fn what_is_at_the_edge_of_a_range_is_accepted() {
    let lines = [
        "master.port = 0",
        "master.http_port = 65535",
        "master.n_jobs = 1",
        "server.clock_error = 0",
        "recommend.active_user_ttl = 0",
        "recommend.collaborative.optimize_period = \"0s\"",
        "recommend.collaborative.early_stopping.patience = 0",
        "database.mysql.max_open_conns = 0",
        "quota.max_users_count = 9223372036854775807",
        "training.quiet = 0",
        "training.keep = 1",
        "serving.max_body = 1",
        "ingest.batch_rows = 1",
    ];
    for line in lines {
        assert_eq!(problems(&assignment(line)), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn words_of_a_fixed_set_are_checked() {
    let cases = [
        (
            "database.mysql.isolation_level",
            r#"one of "READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE""#,
        ),
        ("database.vector.quantization_type", r#"one of "", "sq", "pq", "rq""#),
        ("recommend.collaborative.type", r#"one of "none", "mf""#),
        ("recommend.ranker.type", r#"one of "none", "fm", "llm""#),
        ("compat.not_found_style", r#"one of "head", "v0.5""#),
        ("log.level", r#"one of "error", "warn", "info", "debug", "trace""#),
        ("log.format", r#"one of "auto", "text", "json""#),
    ];
    for (key, expected) in cases {
        let found = problems(&assignment(&format!("{key} = 'x'")));
        assert_eq!(found[0], format!("{key}: got \"x\", expected {expected}"));
    }
}

#[test]
fn every_word_of_a_fixed_set_is_accepted() {
    for line in [
        "database.mysql.isolation_level = 'SERIALIZABLE'",
        "database.vector.quantization_type = 'rq'",
        "recommend.ranker.type = 'llm'",
        "compat.not_found_style = 'v0.5'",
        "log.format = 'json'",
    ] {
        assert_eq!(problems(&assignment(line)), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn stores_need_a_scheme_that_is_known() {
    for key in ["data_store", "cache_store", "vector_store"] {
        for url in ["localhost:6379", "ftp://x", "SQLITE://x"] {
            let found = problems(&format!("[database]\n{key} = '{url}'"));
            let expected =
                format!("database.{key}: got \"{url}\", expected an address that begins with one of ");
            assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
        }
    }
    for url in [
        "mysql",
        "postgres",
        "postgresql",
        "clickhouse",
        "chhttp",
        "chhttps",
        "mongodb",
        "mongodb+srv",
        "sqlite",
        "memory",
    ] {
        assert_eq!(problems(&format!("[database]\ndata_store = '{url}://x'")), Vec::<String>::new());
    }
    for url in [
        "redis",
        "rediss",
        "redis+cluster",
        "rediss+cluster",
        "redis+sentinel",
        "rediss+sentinel",
        "mongodb",
        "mysql",
        "postgres",
        "sqlite",
        "memory",
    ] {
        assert_eq!(problems(&format!("[database]\ncache_store = '{url}://x'")), Vec::<String>::new());
    }
    for url in ["xvec", "qdrant", "weaviate", "weaviates", "milvus"] {
        assert_eq!(problems(&format!("[database]\nvector_store = '{url}://x'")), Vec::<String>::new());
    }
    assert_eq!(problems("[database]\ncache_store = 'clickhouse://x'").len(), 1);
    assert_eq!(problems("[database]\ncache_store = ''").len(), 1);
    assert_eq!(problems("[database]\ndata_store = ''").len(), 1);
    assert_eq!(problems("[database]\nvector_store = ''").len(), 0);
    assert_eq!(problems("[database]\ndata_store = 'redis://x'").len(), 1);
}

#[test]
fn a_password_in_a_wrong_store_is_not_shown() {
    let found = problems("[database]\ndata_store = 'oracle://me:hush@h/d'");
    assert!(found[0].contains("oracle://me:******@h/d") && !found[0].contains("hush"), "{found:?}");
}

#[test]
fn table_prefixes_are_inherited_except_by_vectors() {
    let settings = from_toml("[database]\ntable_prefix = 'a_'\ncache_table_prefix = 'c_'").unwrap().settings;
    let database = settings.database;
    assert_eq!(database.data_table_prefix, "a_");
    assert_eq!(database.cache_table_prefix, "c_");
    assert_eq!(database.vector_table_prefix, "");
}

#[test]
fn stores_are_in_the_data_directory_unless_placed_elsewhere() {
    let settings = Settings::default();
    assert_eq!(settings.data_store_url(Path::new("/d")), "sqlite:///d/data.sqlite");
    assert_eq!(settings.blob_uri(Path::new("/d")), "/d/blob");
    let settings =
        from_toml("[database]\ndata_store = 'mysql://u:p@tcp(h)/d'\n[blob]\nuri = '/m'").unwrap().settings;
    assert_eq!(settings.data_store_url(Path::new("/d")), "mysql://u:p@tcp(h)/d");
    assert_eq!(settings.blob_uri(Path::new("/d")), "/m");
    assert_eq!(settings.database.cache_store, StoreUrl::new("memory://"));
}

#[test]
fn models_are_kept_in_a_path_or_a_bucket() {
    for uri in ["/var/models", "models", "s3://b/p", "gs://b", "az://c/p"] {
        assert_eq!(problems(&format!("[blob]\nuri = '{uri}'")), Vec::<String>::new());
    }
    for uri in ["", "ftp://x"] {
        let expected = "a path, or an address that begins with one of s3:// gs:// az://";
        assert_eq!(
            problems(&format!("[blob]\nuri = '{uri}'")),
            [format!("blob.uri: got \"{uri}\", expected {expected}")]
        );
    }
}

#[test]
fn the_callback_of_a_login_has_its_path() {
    assert_eq!(problems("[oidc]\nredirect_url = 'http://h/callback/oauth2'"), Vec::<String>::new());
    assert_eq!(
        problems("[oidc]\nredirect_url = 'http://h/'"),
        [
            "oidc.redirect_url: got \"http://h/\", expected nothing, or an address that ends with /callback/oauth2"
        ]
    );
}

#[test]
fn tracing_is_checked_only_when_it_is_on() {
    let wrong = "exporter = 'jaeger'\nsampler = 'often'\nratio = 7";
    let loaded = from_toml(&format!("[tracing]\n{wrong}")).unwrap();
    assert_eq!(loaded.warnings.len(), 2);
    assert_eq!(
        problems(&format!("[tracing]\nenable_tracing = true\n{wrong}")),
        [
            "tracing.sampler: got \"often\", expected one of \"always\", \"never\", \"ratio\"",
            "tracing.exporter: got \"jaeger\", expected one of \"otlp\", \"otlphttp\", \"zipkin\"",
        ]
    );
    assert_eq!(
        problems("[tracing]\nenable_tracing = true\nsampler = 'ratio'\nratio = 1.5"),
        ["tracing.ratio: got 1.5, expected a number from 0 to 1"]
    );
}

#[test]
fn the_first_fit_does_not_come_before_the_data_is_quiet() {
    assert_eq!(
        problems("[training]\nquiet = '2m'"),
        ["training.first_fit_within: got \"1m\", expected at least training.quiet, which is 2m"]
    );
}

#[test]
fn values_of_a_wrong_type_say_which_type_was_expected() {
    let cases = [
        ("master.http_port = 'x'", "a whole number from 0 to 65535"),
        ("master.host = []", "a text"),
        ("master.ssl_mode = 'maybe'", "true or false"),
        ("master.http_cors_domains = 1", "a list of texts"),
        ("master.meta_timeout = '1d'", "a duration such as \"1h30m\" or \"10s\", or whole nanoseconds"),
        ("training.growth = 'x'", "a number"),
        ("serving.max_body = '1 parsec'", "a size such as \"256MiB\", or whole bytes"),
        ("recommend.item-to-item = 'x'", "a list of tables"),
        ("recommend.external = [1]", "a list of tables"),
    ];
    for (line, expected) in cases {
        let found = problems(&assignment(line));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].ends_with(&format!(", expected {expected}")), "{found:?}");
    }
}

#[test]
fn a_login_needs_a_name_or_a_password() {
    assert_eq!(Settings::default().master.login, None);
    let login = from_toml("[master]\ndashboard_user_name = 'me'").unwrap().settings.master.login.unwrap();
    assert_eq!((login.user_name.as_str(), login.password.is_empty()), ("me", true));
}

#[test]
fn what_is_too_long_or_too_many_is_refused_with_the_limit() {
    let refused = |key: &str, value: &str, limit: &str| {
        let found = problems(&assignment(&format!("{key} = {value}")));
        assert!(found.iter().any(|problem| problem.starts_with(key) && problem.contains(limit)), "{found:?}");
    };
    refused("recommend.ranker.query_template", &format!("'{}'", "x".repeat(300_000)), "at most 262144 bytes");
    let many = vec!["'x'"; 1_001].join(",");
    let key = "recommend.data_source.positive_feedback_types";
    refused(key, &format!("[{many}]"), "at most 1000 texts");
    refused(key, &format!("['{}']", "x".repeat(20_000)), "at most 16384 bytes each");
    refused("recommend.ranker.recommenders", &format!("[{many}]"), "at most 1000 texts");
    let tables: Vec<String> = (0..101).map(|name| format!("{{name = 'n{name}', script = 'x'}}")).collect();
    refused("recommend.external", &format!("[{}]", tables.join(",")), "at most 100 tables");
}
