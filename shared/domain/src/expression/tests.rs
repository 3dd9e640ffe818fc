//! Tests of [`super`]: the documented examples, a table, another implementation as the oracle, hostile input.

mod oracle;

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{ItemId, UserId};

const NOW: i64 = 1_700_000_000;

fn item() -> Item {
    Item {
        item_id: ItemId::new("i1"),
        is_hidden: false,
        categories: Some(vec!["book".to_owned(), "new".to_owned()]),
        timestamp: Timestamp::from_unix_seconds(NOW - 3 * 86_400),
        labels: json!({
            "a": {"b": "deep"}, "price": 12.5, "count": 3, "sale": true, "none": null,
            "embedding": [0.5, 1, 2], "tags": ["x", "y"], "text": "7",
        }),
        comment: "Über Bücher".to_owned(),
    }
}

fn user() -> User {
    User { user_id: UserId::new("u1"), labels: json!({"tags": ["p", "q"]}), comment: String::new() }
}

fn feedback() -> Vec<Feedback> {
    let row = |feedback_type: &str, user: &str, value: f64, age: i64| Feedback {
        feedback_type: feedback_type.into(),
        user_id: UserId::new(user),
        item_id: ItemId::new("i1"),
        value,
        timestamp: Timestamp::from_unix_seconds(NOW - age),
        updated: Timestamp::from_unix_seconds(NOW - age / 2),
        labels: json!({"device": "phone"}),
        comment: String::new(),
    };
    vec![
        row("star", "u1", 1.0, 10),
        row("read", "u2", 2.0, 7200),
        row("star", "u3", 4.0, 86_400),
        row("like", "u1", 0.0, 0),
    ]
}

/// Compiles and evaluates; the result as JSON, or the error as text.
fn run_in(text: &str, scope: ExpressionScope) -> Result<Json, String> {
    let (item, user, feedback) = (item(), user(), feedback());
    let rows: Vec<FeedbackFields<'_>> = feedback.iter().map(FeedbackFields::from).collect();
    let environment = EvaluationContext {
        item: (scope != ExpressionScope::User).then_some(&item),
        user: (scope == ExpressionScope::User).then_some(&user),
        feedback: if scope == ExpressionScope::ItemWithFeedback { &rows } else { &[] },
        now: Timestamp::from_unix_seconds(NOW),
    };
    let expression = Expression::compile(text, scope).map_err(|error| error.to_string())?;
    let value = expression.evaluate(&environment).map_err(|error| error.to_string())?;
    Ok(value.into_json().into_owned())
}

fn run(text: &str) -> Result<Json, String> {
    run_in(text, ExpressionScope::ItemWithFeedback)
}

#[track_caller]
fn assert_gives(text: &str, expected: &Json) {
    match (run(text), expected) {
        (Ok(Json::Number(found)), Json::Number(expected)) => {
            assert_eq!(found.as_f64(), expected.as_f64(), "{text}");
        }
        (found, expected) => {
            let as_floats = |json: &Json| json.to_string().replace(".0", "");
            assert_eq!(found.as_ref().map(as_floats), Ok(as_floats(expected)), "{text}");
        }
    }
}

#[track_caller]
fn assert_fails(text: &str, expected: &str) {
    let error = run(text).expect_err(text);
    assert!(error.contains(expected), "{text}: {error}");
}

#[test]
fn documented_scores_and_filters_work() {
    for (text, expected) in [
        ("count(feedback, .FeedbackType == 'star')", json!(2)),
        ("len(feedback)", json!(4)),
        ("item.Timestamp.Unix()", json!(NOW - 3 * 86_400)),
        ("(now() - item.Timestamp).Hours() < 168", json!(true)),
        ("(now() - item.Timestamp).Hours() < 24*7", json!(true)),
        (
            "(count(feedback, .FeedbackType == 'star')-1)/((now()-item.Timestamp).Seconds()+2)^0.5",
            json!(1.0 / 259_202_f64.sqrt()),
        ),
        ("item.Comment", json!("Über Bücher")),
        ("item.Categories", json!(["book", "new"])),
        ("item.Labels.embedding", json!([0.5, 1, 2])),
        ("item.Labels.a.b", json!("deep")),
        ("sum(feedback, .Value)", json!(7)),
        ("mean(map(feedback, .Value))", json!(1.75)),
        ("any(feedback, .UserId == 'u3' && .Value >= 4)", json!(true)),
        ("len(filter(feedback, (now() - .Timestamp).Days() < 0.5))", json!(3)),
    ] {
        assert_gives(text, &expected);
    }
    assert_eq!(run_in("user.Labels.tags", ExpressionScope::User), Ok(json!(["p", "q"])));
    assert_eq!(run_in("user.Labels", ExpressionScope::User), Ok(json!({"tags": ["p", "q"]})));
    assert_eq!(run_in("item.Labels.embedding", ExpressionScope::Item), Ok(json!([0.5, 1, 2])));
}

