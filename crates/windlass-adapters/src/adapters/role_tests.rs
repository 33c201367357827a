//! Whatever is called of another account is called with its role.

use windlass_core::failure::{DestinationArn, FailureCondition, FailureRecord};
use windlass_core::ids::KeyHash;
use windlass_core::mapping::{MessageBackoff, QueueSettings, RetrySettings, StreamSettings};
use windlass_core::record::Record;
use windlass_core::record_page::RecordMeta;
use windlass_engine::ports::{Failure, Invocation, Purpose};

use super::*;
use crate::aws::{ArnPattern, Role, RoleRule};
use crate::tests::test_http::TestHttp;

const THEIRS: &str = "111122223333";
const HOUR: Duration = Duration::from_secs(3600);

fn role() -> Role {
    Role {
        arn: Arn::parse("arn:aws:iam::111122223333:role/shared").unwrap(),
        external_id: None,
    }
}

/// Adapters with a role for all sources and destinations of an account and for buckets, and for the
/// function `audit`; all its clients make their calls by `http`.
async fn adapters(http: &TestHttp) -> Adapters {
    let patterns = ["arn:aws:*:*:111122223333:*", "arn:aws:s3:::their-*"];
    let rules = patterns.map(|pattern| RoleRule {
        resources: ArnPattern::parse(pattern).unwrap(),
        role: role(),
    });
    let settings = AwsSettings {
        region: "us-east-1".to_owned(),
        placeholder_credentials: true,
        assume_roles: rules.to_vec(),
        ..AwsSettings::default()
    };
    let audit = FunctionKind::Lambda(theirs("lambda", "function:audit"));
    let audit = FunctionSettings {
        assume_role: Some(role()),
        ..FunctionSettings::new(audit)
    };
    let mut adapters = Adapters::load(AdapterSettings {
        aws: settings.clone(),
        account_id: "999999999999".to_owned(),
        functions: BTreeMap::from([("audit".to_owned(), audit)]),
    })
    .await;
    adapters.aws = Aws::with_http(&settings, http.shared()).await;
    adapters.lookup_aws = Aws::with_http(&settings, http.shared()).await;
    adapters
}

fn theirs(service: &str, resource: &str) -> Arn {
    Arn::parse(&format!("arn:aws:{service}:us-east-1:{THEIRS}:{resource}")).unwrap()
}

fn stream_source(arn: &Arn, kind: StreamKind, on_failure: Option<&Arn>) -> StreamSource {
    StreamSource {
        kind,
        arn: arn.clone(),
        consumer: None,
        takes_aggregates_apart: false,
        settings: StreamSettings {
            starting_position: Position::TrimHorizon,
            recreated_position: Position::TrimHorizon,
            skip_before: None,
            batch_size: 100,
            maximum_batching_window: Duration::ZERO,
            parallelization_factor: 1,
            tumbling_window: None,
            on_failure: on_failure.map(|arn| DestinationArn::parse(arn.as_str()).unwrap()),
            retries: RetrySettings::default(),
        },
    }
}

fn queue_source(arn: &Arn) -> QueueSource {
    QueueSource {
        retry_backoff: MessageBackoff::default(),
        settings: QueueSettings {
            fifo: false,
            batch_size: 10,
            maximum_batching_window: Duration::ZERO,
            strict_order: false,
            pollers: None,
        },
        arn: arn.clone(),
        maximum_concurrency: None,
    }
}

fn failure() -> Failure {
    let meta = RecordMeta {
        sequence_number: "1",
        inner: None,
        key: KeyHash(1),
        approximate_arrival: Timestamp::EPOCH,
    };
    Failure {
        shard: ShardId::from("shardId-1"),
        record: FailureRecord {
            condition: FailureCondition::RetryAttemptsExhausted,
            records: vec![Record::standalone(&meta, b"{}", 0..0)].into(),
            attempts: 1,
            request_id: None,
            response: None,
            last_error: None,
            window: None,
        },
        given_up: Timestamp::EPOCH,
    }
}

/// The calls since the last time, with the keys that signed them.
#[track_caller]
fn calls(http: &TestHttp) -> Vec<String> {
    let requests = http.requests();
    let calls = requests.iter().map(|request| {
        let scope = request.headers["authorization"].split_once("Credential=");
        let mut scope = scope.unwrap().1.split('/');
        let key = scope.next().unwrap();
        format!("{} {key}", scope.nth(2).unwrap())
    });
    calls.collect()
}

