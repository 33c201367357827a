//! `windlass mappings`: the control API from the terminal.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::cli::{ClientArgs, MappingArgs, MappingsCommand};
use crate::client::Client;
use crate::output;

/// Members that belong to a mapping for good and so are not part of an update.
const FIXED: [&str; 3] = [
    "EventSourceArn",
    "StartingPosition",
    "StartingPositionTimestamp",
];

/// Runs one of the subcommands.
pub(crate) async fn run(client_args: &ClientArgs, command: MappingsCommand) -> anyhow::Result<()> {
    let client = Client::new(&client_args.endpoint);
    let format = client_args.output;
    match command {
        MappingsCommand::List {
            event_source_arn,
            function_name,
        } => {
            let list = client
                .list(event_source_arn.as_deref(), function_name.as_deref())
                .await?;
            output::mappings(format, &list)
        }
        MappingsCommand::Get { uuid } => output::mapping(format, &client.get(&uuid).await?),
        MappingsCommand::Create(args) => {
            output::mapping(format, &client.create(&members(&args)?).await?)
        }
        MappingsCommand::Update { uuid, mapping } => {
            output::mapping(format, &client.update(&uuid, &members(&mapping)?).await?)
        }
        MappingsCommand::Delete { uuid } => output::mapping(format, &client.delete(&uuid).await?),
        MappingsCommand::Enable { uuid } => {
            let enabled = serde_json::json!({"Enabled": true});
            output::mapping(format, &client.update(&uuid, &enabled).await?)
        }
        MappingsCommand::Disable { uuid } => {
            let disabled = serde_json::json!({"Enabled": false});
            output::mapping(format, &client.update(&uuid, &disabled).await?)
        }
        MappingsCommand::Apply { file } => {
            let mut applied = Vec::new();
            for (index, mapping) in mappings_of(&file)?.iter().enumerate() {
                let one = apply(&client, mapping).await;
                applied.push(
                    one.with_context(|| format!("mapping {} of {}", index + 1, file.display()))?,
                );
            }
            output::mappings(format, &applied)
        }
    }
}

/// Creates a mapping, or updates the one of the same source and function.
async fn apply(client: &Client, mapping: &Value) -> anyhow::Result<Value> {
    let (Some(source), Some(function)) = (
        mapping["EventSourceArn"].as_str(),
        mapping["FunctionName"].as_str(),
    ) else {
        bail!("EventSourceArn and FunctionName are needed");
    };
    let there = client.list(Some(source), Some(function)).await?;
    let Some(uuid) = there.iter().find_map(|it| it["UUID"].as_str()) else {
        return client.create(mapping).await;
    };
    let mut changes = mapping.clone();
    if let Value::Object(members) = &mut changes {
        members.retain(|name, _| !FIXED.contains(&name.as_str()));
    }
    client.update(uuid, &changes).await
}

fn mappings_of(file: &Path) -> anyhow::Result<Vec<Value>> {
    let written = read_file(file)?;
    let listed = written.get("mappings").unwrap_or(&written).as_array();
    let listed = listed.with_context(|| {
        let file = file.display();
        format!("{file}: expected a list of mappings, or the key 'mappings' with one")
    })?;
    Ok(listed.clone())
}

/// The members that the options and the file give; an option goes before the file.
fn members(args: &MappingArgs) -> anyhow::Result<Value> {
    let mut members = match &args.file {
        None => Map::new(),
        Some(file) => {
            let Value::Object(members) = read_file(file)? else {
                bail!("{}: expected the members of one mapping", file.display());
            };
            members
        }
    };
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    let flag = |yes: bool, no: bool| (yes || no).then_some(Value::Bool(yes));
    set("FunctionName", args.function_name.clone().map(Value::from));
    set(
        "EventSourceArn",
        args.event_source_arn.clone().map(Value::from),
    );
    set("Enabled", flag(args.enabled, args.no_enabled));
    set("BatchSize", args.batch_size.map(Value::from));
    let window = args.maximum_batching_window_in_seconds;
    set("MaximumBatchingWindowInSeconds", window.map(Value::from));
    set(
        "StartingPosition",
        args.starting_position.clone().map(Value::from),
    );
    set(
        "StartingPositionTimestamp",
        args.starting_position_timestamp.map(Value::from),
    );
    set(
        "ParallelizationFactor",
        args.parallelization_factor.map(Value::from),
    );
    set(
        "MaximumRetryAttempts",
        args.maximum_retry_attempts.map(Value::from),
    );
    set(
        "MaximumRecordAgeInSeconds",
        args.maximum_record_age_in_seconds.map(Value::from),
    );
    let (yes, no) = (
        args.bisect_batch_on_function_error,
        args.no_bisect_batch_on_function_error,
    );
    set("BisectBatchOnFunctionError", flag(yes, no));
    set(
        "TumblingWindowInSeconds",
        args.tumbling_window_in_seconds.map(Value::from),
    );
    set(
        "FunctionResponseTypes",
        args.function_response_types.clone().map(Value::from),
    );
    for (name, json) in [
        ("DestinationConfig", &args.destination_config),
        ("FilterCriteria", &args.filter_criteria),
        ("ScalingConfig", &args.scaling_config),
    ] {
        let Some(json) = json else { continue };
        let value = serde_json::from_str(json).with_context(|| format!("{name} is not JSON"))?;
        set(name, Some(value));
    }
    Ok(Value::Object(members))
}

fn read_file(file: &Path) -> anyhow::Result<Value> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("reading standard input")?;
    } else {
        text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    }
    serde_saphyr::from_str(&text).with_context(|| format!("{} cannot be read", file.display()))
}