#[test]
fn labels_are_lent_not_copied() {
    let item = item();
    let expression = Expression::compile("item.Labels.embedding", ExpressionScope::Item).unwrap();
    let environment =
        EvaluationContext { item: Some(&item), user: None, feedback: &[], now: Timestamp::ZERO };
    let value = expression.evaluate(&environment).unwrap().into_json();
    assert!(matches!(value, Cow::Borrowed(json) if std::ptr::eq(json, &item.labels["embedding"])));
}

#[test]
fn operators_have_the_precedence_and_meaning_of_the_original() {
    for (text, expected) in [
        ("1 + 2 * 3 - 4 / 2", json!(5)),
        ("2 ** 3 ** 2", json!(512)),
        ("-2 ** 2", json!(-4)),
        ("2 ^ 0.5 * 2", json!(8_f64.sqrt())),
        ("7 % 3 + -7 % 3", json!(0)),
        ("1 < 2 == true", json!(true)),
        ("true || false && false", json!(true)),
        ("not true or true", json!(true)),
        ("not (1 > 2) and !(2 > 3)", json!(true)),
        ("'a' + 'b' == 'ab'", json!(true)),
        ("1 in [1, 2] and 'z' not in ['x']", json!(true)),
        ("'book' in item.Categories", json!(true)),
        ("'x' in item.Labels.tags && 'price' in item.Labels && 'q' not in item.Labels", json!(true)),
        ("'hello' contains 'ell' and 'hello' startsWith 'he' and not ('hello' endsWith 'x')", json!(true)),
        ("'hello' not contains 'z'", json!(true)),
        ("true ? 1 : false ? 2 : 3", json!(1)),
        ("false ? 1 : false ? 2 : 3", json!(3)),
        ("nil ?? 5", json!(5)),
        ("item.Labels.missing ?? 2 + 1", json!(3)),
        ("item.Labels.missing?.deeper.still ?? 'none'", json!("none")),
        ("item.Labels?.a?.b", json!("deep")),
        ("item.Labels['a']['b']", json!("deep")),
        ("item.Labels.embedding[-1]", json!(2)),
        ("item.Categories[0]", json!("book")),
        ("feedback[2].Value", json!(4)),
        ("[1, 'a', nil, true]", json!([1, "a", null, true])),
        ("let x = 2; let y = x * 3; x + y", json!(8)),
        ("let f = filter(feedback, .Value > 0); len(f) > 0 ? max(map(f, .Value)) : 0", json!(4)),
        ("feedback | filter(.Value > 1) | map(.UserId) | join('-')", json!("u2-u3")),
        ("1 /* one */ + 1 // two", json!(2)),
        ("+3 - -2", json!(5)),
        ("0x10 + 1_000", json!(1016)),
    ] {
        assert_gives(text, &expected);
    }
}

