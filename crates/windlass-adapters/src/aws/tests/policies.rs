//! The policies in `deploy/iam` are those of the calls that are made.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::aws::{Resource, Use};

/// The policy of each use, and in some files of two.
const POLICIES: [(&str, &[Use]); 11] = [
    ("kinesis", &[Use::ReadStream]),
    ("kinesis-enhanced-fan-out", &[Use::SubscribeToStream]),
    ("dynamodb-streams", &[Use::ReadTableStream]),
    ("sqs", &[Use::ReadQueue]),
    ("destination-sqs", &[Use::SendToQueue]),
    ("destination-sns", &[Use::PublishToTopic]),
    ("destination-s3", &[Use::PutIntoBucket]),
    ("invoke", &[Use::InvokeFunction]),
    (
        "redrive-queue",
        &[Use::RedriveFromQueue, Use::RedriveToQueue],
    ),
    ("redrive-s3", &[Use::RedriveFromBucket]),
    ("assume-role", &[Use::AssumeRole]),
];

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/iam")
}

/// The text, or all texts of the list.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match value.as_array() {
        Some(values) => values.iter().map(text).collect(),
        None => vec![text(value)],
    }
}

/// What an ARN with placeholders names.
///
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
#[track_caller]
fn resource(arn: &str) -> Resource {
    match arn {
        "arn:aws:kinesis:REGION:ACCOUNT:stream/STREAM" => Resource::Stream,
        "arn:aws:kinesis:REGION:ACCOUNT:stream/STREAM/consumer/CONSUMER:*" => Resource::Consumer,
        "arn:aws:dynamodb:REGION:ACCOUNT:table/TABLE/stream/*" => Resource::TableStream,
        "arn:aws:sqs:REGION:ACCOUNT:QUEUE" | "arn:aws:sqs:REGION:ACCOUNT:DEAD_LETTER_QUEUE" => {
            Resource::Queue
        }
        "arn:aws:sns:REGION:ACCOUNT:TOPIC" => Resource::Topic,
        "arn:aws:s3:::BUCKET" => Resource::Bucket,
        "arn:aws:s3:::BUCKET/aws/lambda/*" => Resource::Object,
        "arn:aws:lambda:REGION:ACCOUNT:function:FUNCTION"
        | "arn:aws:lambda:REGION:ACCOUNT:function:FUNCTION:*" => Resource::Function,
        "arn:aws:iam::ACCOUNT:role/ROLE" => Resource::Role,
        other => panic!("{other} is not the ARN of a resource that windlass uses"),
    }
}

#[test]
fn policies_grant_what_is_called_and_nothing_else() {
    for (name, uses) in POLICIES {
        let text = fs::read_to_string(directory().join(format!("{name}.json"))).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(policy["Version"], "2012-10-17");
        let mut granted = Vec::new();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow", "{name}");
            let resources = texts(&statement["Resource"]);
            let resources: BTreeSet<_> = resources.iter().map(|arn| resource(arn)).collect();
            for action in texts(&statement["Action"]) {
                granted.extend(resources.iter().map(|resource| (action.clone(), *resource)));
            }
        }
        let mut needed: Vec<_> = uses
            .iter()
            .flat_map(|it| it.calls())
            .map(|call| (call.action().to_owned(), call.resource()))
            .collect();
        granted.sort();
        needed.sort();
        assert_eq!(granted, needed, "{name}.json");
    }
}

#[test]
fn every_use_has_a_policy_and_every_policy_is_explained() {
    let covered = POLICIES.iter().flat_map(|(_, uses)| *uses);
    assert_eq!(
        covered.copied().collect::<BTreeSet<_>>(),
        Use::ALL.into_iter().collect()
    );
    let files = fs::read_dir(directory()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".json")).collect();
    let expected = POLICIES.map(|(name, _)| format!("{name}.json"));
    assert_eq!(files, BTreeSet::from(expected));
    let readme = fs::read_to_string(directory().join("README.md")).unwrap();
    for file in files {
        assert!(readme.contains(&format!("({file})")), "{file}");
    }
}
