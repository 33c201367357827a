//! `windlass mappings apply`: makes the mappings of the daemon those of a file.
//!
//! Only differences are sent: every update restarts a mapping. A parameter that is not in the file
//! has its default, as it has when the daemon reads the file.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use windlass_core::parameters;
use windlass_core::spec::MappingSpec;
use windlass_core::tags::Tags;
use windlass_core::validate::{self, Checked};
use windlass_engine::clock::Clock;

use crate::client::Client;

/// Creates or updates every mapping of a file and returns them. All are checked, as far as that
/// needs no daemon, before the first is sent.
pub(super) async fn run(client: &Client, file: &Path) -> anyhow::Result<Vec<Value>> {
    let mappings = listed(file)?;
    let mut errors = Vec::new();
    for (number, mapping) in (1..).zip(&mappings) {
        let found = check(mapping).err().unwrap_or_default();
        errors.extend(
            found
                .iter()
                .map(|error| format!("mapping {number}: {error}")),
        );
    }
    if !errors.is_empty() {
        bail!("{}: {}", file.display(), errors.join("\n"));
    }
    let mut applied = Vec::new();
    for (number, mapping) in (1..).zip(&mappings) {
        let result = apply(client, mapping).await;
        applied.push(result.with_context(|| format!("mapping {number} of {}", file.display()))?);
    }
    Ok(applied)
}

fn listed(file: &Path) -> anyhow::Result<Vec<Value>> {
    let document = super::read_file(file)?;
    let mappings = document.get("mappings").unwrap_or(&document).as_array();
    let mappings = mappings.with_context(|| {
        let file = file.display();
        format!("{file}: expected a list of mappings, or the key 'mappings' with one")
    })?;
    Ok(mappings.clone())
}

/// Creates a mapping, or updates the one of the same source and function.
async fn apply(client: &Client, mapping: &Value) -> anyhow::Result<Value> {
    let source = mapping["EventSourceArn"].as_str();
    let function = mapping["FunctionName"].as_str();
    let existing = client.list(source, function).await?;
    let Some(current) = current(&existing) else {
        return client.create(mapping).await;
    };
    let changes = differences(mapping, current)?;
    apply_tags(client, mapping, current).await?;
    match current["UUID"].as_str() {
        Some(uuid) if !changes.is_empty() => client.update(uuid, &Value::Object(changes)).await,
        _ => Ok(current.clone()),
    }
}

/// Gives a mapping the tags of the file, if the file has some.
async fn apply_tags(client: &Client, mapping: &Value, current: &Value) -> anyhow::Result<()> {
    let (Some(wanted), Some(arn)) = (
        mapping.get("Tags").filter(|tags| !tags.is_null()),
        current["EventSourceMappingArn"].as_str(),
    ) else {
        return Ok(());
    };
    let wanted = Tags::from_json(wanted);
    let tags = client.tags(arn).await?;
    let keys = tags.iter().map(|(key, _)| key);
    let gone: Vec<&str> = keys.filter(|key| wanted.get(key).is_none()).collect();
    if !gone.is_empty() {
        client.untag(arn, &gone).await?;
    }
    if tags.with(&wanted) != tags {
        client.tag(arn, &wanted).await?;
    }
    Ok(())
}

/// The mapping to update, of all those of one source and function: at most one is not being deleted.
fn current(existing: &[Value]) -> Option<&Value> {
    existing
        .iter()
        .find(|mapping| mapping["State"] != "Deleting")
}

/// The members of the update that turns a mapping, as the API shows it, into that of the file.
fn differences(wanted: &Value, current: &Value) -> anyhow::Result<Map<String, Value>> {
    let failed = |errors: Vec<String>| anyhow::anyhow!(errors.join("; "));
    let wanted = check(wanted).map_err(failed)?;
    let current_spec = spec_of(current, &wanted);
    let mut changes = Map::new();
    for parameter in &parameters::PARAMETERS {
        let name = parameter.name;
        let new = wanted.spec.get(name);
        if parameter.is_updatable && new != current_spec.get(name) {
            let reset = || parameter.default_for(wanted.source.kind());
            let value = new.cloned().or_else(reset);
            changes.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    let is_enabled = !matches!(current["State"].as_str(), Some("Disabled" | "Disabling"));
    let enabled = wanted.enabled.unwrap_or(true);
    if enabled != is_enabled {
        changes.insert("Enabled".to_owned(), enabled.into());
    }
    Ok(changes)
}

/// The parameters of a mapping that the API shows, without defaults.
fn spec_of(shown: &Value, wanted: &Checked) -> MappingSpec {
    let mut members = shown.as_object().cloned().unwrap_or_default();
    members.retain(|name, _| parameters::find(name).is_some());
    let (mut spec, _) = MappingSpec::read(&members, false);
    // The API shows the function as its ARN; the mapping was found by the name.
    if let Some(name) = wanted.spec.function_name() {
        spec.set("FunctionName", name);
    }
    match validate::create(&spec, Clock::start().wall()) {
        Ok(checked) => checked.spec,
        Err(_) => spec,
    }
}

/// Every error in the members of a mapping that can be found without a daemon.
fn check(mapping: &Value) -> Result<Checked, Vec<String>> {
    let spec = serde_json::from_value::<MappingSpec>(mapping.clone());
    let spec = spec.map_err(|error| vec![error.to_string()])?;
    let checked = validate::create(&spec, Clock::start().wall());
    checked.map_err(|violations| violations.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mapping_that_is_being_deleted_is_created_again() {
        let deleting = json!({"UUID": "a", "State": "Deleting"});
        let live = json!({"UUID": "b", "State": "Disabled"});
        let existing = [deleting, live.clone()];
        assert_eq!(current(&existing), Some(&live));
        assert_eq!(current(&existing[..1]), None);
        assert_eq!(current(&[]), None);
    }

    fn shown() -> Value {
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
        differences(&wanted, &shown()).unwrap().into()
    }

    #[test]
    fn only_what_differs_is_sent() {
        let same = json!({"BatchSize": 7, "MaximumBatchingWindowInSeconds": 5, "Enabled": true});
        assert_eq!(changes(&same), json!({}));
        let other = json!({"BatchSize": 8, "MaximumBatchingWindowInSeconds": 5, "Enabled": false});
        assert_eq!(changes(&other), json!({"BatchSize": 8, "Enabled": false}));
    }

    #[test]
    fn a_parameter_that_left_the_file_is_reset() {
        let reset = json!({"BatchSize": 100, "MaximumBatchingWindowInSeconds": 0});
        assert_eq!(changes(&json!({})), reset);
    }
}
