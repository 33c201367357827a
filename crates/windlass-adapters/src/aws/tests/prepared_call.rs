//! Calls that the SDK prepared once.

use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_engine::ports::StreamReader;

use super::{ReadOnce as _, limits};
use crate::aws::AwsClients;
use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::aws::kinesis::KinesisReader;
use crate::tests::test_http::{Request, TestHttp};

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const TABLE: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026";
const EMPTY: &str = r#"{"Records":[],"NextShardIterator":"next"}"#;

fn readers(clients: &AwsClients) -> [Arc<dyn StreamReader>; 2] {
    let (stream, table) = (Arn::parse(STREAM).unwrap(), Arn::parse(TABLE).unwrap());
    [
        Arc::new(KinesisReader::new(clients, &stream, None, "role")),
        Arc::new(DynamoDbStreamsReader::new(clients, &table)),
    ]
}

fn with_iterator() -> Cursor {
    Cursor {
        iterator: Some("i".into()),
        ..Cursor::at(Position::TrimHorizon)
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The signature that AWS computes of a request, which is signed with the key `secret`.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
fn signature(request: &Request, scope: &str, signed_headers: &str) -> String {
    let headers = signed_headers.split(';').map(|name| {
        let host = request.uri.split('/').nth(2).unwrap();
        let value = request.headers.get(name).map_or(host, String::as_str);
        format!("{name}:{value}\n")
    });
    let canonical = format!(
        "POST\n/\n\n{}\n{signed_headers}\n{}",
        headers.collect::<String>(),
        hex(Sha256::digest(&request.body))
    );
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.headers["x-amz-date"],
        hex(Sha256::digest(canonical))
    );
    let key = scope
        .split('/')
        .fold(b"AWS4secret".to_vec(), |key, part| hmac(&key, part));
    hex(hmac(&key, &text))
}

#[tokio::test]
async fn a_prepared_call_is_the_call_of_the_sdk() {
    let (http, clients) = TestHttp::new();
    http.respond(EMPTY.as_bytes());
    let shard = ShardId::from("shardId-1");
    for (reader, service) in readers(&clients).into_iter().zip(["kinesis", "dynamodb"]) {
        for _ in 0..2 {
            reader
                .read(&shard, &with_iterator(), limits(10))
                .await
                .unwrap();
        }
        let ours = http.requests();
        assert_eq!(ours.len(), 2, "what prepares a call is not sent");
        let typed = clients.kinesis.get_records().stream_arn(STREAM);
        typed.shard_iterator("i").limit(10).send().await.unwrap();
        let typed = clients.dynamodb_streams.get_records();
        typed.shard_iterator("i").limit(10).send().await.unwrap();
        let mut typed = http.requests().into_iter();
        let typed = typed.find(|it| it.headers["authorization"].contains(&format!("/{service}/")));
        let typed = typed.unwrap();
        for request in ours.iter().chain([&typed]) {
            assert_eq!(request.call(), typed.call());
            assert_eq!(request.uri, typed.uri);
            for name in [
                "content-type",
                "user-agent",
                "x-amz-target",
                "x-amz-user-agent",
            ] {
                let (ours, typed) = (request.headers.get(name), typed.headers.get(name));
                assert_eq!(ours, typed, "{name}");
            }
            let authorization = &request.headers["authorization"];
            let part = |name: &str| {
                let (_, rest) = authorization.split_once(name).unwrap();
                rest.split(',').next().unwrap()
            };
            let scope = part("Credential=id/");
            assert!(scope.ends_with(&format!("/us-east-1/{service}/aws4_request")));
            let expected = signature(request, scope, part("SignedHeaders="));
            assert_eq!(part("Signature="), expected);
        }
    }
}

#[tokio::test]
async fn a_prepared_call_is_repeated_once_if_its_connection_is_lost() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from("shardId-1");
    http.fail_to_connect();
    for reader in readers(&clients) {
        let error = reader.read(&shard, &with_iterator(), limits(10)).await;
        assert_eq!(error.unwrap_err().fault, Fault::Transient);
        assert_eq!(http.requests().len(), 2);
    }
}
