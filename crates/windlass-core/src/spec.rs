//! The AWS JSON shape of a mapping's parameters: the only serialised type of the domain.
//!
//! The API receives it, mapping files contain it, the stores keep it. It can hold anything that a
//! user may write; [`crate::validate`] says what is wrong with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The members of `CreateEventSourceMapping`.
///
/// Those that windlass knows are typed. All others are kept as they came, in
/// [`other`](MappingSpec::other), so that they can be refused by name: nothing is dropped unseen.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MappingSpec {
    /// The function, in any form that the API takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_name: Option<String>,
    /// The stream or queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_source_arn: Option<String>,
    /// Whether pollers run; `true` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Most records of one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<i64>,
    /// How long a batch gathers, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_batching_window_in_seconds: Option<i64>,
    /// `TRIM_HORIZON`, `LATEST` or `AT_TIMESTAMP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_position: Option<String>,
    /// Seconds since the epoch, for `AT_TIMESTAMP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_position_timestamp: Option<f64>,
    /// Batches of one shard that may run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelization_factor: Option<i64>,
    /// Retries after the first attempt; -1 for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_retry_attempts: Option<i64>,
    /// Age in seconds at which a record is given up; -1 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_record_age_in_seconds: Option<i64>,
    /// Whether a failed batch is split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bisect_batch_on_function_error: Option<bool>,
    /// Length of a tumbling window in seconds; 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tumbling_window_in_seconds: Option<i64>,
    /// `ReportBatchItemFailures`, or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_response_types: Option<Vec<String>>,
    /// Which records reach the function; nothing in it is every record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_criteria: Option<FilterCriteria>,
    /// Where records go that are given up; nothing in it is nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_config: Option<DestinationConfig>,
    /// Which groups of metrics are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_config: Option<MetricsConfig>,
    /// Every other member, whether AWS has it or not.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// `FilterCriteria`: a record that matches any of the filters reaches the function.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_FilterCriteria.html>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FilterCriteria {
    /// The filters; none of them passes every record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<Filter>>,
    /// Every other member.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Filter {
    /// An event pattern, as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Every other member.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// `DestinationConfig`.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_DestinationConfig.html>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DestinationConfig {
    /// Never supported for streams and queues; here to be refused by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Destination>,
    /// Where records go that are given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Destination>,
    /// Every other member.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One destination; empty means none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Destination {
    /// Its ARN; an empty text is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Every other member.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// `MetricsConfig`.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingMetricsConfig.html>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MetricsConfig {
    /// `EventCount`, `ErrorCount`, `KafkaMetrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// Every other member.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl DestinationConfig {
    /// The destination of records that are given up, if one is named.
    pub fn on_failure(&self) -> Option<&str> {
        let text = self.on_failure.as_ref()?.destination.as_deref()?;
        (!text.is_empty()).then_some(text)
    }
}