#[test]
fn built_in_functions_do_what_their_names_say() {
    for (text, expected) in [
        ("len('Bücher') + len(item.Labels) + len([1])", json!(15)),
        ("[abs(-1), ceil(1.2), floor(-1.2), round(2.5), round(-2.5)]", json!([1, 2, -2, 3, -3])),
        ("[int(3.9), int('12'), float('1.5'), float(2)]", json!([3, 12, 1.5, 2])),
        (
            "[string(3), string(1.5), string('a'), string(true), string(nil)]",
            json!(["3", "1.5", "a", "true", "nil"]),
        ),
        ("lower('ÀB') + upper('c') + trim('  d ') + trim('--e-', '-')", json!("àbCde")),
        ("split('a,b,c', ',')", json!(["a", "b", "c"])),
        ("join(['a', 'b']) + join(item.Categories, '/')", json!("abbook/new")),
        (
            "[min(3, 1, 2), max([1, 5], 2), mean([1, 2, 3]), median([3, 1, 2]), median(1, 2)]",
            json!([1, 5, 2, 2, 1.5]),
        ),
        ("[mean([]), median([]), sum([])]", json!([0, 0, 0])),
        ("sum(item.Labels.embedding)", json!(3.5)),
        ("sum([1, 2, 3], # * #)", json!(14)),
        ("count([true, false, true])", json!(2)),
        ("map([1, 2], {let y = #; y * 2})", json!([2, 4])),
        ("filter([1, 2, 3], # > 1)", json!([2, 3])),
        ("find(feedback, .Value > 1).UserId", json!("u2")),
        ("find([1, 2], # > 5)", json!(null)),
        (
            "[all([1, 2], # > 0), any([1, 2], # > 1), one([1, 2], # > 1), none([1, 2], # > 2)]",
            json!([true, true, true, true]),
        ),
        (
            "[all([], # > 0), any([], # > 1), one([2, 2], # > 1), none([1, 2], # > 1)]",
            json!([true, false, false, false]),
        ),
        ("[first([4, 5]), last([4, 5]), first([])]", json!([4, 5, null])),
        ("count([1, 2, 3], # in filter([2, 3], # > 2))", json!(1)),
        ("count(feedback, count(feedback, .UserId == 'u1') > 1)", json!(4)),
        ("first(feedback).Labels.device", json!("phone")),
    ] {
        assert_gives(text, &expected);
    }
}

#[test]
fn times_and_durations_can_be_asked_compared_and_computed_with() {
    for (text, expected) in [
        ("date('2023-11-14T22:13:20Z') == now()", json!(true)),
        (
            "let t = date('2024-02-29 13:14:15'); [t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second()]",
            json!([2024, 2, 29, 13, 14, 15]),
        ),
        (
            "let t = date('2024-02-29'); [t.Weekday(), t.YearDay(), t.UnixMilli()]",
            json!([4, 60, 1_709_164_800_000_i64]),
        ),
        ("(now() - item.Timestamp).Days() == 3", json!(true)),
        ("now() - item.Timestamp > duration('71h')", json!(true)),
        (
            "item.Timestamp + duration('72h') == now() and now() - duration('3d') == item.Timestamp",
            json!(true),
        ),
        ("(item.Timestamp - now()).Hours()", json!(-72)),
        (
            "item.Timestamp < now() and item.Timestamp.Before(now()) and not now().Before(item.Timestamp)",
            json!(true),
        ),
        ("now().Sub(item.Timestamp).Minutes() / 60", json!(72)),
        ("(duration('1h') * 2 + duration('30m')).Seconds()", json!(9000)),
        ("duration('1h') / duration('15m')", json!(4)),
        ("(duration('1h') / 2).Minutes()", json!(30)),
        ("(-duration('1h30m')).Seconds()", json!(-5400)),
        ("now().Add(duration('1s')).Unix()", json!(NOW + 1)),
        ("now()", json!("2023-11-14T22:13:20Z")),
    ] {
        assert_gives(text, &expected);
    }
}

#[test]
fn the_zero_time_and_negative_durations_never_fail() {
    let bare = Item::bare(ItemId::new("bare"));
    let environment = EvaluationContext {
        item: Some(&bare),
        user: None,
        feedback: &[],
        now: Timestamp::from_unix_seconds(NOW),
    };
    for (text, expected) in [
        ("item.Timestamp.Unix()", -62_135_596_800.0),
        ("item.Timestamp.Year()", 1.0),
        ("item.Timestamp.Weekday()", 1.0),
        ("(now() - item.Timestamp).Seconds()", i64::MAX as f64 / 1e9),
        ("(item.Timestamp - now()).Seconds()", i64::MIN as f64 / 1e9),
        ("(-(item.Timestamp - now())).Seconds()", i64::MAX as f64 / 1e9),
        ("(item.Timestamp - item.Timestamp).Hours()", 0.0),
        ("item.Timestamp.IsZero() ? 1 : 0", 1.0),
        ("(item.Timestamp + duration('1h')).Unix()", -62_135_596_800.0),
        ("count(item.Categories, # == 'x') + len(item.Comment)", 0.0),
    ] {
        let expression = Expression::compile(text, ExpressionScope::Item)
            .unwrap()
            .require(ExpressionKind::Number)
            .unwrap();
        assert_eq!(expression.evaluate_number(&environment), Ok(expected), "{text}");
    }
}

