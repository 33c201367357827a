//! The parameters of a mapping: one row for each, and everything that follows from a row.
//!
//! Types, ranges, defaults, the sources that have a parameter, what an update may change and what
//! the API shows are written here and nowhere else. A new parameter is a row, a getter of
//! [`MappingSpec`](crate::spec::MappingSpec) where its value is used, and a line of the CLI.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>

use std::time::Duration;

use serde_json::{Value, json};

use crate::arn::SourceKind;
use crate::message::MAX_VISIBILITY_TIMEOUT;

use Support::{Invalid, No, Yes};
use Type::{
    Boolean, Decimal, DestinationArn, Enum, FunctionName, Integer, List, Nullable, Number,
    SourceArn, Structure, TagMap, Text,
};

/// Those of `CreateEventSourceMapping`, and one for what AWS does not have. The order is that in which
/// unsupported parameters are reported.
#[rustfmt::skip] // one row, one line
pub static PARAMETERS: [Parameter; 20] = [
    parameter("FunctionName", FunctionName).hidden(),
    parameter("EventSourceArn", SourceArn).fixed(),
    parameter("Enabled", Boolean).hidden(),
    parameter("BatchSize", integer(1, 10_000)).default(|kind| json!(if is_queue(kind) { 10 } else { 100 })),
    parameter("MaximumBatchingWindowInSeconds", integer(0, 300)).default(|_| json!(0)),
    parameter("DestinationConfig", DESTINATION_CONFIG).support(Yes, No).default(|_| json!({"OnFailure": {}})),
    parameter("ParallelizationFactor", integer(1, 10)).support(Yes, No).default(|_| json!(1)),
    parameter("MaximumRecordAgeInSeconds", integer(-1, 604_800)).support(Yes, No).default(|_| json!(-1)),
    parameter("MaximumRetryAttempts", integer(-1, 10_000)).support(Yes, No).default(|_| json!(-1)),
    parameter("BisectBatchOnFunctionError", Boolean).support(Yes, No).default(|_| json!(false)),
    parameter("TumblingWindowInSeconds", integer(0, 900)).support(Yes, No).default(|_| json!(0)),
    parameter("StartingPosition", Enum(&["LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"])).support(Yes, Invalid).fixed(),
    parameter("StartingPositionTimestamp", Number).support(Yes, Invalid).fixed(),
    parameter("FunctionResponseTypes", RESPONSE_TYPES).default(|_| json!([])),
    parameter("ScalingConfig", SCALING_CONFIG).support(No, Yes).default(|_| json!({})).shown_if_set(),
    parameter("ProvisionedPollerConfig", PROVISIONED_POLLER_CONFIG).support(No, Yes).default(|_| json!({})).shown_if_set(),
    parameter("FilterCriteria", FILTER_CRITERIA).default(|_| json!({"Filters": []})).shown_if_set(),
    parameter("MetricsConfig", METRICS_CONFIG).default(|_| json!({"Metrics": []})).shown_if_set(),
    parameter("Tags", TagMap).fixed().hidden(),
    parameter("Windlass", WINDLASS).default(|_| json!({})).shown_if_set(),
];

const RESPONSE_TYPES: Type = List {
    item: &Enum(&["ReportBatchItemFailures"]),
    max_items: 1,
};

/// <https://docs.aws.amazon.com/lambda/latest/api/API_ScalingConfig.html>
const SCALING_CONFIG: Type = Structure {
    name: "ScalingConfig",
    members: &[Member("MaximumConcurrency", integer(2, 1_000))],
};

/// The ranges are those of queues. `PollerGroupName` is for Kafka.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_ProvisionedPollerConfig.html>
const PROVISIONED_POLLER_CONFIG: Type = Structure {
    name: "ProvisionedPollerConfig",
    members: &[
        Member("MinimumPollers", integer(2, 200)),
        Member("MaximumPollers", integer(2, 10_000)),
    ],
};

