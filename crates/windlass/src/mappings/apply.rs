//! `windlass mappings apply`: what is written in a file is what there is.
//!
//! Only differences are sent. An update starts a mapping anew, so one that says nothing new would
//! stop what runs for nothing. What is not written has its default, as it has when the daemon reads
//! the file.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use windlass_core::arn::SourceKind;
use windlass_core::spec::MappingSpec;
use windlass_core::validate::{self, Checked};
use windlass_engine::clock::Clock;

use crate::client::Client;

/// Members that belong to a mapping for good and so are not part of an update. The function is
/// what the mapping was found by.
const FIXED: [&str; 4] = [
    "EventSourceArn",
    "FunctionName",
    "StartingPosition",
    "StartingPositionTimestamp",
];

/// Creates or updates every mapping of a file; what became of each. What is wrong with any of them,
/// as far as can be told offline, is told before the first is sent.
pub(super) async fn run(client: &Client, file: &Path) -> anyhow::Result<Vec<Value>> {
    let mappings = listed(file)?;
    let mut mistakes = Vec::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let wrong = check(mapping).err().unwrap_or_default();
        mistakes.extend(
            wrong
                .iter()
                .map(|it| format!("mapping {}: {it}", index + 1)),
        );
    }
    if !mistakes.is_empty() {
        bail!("{}: {}", file.display(), mistakes.join("\n"));
    }
    let mut applied = Vec::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let one = apply(client, mapping).await;
        applied.push(one.with_context(|| format!("mapping {} of {}", index + 1, file.display()))?);
    }
    Ok(applied)
}

fn listed(file: &Path) -> anyhow::Result<Vec<Value>> {
    let written = super::read_file(file)?;
    let listed = written.get("mappings").unwrap_or(&written).as_array();
    let listed = listed.with_context(|| {
        let file = file.display();
        format!("{file}: expected a list of mappings, or the key 'mappings' with one")
    })?;
    Ok(listed.clone())
}

/// Creates a mapping, or updates the one of the same source and function.
async fn apply(client: &Client, mapping: &Value) -> anyhow::Result<Value> {
    let source = mapping["EventSourceArn"].as_str();
    let function = mapping["FunctionName"].as_str();
    let there = client.list(source, function).await?;
    let Some(there) = there.first() else {
        return client.create(mapping).await;
    };
    let changes = differences(mapping, there)?;
    match there["UUID"].as_str() {
        Some(uuid) if !changes.is_empty() => client.update(uuid, &Value::Object(changes)).await,
        _ => Ok(there.clone()),
    }
}

/// The members of an update that makes of a mapping, as the API shows it, what the file says.
fn differences(wanted: &Value, there: &Value) -> anyhow::Result<Map<String, Value>> {
    let failed = |mistakes: Vec<String>| anyhow::anyhow!(mistakes.join("; "));
    let wanted = check(wanted).map_err(failed)?;
    let is_enabled = !matches!(there["State"].as_str(), Some("Disabled" | "Disabling"));
    let kind = wanted.source.kind();
    let (enabled, wanted) = (wanted.enabled.unwrap_or(true), known(&wanted.spec)?);
    let there = known(&shown(there, &wanted))?;
    let mut changes = Map::new();
    for name in wanted.keys().chain(there.keys()) {
        let (new, old) = (wanted.get(name), there.get(name));
        if new != old && !FIXED.contains(&name.as_str()) {
            let value = new.cloned().unwrap_or_else(|| default(name, kind));
            changes.insert(name.clone(), value);
        }
    }
    if enabled != is_enabled {
        changes.insert("Enabled".to_owned(), enabled.into());
    }
    Ok(changes)
}

/// The parameters of a mapping that the API shows, without those that equal their default.
fn shown(there: &Value, wanted: &Map<String, Value>) -> MappingSpec {
    let mut spec: MappingSpec = serde_json::from_value(there.clone()).unwrap_or_default();
    // The API shows the function's ARN in a member of its own, and more that is no parameter.
    let name = wanted.get("FunctionName").and_then(Value::as_str);
    spec.function_name = name.map(str::to_owned);
    spec.other.clear();
    match validate::create(&spec, Clock::start().now()) {
        Ok(checked) => checked.spec,
        Err(_) => spec,
    }
}

