//! Tests of [`super`]: answers recorded from Gorse, vectors made by hand, and properties.

use proptest::prelude::*;

use super::*;

/// What Gorse stored and printed for these strings.
const RECORDED: [(&str, &str); 29] = [
    ("2009-08-12T22:15:09-07:00", "2009-08-13T05:15:09Z"),
    ("2014-04-26 17:24:37.3186369", "2014-04-26T17:24:37.3186369Z"),
    ("2014-04-26 05:24:37 PM", "2014-04-26T17:24:37Z"),
    ("2012-08-03 18:31:59 +0000", "2012-08-03T18:31:59Z"),
    ("2014-04-02", "2014-04-02T00:00:00Z"),
    ("2014-4-2", "2014-04-02T00:00:00Z"),
    ("2014/04/02", "2014-04-02T00:00:00Z"),
    ("03/31/2014", "2014-03-31T00:00:00Z"),
    ("3/5/2014", "2014-03-05T00:00:00Z"),
    ("04/02/2014 04:08:09", "2014-04-02T04:08:09Z"),
    ("oct 7, 1970", "1970-10-07T00:00:00Z"),
    ("May 8, 2009 5:57:51 PM", "2009-05-08T17:57:51Z"),
    ("Mon, 02 Jan 2006 15:04:05 MST", "2006-01-02T15:04:05Z"),
    ("Mon Jan  2 15:04:05 2006", "2006-01-02T15:04:05Z"),
    ("1332151919", "2012-03-19T10:11:59Z"),
    ("1384216367189", "2013-11-12T00:32:47.189Z"),
    ("20140722105203", "2014-07-22T10:52:03Z"),
    ("2014", "2014-01-01T00:00:00Z"),
    ("20140601", "2014-06-01T00:00:00Z"),
    ("2012-08-03 18:31:59.257000000 +0000 UTC", "2012-08-03T18:31:59.257Z"),
    ("2014年04月08日 19:17:22", "2014-04-08T19:17:22Z"),
    ("7 oct 70", "1970-10-07T00:00:00Z"),
    ("3.31.2014", "2014-03-31T00:00:00Z"),
    ("2013-Feb-03", "2013-02-03T00:00:00Z"),
    ("2026-01-01T00:00:00.0000000Z", "2026-01-01T00:00:00Z"),
    ("2014-04-02T10:00:00", "2014-04-02T10:00:00Z"),
    ("September 17, 2012 at 10:09am PST-08", "2012-09-17T18:09:00Z"),
    ("1384216367111222333", "2013-11-12T00:32:47.111222333Z"),
    ("171113 14:14:20", "2017-11-13T14:14:20Z"),
];

/// What Gorse refused, and its words.
const REFUSED: [(&str, &str); 4] = [
    ("13/45/2014", "parsing time \"13/45/2014\": month out of range"),
    ("yesterday", "Could not find format for \"yesterday\""),
    (" 2014-04-02", "Could not find format for \" 2014-04-02\""),
    ("29-06-2016", "Could not find format for \"29-06-2016\""),
];