#[test]
fn a_misspelt_name_is_named_with_what_is_known() {
    for (text, expected) in [
        ("itme.ItemId", "at byte 0: unknown variable `itme`; known: item, feedback"),
        ("1 + user.UserId", "at byte 4: unknown variable `user`; known: item, feedback"),
        (
            "item.Title",
            "at byte 5: an item has no field `Title`; known: ItemId, IsHidden, Categories, Timestamp, Labels, Comment",
        ),
        (
            "count(feedback, .ValueType == 'a')",
            "at byte 17: a feedback row has no field `ValueType`; known: FeedbackType, UserId,",
        ),
        ("item.Timestamp.Unixx()", "a time has no method `Unixx`; known: Unix, UnixMilli, Year"),
        ("item.Timestamp.Unix", "a time has no field `Unix`; write `.Unix()`"),
        ("cuont(feedback)", "unknown function `cuont`; known: now, len, abs"),
        ("len(feedback, 1)", "len() takes 1 arguments, found 2"),
        ("filter(feedback)", "filter() takes a list and a predicate"),
        (".Value > 1", "only inside a predicate"),
        ("item.Comment contains 3", "`contains` does not apply to a text and a number"),
        ("item.ItemId == 3", "`==` does not apply to a text and a number"),
        ("not 1 > 2", "`not` needs a bool, found a number"),
        ("item.Comment + 1", "`+` does not apply to a text and a number"),
        ("item.Timestamp + item.Timestamp", "`+` does not apply to a time and a time"),
        ("1 ? 2 : 3", "a condition must be a bool, found a number"),
        ("count(feedback, .Value)", "count() needs a bool per element, found a number"),
        ("sum(feedback, .UserId)", "sum() needs a number per element, found a text"),
        ("count(3, true)", "count() needs a list, found a number"),
        ("max('a')", "expected a number or a list of numbers, found a text"),
        ("date('tomorrow')", "date() cannot read this text"),
        ("1 +", "at byte 3: expected a value, found the end"),
        ("1 2", "at byte 2: expected an operator or the end, found `2`"),
        ("(1", "expected `)`, found the end"),
        ("[1 2]", "expected `,` or `]`, found `2`"),
        ("item.", "expected the name of a field or method, found the end"),
        ("'a' matches 'b'", "found `matches`, which is not supported"),
        ("let in = 1; 2", "`in` cannot be a name"),
        ("", "at byte 0: expected a value, found the end"),
    ] {
        assert_fails(text, expected);
    }
}

#[test]
fn what_only_the_labels_can_tell_fails_when_evaluated() {
    for (text, expected) in [
        ("item.Labels.missing.deeper", "cannot read `deeper` of nil; write `?.deeper` to get nil instead"),
        ("item.Labels.price.x", "wrong type: `x` of a number"),
        ("item.Labels.tags * 2", "wrong type: arithmetic of a list and a number"),
        ("item.Labels.embedding[3]", "index 3 is outside a list of 3"),
        ("item.Labels.embedding[0.5]", "index 0.5 is outside a list of 3"),
        ("1 / (len(feedback) - 4)", "division by zero"),
        ("1 % 0", "division by zero"),
        ("1 / 0", "division by zero"),
        ("duration('1h') / duration('0')", "division by zero"),
        ("2 ** 5000", "not a finite number"),
        ("(0 - 8) ** 0.5", "not a finite number"),
        ("int('1.5')", "\"1.5\" is not a whole number"),
        ("float('inf')", "\"inf\" is not a number"),
        ("float(item.Labels.tags)", "float() of a list"),
        ("max([])", "max() of nothing"),
        ("item.Labels.price ? 1 : 2", "a condition must be a bool, this is a number"),
        ("date(item.Comment)", "\"Über Bücher\" is not a time"),
        ("item.Labels.price.Unix()", "Unix() of a number"),
    ] {
        assert_fails(text, expected);
    }
}

