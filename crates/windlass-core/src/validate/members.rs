//! From a JSON object to a [`MappingSpec`]: nothing is accepted and ignored.

use serde_json::{Map, Value, json};

use super::{Code, Violation};
use crate::spec::MappingSpec;

/// Members of the model that windlass does not support, each with the values that ask for nothing.
const UNSUPPORTED: [(&str, &[&str]); 12] = [
    ("AmazonManagedKafkaEventSourceConfig", &[]),
    ("DestinationConfig", &["{}", r#"{"OnFailure":{}}"#]),
    ("DocumentDBEventSourceConfig", &[]),
    ("FilterCriteria", &["{}", r#"{"Filters":[]}"#]),
    ("KMSKeyArn", &[]),
    ("LoggingConfig", &[]),
    ("ProvisionedPollerConfig", &["{}"]),
    ("Queues", &[]),
    ("ScalingConfig", &["{}"]),
    ("SelfManagedEventSource", &[]),
    ("SelfManagedKafkaEventSourceConfig", &[]),
    ("SourceAccessConfigurations", &[]),
];

/// Others of the model, refused in the same way.
const MORE_UNSUPPORTED: [&str; 2] = ["Tags", "Topics"];

/// Reads the members of a mapping.
///
/// # Errors
/// Every member that is unknown, unsupported, or of the wrong type.
pub fn parse(members: &Value) -> Result<MappingSpec, Vec<Violation>> {
    let Value::Object(members) = members else {
        let message = "the members of a mapping are a JSON object".to_owned();
        return Err(vec![Violation {
            code: Code::Serialization,
            message,
        }]);
    };
    let mut violations = Vec::new();
    let mut known = Map::new();
    for (name, value) in members {
        if value.is_null() {
            continue;
        }
        if let Some((_, harmless)) = UNSUPPORTED.iter().find(|(it, _)| it == name) {
            if !harmless.contains(&value.to_string().as_str()) {
                violations.push(Violation::unsupported(name));
            }
            continue;
        }
        if MORE_UNSUPPORTED.contains(&name.as_str()) {
            violations.push(Violation::unsupported(name));
            continue;
        }
        match member(name, value) {
            Ok(true) => {
                known.insert(name.clone(), value.clone());
            }
            Ok(false) => {
                violations.push(Violation::invalid(&format!(
                    "Unrecognized parameter: {name}."
                )));
            }
            Err(reason) => {
                let message = format!("{name} has a value of the wrong type: {reason}");
                violations.push(Violation {
                    code: Code::Serialization,
                    message,
                });
            }
        }
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    serde_json::from_value(Value::Object(known)).map_err(|error| {
        vec![Violation {
            code: Code::Serialization,
            message: error.to_string(),
        }]
    })
}

/// Whether the model has a member of this name; an error if its value has the wrong type.
fn member(name: &str, value: &Value) -> Result<bool, String> {
    let alone = json!({ name: value });
    let spec: MappingSpec = serde_json::from_value(alone).map_err(|error| error.to_string())?;
    Ok(spec != MappingSpec::default())
}
