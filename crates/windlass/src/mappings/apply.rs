//! `windlass mappings apply`: makes the mappings of the daemon those of a file.
//!
//! The daemon compares the two: first in a dry run, whose result is shown, then for good. A parameter
//! that is not in the file has its default, but `Enabled` and `Tags` stay as they are.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::OutputFormat;
use crate::client::{ApiError, Client};
use crate::config::{ConfigError, ListedMapping, listed_mappings};
use crate::input::read_text;
use crate::{eprint_error, output, print_config_errors};

const PATH: &str = "/windlass/v1/mappings/apply";

/// What to apply, and how.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A list of mappings, or a map with the key `mappings`; YAML or JSON, `-` for standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Delete the mappings that an earlier apply created and that are not in the file.
    #[arg(long)]
    prune: bool,
    /// Show what differs, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Shows what differs and applies it. Mappings that cannot be written hold up no others; the exit code is
/// then 1, and the next run continues.
pub(super) async fn run(
    client: &Client,
    format: OutputFormat,
    args: &ApplyArgs,
) -> anyhow::Result<ExitCode> {
    let text = read_text(&args.file)?;
    let mappings = match listed_mappings(&text, &crate::env_variable) {
        Ok(mappings) => mappings,
        Err(errors) => return Ok(print_config_errors(Some(&args.file), &errors)),
    };
    let mut planned = Vec::new();
    let result = call(client, args, &mappings, true, &mut planned).await;
    if let Some(errors) = refused(&result, &mappings) {
        return Ok(print_config_errors(Some(&args.file), &errors));
    }
    result?;
    let is_table = format == OutputFormat::Table;
    if is_table {
        output::print(&differences(&planned))?;
    }
    let has_changes = planned.iter().any(|step| step["result"] == "planned");
    if args.dry_run || !has_changes {
        if !is_table {
            output::print(&output::serialize(format, &planned)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut steps = Vec::new();
    let result = call(client, args, &mappings, false, &mut steps).await;
    let text = match is_table {
        true => summary(&steps),
        false => output::serialize(format, &steps)?,
    };
    output::print(&text)?;
    result?;
    let mut code = ExitCode::SUCCESS;
    for step in &steps {
        if let Some(error) = step["error"].as_str() {
            eprint_error(&format!("error: {}: {error}", label(step)));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Calls the daemon and adds its lines to `steps`.
async fn call(
    client: &Client,
    args: &ApplyArgs,
    mappings: &[ListedMapping],
    dry_run: bool,
    steps: &mut Vec<Value>,
) -> anyhow::Result<()> {
    let mappings = mappings.iter().map(|mapping| mapping.members.clone());
    let body = json!({
        "mappings": mappings.collect::<Value>(),
        "prune": args.prune,
        "dry_run": dry_run,
    });
    let show = |step| {
        steps.push(step);
        Ok(())
    };
    client.call_job(PATH, &body, show).await?;
    Ok(())
}

/// What the daemon refuses about the file, with the line of the mapping.
fn refused(result: &anyhow::Result<()>, mappings: &[ListedMapping]) -> Option<Vec<ConfigError>> {
    let error = result.as_ref().err()?.downcast_ref::<ApiError>()?;
    let field = error.field.as_deref()?;
    let index = field.strip_prefix("mappings[")?.split(']').next()?;
    let line = mappings.get(index.parse::<usize>().ok()?)?.line;
    let message = format!("{field}: {}", error.message);
    Some(vec![ConfigError { line, message }])
}

/// A line for each mapping and each field that changes.
fn differences(steps: &[Value]) -> String {
    let mut text = String::new();
    for step in steps {
        let Some(action) = step["action"].as_str() else {
            continue;
        };
        let uuid = step["uuid"].as_str().unwrap_or_default();
        text.push_str(format!("{action} {} {uuid}", label(step)).trim_end());
        text.push('\n');
        for change in step["changes"].as_array().into_iter().flatten() {
            let field = change["field"].as_str().unwrap_or_default();
            let after = &change["after"];
            let before = &change["before"];
            let line = match before.is_null() {
                true => format!("  {field}: {after}\n"),
                false => format!("  {field}: {before} → {after}\n"),
            };
            text.push_str(&line);
        }
    }
    match text.is_empty() {
        true => "nothing differs".to_owned(),
        false => text,
    }
}

fn summary(steps: &[Value]) -> String {
    let count = |action: Value, result: &str| {
        let counted = steps
            .iter()
            .filter(|step| step["action"] == action && step["result"] == result);
        counted.count()
    };
    let [created, updated, deleted] =
        ["create", "update", "delete"].map(|action| count(action.into(), "done"));
    let unchanged = count(Value::Null, "unchanged");
    let failed = steps.iter().filter(|step| !step["error"].is_null()).count();
    format!(
        "{created} created, {updated} updated, {deleted} deleted, {unchanged} unchanged, {failed} not \
         done"
    )
}

/// Source and function by their names.
fn label(step: &Value) -> String {
    let source = step["event_source_arn"].as_str().unwrap_or_default();
    output::label_of(source, step["function_arn"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(action: &str, result: &str, changes: &Value) -> Value {
        json!({
            "action": action,
            "uuid": if action == "create" { Value::Null } else { "14e0db71".into() },
            "event_source_arn": "arn:aws:sqs:us-east-1:000000000000:jobs",
            "function_arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "changes": changes,
            "result": result,
            "error": (result == "failed").then_some("no"),
        })
    }

    #[test]
    fn each_mapping_and_each_field_that_changes_has_a_line() {
        let changes = json!([
            {"field": "BatchSize", "before": null, "after": 5},
            {"field": "Tags", "before": {}, "after": {"a": "b"}},
        ]);
        let mut nothing = step("", "unchanged", &json!([]));
        nothing["action"] = Value::Null;
        let steps = [
            step("create", "done", &changes),
            nothing,
            step("delete", "failed", &json!([])),
        ];
        assert_eq!(
            differences(&steps),
            "create sqs jobs → f\n  BatchSize: 5\n  Tags: {} → {\"a\":\"b\"}\n\
             delete sqs jobs → f 14e0db71\n"
        );
        assert_eq!(
            summary(&steps),
            "1 created, 0 updated, 0 deleted, 1 unchanged, 1 not done"
        );
        assert_eq!(differences(&[]), "nothing differs");
    }

    #[test]
    fn a_refusal_is_reported_at_the_line_of_its_mapping() {
        let mappings = [1, 4].map(|line| ListedMapping {
            line,
            members: Value::Null,
        });
        let error = |field: Option<&str>| {
            Err(ApiError {
                status: http::StatusCode::BAD_REQUEST,
                code: String::new(),
                message: "no".to_owned(),
                field: field.map(str::to_owned),
            }
            .into())
        };
        let found = refused(&error(Some("mappings[1].BatchSize")), &mappings).unwrap();
        assert_eq!(
            (found[0].line, &*found[0].message),
            (4, "mappings[1].BatchSize: no")
        );
        for other in [None, Some("prune"), Some("mappings[2]")] {
            assert!(refused(&error(other), &mappings).is_none(), "{other:?}");
        }
    }
}
