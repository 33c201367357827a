//! The mapping that a command names: by its UUID, by the start of it, or by source and function.

use anyhow::bail;
use uuid::Uuid;
use windlass_admin::report::MappingReport;
use windlass_core::arn::SourceArn;

use crate::client::Client;
use crate::output;

/// Returns the UUID of the mapping that `text` names: a UUID as it is, whether the mapping exists or
/// not, the start of one, or `SOURCE/FUNCTION` by their names.
///
/// # Errors
/// It fits none, or several, and then says which.
pub(crate) async fn find_mapping(client: &Client, text: &str) -> anyhow::Result<String> {
    if let Some(uuid) = full_uuid(text) {
        return Ok(uuid);
    }
    Ok(find_one(client.statuses().await?, text)?.uuid)
}

/// The mapping of these that `text` names.
pub(crate) fn find_one(reports: Vec<MappingReport>, text: &str) -> anyhow::Result<MappingReport> {
    let uuid = full_uuid(text).unwrap_or_else(|| text.to_ascii_lowercase());
    let fits = |report: &MappingReport| match text.split_once('/') {
        Some((source, function)) => fits_names(report, source, function),
        None => !text.is_empty() && report.uuid.starts_with(&uuid),
    };
    let mut fitting: Vec<_> = reports.into_iter().filter(fits).collect();
    // A mapping may be created again while the one before it is still being deleted.
    let is_kept = |report: &MappingReport| report.state != "Deleting";
    if fitting.iter().any(is_kept) {
        fitting.retain(is_kept);
    }
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => bail!(
            "no mapping is '{text}': expected a UUID, the start of one, or SOURCE/FUNCTION by their \
             names; 'windlass mappings list' shows all"
        ),
        n => {
            let lines = fitting
                .iter()
                .map(|it| format!("\n  {} {}", it.uuid, output::label(it)));
            let lines: String = lines.collect();
            bail!("'{text}' fits {n} mappings; give the UUID of one, or more of it:{lines}")
        }
    }
}

fn full_uuid(text: &str) -> Option<String> {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    uuid.map(|uuid| uuid.to_string())
}

/// A function is named with its qualifier or without.
fn fits_names(report: &MappingReport, source: &str, function: &str) -> bool {
    let arn = report
        .event_source_arn
        .as_deref()
        .and_then(SourceArn::parse);
    let label = output::function_label(&report.function_arn);
    let name = label.split(':').next().unwrap_or_default();
    arn.is_some_and(|arn| arn.arn().source_name() == source)
        && (label == function || name == function)
}

#[cfg(test)]
mod tests {
    use windlass_admin::report::CountsReport;

    use super::*;

    fn report(uuid: &str, source: &str, function: &str) -> MappingReport {
        MappingReport {
            uuid: uuid.to_owned(),
            event_source_arn: Some(format!("arn:aws:{source}")),
            function_arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{function}"),
            state: "Enabled".to_owned(),
            last_processing_result: "OK".to_owned(),
            problem: None,
            notice: None,
            counts: CountsReport::default(),
            events_per_second: 0.0,
            behind_ms: None,
            clock_difference_ms: None,
            parked: None,
            shards: None,
            queue: None,
        }
    }

    fn found(text: &str) -> Result<String, String> {
        let deleting = MappingReport {
            state: "Deleting".to_owned(),
            ..report(
                "34e0db72-5d35-4eb5-b481-8945cf9d10c2",
                "dynamodb:us-east-1:000000000000:table/users/stream/2026",
                "index",
            )
        };
        let reports = vec![
            deleting,
            report(
                "14e0db71-5d35-4eb5-b481-8945cf9d10c2",
                "kinesis:us-east-1:000000000000:stream/orders",
                "resize:live",
            ),
            report(
                "14e0db72-5d35-4eb5-b481-8945cf9d10c2",
                "sqs:us-east-1:000000000000:orders",
                "resize",
            ),
            report(
                "24e0db72-5d35-4eb5-b481-8945cf9d10c2",
                "dynamodb:us-east-1:000000000000:table/users/stream/2026",
                "index",
            ),
        ];
        let one = find_one(reports, text);
        one.map(|it| it.uuid).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mapping_is_found_by_its_uuid_the_start_of_it_or_its_names() {
        for (text, start) in [
            ("14e0db71-5d35-4eb5-b481-8945cf9d10c2", "14e0db71"),
            ("14E0DB71", "14e0db71"),
            ("2", "24e0db72"),
            ("orders/resize:live", "14e0db71"),
            ("users/index", "24e0db72"),
            ("3", "34e0db72"),
        ] {
            let uuid = found(text).unwrap();
            assert!(uuid.starts_with(start), "{text}: {uuid}");
        }
    }

    #[test]
    fn a_name_that_fits_none_or_several_is_refused_and_says_which() {
        for text in ["", "/", "4", "users", "users/", "orders/resize:dead"] {
            let error = found(text).unwrap_err();
            assert!(
                error.starts_with(&format!("no mapping is '{text}'")),
                "{error}"
            );
        }
        for text in ["14e0db7", "orders/resize"] {
            let error = found(text).unwrap_err();
            assert!(
                error.starts_with(&format!("'{text}' fits 2 mappings")),
                "{error}"
            );
            for line in [
                "14e0db71-5d35-4eb5-b481-8945cf9d10c2 kinesis orders → resize:live",
                "14e0db72-5d35-4eb5-b481-8945cf9d10c2 sqs orders → resize",
            ] {
                assert!(error.contains(line), "{error}");
            }
        }
    }
}