/// The members of a `ProvisionedPollerConfig` that has the other one only.
pub const DEFAULT_MINIMUM_POLLERS: i64 = 2;
pub const DEFAULT_MAXIMUM_POLLERS: i64 = 200;

/// <https://docs.aws.amazon.com/lambda/latest/api/API_DestinationConfig.html>
const DESTINATION_CONFIG: Type = Structure {
    name: "DestinationConfig",
    members: &[
        Member("OnSuccess", DESTINATION),
        Member("OnFailure", DESTINATION),
    ],
};

const DESTINATION: Type = Structure {
    name: "Destination",
    members: &[Member("Destination", DestinationArn)],
};

/// The number of filters is limited by a rule and not by the model.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_FilterCriteria.html>
const FILTER_CRITERIA: Type = Structure {
    name: "FilterCriteria",
    members: &[Member(
        "Filters",
        List {
            item: &FILTER,
            max_items: usize::MAX,
        },
    )],
};

const FILTER: Type = Structure {
    name: "Filter",
    members: &[Member("Pattern", Text { max_length: 4_096 })],
};

/// <https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingMetricsConfig.html>
const METRICS_CONFIG: Type = Structure {
    name: "MetricsConfig",
    members: &[Member(
        "Metrics",
        List {
            item: &Enum(&["EventCount", "ErrorCount", "KafkaMetrics"]),
            max_items: 3,
        },
    )],
};

/// What AWS does not have.
const WINDLASS: Type = Structure {
    name: "Windlass",
    members: &[
        Member("RetryBackoff", Nullable(&RETRY_BACKOFF)),
        Member("StrictOrder", Boolean),
    ],
};

/// Of queues; null: messages that failed become visible again after the queue's own timeout, whatever
/// the settings of the daemon are.
const RETRY_BACKOFF: Type = Structure {
    name: "RetryBackoff",
    members: &[
        Member("First", DELAY),
        Member("Factor", Decimal { min: 1 }),
        Member("Maximum", DELAY),
    ],
};

const DELAY: Type = Type::Duration {
    max: MAX_VISIBILITY_TIMEOUT,
};

/// One parameter of `CreateEventSourceMapping`.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// As AWS spells it.
    pub name: &'static str,
    pub value_type: Type,
    /// Whether `UpdateEventSourceMapping` has it too.
    pub is_updatable: bool,
    default: Option<fn(SourceKind) -> Value>,
    streams: Support,
    queues: Support,
    shown: Shown,
}

/// Whether the mappings of a kind of source have a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    /// It is refused, even with its default.
    No,
    /// As [`Support::No`], but AWS refuses it with another text.
    Invalid,
}

/// The values that a member can have, with the constraints of AWS's model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    Boolean,
    Number,
    /// A number that is kept as it is given.
    Decimal {
        min: i32,
    },
    Integer {
        min: i64,
        max: i64,
    },
    /// A text such as `5s`, see [`crate::time::parse_duration`].
    Duration {
        max: Duration,
    },
    /// Length in characters.
    Text {
        max_length: usize,
    },
    /// A function's name or ARN, see [`crate::function`].
    FunctionName,
    /// The ARN of a stream or queue.
    SourceArn,
    /// The ARN of an on-failure destination, or an empty text.
    DestinationArn,
    Enum(&'static [&'static str]),
    /// Keys and values, see [`crate::tags`].
    TagMap,
    List {
        item: &'static Type,
        max_items: usize,
    },
    /// The name is that of AWS's model.
    Structure {
        name: &'static str,
        members: &'static [Member],
    },
    /// A member of a structure for which null is a value of its own. Other members that are null are
    /// absent.
    Nullable(&'static Type),
}

impl Type {
    /// A text whose length something else limits.
    pub const TEXT: Self = Text {
        max_length: usize::MAX,
    };
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member(pub &'static str, pub Type);

/// Whether the API shows a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// With its default, if it has one and no value is set.
    Always,
    IfSet,
    /// Not under its own name: `FunctionName` is shown as `FunctionArn`, `Enabled` as `State`, `Tags`
    /// by an operation of their own.
    Never,
}

/// The parameter of this name, if AWS has it for streams or queues.
pub fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}

