//! Calls with roles that STS lets the daemon assume.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use futures::future::join_all;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::ShardId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_engine::ports::{PortError, chain};

use super::{ReadOnce as _, limits};
use crate::aws::kinesis::KinesisReader;
use crate::aws::{ArnPattern, Aws, AwsSettings, Role, RoleRule, source_exists};
use crate::tests::test_http::{Request, TestHttp};

const OF_THE_ROLE: &str = "arn:aws:kinesis:eu-west-1:111122223333:stream/s";
const OUR_OWN: &str = "arn:aws:kinesis:eu-west-1:999999999999:stream/s";
const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
const HOUR: Duration = Duration::from_secs(3600);

const STREAM: &str = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"a",
    "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,
    "EnhancedMonitoring":[],"OpenShardCount":1}}"#;

const DENIED: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: \
     arn:aws:iam::999999999999:user/windlass is not authorized to perform: sts:AssumeRole on \
     resource: arn:aws:iam::111122223333:role/reader</Message></Error></ErrorResponse>";

fn role() -> Role {
    Role {
        arn: Arn::parse(ROLE).unwrap(),
        external_id: Some("their-id".to_owned()),
    }
}

async fn aws(rules: &[(&str, Role)]) -> (TestHttp, Aws) {
    let (http, _) = TestHttp::new();
    let rules = rules.iter().map(|(pattern, role)| RoleRule {
        resources: ArnPattern::parse(pattern).unwrap(),
        role: role.clone(),
    });
    let settings = AwsSettings {
        region: "us-east-1".to_owned(),
        placeholder_credentials: true,
        assume_roles: rules.collect(),
        ..AwsSettings::default()
    };
    let aws = Aws::with(&settings, Some(http.shared()), None).await;
    (http, aws)
}

async fn with_role() -> (TestHttp, Aws) {
    aws(&[("arn:aws:kinesis:*:111122223333:*", role())]).await
}

/// What STS answers: keys that expire after this time.
fn assumed(key: &str, lifetime: Duration) -> String {
    let expiry = DateTime::from(std::time::SystemTime::now() + lifetime);
    let expiry = expiry.fmt(Format::DateTime).unwrap();
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/reader/windlass</Arn>\
         <AssumedRoleId>A:windlass</AssumedRoleId></AssumedRoleUser><Credentials>\
         <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>token of {key}</SessionToken><Expiration>{expiry}</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    )
}

async fn describe(aws: &Aws, arn: &str) -> Result<(), PortError> {
    let source = SourceArn::parse(arn).unwrap();
    let clients = aws.clients_for(source.arn());
    source_exists(&clients, &source).await.map(drop)
}

fn is_sts(request: &Request) -> bool {
    !request.headers.contains_key("x-amz-target")
}

