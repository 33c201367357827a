//! The member `Windlass`, which AWS does not have.

use serde_json::Value;

use crate::mapping::{MessageBackoff, RetryBackoff};
use crate::spec::MappingSpec;
use crate::time::{display_duration, parse_duration};
use crate::validate::violation::Violation;

const RETRY_BACKOFF: &str = "Windlass.RetryBackoff";
const STRICT_ORDER: &str = "Windlass.StrictOrder";

pub(super) fn of_stream(spec: &MappingSpec, found: &mut Vec<Violation>) {
    if spec.retry_backoff().is_some() {
        let text = format!(
            "{RETRY_BACKOFF} is not valid for streams, whose batches have a schedule of their own. \
             Remove it."
        );
        found.push(Violation::rule(RETRY_BACKOFF, text));
    }
    let windows = spec.get("TumblingWindowInSeconds").and_then(Value::as_i64);
    if spec.strict_order() && windows.is_some_and(|seconds| seconds != 0) {
        let text = format!(
            "{STRICT_ORDER} is not supported with tumbling windows. Remove it, or set \
             TumblingWindowInSeconds to 0."
        );
        found.push(Violation::rule(STRICT_ORDER, text));
    }
    reports_items(spec, found);
}

pub(super) fn of_queue(spec: &MappingSpec, is_fifo: bool, found: &mut Vec<Violation>) {
    let first_and_maximum = match message_backoff(spec) {
        MessageBackoff::On(backoff) => Some((backoff.first, backoff.maximum)),
        MessageBackoff::OfDaemon | MessageBackoff::Off => None,
    };
    // A malformed duration violates a constraint.
    let is_malformed = found.iter().any(|it| it.member.starts_with(RETRY_BACKOFF));
    if let Some((first, maximum)) = first_and_maximum.filter(|_| !is_malformed)
        && maximum < first
    {
        let (first, maximum) = (display_duration(first), display_duration(maximum));
        let member = format!("{RETRY_BACKOFF}.Maximum");
        let text = format!(
            "{member} ({maximum}) must not be below {RETRY_BACKOFF}.First ({first}). Raise Maximum, \
             or lower First."
        );
        found.push(Violation::rule(&member, text));
    }
    if spec.strict_order() && !is_fifo {
        let text = format!(
            "{STRICT_ORDER} is not valid for standard queues, which have no order. Remove it, or use \
             a FIFO queue."
        );
        found.push(Violation::rule(STRICT_ORDER, text));
    } else {
        reports_items(spec, found);
    }
}

fn reports_items(spec: &MappingSpec, found: &mut Vec<Violation>) {
    if spec.strict_order() && !spec.reports_item_failures() {
        let text = format!(
            "{STRICT_ORDER} needs partial responses. Set FunctionResponseTypes to \
             [ReportBatchItemFailures], or remove {STRICT_ORDER}."
        );
        found.push(Violation::rule(STRICT_ORDER, text));
    }
}