impl Parameter {
    pub const fn support_for(&self, kind: SourceKind) -> Support {
        match kind {
            SourceKind::Stream(_) => self.streams,
            SourceKind::Queue => self.queues,
        }
    }

    /// The value that applies where none is set.
    pub fn default_for(&self, kind: SourceKind) -> Option<Value> {
        self.default.map(|default| default(kind))
    }

    /// Whether a value means the same as none. Of structures this is so for every part of the
    /// default, `{}` included. Members that AWS does not have are not looked at.
    pub fn is_default(&self, value: &Value, kind: SourceKind) -> bool {
        equals_default(&self.value_type, value, self.default_for(kind).as_ref())
    }

    /// The value that the API shows for a mapping on which `value` is set; `None` hides the member.
    pub fn shown(&self, value: Option<&Value>, kind: SourceKind) -> Option<Value> {
        if matches!(self.support_for(kind), No | Invalid) {
            return None;
        }
        match self.shown {
            Shown::Always => value.cloned().or_else(|| self.default_for(kind)),
            Shown::IfSet => value.cloned(),
            Shown::Never => None,
        }
    }
}

fn equals_default(value_type: &Type, value: &Value, default: Option<&Value>) -> bool {
    match (value_type, value, default) {
        (DestinationArn, Value::String(text), _) if text.is_empty() => true,
        (Structure { members: known, .. }, Value::Object(members), Some(default)) => {
            known.iter().all(|Member(name, value_type)| {
                let value = members.get(*name);
                value.is_none_or(|value| equals_default(value_type, value, default.get(name)))
            })
        }
        _ => Some(value) == default,
    }
}

/// A row with what most parameters have: supported, updatable, shown, without a default.
const fn parameter(name: &'static str, value_type: Type) -> Parameter {
    Parameter {
        name,
        value_type,
        is_updatable: true,
        default: None,
        streams: Yes,
        queues: Yes,
        shown: Shown::Always,
    }
}

const fn integer(min: i64, max: i64) -> Type {
    Integer { min, max }
}

const fn is_queue(kind: SourceKind) -> bool {
    matches!(kind, SourceKind::Queue)
}

impl Parameter {
    const fn support(mut self, streams: Support, queues: Support) -> Self {
        self.streams = streams;
        self.queues = queues;
        self
    }

    const fn default(mut self, default: fn(SourceKind) -> Value) -> Self {
        self.default = Some(default);
        self
    }

    const fn fixed(mut self) -> Self {
        self.is_updatable = false;
        self
    }

    const fn shown_if_set(mut self) -> Self {
        self.shown = Shown::IfSet;
        self
    }

    const fn hidden(mut self) -> Self {
        self.shown = Shown::Never;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arn::StreamKind;
    use crate::spec::MappingSpec;

    #[test]
    fn defaults_have_their_type_and_are_recognized() {
        for kind in [SourceKind::Stream(StreamKind::Kinesis), SourceKind::Queue] {
            for parameter in &PARAMETERS {
                let Some(default) = parameter.default_for(kind) else {
                    continue;
                };
                assert!(parameter.is_default(&default, kind), "{}", parameter.name);
                let members = serde_json::Map::from_iter([(parameter.name.to_owned(), default)]);
                assert_eq!(MappingSpec::read(&members, false).1, []);
            }
        }
    }

    #[test]
    fn empty_structures_are_defaults() {
        let destination = find("DestinationConfig").unwrap();
        let is_default = |value| destination.is_default(&value, SourceKind::Queue);
        assert!(is_default(json!({})));
        assert!(is_default(json!({"OnFailure": {"Destination": ""}})));
        assert!(!is_default(json!({"OnFailure": {"Destination": "arn"}})));
        assert!(!is_default(json!({"OnSuccess": {}})));
    }
}