/// Who made each call since the last time: a key, and `sts` before those of STS.
fn callers(http: &TestHttp) -> Vec<String> {
    let requests = http.requests();
    let callers = requests.iter().map(|request| {
        let (_, rest) = request.headers["authorization"]
            .split_once("Credential=")
            .unwrap();
        let key = rest.split('/').next().unwrap();
        if is_sts(request) {
            return format!("sts {key}");
        }
        let token = request.headers.get("x-amz-security-token");
        assert_eq!(token.is_some(), key != "none");
        key.to_owned()
    });
    callers.collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_matches_is_called_with_its_role() {
    let (http, aws) = with_role().await;
    http.respond_once(200, &assumed("ROLE", HOUR));
    http.respond_once(200, STREAM);
    describe(&aws, OF_THE_ROLE).await.unwrap();
    let requests = http.requests();
    assert_eq!(requests[0].uri, "https://sts.us-east-1.amazonaws.com/");
    let sts = String::from_utf8(requests[0].body.clone()).unwrap();
    for part in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Freader",
        "RoleSessionName=windlass",
        "ExternalId=their-id",
    ] {
        assert!(sts.contains(part), "{part}: {sts}");
    }
    let call = &requests[1].headers;
    assert!(call["authorization"].contains("Credential=ROLE/"));
    assert!(call["authorization"].contains("/eu-west-1/kinesis/"));
    assert_eq!(call["x-amz-security-token"], "token of ROLE");

    http.respond(STREAM.as_bytes());
    describe(&aws, OUR_OWN).await.unwrap();
    describe(&aws, OF_THE_ROLE).await.unwrap();
    assert_eq!(callers(&http), ["none", "ROLE"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_rule_that_matches_applies() {
    let other = Role {
        arn: Arn::parse("arn:aws:iam::111122223333:role/other").unwrap(),
        external_id: None,
    };
    let (http, aws) = aws(&[
        ("arn:aws:kinesis:eu-*:111122223333:stream/s", role()),
        ("arn:aws:*:*:111122223333:*", other),
    ])
    .await;
    for (arn, expected) in [
        (OF_THE_ROLE, "role%2Freader"),
        (
            "arn:aws:kinesis:us-east-1:111122223333:stream/s",
            "role%2Fother",
        ),
    ] {
        http.respond_once(200, &assumed("ROLE", HOUR));
        http.respond_once(200, STREAM);
        describe(&aws, arn).await.unwrap();
        let body = String::from_utf8(http.requests().remove(0).body).unwrap();
        assert!(body.contains(expected), "{arn}: {body}");
    }
}

/// Also reads of shards, whose requests the SDK prepares once.
#[tokio::test(start_paused = true)]
async fn all_that_call_with_a_role_share_one_call_of_sts() {
    let (http, aws) = with_role().await;
    http.respond_once(200, &assumed("ROLE", HOUR));
    http.respond(br#"{"Records":[],"NextShardIterator":"next"}"#);
    let arn = Arn::parse(OF_THE_ROLE).unwrap();
    let cursor = Cursor {
        iterator: Some("i".into()),
        ..Cursor::at(Position::TrimHorizon)
    };
    let reads = (0..20).map(async |shard| {
        let clients = aws.clients_for(&arn);
        let reader = std::sync::Arc::new(KinesisReader::new(&clients, &arn, None, ""));
        let shard = ShardId::from(format!("shardId-{shard}").as_str());
        reader.read(&shard, &cursor, limits(10)).await
    });
    for read in join_all(reads).await {
        read.unwrap();
    }
    let callers = callers(&http);
    assert_eq!(callers.len(), 21);
    assert_eq!(callers[0], "sts none");
    let others: BTreeSet<_> = callers[1..].iter().map(String::as_str).collect();
    assert_eq!(others, BTreeSet::from(["ROLE"]));
}

#[tokio::test(start_paused = true)]
async fn keys_are_renewed_before_they_expire() {
    let (http, aws) = with_role().await;
    http.respond(STREAM.as_bytes());
    http.respond_once(200, &assumed("FIRST", HOUR));
    describe(&aws, OF_THE_ROLE).await.unwrap();
    tokio::time::advance(Duration::from_secs(54 * 60)).await;
    describe(&aws, OF_THE_ROLE).await.unwrap();
    assert_eq!(callers(&http), ["sts none", "FIRST", "FIRST"]);
    tokio::time::advance(Duration::from_secs(90)).await;
    http.respond_once(200, &assumed("SECOND", HOUR));
    describe(&aws, OF_THE_ROLE).await.unwrap();
    assert_eq!(callers(&http), ["sts none", "SECOND"]);
}

#[tokio::test(start_paused = true)]
async fn keys_stay_in_use_while_sts_fails() {
    let (http, aws) = with_role().await;
    http.respond(STREAM.as_bytes());
    http.respond_once(200, &assumed("FIRST", HOUR));
    describe(&aws, OF_THE_ROLE).await.unwrap();
    tokio::time::advance(Duration::from_secs(56 * 60)).await;
    http.respond_once(500, "");
    describe(&aws, OF_THE_ROLE).await.unwrap();
    // A failure is not repeated at once.
    describe(&aws, OF_THE_ROLE).await.unwrap();
    let expected = ["sts none", "FIRST", "sts none", "FIRST", "FIRST"];
    assert_eq!(callers(&http), expected);
    tokio::time::advance(Duration::from_secs(5 * 60)).await;
    http.respond_once(500, "");
    let error = describe(&aws, OF_THE_ROLE).await.unwrap_err();
    assert_eq!(error.fault, Fault::Transient);
    assert_eq!(callers(&http), ["sts none"], "the keys have expired");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_cannot_be_assumed_is_a_denial_with_a_remedy() {
    let (http, aws) = with_role().await;
    http.respond_with(403, &[], DENIED.as_bytes());
    for _ in 0..3 {
        let error = describe(&aws, OF_THE_ROLE).await.unwrap_err();
        assert_eq!(error.fault, Fault::Denied);
        let text = chain(&error);
        for part in [
            "AssumeRole of arn:aws:iam::111122223333:role/reader",
            "AccessDenied",
            "grant sts:AssumeRole on this role to the daemon's AWS credentials",
            "trust policy of the role",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("their-id"), "{text}");
    }
    assert_eq!(callers(&http), ["sts none"], "a denial is not repeated");
    tokio::time::advance(Duration::from_secs(60)).await;
    http.respond_once(200, &assumed("ROLE", HOUR));
    http.respond_once(200, STREAM);
    describe(&aws, OF_THE_ROLE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rejected_keys_of_a_role_are_replaced() {
    let (http, aws) = with_role().await;
    http.respond_once(200, &assumed("FIRST", HOUR));
    http.respond_once(400, r#"{"__type":"ExpiredTokenException"}"#);
    let error = describe(&aws, OF_THE_ROLE).await.unwrap_err();
    assert_eq!(error.fault, Fault::Denied);
    http.respond_once(200, &assumed("SECOND", HOUR));
    http.respond_once(200, STREAM);
    describe(&aws, OF_THE_ROLE).await.unwrap();
    let expected = ["sts none", "FIRST", "sts none", "SECOND"];
    assert_eq!(callers(&http), expected);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_names_the_role() {
    let (http, aws) = with_role().await;
    http.respond_once(200, &assumed("ROLE", HOUR));
    http.respond_once(400, r#"{"__type":"AccessDeniedException"}"#);
    let text = chain(&describe(&aws, OF_THE_ROLE).await.unwrap_err());
    let remedy = format!("grant kinesis:DescribeStreamSummary on this resource to {ROLE}");
    assert!(text.contains(&remedy), "{text}");
}

/// A server whose clock is far from ours, or whose keys have expired when they come.
#[tokio::test(start_paused = true)]
async fn keys_that_seem_expired_are_used() {
    let (http, aws) = with_role().await;
    http.respond(STREAM.as_bytes());
    http.respond_once(200, &assumed("ROLE", Duration::ZERO));
    describe(&aws, OF_THE_ROLE).await.unwrap();
    describe(&aws, OF_THE_ROLE).await.unwrap();
    assert_eq!(callers(&http), ["sts none", "ROLE", "ROLE"]);
}
