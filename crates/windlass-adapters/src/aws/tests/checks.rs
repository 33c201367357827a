//! Which calls a mapping needs, and whether they are permitted.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::mapping::{
    Change, DesiredState, Mapping, MappingId, MappingRow, Origin, RetryBackoff, Revision,
};
use windlass_core::outcome::Fault;
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_core::validate;
use windlass_engine::ports::{NeededCall, Permission, QueueDefaults, chain};

use crate::aws::checks::{needed_calls, permission, to_invoke};
use crate::aws::{AwsClients, Service};
use crate::tests::test_http::TestHttp;

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
const CONSUMER: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1";
const TABLE: &str =
    "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000";
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";
const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:failed";
const BUCKET: &str = "arn:aws:s3:::failed";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f:live";

/// Each call that is tried, its resource, and what AWS answers to the request as it is
/// made, if it is permitted.
const TRIED: [(&str, &str, u16, &str); 12] = [
    ("kinesis:DescribeStreamSummary", STREAM, 200, "{}"),
    ("kinesis:ListShards", STREAM, 200, "{}"),
    (
        "kinesis:GetShardIterator",
        STREAM,
        400,
        "ResourceNotFoundException",
    ),
    (
        "kinesis:GetRecords",
        STREAM,
        400,
        "InvalidArgumentException",
    ),
    (
        "kinesis:SubscribeToShard",
        CONSUMER,
        400,
        "ResourceNotFoundException",
    ),
    (
        "dynamodb:GetShardIterator",
        TABLE,
        400,
        "ResourceNotFoundException",
    ),
    ("dynamodb:GetRecords", TABLE, 400, "ValidationException"),
    ("sqs:DeleteMessage", QUEUE, 200, r#"{"Failed": []}"#),
    (
        "sqs:ChangeMessageVisibility",
        QUEUE,
        200,
        r#"{"Failed": []}"#,
    ),
    ("sqs:SendMessage", QUEUE, 400, "MissingParameter"),
    ("sns:Publish", TOPIC, 400, "InvalidParameter"),
    ("s3:PutObject", BUCKET, 400, "BadDigest"),
];

fn mapping(members: &Value) -> Mapping {
    let members = members.as_object().unwrap();
    let (spec, errors) = MappingSpec::read(members, true);
    assert!(errors.is_empty(), "{errors:?}");
    let now = Timestamp::from_millis(1_800_000_000_000);
    let checked = validate::create(&spec, now).unwrap();
    let row = MappingRow {
        id: MappingId::new("14e0db71-5d35-4eb5-b481-8945cf9d10c2"),
        revision: Revision(1),
        spec: checked.spec,
        source: SourceArn::parse(members["EventSourceArn"].as_str().unwrap()).unwrap(),
        function_arn: Arn::parse(FUNCTION).unwrap(),
        desired: DesiredState::Enabled,
        change: Change::Created,
        created: now,
        last_modified: now,
        origin: Origin::Api,
    };
    validate::mapping(&row).unwrap()
}

fn calls(members: &Value, queues: &QueueDefaults) -> Vec<String> {
    let calls = needed_calls(&mapping(members), queues).into_iter();
    let shown = calls.map(|call| {
        let optional = if call.is_optional { " (optional)" } else { "" };
        format!("{} {}{optional}", call.action, call.resource.resource())
    });
    shown.collect()
}

fn with(visibility_heartbeat: bool, has_backoff: bool) -> QueueDefaults {
    QueueDefaults {
        visibility_heartbeat,
        retry_backoff: has_backoff.then(RetryBackoff::default),
    }
}

#[test]
fn a_stream_needs_what_reads_it_and_what_reaches_its_destination() {
    let reads = [
        "kinesis:ListShards stream/s",
        "kinesis:GetShardIterator stream/s",
        "kinesis:GetRecords stream/s",
    ];
    let subscribes = [
        "kinesis:DescribeStreamSummary stream/s (optional)",
        "kinesis:ListShards stream/s",
        "kinesis:SubscribeToShard stream/s/consumer/c:1",
    ];
    let of_table = [
        "dynamodb:GetShardIterator table/t/stream/2026-01-01T00:00:00.000",
        "dynamodb:GetRecords table/t/stream/2026-01-01T00:00:00.000",
    ];
    for (source, destination, expected) in [
        (STREAM, None, reads.to_vec()),
        (
            CONSUMER,
            Some(QUEUE),
            [&subscribes[..], &["sqs:SendMessage q"]].concat(),
        ),
        (
            TABLE,
            Some(TOPIC),
            [&of_table[..], &["sns:Publish failed"]].concat(),
        ),
        (
            STREAM,
            Some(BUCKET),
            [&reads[..], &["s3:PutObject failed"]].concat(),
        ),
    ] {
        let mut members = json!({
            "FunctionName": "f", "EventSourceArn": source, "StartingPosition": "TRIM_HORIZON",
        });
        if let Some(arn) = destination {
            members["DestinationConfig"] = json!({"OnFailure": {"Destination": arn}});
        }
        assert_eq!(calls(&members, &with(true, true)), expected);
    }
}

#[test]
fn a_queue_needs_to_change_visibility_for_delays_and_would_like_to_for_the_heartbeat() {
    let plain = json!({"FunctionName": "f", "EventSourceArn": QUEUE});
    let mut delayed = plain.clone();
    delayed["Windlass"] = json!({"RetryBackoff": {}});
    let mut undelayed = plain.clone();
    undelayed["Windlass"] = json!({"RetryBackoff": null});
    let (needed, optional) = (
        Some("sqs:ChangeMessageVisibility q"),
        Some("sqs:ChangeMessageVisibility q (optional)"),
    );
    for (members, defaults, visibility) in [
        (&plain, with(false, false), None),
        (&plain, with(true, false), optional),
        (&plain, with(true, true), needed),
        (&delayed, with(false, false), needed),
        (&delayed, with(true, false), needed),
        (&undelayed, with(false, true), None),
        (&undelayed, with(true, true), optional),
    ] {
        let always = ["sqs:ReceiveMessage q", "sqs:DeleteMessage q"];
        let expected: Vec<_> = always.into_iter().chain(visibility).collect();
        assert_eq!(
            calls(members, &defaults),
            expected,
            "{members} {defaults:?}"
        );
    }
}

fn at_aws() -> (TestHttp, AwsClients) {
    let (http, mut clients) = TestHttp::new();
    clients.custom_endpoints = Arc::default();
    (http, clients)
}

fn call(action: &'static str, resource: &str) -> NeededCall {
    NeededCall {
        action,
        resource: Arn::parse(resource).unwrap(),
        is_optional: false,
    }
}

/// An error in the protocol of the service.
fn error(action: &str, code: &str, message: &str) -> String {
    if action.starts_with("sns:") {
        let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        return format!("<ErrorResponse>{error}</ErrorResponse>");
    }
    if action.starts_with("s3:") {
        return format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    }
    json!({"__type": code, "message": message}).to_string()
}

fn refused(action: &str, resource: &str) -> String {
    format!(
        "User: arn:aws:iam::1:user/u is not authorized to perform: {action} on resource: {resource}"
    )
}

#[tokio::test]
async fn a_call_that_is_refused_for_what_it_asks_is_permitted() {
    let (http, clients) = at_aws();
    for (action, resource, status, answer) in TRIED {
        let body = match status {
            200 => answer.to_owned(),
            _ => error(action, answer, "as it must be"),
        };
        http.respond_with(status, &[], body.as_bytes());
        let found = permission(&clients, &call(action, resource)).await;
        assert!(
            matches!(found, Permission::NotDenied),
            "{action}: {found:?}"
        );
        assert_eq!(http.requests().len(), 1, "{action}");
    }
}

#[tokio::test]
async fn a_denial_names_the_action_to_grant() {
    let (http, clients) = at_aws();
    for (action, resource, ..) in TRIED {
        let code = match action {
            "sns:Publish" => "AuthorizationError",
            "s3:PutObject" => "AccessDenied",
            _ => "AccessDeniedException",
        };
        for message in [
            refused(
                action,
                &format!("{resource} because no identity-based policy allows it"),
            ),
            "Access to the resource is denied.".to_owned(),
        ] {
            http.respond_with(403, &[], error(action, code, &message).as_bytes());
            let Permission::Denied(error) = permission(&clients, &call(action, resource)).await
            else {
                panic!("{action} is not denied: {message}");
            };
            let text = chain(&error);
            assert!(text.contains(&format!("grant {action} on")), "{text}");
        }
    }
}

/// Of a request that names its resource by something that AWS cannot read, such as an iterator.
#[tokio::test]
async fn a_denial_of_another_resource_says_nothing() {
    let (http, clients) = at_aws();
    for (named, is_denied) in [
        ("*", false),
        (
            "arn:aws:dynamodb:us-east-1:000000000000:table/other/stream/x",
            false,
        ),
        (TABLE, true),
        (&format!("\"{TABLE}\""), true),
    ] {
        let action = "dynamodb:GetRecords";
        let body = error(action, "AccessDeniedException", &refused(action, named));
        http.respond_with(400, &[], body.as_bytes());
        let found = permission(&clients, &call(action, TABLE)).await;
        let denied = matches!(found, Permission::Denied(_));
        assert_eq!(denied, is_denied, "{named}: {found:?}");
    }
    let unqualified = FUNCTION.trim_end_matches(":live");
    let body = error(
        "",
        "AccessDeniedException",
        &refused("lambda:InvokeFunction", unqualified),
    );
    http.respond_with(403, &[], body.as_bytes());
    let found = permission(&clients, &to_invoke(&Arn::parse(FUNCTION).unwrap())).await;
    assert!(matches!(found, Permission::Denied(_)), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_something_else_is_neither() {
    let (http, clients) = at_aws();
    for (status, code, fault) in [
        (
            400,
            "ThrottlingException",
            Fault::Throttled { retry_after: None },
        ),
        (400, "ExpiredTokenException", Fault::Denied),
        (400, "KmsAccessDenied", Fault::Denied),
        (400, "QueueDoesNotExist", Fault::Gone),
        (500, "InternalFailure", Fault::Transient),
    ] {
        http.respond_with(status, &[], error("sqs:", code, "").as_bytes());
        let found = permission(&clients, &call("sqs:SendMessage", QUEUE)).await;
        let Permission::Unknown(error) = found else {
            panic!("{code}: {found:?}");
        };
        assert_eq!(error.fault, fault, "{code}");
    }
    http.fail_to_connect();
    let found = permission(&clients, &call("sqs:SendMessage", QUEUE)).await;
    assert!(matches!(found, Permission::Unknown(_)), "{found:?}");
}

/// Whatever a service answers, none of these requests can have an effect.
#[tokio::test]
async fn what_is_sent_asks_for_nothing_that_exists() {
    let (http, clients) = at_aws();
    for (action, resource, ..) in TRIED {
        http.respond_with(
            400,
            &[],
            error(action, "ValidationException", "").as_bytes(),
        );
        permission(&clients, &call(action, resource)).await;
        let request = http.requests().remove(0);
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let part = match action {
            "kinesis:DescribeStreamSummary" => r#""StreamARN":"#,
            "kinesis:ListShards" => r#""MaxResults":1"#,
            "kinesis:GetShardIterator" | "kinesis:SubscribeToShard" => "shardId-999999999999",
            "dynamodb:GetShardIterator" => "shardId-00000000000000000000-00000000",
            "kinesis:GetRecords" | "dynamodb:GetRecords" => "windlass-permission-check",
            "sqs:SendMessage" => r#""MessageBody":"""#,
            "sns:Publish" => "Message=&",
            "s3:PutObject" => "{}",
            _ => "windlass-permission-check",
        };
        assert!(format!("{body}&").contains(part), "{action}: {body}");
        if action == "s3:PutObject" {
            // Of no bytes, and there are two.
            assert_eq!(request.headers["content-md5"], "1B2M2Y8AsgTpgAmY7PhCfg==");
        }
    }
    http.respond_with(204, &[], b"");
    let found = permission(&clients, &to_invoke(&Arn::parse(FUNCTION).unwrap())).await;
    assert!(matches!(found, Permission::NotDenied), "{found:?}");
    let request = http.requests().remove(0);
    assert_eq!(request.headers["x-amz-invocation-type"], "DryRun");
}

#[tokio::test]
async fn another_endpoint_than_one_of_aws_is_not_called_and_no_queue_is_read() {
    let (http, mut clients) = at_aws();
    let receives = permission(&clients, &call("sqs:ReceiveMessage", QUEUE)).await;
    assert!(matches!(receives, Permission::Untried(_)), "{receives:?}");
    clients.custom_endpoints = Arc::new(BTreeSet::from(Service::ALL));
    let tried = TRIED.map(|(action, resource, ..)| call(action, resource));
    let invoke = to_invoke(&Arn::parse(FUNCTION).unwrap());
    for call in tried.into_iter().chain([invoke]) {
        let found = permission(&clients, &call).await;
        assert!(
            matches!(found, Permission::Untried(_)),
            "{call:?}: {found:?}"
        );
    }
    assert_eq!(http.requests().len(), 0);
}