/// Members that are missing, or malformed, have their defaults.
pub(super) fn message_backoff(spec: &MappingSpec) -> MessageBackoff {
    let Some(value) = spec.retry_backoff() else {
        return MessageBackoff::OfDaemon;
    };
    if value.is_null() {
        return MessageBackoff::Off;
    }
    let duration = |name: &str| parse_duration(value.get(name)?.as_str()?);
    let default = RetryBackoff::default();
    MessageBackoff::On(RetryBackoff {
        first: duration("First").unwrap_or(default.first),
        factor: value
            .get("Factor")
            .and_then(Value::as_f64)
            .unwrap_or(default.factor),
        maximum: duration("Maximum").unwrap_or(default.maximum),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::mapping::Source;
    use crate::validate::tests::{FIFO, NOW, QUEUE, STREAM, row, spec};
    use crate::validate::{create, mapping, update};

    fn windlass(source: &str, members: Value) -> MappingSpec {
        let types = json!(["ReportBatchItemFailures"]);
        let position = (source == STREAM).then(|| json!("TRIM_HORIZON"));
        let mut spec = spec(
            source,
            json!({"FunctionResponseTypes": types, "Windlass": members}),
        );
        if let Some(position) = position {
            spec.set("StartingPosition", position);
        }
        spec
    }

    #[test]
    fn a_mapping_may_have_a_backoff_of_its_own() {
        let backoff = |members| {
            let row = row(create(&windlass(QUEUE, members), NOW).unwrap().spec);
            match mapping(&row).unwrap().source {
                Source::Queue(source) => source.retry_backoff,
                Source::Stream(_) => panic!("a stream"),
            }
        };
        let default = RetryBackoff::default();
        assert_eq!(backoff(json!({})), MessageBackoff::OfDaemon);
        assert_eq!(backoff(json!({"RetryBackoff": null})), MessageBackoff::Off);
        assert_eq!(
            backoff(json!({"RetryBackoff": {}})),
            MessageBackoff::On(default)
        );
        let some = json!({"RetryBackoff": {"First": "0s", "Factor": 1.5}});
        let expected = RetryBackoff {
            first: Duration::ZERO,
            factor: 1.5,
            ..default
        };
        assert_eq!(backoff(some), MessageBackoff::On(expected));
        let daemon = Some(RetryBackoff {
            factor: 3.0,
            ..default
        });
        assert_eq!(MessageBackoff::OfDaemon.resolve(daemon), daemon);
        assert_eq!(MessageBackoff::Off.resolve(daemon), None);
        assert_eq!(MessageBackoff::On(default).resolve(None), Some(default));
    }

    #[test]
    fn what_aws_does_not_have_is_stored_as_it_is_given() {
        for members in [
            json!({"RetryBackoff": null, "StrictOrder": true}),
            json!({"RetryBackoff": {"Factor": 2, "Maximum": "900s"}}),
            json!({"StrictOrder": false}),
        ] {
            let stored = create(&windlass(FIFO, members.clone()), NOW).unwrap().spec;
            assert_eq!(stored.get("Windlass"), Some(&members));
            let text = serde_json::to_string(&stored).unwrap();
            assert_eq!(serde_json::from_str::<MappingSpec>(&text).unwrap(), stored);
            let removal = serde_json::from_value(json!({"Windlass": {}})).unwrap();
            let updated = update(&row(stored), &removal).unwrap().spec;
            assert_eq!(updated.get("Windlass"), None);
        }
    }

    #[test]
    fn strict_order_needs_an_order_and_responses_about_items() {
        let strict = json!({"StrictOrder": true});
        for source in [FIFO, STREAM] {
            let stored = row(create(&windlass(source, strict.clone()), NOW).unwrap().spec);
            let is_strict = match mapping(&stored).unwrap().source {
                Source::Queue(source) => source.settings.strict_order,
                Source::Stream(source) => source.settings.retries.strict_order,
            };
            assert!(is_strict);
            let change = serde_json::from_value(json!({"FunctionResponseTypes": []})).unwrap();
            let refused = update(&stored, &change).unwrap_err();
            let start = "Windlass.StrictOrder needs partial responses.";
            assert!(refused[0].message.starts_with(start), "{refused:?}");
        }
        let standard = create(&windlass(QUEUE, strict.clone()), NOW).unwrap_err();
        let start = "Windlass.StrictOrder is not valid for standard queues";
        assert!(standard[0].message.starts_with(start), "{standard:?}");
        let mut windows = windlass(STREAM, strict);
        windows.set("TumblingWindowInSeconds", 30);
        let refused = create(&windows, NOW).unwrap_err();
        let start = "Windlass.StrictOrder is not supported with tumbling windows.";
        let found = refused.iter().any(|it| it.message.starts_with(start));
        assert!(found, "{refused:?}");
    }
}
