use super::*;
use crate::{LoadError, from_toml};

fn recommend(text: &str) -> Recommend {
    from_toml(text).unwrap().settings.recommend
}

fn problems(text: &str) -> Vec<String> {
    match from_toml(text) {
        Ok(_) => Vec::new(),
        Err(LoadError::Invalid(error)) => {
            error.problems.iter().map(|problem| problem.to_string().replace(" from the text", "")).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

fn names(recommenders: &[RecommenderName]) -> Vec<String> {
    recommenders.iter().map(ToString::to_string).collect()
}

#[test]
fn by_default_every_source_is_ranked_and_leaderboards_fill_up() {
    let recommend = recommend("");
    let ranked = [
        "collaborative",
        "item-to-item/similar",
        "user-to-user/similar",
        "non-personalized/popular",
        "latest",
    ];
    assert_eq!(names(&recommend.ranker.recommenders), ranked);
    assert_eq!(names(&recommend.fallback_recommenders), ["non-personalized/popular", "latest"]);
    assert_eq!(recommend.ranker.kind, RankerType::FactorizationMachine);
    assert_eq!(recommend.collaborative.kind, CollaborativeType::MatrixFactorization);
    assert_eq!(recommend.collaborative.early_stopping_patience, Some(10));
    assert_eq!(recommend.non_personalized[0].filter, None);
}

#[test]
fn a_list_in_the_file_replaces_the_default_list_and_nothing_refers_to_what_is_gone() {
    let text = "
        [recommend]
        item-to-item = []
        user-to-user = []
        [[recommend.non-personalized]]
        name = 'trending'
        score = 'len(feedback)'
        [recommend.collaborative]
        type = 'none'
    ";
    let recommend = recommend(text);
    assert_eq!(names(&recommend.ranker.recommenders), ["non-personalized/trending", "latest"]);
    assert_eq!(names(&recommend.fallback_recommenders), ["non-personalized/trending", "latest"]);
}

#[test]
fn without_a_ranker_the_only_source_is_the_latest_items() {
    assert_eq!(names(&recommend("[recommend.ranker]\ntype = 'none'").ranker.recommenders), ["latest"]);
    assert_eq!(
        problems("[recommend.ranker]\ntype = 'none'\nrecommenders = ['latest', 'collaborative']"),
        ["recommend.ranker.recommenders: got [\"latest\",\"collaborative\"], \
          expected at most one recommender, because recommend.ranker.type is \"none\""]
    );
    let one = "[recommend.ranker]\ntype = 'none'\nrecommenders = ['collaborative']";
    assert_eq!(names(&recommend(one).ranker.recommenders), ["collaborative"]);
}

#[test]
fn a_ranker_needs_recommenders_and_a_fallback_does_not() {
    assert_eq!(
        problems("[recommend.ranker]\nrecommenders = []"),
        ["recommend.ranker.recommenders: got [], expected at least one recommender"]
    );
    assert!(recommend("[recommend.fallback]\nrecommenders = []").fallback_recommenders.is_empty());
}

#[test]
fn recommenders_must_be_configured() {
    let there_are = "one of the recommenders there are: \"collaborative\", \"item-to-item/similar\", \
                     \"user-to-user/similar\", \"non-personalized/popular\", \"latest\"";
    for name in ["item-to-item/other", "user-to-user/x", "non-personalized/x", "external/x", "popular", ""] {
        for section in ["ranker", "fallback"] {
            assert_eq!(
                problems(&format!("[recommend.{section}]\nrecommenders = ['{name}']")),
                [format!("recommend.{section}.recommenders: got \"{name}\", expected {there_are}")]
            );
        }
    }
    assert_eq!(
        problems(
            "[recommend.collaborative]\ntype = 'none'\n[recommend.fallback]\nrecommenders = ['collaborative']"
        ),
        ["recommend.fallback.recommenders: got \"collaborative\", \
          expected recommend.collaborative.type \"mf\" with it, because it is \"none\""]
    );
}

#[test]
fn a_recommender_named_twice_runs_once() {
    let text = "[recommend.ranker]\nrecommenders = ['latest', 'collaborative', 'latest']";
    assert_eq!(names(&recommend(text).ranker.recommenders), ["latest", "collaborative"]);
}

#[test]
fn external_recommenders_run_only_when_they_are_named() {
    let external = "[[recommend.external]]\nname = 'x'\nscript = '[]'\n";
    assert!(!names(&recommend(external).ranker.recommenders).contains(&String::from("external/x")));
    let named = recommend(&format!("{external}[recommend.ranker]\nrecommenders = ['external/x']"));
    assert_eq!(names(&named.ranker.recommenders), ["external/x"]);
}

#[test]
fn names_are_unique_within_a_kind_and_not_empty() {
    let cases = [
        ("non-personalized", "score = '1'"),
        ("item-to-item", "type = 'users'"),
        ("user-to-user", "type = 'items'"),
        ("external", "script = '[]'"),
    ];
    for (kind, rest) in cases {
        let table = |name: &str| format!("[[recommend.{kind}]]\nname = '{name}'\n{rest}\n");
        assert_eq!(
            problems(&format!("{}{}{}", table("a"), table("b"), table("a"))),
            [format!(
                "recommend.{kind}[a].name: got \"a\", expected a name that no other {kind} recommender has"
            )]
        );
        assert_eq!(
            problems(&table("")),
            [format!("recommend.{kind}[0].name: got \"\", expected a name that is not empty")]
        );
        assert_eq!(
            problems(&format!("[[recommend.{kind}]]\n{rest}")),
            [format!("recommend.{kind}[0].name: got nothing, expected a text")]
        );
    }
    assert!(problems("[[recommend.item-to-item]]\nname = 'a'\ntype = 'users'\n[[recommend.user-to-user]]\nname = 'a'\ntype = 'items'").is_empty());
}

#[test]
fn a_column_is_given_exactly_where_it_is_read() {
    for (kind, none, scope) in [("item-to-item", "users", "item"), ("user-to-user", "items", "user")] {
        let table = |r#type: &str, column: &str| {
            problems(&format!("[[recommend.{kind}]]\nname = 'a'\ntype = '{type}'\ncolumn = '{column}'"))
        };
        let column = format!("{scope}.Labels.x");
        for r#type in ["embedding", "tags"] {
            assert!(table(r#type, &column).is_empty());
            for blank in ["", "  "] {
                assert_eq!(
                    table(r#type, blank),
                    [format!(
                        "recommend.{kind}[a].column: got nothing, expected an expression, because the type is \"{type}\""
                    )]
                );
            }
        }
        assert!(table(none, "").is_empty());
        assert_eq!(
            table(none, &column),
            [format!(
                "recommend.{kind}[a].column: got \"{column}\", expected nothing, because the type is \"{none}\""
            )]
        );
        assert!(table("auto", "").is_empty());
        assert!(table("auto", &column).is_empty());
        assert_eq!(
            table("chat", ""),
            [format!(
                "recommend.{kind}[a].type: got \"chat\", expected one of \"auto\", \"embedding\", \"tags\", \"{none}\""
            )]
        );
    }
}

#[test]
fn a_leaderboard_needs_a_score_and_a_script_its_text() {
    assert_eq!(
        problems("[[recommend.non-personalized]]\nname = 'a'"),
        ["recommend.non-personalized[a].score: got nothing, expected a text"]
    );
    assert_eq!(
        problems("[[recommend.non-personalized]]\nname = 'a'\nscore = ''"),
        [
            "recommend.non-personalized[a].score: got \"\", expected an expression over item and feedback that gives a number"
        ]
    );
    assert_eq!(
        problems("[[recommend.external]]\nname = 'a'\nscript = ' '"),
        ["recommend.external[a].script: got \" \", expected a script"]
    );
}

#[test]
fn feedback_types_are_read_as_gorse_reads_them() {
    for kind in ["positive", "negative", "read"] {
        let key = format!("recommend.data_source.{kind}_feedback_types");
        let found = problems(&format!(
            "[recommend.data_source]\n{kind}_feedback_types = ['star', '9x', 'rating==4']"
        ));
        let expected = "types such as \"star\", or with a condition on the value such as \"rating>=4\"";
        assert_eq!(
            found,
            ["9x", "rating==4"].map(|text| format!("{key}: got \"{text}\", expected {expected}"))
        );
    }
}

#[test]
fn days_of_zero_are_off() {
    assert_eq!(recommend("").active_user_ttl, None);
    let recommend = recommend("[recommend]\nactive_user_ttl = 2\n[recommend.data_source]\nitem_ttl = 1");
    assert_eq!(recommend.active_user_ttl, Some(Duration::from_secs(2 * 86_400)));
    assert_eq!(recommend.data_source.item_ttl, Some(Duration::from_secs(86_400)));
}

#[test]
fn expressions_compile_to_the_kind_their_place_needs() {
    let score =
        |text: &str| problems(&format!("[[recommend.non-personalized]]\nname = 'a'\nscore = \"{text}\""));
    let filter = |text: &str| {
        problems(&format!("[[recommend.non-personalized]]\nname = 'a'\nscore = '1'\nfilter = \"{text}\""))
    };
    assert!(score("count(feedback, .FeedbackType == 'star')").is_empty());
    assert!(score("item.Timestamp.Unix()").is_empty());
    assert!(filter("(now() - item.Timestamp).Hours() < 168").is_empty());
    for text in ["len(feedback", "len(feedbck)", "item.Nmae", "true", "'a'", "user.Labels", "item.Labels"] {
        let found = score(text);
        let start = format!(
            "recommend.non-personalized[a].score: got \"{text}\", expected an expression over item and feedback that gives a number"
        );
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    }
    for text in ["1", "len(feedback)", "now()", "x > 3"] {
        let found = filter(text);
        let start = format!(
            "recommend.non-personalized[a].filter: got \"{text}\", expected an expression over item and feedback that gives true or false"
        );
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    }
}

#[test]
fn columns_compile_over_what_they_are_a_column_of() {
    let column = |kind: &str, text: &str| {
        problems(&format!("[[recommend.{kind}]]\nname = 'a'\ntype = 'tags'\ncolumn = \"{text}\"")).len()
    };
    for text in ["item.Labels", "item.Categories", "item.Labels.a.b"] {
        assert_eq!((column("item-to-item", text), column("user-to-user", text)), (0, 1), "{text}");
    }
    for text in ["user.Labels", "user.Labels.tags"] {
        assert_eq!((column("item-to-item", text), column("user-to-user", text)), (1, 0), "{text}");
    }
    assert_eq!(column("item-to-item", "feedback"), 1);
    let found =
        problems("[recommend.search]\ncolumns = ['item.Comment', 'item.Labels.x', 'item.', 'user.Comment']");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("recommend.search.columns: got \"item.\", expected an expression over item")
    );
}
