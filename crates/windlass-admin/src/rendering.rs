//! A mapping as the API shows it: its parameters by [`parameters`](windlass_core::parameters), and
//! what became of it.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html>

use std::time::Duration;

use serde_json::{Map, Value, json};
use windlass_core::arn::{ArnScope, SourceKind};
use windlass_core::mapping::{MappingId, MappingRow};
use windlass_core::parameters::PARAMETERS;
use windlass_core::time::Timestamp;
use windlass_engine::status::MappingStatus;

/// The members of one mapping.
pub(crate) fn mapping(row: &MappingRow, status: &MappingStatus, home: &ArnScope) -> Value {
    let kind = row.source.kind();
    let mut members = Map::new();
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    set("UUID", json!(row.id.as_str()));
    set("EventSourceMappingArn", json!(mapping_arn(&row.id, home)));
    set("FunctionArn", json!(row.function_arn.as_str()));
    set("State", json!(status.state));
    set("LastModified", json!(epoch_seconds(row.last_modified)));
    match kind {
        SourceKind::Stream(_) => {
            set("StateTransitionReason", json!("User action"));
            set("LastProcessingResult", json!(status.last_processing_result));
        }
        SourceKind::Queue => {
            set("StateTransitionReason", json!("USER_INITIATED"));
        }
    }
    members.append(&mut parameters(row));
    Value::Object(members)
}

/// Those of its members that are parameters, with their defaults.
pub(crate) fn parameters(row: &MappingRow) -> Map<String, Value> {
    let kind = row.source.kind();
    let shown = PARAMETERS.iter().filter_map(|parameter| {
        let value = parameter.shown(row.spec.get(parameter.name), kind)?;
        Some((parameter.name.to_owned(), value))
    });
    shown.collect()
}

fn mapping_arn(id: &MappingId, home: &ArnScope) -> String {
    let ArnScope {
        partition,
        region,
        account_id,
    } = home;
    format!("arn:{partition}:lambda:{region}:{account_id}:event-source-mapping:{id}")
}

/// A number of seconds, to the millisecond.
fn epoch_seconds(moment: Timestamp) -> f64 {
    Duration::from_millis(moment.as_millis()).as_secs_f64()
}