#[tokio::test]
async fn everything_of_another_account_is_called_with_the_role() {
    let (http, _) = TestHttp::new();
    let adapters = adapters(&http).await;
    // That no call succeeds does not matter.
    http.respond_with(400, &[], b"{}");
    let function = theirs("lambda", "function:audit");
    let stream = theirs("kinesis", "stream/s");
    let table = theirs("dynamodb", "table/t/stream/2026-11-29T00:00:00.000");
    let queue = theirs("sqs", "q");

    http.assume_once("ROLE", HOUR);
    for (arn, kind, service) in [
        (&stream, StreamKind::Kinesis, "kinesis"),
        (&table, StreamKind::DynamoDbStreams, "dynamodb"),
    ] {
        let source = stream_source(arn, kind, None);
        let reader = adapters.stream(&source, &function).unwrap();
        reader.list_shards().await.unwrap_err();
        assert_eq!(calls(&http).pop().unwrap(), format!("{service} ROLE"));
    }
    let reader = adapters.queue(&queue_source(&queue), Arc::default());
    reader.unwrap().attributes().await.unwrap_err();
    let sender = adapters.sender(&queue).unwrap();
    sender.dead_letter_queue().await.unwrap_err();
    assert_eq!(calls(&http), ["sqs ROLE", "sqs ROLE"]);
    let bucket = adapters.bucket("their-documents").unwrap();
    bucket.keys("", None).await.unwrap_err();
    let other = adapters.bucket("our-documents").unwrap();
    other.keys("", None).await.unwrap_err();
    assert_eq!(calls(&http), ["s3 ROLE", "s3 none"]);

    for (destination, call) in [
        (queue.clone(), "sqs ROLE"),
        (theirs("sns", "t"), "sns ROLE"),
        (
            Arn::parse("arn:aws:s3:::their-failures").unwrap(),
            "s3 ROLE",
        ),
    ] {
        let source = stream_source(&stream, StreamKind::Kinesis, Some(&destination));
        let mapping = MappingId::new("14e0db71-5d35-4eb5-b481-8945cf9d10c2");
        let destination = adapters.destination(&mapping, None, &source, &function);
        let destination = destination.unwrap().unwrap();
        destination.deliver(&failure()).await.unwrap_err();
        assert_eq!(calls(&http), [call]);
    }
    let target = adapters.target(&function).unwrap();
    let invocation = Invocation {
        event: bytes::Bytes::from_static(b"{}").into(),
        purpose: Purpose::Mapping(MappingId::new("14e0db71-5d35-4eb5-b481-8945cf9d10c2")),
        attempt: 1,
        max_item_failures: None,
        returns_state: false,
        origin: None,
    };
    target.invoke(invocation).await;
    // Its timeout is read first.
    assert_eq!(calls(&http), ["lambda ROLE", "lambda ROLE"]);
}

#[tokio::test]
async fn lookups_of_the_api_have_the_role_too() {
    let (http, _) = TestHttp::new();
    let adapters = adapters(&http).await;
    http.respond_with(400, &[], b"{}");
    let stream = SourceArn::parse(theirs("kinesis", "stream/s").as_str()).unwrap();
    http.assume_once("ROLE", HOUR);
    adapters.source(&stream).await.unwrap_err();
    assert_eq!(calls(&http), ["sts none", "kinesis ROLE"]);
    adapters.shards(&stream).await.unwrap_err();
    let (shard, number) = (ShardId::from("shardId-1"), SequenceNumber::from("1"));
    let found = adapters.is_of_shard(&stream, &shard, &number).await;
    found.unwrap_err();
    assert_eq!(calls(&http), ["kinesis ROLE", "kinesis ROLE"]);
    for name in ["audit", theirs("lambda", "function:audit").as_str()] {
        let name = FunctionName::parse(name).unwrap();
        drop(adapters.function(&name).await);
        assert_eq!(calls(&http), ["lambda ROLE"], "{name:?}");
    }
    for (action, resource, call) in [
        (
            "kinesis:GetRecords",
            theirs("kinesis", "stream/s"),
            "kinesis ROLE",
        ),
        ("sqs:SendMessage", theirs("sqs", "q"), "sqs ROLE"),
        (
            "lambda:InvokeFunction",
            theirs("lambda", "function:audit"),
            "lambda ROLE",
        ),
    ] {
        let call_needed = NeededCall {
            action,
            resource,
            is_optional: false,
        };
        adapters.permission(&call_needed).await;
        assert_eq!(calls(&http), [call]);
    }
    // Rules are for sources and destinations.
    let name = FunctionName::parse(theirs("lambda", "function:other").as_str()).unwrap();
    drop(adapters.function(&name).await);
    assert_eq!(calls(&http), ["lambda none"]);
}

#[tokio::test]
async fn a_call_with_a_role_that_may_not_be_assumed_is_denied() {
    let (http, _) = TestHttp::new();
    let adapters = adapters(&http).await;
    let denied = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";
    http.respond_with(403, &[], denied);
    let call = NeededCall {
        action: "sqs:SendMessage",
        resource: theirs("sqs", "q"),
        is_optional: false,
    };
    let permission = adapters.permission(&call).await;
    assert!(
        matches!(permission, Permission::Denied(_)),
        "{permission:?}"
    );
}
