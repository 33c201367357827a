//! A mapping as the API shows it: which members there are depends on the source.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html>

use std::time::Duration;

use serde_json::{Map, Value, json};
use windlass_core::arn::{ArnScope, SourceKind};
use windlass_core::mapping::{MappingId, MappingRow};
use windlass_core::time::Timestamp;
use windlass_core::validate;
use windlass_engine::status::MappingStatus;

/// The members of one mapping.
pub(crate) fn mapping(row: &MappingRow, status: &MappingStatus, home: &ArnScope) -> Value {
    let mut members = Map::new();
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    let spec = &row.spec;
    let kind = row.source.kind();
    let queue = kind == SourceKind::Queue;
    let batch_size = validate::default_batch_size(kind);

    set("UUID", json!(row.id.as_str()));
    set("EventSourceMappingArn", json!(mapping_arn(&row.id, home)));
    set("EventSourceArn", json!(row.source.as_str()));
    set("FunctionArn", json!(row.function_arn.as_str()));
    set("State", json!(status.state));
    let reason = if queue {
        "USER_INITIATED"
    } else {
        "User action"
    };
    set("StateTransitionReason", json!(reason));
    set("LastModified", json!(epoch_seconds(row.last_modified)));
    set("BatchSize", json!(spec.batch_size.unwrap_or(batch_size)));
    let window = spec.maximum_batching_window_in_seconds.unwrap_or(0);
    set("MaximumBatchingWindowInSeconds", json!(window));
    let responses = spec.function_response_types.as_deref().unwrap_or_default();
    set("FunctionResponseTypes", json!(responses));
    if let Some(criteria) = &spec.filter_criteria {
        set("FilterCriteria", json!(criteria));
    }
    if let Some(config) = &spec.metrics_config {
        set("MetricsConfig", json!(config));
    }
    if !queue {
        of_stream(row, status, &mut members);
    }
    Value::Object(members)
}

/// The members that only streams have.
fn of_stream(row: &MappingRow, status: &MappingStatus, members: &mut Map<String, Value>) {
    let spec = &row.spec;
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    let bisect = spec.bisect_batch_on_function_error.unwrap_or(false);
    set("BisectBatchOnFunctionError", json!(bisect));
    let destinations = spec.destination_config.as_ref();
    let destinations = destinations.map_or_else(|| json!({"OnFailure": {}}), |it| json!(it));
    set("DestinationConfig", destinations);
    set("LastProcessingResult", json!(status.last_processing_result));
    let age = spec.maximum_record_age_in_seconds.unwrap_or(-1);
    set("MaximumRecordAgeInSeconds", json!(age));
    let retries = spec.maximum_retry_attempts.unwrap_or(-1);
    set("MaximumRetryAttempts", json!(retries));
    let factor = spec.parallelization_factor.unwrap_or(1);
    set("ParallelizationFactor", json!(factor));
    set("StartingPosition", json!(spec.starting_position));
    if let Some(seconds) = spec.starting_position_timestamp {
        set("StartingPositionTimestamp", json!(seconds));
    }
    let tumbling = spec.tumbling_window_in_seconds.unwrap_or(0);
    set("TumblingWindowInSeconds", json!(tumbling));
}

fn mapping_arn(id: &MappingId, home: &ArnScope) -> String {
    let ArnScope {
        partition,
        region,
        account_id,
    } = home;
    format!("arn:{partition}:lambda:{region}:{account_id}:event-source-mapping:{id}")
}

/// Timestamps are numbers of seconds, the fraction being milliseconds.
fn epoch_seconds(moment: Timestamp) -> f64 {
    Duration::from_millis(moment.as_millis()).as_secs_f64()
}