/// Each line: the moment, then strings that mean it, separated by `|`.
const VECTORS: &str = "
2021-03-09T07:05:04Z|2021-03-09T07:05:04Z|2021-03-09T07:05:04|2021-03-09 07:05:04|2021-03-09T7:5:4|2021-3-9 7:5:4
2021-03-09T07:05:04Z|2021/03/09 07:05:04|2021/3/9 07:05:04|2021-03-09t07:05:04z
2021-03-09T07:05:00Z|2021-03-09T07:05Z|2021-03-09 07:05|2021-3-9 7:5|2021/03/09 07:05
2021-03-09T07:05:04.5Z|2021-03-09T07:05:04.5Z|2021-03-09 07:05:04.5|2021-03-09 07:05:04,500
2021-03-09T07:05:04.1234567Z|2021-03-09T07:05:04.1234567Z
2021-03-09T07:05:04.123456789Z|2021-03-09T07:05:04.123456789Z|2021-03-09T07:05:04.12345678999Z
2021-03-09T06:05:04.257Z|2021-03-09T07:05:04:257+0100
2021-03-09T07:05:04Z|2021-03-09T09:05:04+02:00|2021-03-09T09:05:04+0200|2021-03-09 09:05:04 +0200
2021-03-09T07:05:04Z|2021-03-09 09:05:04 +02:00|2021-03-09 09:05:04+02:00|2021:03:09 09:05:04+02:00
2021-03-09T07:05:04Z|03:09:2021 09:05:04+02:00
2021-03-09T11:05:00Z|2021-03-09T07:05-04
2021-03-09T07:05:04Z|2021-03-09 07:05:04 +0000 UTC|2021-03-09 07:05:04.000000000 +0000 UTC
2021-03-09T07:05:04Z|2021-03-09 10:05:04 +0300 MSK m=+0.000000001|2021-03-09 10:05:04 +0300 +03
2021-03-09T07:05:04Z|2021-03-09 07:05:04 UTC|2021-03-09 07:05:04 GMT|2021-03-09 07:05:04 PST
2021-03-09T07:05:04Z|2021-03-09 07:05:04 AM
2021-03-09T19:05:04Z|2021-03-09 07:05:04 PM
2021-03-09T19:05:04.123Z|2021/03/09 07:05:04.123 PM
2021-03-09T00:05:04Z|2021-03-09 12:05:04 AM
2021-03-09T12:05:04Z|2021-03-09 12:05:04 pm
2021-03-09T00:00:00Z|2021-03-09|2021-3-9|2021/03/09|2021/3/9|2021.03.09|20210309|03/09/2021|3/9/2021|03.09.2021
2021-03-09T00:00:00Z|3.9.2021|3/9/21|2021-Mar-09|09-Mar-21|09-Mar-2021
1971-03-21T00:00:00Z|03.21.71
1971-08-08T00:00:00Z|08/08/71
2021-03-01T00:00:00Z|2021-03|2021.03
2021-01-01T00:00:00Z|2021
2021-03-08T16:00:00Z|2021-03-09+08:00|2021-03-09+0800
2021-03-09T07:05:00Z|03/09/2021 07:05|3/9/2021 7:5|03:09:2021 07:05
2021-03-09T07:05:04Z|03/09/2021 07:05:04|03:09:2021 07:05:04
2021-03-09T07:05:04.123Z|03/09/2021 07:05:04.123
2021-03-09T19:05:04Z|03/09/2021 07:05:04 PM
2021-03-09T19:05:00Z|03/09/2021 07:05 PM
2021-03-09T06:05:04Z|09/Mar/2021:07:05:04 +0100|09/Mar/2021 07:05:04 +0100
2021-03-08T23:05:04Z|09/Mar/2021:00:05:04 +0100
2021-03-09T00:00:00Z|mar 9, 2021|Mar. 9, 2021|mar 9, '21|March 9, 2021|March 9 2021|March 9th, 2021|March 9th 2021
2021-03-09T00:00:00Z|9 mar 2021|9 March 2021|09 March 2021|9 mar 21
2021-09-09T00:00:00Z|Sept. 9, 2021|sept. 9, '21
1970-10-07T00:00:00Z|oct. 7, '70
2021-03-09T07:05:04Z|March 9, 2021 07:05:04|March 9, 2021, 07:05:04|Mar 9, 2021 7:05:04 AM|09 Mar 2021 07:05:04
2021-03-09T07:05:04Z|09 Mar 2021, 07:05:04|9 Mar 2021 7:5:4
2021-03-09T15:05:00Z|March 9, 2021 at 7:05am PST-08|March 9, 2021 7:05am PST-08
2021-03-09T07:05:00Z|March 9, 2021 at 7:05am UTC-05
2021-03-09T07:05:04Z|Tue, 09 Mar 2021 07:05:04 MST|Tue, 09 Mar 2021 07:05:04 GMT|Tue, 09 Mar 2021 07:05:04 CET
2021-03-09T07:05:04Z|Tue, 9 Mar 2021 7:5:4 MST|Tue, 09-Mar-21 07:05:04 MST|Tuesday, 09-Mar-21 07:05:04 MST
2021-03-09T07:05:04Z|Tue, 09 Mar 2021 08:05:04 +0100|Tue, 9 Mar 2021 08:05:04 +0100 (CET)
2021-03-09T07:05:04Z|Tue, 9 Mar 2021 15:05:04 +0800 (GMT+08:00)|09-Mar-2021 08:05:04 +0100
2021-03-09T07:05:04Z|Tuesday, 09 Mar 2021 08:05:04 +0100|Tue Mar  9 07:05:04 2021|Tue Mar 9 07:05:04 2021
2021-03-09T07:05:04Z|Tue Mar  9 07:05:04 MST 2021|Tue Mar 09 07:05:04 PST 2021
2021-03-09T07:05:04Z|Tue Mar 09 08:05:04 +0100 2021|Tue Mar 9 09:05:04 CEST+0200 2021
2021-03-09T07:05:04Z|Tue Mar 09 07:05:04 UTC+0000 2021|Tue Mar 09 2021 08:05:04 GMT+0100 (GMT Daylight Time)
2021-03-09T07:05:04Z|Tue 09 Mar 2021 07:05:04 AM UTC
2021-03-09T00:00:00Z|2021年03月09日
2021-03-09T07:05:04Z|2021年03月09日 07:05:04|20210309070504|210309 07:05:04
2021-03-09T07:05:04Z|1615273504|1615273504000|1615273504000000|1615273504000000000
2012-08-03T21:31:51.123Z|2012-08-03 13:31:51.123 -08:00 PST
2018-06-29T16:09:57.77297118Z|2018-06-29 19:09:57.77297118 +0300 +03
2015-02-08T00:02:00Z|2015-02-08 03:02:00 +0300 MSK m=+0.000000001
0001-01-01T00:00:00Z|0001-01-01T00:00:00Z|0001-01-01T00:00:00|0001-01-01|0001-01-01T00:00:00+08:00
";