fn known(spec: &MappingSpec) -> anyhow::Result<Map<String, Value>> {
    let Value::Object(members) = serde_json::to_value(spec).context("writing a mapping as JSON")?
    else {
        bail!("a mapping is no list of members");
    };
    Ok(members)
}

/// What is wrong with the members of a mapping, in words; nobody is asked.
fn check(mapping: &Value) -> Result<Checked, Vec<String>> {
    let spec = serde_json::from_value::<MappingSpec>(mapping.clone());
    let spec = spec.map_err(|error| vec![error.to_string()])?;
    let checked = validate::create(&spec, Clock::start().now());
    checked.map_err(|violations| violations.iter().map(|it| it.in_words()).collect())
}

/// What an update must say so that a member has its default again.
fn default(member: &str, kind: SourceKind) -> Value {
    match member {
        "BatchSize" => validate::default_batch_size(kind).into(),
        "ParallelizationFactor" => 1.into(),
        "MaximumRetryAttempts" | "MaximumRecordAgeInSeconds" => (-1).into(),
        "BisectBatchOnFunctionError" => false.into(),
        "FunctionResponseTypes" => json!([]),
        "FilterCriteria" => json!({"Filters": []}),
        "MetricsConfig" => json!({"Metrics": []}),
        "DestinationConfig" => json!({}),
        _ => 0.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there() -> Value {
        json!({
            "UUID": "14e0db71-5d35-4eb5-b481-8945cf9d10c2",
            "State": "Enabled",
            "StateTransitionReason": "User action",
            "LastModified": 1.5,
            "LastProcessingResult": "OK",
            "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
            "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "EventSourceMappingArn": "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:x",
            "BatchSize": 7,
            "StartingPosition": "LATEST",
            "MaximumBatchingWindowInSeconds": 5,
            "BisectBatchOnFunctionError": false,
            "DestinationConfig": {"OnFailure": {}},
            "FunctionResponseTypes": [],
            "MaximumRecordAgeInSeconds": -1,
            "MaximumRetryAttempts": -1,
            "ParallelizationFactor": 1,
            "TumblingWindowInSeconds": 0,
        })
    }

    fn changes(more: &Value) -> Value {
        let mut wanted = json!({
            "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
            "FunctionName": "f",
            "StartingPosition": "LATEST",
        });
        if let (Value::Object(wanted), Value::Object(more)) = (&mut wanted, more) {
            wanted.extend(more.clone());
        }
        differences(&wanted, &there()).unwrap().into()
    }

    #[test]
    fn only_what_differs_is_sent() {
        let same = json!({"BatchSize": 7, "MaximumBatchingWindowInSeconds": 5, "Enabled": true});
        assert_eq!(changes(&same), json!({}));
        let other = json!({"BatchSize": 8, "MaximumBatchingWindowInSeconds": 5, "Enabled": false});
        assert_eq!(changes(&other), json!({"BatchSize": 8, "Enabled": false}));
    }

    #[test]
    fn what_is_not_written_has_its_default_again() {
        let reset = json!({"BatchSize": 100, "MaximumBatchingWindowInSeconds": 0});
        assert_eq!(changes(&json!({})), reset);
    }

    #[test]
    fn every_member_that_can_be_reset_is_known() {
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        for name in [
            "BatchSize",
            "MaximumBatchingWindowInSeconds",
            "ParallelizationFactor",
            "MaximumRetryAttempts",
            "MaximumRecordAgeInSeconds",
            "BisectBatchOnFunctionError",
            "TumblingWindowInSeconds",
            "FunctionResponseTypes",
            "FilterCriteria",
            "DestinationConfig",
            "MetricsConfig",
        ] {
            let members = json!({
                "EventSourceArn": arn, "FunctionName": "f", "StartingPosition": "LATEST",
                name: default(name, SourceKind::Stream(windlass_core::arn::StreamKind::Kinesis)),
            });
            let spec = check(&members).unwrap().spec;
            assert!(known(&spec).unwrap().get(name).is_none(), "{name}");
        }
    }
}
