//! Generated expressions in this implementation and in the crate `expr-lang`, where both know the constructs.
//!
//! Known differences that the generator avoids: whole numbers are 64-bit floats here, so values stay small;
//! division is only by constants other than zero; `.RecordField` is rewritten to `#.RecordField`, which the crate needs.

use expr::{Context, Value as Expected};

use super::*;

/// Numbers from numbers, texts and the environment.
fn number() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        (0..20_i32).prop_map(|number| number.to_string()),
        (1..40_i32).prop_map(|number| format!("{number}.5")),
        Just("len(feedback)".to_owned()),
        Just("item.Labels.price".to_owned()),
        Just("len(item.Categories)".to_owned()),
        Just("sum(feedback, .Value)".to_owned()),
        Just("len('héllo')".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*"]), inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} + {b}) * {c}")),
            (inner.clone(), 2..7_i32).prop_map(|(left, right)| format!("({left}) / {right}.0")),
            inner.clone().prop_map(|operand| format!("-({operand})")),
            (inner.clone(), 0..3_i32).prop_map(|(left, right)| format!("({left}) ** {right}")),
            (prop::sample::select(vec!["abs", "ceil", "floor", "round"]), inner.clone())
                .prop_map(|(function, operand)| format!("{function}({operand})")),
            (prop::sample::select(vec!["min", "max", "mean", "median"]), inner.clone(), inner.clone(), inner)
                .prop_map(|(function, a, b, c)| format!("{function}([{a}, {b}, {c}])")),
        ]
    })
    .boxed()
}

fn text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-c ]{0,3}".prop_map(|text| format!("'{text}'")),
        Just("item.Comment".to_owned()),
        Just("item.Categories[0]".to_owned()),
    ];
    leaf.prop_recursive(2, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("{left} + {right}")),
            (prop::sample::select(vec!["lower", "upper", "trim"]), inner.clone())
                .prop_map(|(function, operand)| format!("{function}({operand})")),
            inner.prop_map(|operand| format!("join(split({operand}, 'a'), '-')")),
        ]
    })
}

fn truth() -> impl Strategy<Value = String> {
    let row = prop_oneof![
        Just(".Value > 1".to_owned()),
        Just(".FeedbackType == 'star'".to_owned()),
        Just(".UserId != 'u1' and .Value <= 2".to_owned()),
        Just(".FeedbackType in ['like', 'read']".to_owned()),
    ];
    let comparison = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (number(), comparison, number())
            .prop_map(|(left, operator, right)| format!("({left}) {operator} ({right})")),
        (text(), prop::sample::select(vec!["==", "!=", "contains", "startsWith", "endsWith"]), text())
            .prop_map(|(left, operator, right)| format!("({left}) {operator} ({right})")),
        (prop::sample::select(vec!["all", "any", "one", "none"]), row.clone())
            .prop_map(|(scan, predicate)| format!("{scan}(feedback, {predicate})")),
        (row, 0..4_i32).prop_map(|(predicate, count)| format!("count(feedback, {predicate}) >= {count}")),
        (number(), number()).prop_map(|(left, right)| format!("({left}) in [{right}, 3, 4.5]")),
        (text(), text()).prop_map(|(left, right)| format!("({left}) not in [{right}, 'a']")),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["and", "or", "&&", "||"]), inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            inner.clone().prop_map(|operand| format!("not ({operand})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("(({a}) ? ({b}) : ({c}))")),
        ]
    })
}

/// The crate wants `#.RecordField` where the language allows `.RecordField`.
fn for_the_crate(text: &str) -> String {
    let mut rewritten = String::new();
    let mut before = ' ';
    for symbol in text.chars() {
        if symbol == '.' && matches!(before, ' ' | '(') {
            rewritten.push('#');
        }
        rewritten.push(symbol);
        before = symbol;
    }
    let mut rest = rewritten.as_str();
    let mut braced = String::new();
    // Predicates stand in braces there.
    while let Some(at) = rest.find("(feedback, ") {
        let (head, tail) = rest.split_at(at + "(feedback, ".len());
        let end = tail.find(')').expect("every predicate here ends with its call");
        braced.push_str(head);
        braced.push_str(&format!("{{{}}}", &tail[..end]));
        rest = &tail[end..];
    }
    braced + rest
}

fn context() -> Context {
    let rows = feedback().iter().map(|row| FeedbackFields::from(row).to_json()).collect::<Vec<_>>();
    let environment = json!({ "item": item(), "feedback": rows });
    Context::from_serialize(&environment).unwrap()
}

fn as_json(value: &Expected) -> Json {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is not ours and the generator makes five of its variants"
    )]
    match value {
        Expected::Bool(truth) => json!(truth),
        Expected::Integer(number) => json!(*number as f64),
        Expected::Float(number) => json!(number),
        Expected::String(text) => json!(text),
        Expected::Array(values) => values.iter().map(as_json).collect(),
        other => panic!("the generator makes no {other:?}"),
    }
}

fn agree(text: &str) -> Result<(), TestCaseError> {
    let theirs = for_the_crate(text);
    let expected = match expr::eval(&theirs, &context()) {
        Ok(Expected::Float(number)) if !number.is_finite() => return Ok(()),
        Ok(value) => as_json(&value),
        Err(error) => return Err(TestCaseError::fail(format!("{theirs}: the crate says {error}"))),
    };
    let found = run(text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
    let same = match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        (_, _) => found == expected,
    };
    prop_assert!(same, "{}: {} instead of {}", text, found, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn numbers_agree(text in number()) {
        agree(&text)?;
    }

    #[test]
    fn texts_agree(text in text()) {
        agree(&text)?;
    }

    #[test]
    fn truths_agree(text in truth()) {
        agree(&text)?;
    }
}