#[test]
fn what_an_expression_lacks_is_missing() {
    let expression = Expression::compile("item.ItemId", ExpressionScope::Item).unwrap();
    let nothing = EvaluationContext { item: None, user: None, feedback: &[], now: Timestamp::ZERO };
    assert_eq!(expression.evaluate(&nothing).unwrap_err(), EvaluationError::Missing { name: "item" });
}

#[test]
fn kinds_are_known_before_evaluation_and_can_be_insisted_on() {
    for (text, kind) in [
        ("len(feedback)", ExpressionKind::Number),
        ("item.Labels.x / 2", ExpressionKind::Number),
        ("item.Labels.x * 2", ExpressionKind::Any),
        ("float(item.Labels.x)", ExpressionKind::Number),
        ("item.IsHidden", ExpressionKind::Bool),
        ("item.Comment", ExpressionKind::Text),
        ("item.Timestamp", ExpressionKind::Time),
        ("now() - item.Timestamp", ExpressionKind::Duration),
        ("item.Categories", ExpressionKind::List),
        ("map(feedback, .Value)[0]", ExpressionKind::Number),
        ("item.Labels", ExpressionKind::Any),
        ("true ? 1 : 'a'", ExpressionKind::Any),
        ("nil ?? 1", ExpressionKind::Number),
    ] {
        assert_eq!(
            Expression::compile(text, ExpressionScope::ItemWithFeedback).unwrap().kind(),
            kind,
            "{text}"
        );
    }
    for (text, wanted, hint) in [
        (
            "item.Labels.x",
            ExpressionKind::Number,
            "expected a number, this gives a value of unknown type; wrap it in float() or int()",
        ),
        (
            "item.Timestamp",
            ExpressionKind::Number,
            "expected a number, this gives a time; `.Unix()` is the time in seconds",
        ),
        (
            "len(feedback)",
            ExpressionKind::Bool,
            "expected a bool, this gives a number; compare it, such as `> 0`",
        ),
    ] {
        let refused = Expression::compile(text, ExpressionScope::ItemWithFeedback)
            .unwrap()
            .require(wanted)
            .unwrap_err();
        assert_eq!(refused.message(), hint);
    }
}

#[test]
fn steps_are_limited_but_passes_over_the_feedback_are_not() {
    let row = feedback().remove(0);
    let rows = vec![FeedbackFields::from(&row); 100_000];
    let item = item();
    let environment =
        EvaluationContext { item: Some(&item), user: None, feedback: &rows, now: Timestamp::ZERO };
    let evaluate = |text: &str| {
        Expression::compile(text, ExpressionScope::ItemWithFeedback).unwrap().evaluate_number(&environment)
    };
    assert_eq!(evaluate("sum(map(filter(feedback, .Value > 0 and .UserId != 'x'), .Value))"), Ok(100_000.0));
    let nested = evaluate("count(feedback, count(feedback, .Value > 0) > 0)");
    assert!(matches!(nested, Err(EvaluationError::StepLimit { limit: 10_100_000 })), "{nested:?}");
    let tight =
        Expression::compile("1 + len(item.Comment)", ExpressionScope::Item).unwrap().with_step_limit(3);
    let environment = EvaluationContext { feedback: &[], ..environment };
    assert_eq!(tight.evaluate_number(&environment), Err(EvaluationError::StepLimit { limit: 3 }));
}

#[test]
fn texts_cannot_be_grown_without_end() {
    let doubling: String =
        (0..60).map(|level| format!("let a{} = a{level} + a{level};", level + 1)).collect();
    let error = run(&format!("let a0 = item.Comment; {doubling} len(a60)")).unwrap_err();
    assert!(error.contains("steps"), "{error}");
}

