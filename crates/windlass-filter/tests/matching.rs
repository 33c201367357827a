//! The event format of each source, errors in patterns, and explanations. The rules of the pattern
//! language are tested by the scripts in `tests/scripts/filter` of the workspace.

use base64_simd::STANDARD;
use serde_json::{Value, json};
use windlass_filter::{Criteria, Event, EventFormat, MatchBuffers};

/// A record or message.
struct Item {
    json: String,
    /// As written in the JSON.
    data: String,
}

impl Item {
    fn event(&self) -> Event<'_> {
        Event {
            json: self.json.as_bytes(),
            data: self.data.as_bytes(),
        }
    }
}

fn kinesis(data: &[u8]) -> Item {
    let data = STANDARD.encode_to_string(data);
    let event = json!({
        "kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": "k", "sequenceNumber": "7",
            "data": data, "approximateArrivalTimestamp": 1_545_084_650.987},
        "eventSource": "aws:kinesis", "eventID": "shardId-000000000000:7",
    });
    Item {
        json: event.to_string(),
        data,
    }
}

fn sqs(body: &str) -> Item {
    let event = json!({"messageId": "m", "body": body, "attributes": {"SenderId": "s"}});
    let quoted = Value::from(body).to_string();
    Item {
        json: event.to_string(),
        data: quoted[1..quoted.len() - 1].to_owned(),
    }
}