#[test]
fn recorded_strings_mean_what_gorse_made_of_them() {
    for (text, expected) in RECORDED {
        assert_eq!(
            Timestamp::parse_any(text).map(|moment| moment.to_string()),
            Ok(expected.to_owned()),
            "{text}"
        );
    }
    assert_eq!(Timestamp::parse_any(""), Ok(Timestamp::ZERO));
}

#[test]
fn recorded_refusals_have_the_same_words() {
    for (text, expected) in REFUSED {
        assert_eq!(Timestamp::parse_any(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn every_family_of_date_strings_is_read() {
    for line in VECTORS.trim().lines() {
        let mut parts = line.split('|');
        let expected = parts.next().unwrap();
        for text in parts {
            let moment = Timestamp::parse_any(text).map(|moment| moment.to_string());
            assert_eq!(moment, Ok(expected.to_owned()), "{text}");
        }
    }
}

#[test]
fn what_is_no_date_is_refused() {
    let strings = [
        "3",
        "12",
        "123",
        "12345",
        "123456789",
        "xyzq-baad",
        "{\"hello\"}",
        "5,000-9,999",
        "2021-15-09T07:05Z",
        "09-03-2021",
        "oct.-7-1970",
        "septe. 9, 2021",
        " 2021-03-09 07:05:04",
        "2021-03-09T07:05-041",
        "12:30",
        "-1",
        "2021-02-29",
        "2021-03-09T24:00:00Z",
        "2021-03-09T07:60:00Z",
        "2021-03-09T07:05:60Z",
        "2021-03-09T",
        "2021-03-09 07:05:04 ",
        "2021-03-09 13:00:00 PM",
        "2021-03-09 07:05:04 yesterday",
        "1677-12-31",
        "9999-01-01",
        "0000-01-01",
        "2262-01-01T00:00:00Z",
        "9999999999",
        "2021-03-09T07:05:04.Z",
        "2021-03-09T07:05:04+24:00",
        "Mon Jan 2 15:04:05",
        "2021-03-09 07:05:04 +01 +02 +03",
        "2021-",
        "99999999999999999999",
    ];
    for text in strings {
        assert!(Timestamp::parse_any(text).is_err(), "{text:?} was read as {:?}", Timestamp::parse_any(text));
    }
}

#[test]
fn patch_bodies_take_rfc_3339_only() {
    assert_eq!(
        Timestamp::parse_rfc3339("2021-03-09T09:05:04.5+02:00").unwrap().to_string(),
        "2021-03-09T07:05:04.5Z"
    );
    for text in [
        "",
        "2021-03-09",
        "2021-03-09 07:05:04",
        "2021-03-09T07:05:04",
        "20210309",
        "2021-03-09T07:05:04+0200",
    ] {
        assert!(Timestamp::parse_rfc3339(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Timestamp>("17").is_err());
    assert_eq!(
        serde_json::from_str::<Timestamp>("\"2021-03-09T07:05:04Z\"").unwrap().as_unix_seconds(),
        1_615_273_504
    );
}

#[test]
fn moving_a_moment_stays_in_the_range_and_never_becomes_zero() {
    let moment = Timestamp::from_unix_seconds(0);
    assert_eq!(moment.plus_nanos(i64::MIN).to_string(), "1678-01-01T00:00:00Z");
    assert_eq!(moment.plus_nanos(i64::MAX).to_string(), "2261-12-31T23:59:59.999999999Z");
    assert_eq!(Timestamp::ZERO.plus_nanos(5), Timestamp::ZERO);
}

/// Any moment of the range.
fn moments() -> impl Strategy<Value = Timestamp> {
    let whole = civil::FIRST_SECOND..civil::END_SECOND;
    let fraction =
        prop_oneof![Just(0_i64), 0..1_000_000_000_i64, (0..1000_i64).prop_map(|millis| millis * 1_000_000)];
    (whole, fraction).prop_map(|(seconds, nanos)| Timestamp::from_nanos(seconds * 1_000_000_000 + nanos))
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(moment in moments()) {
        let text = moment.to_string();
        prop_assert_eq!(Timestamp::parse_any(&text), Ok(moment));
        prop_assert_eq!(Timestamp::parse_rfc3339(&text), Ok(moment));
        prop_assert_eq!(parse::parse(&text), Ok(moment));
        let json = serde_json::to_string(&moment).unwrap();
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
    }

    #[test]
    fn the_quick_reader_and_the_free_form_reader_agree(
        text in "[012][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,12})?(Z|[+-][0-2][0-9]:[0-6][0-9])"
    ) {
        prop_assert_eq!(rfc3339::read(text.as_bytes()), parse::parse(&text).ok());
    }

    #[test]
    fn no_string_makes_the_parser_panic(
        text in prop_oneof![
            any::<String>(),
            "[0-9A-Za-z:/. ,+'()年月日-]{0,40}",
            "(Mon|tuesday,|mar|Sept\\.|[0-9]{1,5})[ /:.-](Feb|[0-9]{1,3})[ /:.,-]{1,2}[0-9]{1,5}[ T,]{0,2}[0-9:.]{0,12}( ?[AaPp]m)?( ?[A-Z+-]{0,4}[0-9:]{0,5}){0,3}",
        ]
    ) {
        if let Ok(moment) = Timestamp::parse_any(&text) {
            prop_assert_eq!(Timestamp::parse_any(&moment.to_string()), Ok(moment));
        }
    }
}

/// A measurement for people, in release builds:
/// `cargo test --release -p ulex-domain -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement, not a test"]
fn speed_of_reading_and_printing() {
    use std::hint::black_box;

    fn best(mut run: impl FnMut()) -> f64 {
        let round = |_round| {
            let start = std::time::Instant::now();
            (0..10_000).for_each(|_time| run());
            start.elapsed().as_nanos() as f64 / 10_000.0
        };
        (0..50).map(round).fold(f64::INFINITY, f64::min)
    }

    let mut report = String::new();
    for text in
        ["2021-03-09T07:05:04Z", "2021-03-09T09:05:04.123456789+02:00", "2021-03-09 07:05:04", "1615273504"]
    {
        let nanos = best(|| {
            let _moment = black_box(Timestamp::parse_any(black_box(text)));
        });
        report.push_str(&format!("{nanos:8.2} ns to read {text}\n"));
    }
    let moment = Timestamp::from_nanos(1_615_273_504_123_456_789);
    let nanos = best(|| {
        black_box(rfc3339::print(black_box(moment), &mut [0; rfc3339::LENGTH]));
    });
    report.push_str(&format!("{nanos:8.2} ns to print {moment}\n"));
    std::io::Write::write_all(&mut std::io::stderr(), report.as_bytes()).unwrap();
}
