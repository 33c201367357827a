//! `windlass mappings`: the control API from the terminal.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::{ClientArgs, MappingsCommand};
use crate::client::Client;
use crate::config::yaml_budget;
use crate::credentials::Credentials;
use crate::find::find_mapping;
use crate::input::read_text;
use crate::{UsageError, output};

mod apply;
mod options;

pub(crate) use apply::ApplyArgs;
pub(crate) use options::MappingArgs;

/// Runs one of the subcommands.
pub(crate) async fn run(
    client_args: &ClientArgs,
    credentials: Credentials,
    command: MappingsCommand,
) -> anyhow::Result<ExitCode> {
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
        MappingsCommand::Get { mapping } => {
            let uuid = find_mapping(&client, &mapping).await?;
            output::mapping(format, &client.get(&uuid).await?)
        }
        MappingsCommand::Create(args) => {
            output::mapping(format, &client.create(&args.members()?).await?)
        }
        MappingsCommand::Update { mapping, members } => {
            let members = members.members()?;
            let uuid = find_mapping(&client, &mapping).await?;
            output::mapping(format, &client.update(&uuid, &members).await?)
        }
        MappingsCommand::Delete { mapping } => {
            let uuid = find_mapping(&client, &mapping).await?;
            output::mapping(format, &client.delete(&uuid).await?)
        }
        MappingsCommand::Enable { mapping } => {
            let uuid = find_mapping(&client, &mapping).await?;
            let enabled = serde_json::json!({"Enabled": true});
            output::mapping(format, &client.update(&uuid, &enabled).await?)
        }
        MappingsCommand::Disable { mapping } => {
            let uuid = find_mapping(&client, &mapping).await?;
            let disabled = serde_json::json!({"Enabled": false});
            output::mapping(format, &client.update(&uuid, &disabled).await?)
        }
        MappingsCommand::Apply(args) => return apply::run(&client, format, &args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

fn read_file(file: &Path) -> Result<Value, UsageError> {
    let text = read_text(file)?;
    let options = serde_saphyr::options! { budget: yaml_budget(&text) };
    serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let error = error.without_snippet();
        UsageError(format!("{}: {error}", file.display()))
    })
}