#[test]
fn nesting_and_length_are_limited_when_compiling() {
    for text in [
        "(".repeat(100_000),
        "(".repeat(10_000),
        "-".repeat(10_000),
        "not ".repeat(3000),
        format!("1{}", " + 1".repeat(1000)),
        format!("item.Labels{}", ".a".repeat(1000)),
        format!("item.Labels{}", "[0]".repeat(1000)),
        "[".repeat(5000),
        "map(feedback, ".repeat(900),
        "true ? ".repeat(2000),
        "1 ** ".repeat(2000),
        format!("1 {}", "| len() ".repeat(1000)),
        "let a = 1; ".repeat(1000) + "a",
        "let a = ".repeat(1000),
    ] {
        assert!(Expression::compile(&text, ExpressionScope::ItemWithFeedback).is_err(), "{}...", &text[..20]);
    }
    assert_eq!(run(&format!("1{}", " + 1".repeat(90))), Ok(json!(91.0)));
}

#[test]
fn the_deepest_trees_that_compile_also_evaluate() {
    let around =
        |head: &str, core: &str, tail: &str, levels: usize| head.repeat(levels) + core + &tail.repeat(levels);
    for levels in (1..=100).rev() {
        for text in [
            around("count([1], ", "# > 0", ") > 0", levels),
            around("map([1], ", "#", ")[0]", levels),
            around("[", "1", "][0]", levels),
            around("len(string(", "1", "))", levels),
            around("true ? 1 : (", "2", ")", levels),
            around("let a = 1; ", "a", "", levels),
        ] {
            if let Ok(expression) = Expression::compile(&text, ExpressionScope::Item) {
                let nothing =
                    EvaluationContext { item: None, user: None, feedback: &[], now: Timestamp::ZERO };
                assert!(expression.evaluate(&nothing).is_ok(), "{text}");
            }
        }
    }
}

/// Texts that look like expressions, more or less.
fn soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "item",
        "feedback",
        "user",
        "now()",
        ".Value",
        ".FeedbackType",
        "#",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "+",
        "-",
        "*",
        "/",
        "%",
        "**",
        "==",
        "<",
        ">=",
        "and",
        "or",
        "not",
        "in",
        "??",
        "?.",
        "?",
        ":",
        ",",
        ".",
        "|",
        ";",
        "let x =",
        "x",
        "1",
        "0",
        "2.5",
        "'a'",
        "nil",
        "true",
        "count(",
        "map(",
        "len(",
        "sum(",
        "float(",
        "duration('1h')",
        ".Labels",
        ".a",
        ".Timestamp",
        ".Unix()",
        ".Hours()",
        "startsWith",
    ]);
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_the_compiler_or_the_evaluation_panic(text in prop_oneof![any::<String>(), soup(), "[ -~]{0,60}"]) {
        for scope in [ExpressionScope::Item, ExpressionScope::User, ExpressionScope::ItemWithFeedback] {
            let _ = run_in(&text, scope);
        }
    }

    #[test]
    fn a_number_that_comes_out_is_finite(text in soup()) {
        if let Ok(Json::Number(number)) = run(&text) {
            prop_assert!(number.as_f64().is_some_and(f64::is_finite));
        }
    }
}

/// A measurement for people, in release builds:
/// `cargo test --release -p ulex-domain -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement, not a test"]
fn speed_per_feedback_row() {
    let feedback = feedback();
    let rows: Vec<FeedbackFields<'_>> =
        feedback.iter().map(FeedbackFields::from).cycle().take(10_000).collect();
    let item = item();
    let environment = EvaluationContext {
        item: Some(&item),
        user: None,
        feedback: &rows,
        now: Timestamp::from_unix_seconds(NOW),
    };
    let mut report = String::new();
    for text in [
        "len(feedback)",
        "count(feedback, .FeedbackType == 'star')",
        "count(feedback, .FeedbackType == 'star' and .Value > 1)",
        "sum(feedback, .Value)",
        "count(feedback, (now() - .Timestamp).Hours() < 168)",
    ] {
        let expression = Expression::compile(text, ExpressionScope::ItemWithFeedback).unwrap();
        let best = (0..20)
            .map(|_round| {
                let start = std::time::Instant::now();
                std::hint::black_box(expression.evaluate_number(std::hint::black_box(&environment)).unwrap());
                start.elapsed().as_nanos() as f64 / rows.len() as f64
            })
            .fold(f64::INFINITY, f64::min);
        report.push_str(&format!("{best:8.2} ns per row  {text}\n"));
    }
    std::io::Write::write_all(&mut std::io::stderr(), report.as_bytes()).unwrap();
}
