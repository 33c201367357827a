//! `windlass mappings`: the control API from the terminal.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::cli::{ClientArgs, MappingArgs, MappingsCommand};
use crate::client::Client;
use crate::output;

mod apply;

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
            let applied = apply::run(&client, &file).await?;
            output::mappings(format, &applied)
        }
    }
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
