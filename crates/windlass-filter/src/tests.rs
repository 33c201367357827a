//! What filters see of each source, what they say of a pattern that is none, and why a record did
//! not pass. The rules of the language have their scripts.

use base64_simd::STANDARD;
use serde_json::{Value, json};

use super::*;

/// A record or message: its event, and its data as it stands there.
struct Item {
    event: String,
    data: String,
}

fn kinesis(data: &[u8]) -> Item {
    let data = STANDARD.encode_to_string(data);
    let event = json!({
        "kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": "k", "sequenceNumber": "7",
            "data": data, "approximateArrivalTimestamp": 1_545_084_650.987},
        "eventSource": "aws:kinesis", "eventID": "shardId-000000000000:7",
    });
    Item {
        event: event.to_string(),
        data,
    }
}

fn sqs(body: &str) -> Item {
    let event = json!({"messageId": "m", "body": body, "attributes": {"SenderId": "s"}});
    let quoted = Value::from(body).to_string();
    Item {
        event: event.to_string(),
        data: quoted[1..quoted.len() - 1].to_owned(),
    }
}

#[track_caller]
fn check(view: View, patterns: &[&str], item: &Item, expected: bool) {
    let criteria = Criteria::compile(view, patterns).unwrap();
    let subject = Subject {
        event: item.event.as_bytes(),
        data: item.data.as_bytes(),
    };
    let passes = criteria.passes(subject, &mut Scratch::default());
    assert_eq!(passes, expected, "{patterns:?} {}", item.event);
    let explanation = criteria.explain(subject);
    assert_eq!(explanation.passes, expected, "{explanation:?}");
    let matching = explanation.reasons.iter().any(Vec::is_empty);
    assert_eq!(matching, expected, "{explanation:?}");
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html>
#[test]
fn a_body_is_seen_as_json_or_as_text() {
    let (text, json) = (r#"{"body":["plain"]}"#, r#"{"body":{"a":[1]}}"#);
    let metadata = r#"{"attributes":{"SenderId":["s"]}}"#;
    let check = |pattern, body, expected| check(View::Sqs, &[pattern], &sqs(body), expected);
    check(text, "plain", true);
    check(text, "other", false);
    check(metadata, "plain", true);
    check(json, "plain", false);
    check(text, r#"{"plain":1}"#, false);
    check(metadata, r#"{"a":2}"#, true);
    check(json, r#"{"a":1}"#, true);
    check(json, r#"{"a":2}"#, false);
    // What is no JSON has no fields, and so none that is absent either.
    let absent = r#"{"body":{"a":[{"exists":false}]}}"#;
    check(absent, "plain", false);
    check(absent, "5", true);
    check(absent, r#"{"b":1}"#, true);
    // A scalar is JSON, and may be meant as a text.
    check(r#"{"body":["5"]}"#, "5", true);
    check(r#"{"body":[{"anything-but":"5"}]}"#, r#"["6"]"#, false);
    check(
        r#"{"body":[{"prefix":"a\n"}]}"#,
        "a\nb \"c\" \u{1f600}",
        true,
    );
    check(r#"{"body":{"a":["\u00e9\n"]}}"#, r#"{"a":"é\n"}"#, true);
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis-filtering.html>
#[test]
fn data_is_decoded_and_the_rest_stands_beside_it() {
    let json = r#"{"data":{"city":["Seattle"]}}"#;
    let both = r#"{"partitionKey":["k"],"data":{"city":["Seattle"]}}"#;
    let metadata = r#"{"partitionKey":["k"],"eventSource":["aws:kinesis"]}"#;
    let city = br#"{"city":"Seattle"}"#;
    let check =
        |pattern, data, expected| check(View::Kinesis, &[pattern], &kinesis(data), expected);
    check(json, city.as_slice(), true);
    check(json, br#"{"city":"Berlin"}"#, false);
    check(both, city, true);
    check(
        r#"{"partitionKey":["other"],"data":{"city":["Seattle"]}}"#,
        city,
        false,
    );
    check(json, b"Seattle", false);
    check(json, b"\xff\xfe", false);
    check(json, br#"{"city":"Seattle""#, false);
    check(json, br#"{"city":"Seattle"} more"#, false);
    check(json, b"{\"city\":\"Seattle\",\"x\":\"\xff\"}", false);
    check(metadata, b"Seattle", true);
    check(metadata, b"", true);
    check(json, br#"[{"city":"Berlin"},{"city":"Seattle"}]"#, true);
    // The members of `kinesis` stand at the top, and only there.
    check(r#"{"kinesis":{"partitionKey":["k"]}}"#, city, false);
    check(
        r#"{"approximateArrivalTimestamp":[{"numeric":[">",1000]}]}"#,
        city,
        true,
    );
}

#[test]
fn slashes_of_base64_may_be_escaped() {
    let mut item = kinesis(br#"{"a":"???>>>"}"#);
    assert!(item.data.contains('/'));
    item.data = item.data.replace('/', r"\/");
    check(
        View::Kinesis,
        &[r#"{"data":{"a":[{"prefix":"???"}]}}"#],
        &item,
        true,
    );
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html>
#[test]
fn a_change_of_an_item_is_seen_as_it_stands() {
    let event = json!({"eventName": "MODIFY", "dynamodb": {
        "ApproximateCreationDateTime": 1_732_552_345.0, "Keys": {"id": {"S": "a"}},
        "NewImage": {"price": {"N": "101"}, "tags": {"L": [{"S": "x"}, {"S": "y"}]}}}});
    let item = Item {
        event: event.to_string(),
        data: String::new(),
    };
    let check = |pattern, expected| check(View::DynamoDbStreams, &[pattern], &item, expected);
    check(r#"{"eventName":["MODIFY"]}"#, true);
    check(r#"{"dynamodb":{"NewImage":{"price":{"N":["101"]}}}}"#, true);
    check(
        r#"{"dynamodb":{"NewImage":{"price":{"N":[{"numeric":[">",100]}]}}}}"#,
        false,
    );
    check(
        r#"{"dynamodb":{"NewImage":{"price":[{"exists":true}]}}}"#,
        false,
    );
    check(
        r#"{"dynamodb":{"NewImage":{"price":[{"exists":false}]}}}"#,
        true,
    );
    check(
        r#"{"dynamodb":{"NewImage":{"tags":{"L":{"S":["y"]}}}}}"#,
        true,
    );
    check(
        r#"{"dynamodb":{"ApproximateCreationDateTime":[{"numeric":[">",1]}]}}"#,
        true,
    );
}

#[test]
fn of_several_filters_one_is_enough() {
    let patterns = [r#"{"body":{"a":[1]}}"#, r#"{"body":["plain"]}"#];
    check(View::Sqs, &patterns, &sqs("plain"), true);
    check(View::Sqs, &patterns, &sqs(r#"{"a":1}"#), true);
    check(View::Sqs, &patterns, &sqs(r#"{"a":2}"#), false);
    let patterns = [r#"{"partitionKey":["no"]}"#, r#"{"data":{"a":[1]}}"#];
    check(View::Kinesis, &patterns, &kinesis(br#"{"a":1}"#), true);
    check(View::Kinesis, &patterns, &kinesis(b"no json"), false);
}

#[test]
fn of_members_with_one_name_the_first_counts() {
    let item = kinesis(br#"{"a":1,"a":2}"#);
    check(View::Kinesis, &[r#"{"data":{"a":[1]}}"#], &item, true);
    check(View::Kinesis, &[r#"{"data":{"a":[2]}}"#], &item, false);
}

#[track_caller]
fn refused(view: View, pattern: &str, place: (usize, usize), text: &str) {
    let errors = Criteria::compile(view, &[pattern]).unwrap_err();
    let (_, error) = &errors[0];
    assert_eq!(
        (error.place(pattern), error.to_string().as_str()),
        (place, text)
    );
}

#[test]
fn a_pattern_that_is_none_is_told_with_its_place() {
    let whole = View::Whole;
    refused(
        whole,
        "",
        (1, 1),
        "the pattern ends where a value was expected",
    );
    refused(
        whole,
        "null",
        (1, 1),
        "a pattern is an object: {\"field\": [\"value\"]}",
    );
    refused(
        whole,
        "{\"é\": {\n  \"b\": \"x\"}}",
        (2, 8),
        "é.b: a field takes a list of values, or an object of fields",
    );
    refused(
        whole,
        r#"{"a":[{"prefx":"x"}]}"#,
        (1, 8),
        "a: there is no operator `prefx`",
    );
    refused(
        whole,
        r#"{"a":[]}"#,
        (1, 6),
        "a: an empty list matches nothing",
    );
    let key = "data: `data` is JSON: its fields are named in an object";
    refused(View::Kinesis, r#"{"data":[{"exists":true}]}"#, (1, 9), key);
    refused(
        View::Kinesis,
        r#"{"$or":[{"a":[1]},{"data":["x"]}]}"#,
        (1, 27),
        key,
    );
    let key = "dynamodb: `dynamodb` is JSON: its fields are named in an object";
    refused(View::DynamoDbStreams, r#"{"dynamodb":["x"]}"#, (1, 13), key);
}

#[test]
fn every_pattern_that_is_none_is_told() {
    let patterns = ["{", r#"{"a":[1]}"#, r#"{"a":1}"#];
    let errors = Criteria::compile(View::Whole, &patterns).unwrap_err();
    let numbers: Vec<usize> = errors.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 2]);
    let eleven = [r#"{"a":[1]}"#; 11];
    let errors = Criteria::compile(View::Whole, &eleven).unwrap_err();
    assert_eq!(errors[0].1.to_string(), "there are more than 10 filters");
}

#[track_caller]
fn reasons(view: View, pattern: &str, item: &Item) -> Vec<String> {
    let criteria = Criteria::compile(view, &[pattern]).unwrap();
    let subject = Subject {
        event: item.event.as_bytes(),
        data: item.data.as_bytes(),
    };
    criteria.explain(subject).reasons.remove(0)
}

#[test]
fn the_reasons_name_the_fields_that_stopped_a_record() {
    let pattern = r#"{"data":{"a":[1],"b":{"c":["x"]},"d":[{"exists":true}],"e":[2]}}"#;
    let item = kinesis(br#"{"a":1,"b":{"c":"y"},"d":{},"e":[5,"six"]}"#);
    assert_eq!(
        reasons(View::Kinesis, pattern, &item),
        [
            r#"data.b.c is "y", but the pattern wants ["x"]"#,
            r#"data.d is an object, but the pattern wants [{"exists":true}]"#,
            r#"data.e is 5 and "six", but the pattern wants [2]"#,
        ]
    );
    // Of several ways to match, the nearest.
    let or = r#"{"body":{"$or":[{"a":[1],"b":[1]},{"c":[3],"a":[2],"d":[4]}]}}"#;
    assert_eq!(
        reasons(View::Sqs, or, &sqs(r#"{"a":1}"#)),
        ["body.b is not there, but the pattern wants [1]"]
    );
    let people = sqs(r#"{"p":[{"n":"Anna","s":1},{"n":"Jones","s":9}]}"#);
    assert_eq!(
        reasons(
            View::Sqs,
            r#"{"body":{"p":{"n":["Anna"],"s":[9]}}}"#,
            &people
        ),
        ["no single element of a list has all of body.p.n, body.p.s"]
    );
    assert_eq!(
        reasons(View::Sqs, r#"{"body":{"a":[1]}}"#, &sqs("plain")),
        ["body.a cannot be had, since the body is not JSON, but the pattern wants [1]"]
    );
    assert_eq!(
        reasons(View::Sqs, r#"{"body":["x"]}"#, &sqs(r#"{"x":1}"#)),
        [r#"body is JSON and no plain text, but the pattern wants ["x"]"#]
    );
    assert_eq!(
        reasons(View::Sqs, r#"{"body":["x"]}"#, &sqs("y")),
        [r#"body is "y", but the pattern wants ["x"]"#]
    );
    let absent = r#"{"body":{"a":[{"exists":false}]}}"#;
    assert_eq!(
        reasons(View::Sqs, absent, &sqs("plain")),
        ["the body is not JSON, but the pattern names fields of it"]
    );
}
