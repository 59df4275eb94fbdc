use proptest::prelude::*;
use serde_json::Value as Json;
use weft_protocol::js::{JsonError, number_text, parse};
use weft_protocol::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};

fn golden() -> Json {
    serde_json::from_str(include_str!("../golden/js.json")).unwrap()
}

#[test]
fn reads_and_prints_as_javascript_does() {
    for case in golden()["texts"].as_array().unwrap() {
        let bytes = hex::decode(case[0].as_str().unwrap()).unwrap();
        let ours = parse(&bytes).ok().map(|value| value.to_json());
        assert_eq!(ours.as_deref(), case[1].as_str(), "{:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn prints_numbers_as_javascript_does() {
    for case in golden()["numbers"].as_array().unwrap() {
        let bits = u64::from_str_radix(case[0].as_str().unwrap(), 16).unwrap();
        assert_eq!(number_text(f64::from_bits(bits)), case[1].as_str().unwrap());
    }
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(parse(&nested(JSON_DEPTH_MAX)).is_ok());
    assert_eq!(parse(&nested(JSON_DEPTH_MAX + 1)), Err(JsonError::Depth));
    assert_eq!(parse(&vec![b'['; 1 << 20]), Err(JsonError::Depth));
    let list = |count: usize| format!("[{}]", vec!["0"; count].join(",")).into_bytes();
    assert!(parse(&list(JSON_VALUES_MAX - 1)).is_ok());
    assert_eq!(parse(&list(JSON_VALUES_MAX)), Err(JsonError::Values));
}

#[test]
fn lone_surrogates_become_replacement_characters_in_utf8() {
    let value = parse(br#""a\ud800b\udc00\ud83d\ude00""#).unwrap();
    assert_eq!(value.as_text().unwrap().to_utf8(), "a\u{fffd}b\u{fffd}\u{1f600}");
}

/// What JSON allows between values.
const SPACE: &str = "[ \t\r\n]{0,2}";

/// A string as JSON writes it; short ones, so that keys repeat and look like numbers.
fn quoted() -> impl Strategy<Value = String> {
    r#""([a-c0-2\u{e9}]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,4}""#
}

fn padded(value: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    (SPACE, value, SPACE).prop_map(|(before, value, after)| before + &value + &after)
}

/// JSON of all kinds of values, nested.
fn texts() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,20})([.][0-9]{1,9})?([eE][+-]?[0-9]{1,3})?";
    let plain = prop_oneof!["null|true|false", number, quoted()];
    plain.prop_recursive(4, 48, 5, |inner| {
        let list = prop::collection::vec(padded(inner.clone()), 0..5);
        let entry = (SPACE, quoted(), SPACE, padded(inner));
        let entry = entry.prop_map(|(before, key, after, value)| before + &key + &after + ":" + &value);
        let object = prop::collection::vec(entry, 0..5);
        prop_oneof![
            list.prop_map(|values| format!("[{}]", values.join(","))),
            object.prop_map(|entries| format!("{{{}}}", entries.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn what_is_printed_reads_the_same(text in texts()) {
        let printed = parse(text.as_bytes()).unwrap().to_json();
        prop_assert_eq!(parse(printed.as_bytes()).unwrap().to_json(), printed);
    }

    #[test]
    fn every_finite_number_comes_back(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        prop_assume!(number.is_finite());
        let back: f64 = number_text(number).parse().unwrap();
        prop_assert_eq!(back, number);
    }

    #[test]
    fn strings_print_as_serde_json_does(text in any::<String>()) {
        let mut ours = String::new();
        weft_protocol::js::write_str(&text, &mut ours);
        prop_assert_eq!(ours, serde_json::to_string(&text).unwrap());
    }
}
