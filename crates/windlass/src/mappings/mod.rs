//! `windlass mappings`: the control API from the terminal.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::cli::{ClientArgs, MappingsCommand};
use crate::client::Client;
use crate::credentials::Credentials;
use crate::output;

mod apply;
mod options;

pub(crate) use options::MappingArgs;

/// Runs one of the subcommands.
pub(crate) async fn run(
    client_args: &ClientArgs,
    credentials: Credentials,
    command: MappingsCommand,
) -> anyhow::Result<()> {
    let client = Client::new(&client_args.endpoint, credentials);
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
            output::mapping(format, &client.create(&args.members()?).await?)
        }
        MappingsCommand::Update { uuid, mapping } => {
            output::mapping(format, &client.update(&uuid, &mapping.members()?).await?)
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