#[track_caller]
fn check(format: EventFormat, patterns: &[&str], item: &Item, expected: bool) {
    let criteria = Criteria::compile(format, patterns).expect("the patterns are valid");
    let matches = criteria.matches(item.event(), &mut MatchBuffers::default());
    assert_eq!(matches, expected, "{patterns:?} {}", item.json);
    let explanation = criteria.explain(item.event());
    assert_eq!(explanation.matches, expected, "{explanation:?}");
    let any_matches = explanation.mismatches.iter().any(Vec::is_empty);
    assert_eq!(any_matches, expected, "{explanation:?}");
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html>
#[test]
fn a_body_is_matched_as_json_or_as_plain_text() {
    let (text, json) = (r#"{"body":["plain"]}"#, r#"{"body":{"a":[1]}}"#);
    let metadata = r#"{"attributes":{"SenderId":["s"]}}"#;
    let check = |pattern, body, expected| check(EventFormat::Sqs, &[pattern], &sqs(body), expected);
    check(text, "plain", true);
    check(text, "other", false);
    check(metadata, "plain", true);
    check(json, "plain", false);
    check(text, r#"{"plain":1}"#, false);
    check(metadata, r#"{"a":2}"#, true);
    check(json, r#"{"a":1}"#, true);
    check(json, r#"{"a":2}"#, false);
    // Data that is not JSON has no fields, so no field of it counts as absent.
    let absent = r#"{"body":{"a":[{"exists":false}]}}"#;
    check(absent, "plain", false);
    check(absent, "5", true);
    check(absent, r#"{"b":1}"#, true);
    // A scalar matches patterns for JSON and for plain text.
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
fn data_is_decoded_and_metadata_is_at_the_top_level() {
    let json = r#"{"data":{"city":["Seattle"]}}"#;
    let both = r#"{"partitionKey":["k"],"data":{"city":["Seattle"]}}"#;
    let metadata = r#"{"partitionKey":["k"],"eventSource":["aws:kinesis"]}"#;
    let city = br#"{"city":"Seattle"}"#;
    let check =
        |pattern, data, expected| check(EventFormat::Kinesis, &[pattern], &kinesis(data), expected);
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
    // The members of `kinesis` are at the top level only.
    check(r#"{"kinesis":{"partitionKey":["k"]}}"#, city, false);
    check(
        r#"{"approximateArrivalTimestamp":[{"numeric":[">",1000]}]}"#,
        city,
        true,
    );
}

#[test]
fn slashes_in_base64_may_be_escaped() {
    let mut item = kinesis(br#"{"a":"???>>>"}"#);
    assert!(item.data.contains('/'));
    item.data = item.data.replace('/', r"\/");
    check(
        EventFormat::Kinesis,
        &[r#"{"data":{"a":[{"prefix":"???"}]}}"#],
        &item,
        true,
    );
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html>
#[test]
fn a_dynamodb_record_is_matched_as_it_is() {
    let event = json!({"eventName": "MODIFY", "dynamodb": {
        "ApproximateCreationDateTime": 1_732_552_345.0, "Keys": {"id": {"S": "a"}},
        "NewImage": {"price": {"N": "101"}, "tags": {"L": [{"S": "x"}, {"S": "y"}]}}}});
    let item = Item {
        json: event.to_string(),
        data: String::new(),
    };
    let check =
        |pattern, expected| check(EventFormat::DynamoDbStreams, &[pattern], &item, expected);
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
fn one_matching_filter_is_enough() {
    let patterns = [r#"{"body":{"a":[1]}}"#, r#"{"body":["plain"]}"#];
    check(EventFormat::Sqs, &patterns, &sqs("plain"), true);
    check(EventFormat::Sqs, &patterns, &sqs(r#"{"a":1}"#), true);
    check(EventFormat::Sqs, &patterns, &sqs(r#"{"a":2}"#), false);
    let patterns = [r#"{"partitionKey":["no"]}"#, r#"{"data":{"a":[1]}}"#];
    check(
        EventFormat::Kinesis,
        &patterns,
        &kinesis(br#"{"a":1}"#),
        true,
    );
    check(EventFormat::Kinesis, &patterns, &kinesis(b"no json"), false);
}

#[test]
fn the_first_of_duplicate_members_counts() {
    let item = kinesis(br#"{"a":1,"a":2}"#);
    check(
        EventFormat::Kinesis,
        &[r#"{"data":{"a":[1]}}"#],
        &item,
        true,
    );
    check(
        EventFormat::Kinesis,
        &[r#"{"data":{"a":[2]}}"#],
        &item,
        false,
    );
}

#[track_caller]
fn rejected(format: EventFormat, pattern: &str, position: (usize, usize), text: &str) {
    let errors = Criteria::compile(format, &[pattern]).expect_err("the pattern is invalid");
    let (_, error) = &errors[0];
    assert_eq!(
        (error.line_and_column(pattern), error.to_string().as_str()),
        (position, text)
    );
}

#[test]
fn errors_in_patterns_carry_their_position() {
    rejected(
        EventFormat::Json,
        "",
        (1, 1),
        "expected a JSON value, found the end of the pattern",
    );
    rejected(
        EventFormat::Json,
        "null",
        (1, 1),
        "a pattern must be a JSON object: {\"field\": [\"value\"]}",
    );
    rejected(
        EventFormat::Json,
        "{\"é\": {\n  \"b\": \"x\"}}",
        (2, 8),
        "é.b: a field takes an array of values or an object of fields",
    );
    rejected(
        EventFormat::Json,
        r#"{"a":[{"prefx":"x"}]}"#,
        (1, 8),
        "a: unknown operator `prefx`",
    );
    rejected(
        EventFormat::Json,
        r#"{"a":[]}"#,
        (1, 6),
        "a: an empty array matches nothing",
    );
    let key = "data: `data` is JSON and takes an object of fields";
    rejected(
        EventFormat::Kinesis,
        r#"{"data":[{"exists":true}]}"#,
        (1, 9),
        key,
    );
    rejected(
        EventFormat::Kinesis,
        r#"{"$or":[{"a":[1]},{"data":["x"]}]}"#,
        (1, 27),
        key,
    );
    let key = "dynamodb: `dynamodb` is JSON and takes an object of fields";
    rejected(
        EventFormat::DynamoDbStreams,
        r#"{"dynamodb":["x"]}"#,
        (1, 13),
        key,
    );
}

#[test]
fn each_invalid_pattern_has_an_error() {
    let patterns = ["{", r#"{"a":[1]}"#, r#"{"a":1}"#];
    let errors = Criteria::compile(EventFormat::Json, &patterns).unwrap_err();
    let indices: Vec<usize> = errors.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [0, 2]);
    let eleven = [r#"{"a":[1]}"#; 11];
    let errors = Criteria::compile(EventFormat::Json, &eleven).unwrap_err();
    assert_eq!(errors[0].1.to_string(), "more than 10 filters");
}

#[track_caller]
fn mismatches(format: EventFormat, pattern: &str, item: &Item) -> Vec<String> {
    let criteria = Criteria::compile(format, &[pattern]).expect("the pattern is valid");
    criteria.explain(item.event()).mismatches.remove(0)
}

#[test]
fn an_explanation_names_the_fields_that_do_not_match() {
    let pattern = r#"{"data":{"a":[1],"b":{"c":["x"]},"d":[{"exists":true}],"e":[2]}}"#;
    let item = kinesis(br#"{"a":1,"b":{"c":"y"},"d":{},"e":[5,"six"]}"#);
    assert_eq!(
        mismatches(EventFormat::Kinesis, pattern, &item),
        [
            r#"data.b.c is "y", but the pattern expects ["x"]"#,
            r#"data.d is an object, but the pattern expects [{"exists":true}]"#,
            r#"data.e is 5 and "six", but the pattern expects [2]"#,
        ]
    );
    // Of several branches, the one that comes closest.
    let or = r#"{"body":{"$or":[{"a":[1],"b":[1]},{"c":[3],"a":[2],"d":[4]}]}}"#;
    assert_eq!(
        mismatches(EventFormat::Sqs, or, &sqs(r#"{"a":1}"#)),
        ["body.b is missing, but the pattern expects [1]"]
    );
    let people = sqs(r#"{"p":[{"n":"Anna","s":1},{"n":"Jones","s":9}]}"#);
    assert_eq!(
        mismatches(
            EventFormat::Sqs,
            r#"{"body":{"p":{"n":["Anna"],"s":[9]}}}"#,
            &people
        ),
        ["no single array element has all of body.p.n, body.p.s"]
    );
    assert_eq!(
        mismatches(EventFormat::Sqs, r#"{"body":{"a":[1]}}"#, &sqs("plain")),
        ["body.a is unavailable because the body is not JSON, but the pattern expects [1]"]
    );
    assert_eq!(
        mismatches(EventFormat::Sqs, r#"{"body":["x"]}"#, &sqs(r#"{"x":1}"#)),
        [r#"body is JSON, not plain text, but the pattern expects ["x"]"#]
    );
    assert_eq!(
        mismatches(EventFormat::Sqs, r#"{"body":["x"]}"#, &sqs("y")),
        [r#"body is "y", but the pattern expects ["x"]"#]
    );
    let absent = r#"{"body":{"a":[{"exists":false}]}}"#;
    assert_eq!(
        mismatches(EventFormat::Sqs, absent, &sqs("plain")),
        ["the body is not JSON, but the pattern expects fields in it"]
    );
}
