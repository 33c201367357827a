//! What a function learns about an invocation in addition to its event: HTTP functions from headers,
//! local processes and functions of AWS Lambda from the client context.

use std::borrow::Cow;

use serde_json::{Value, json};
use windlass_engine::ports::{Invocation, Purpose};

/// Names and values. The values are text, since clients in some languages accept nothing else in a
/// client context.
pub(super) fn facts(invocation: &Invocation) -> Vec<(&'static str, Cow<'_, str>)> {
    let purpose = match &invocation.purpose {
        Purpose::Mapping(mapping) => ("x-windlass-mapping", mapping.as_str().into()),
        Purpose::Replay(name) => ("x-windlass-replay", Cow::from(&**name)),
        Purpose::Redrive(id) => ("x-windlass-redrive", Cow::from(&**id)),
    };
    let mut facts = vec![
        purpose,
        ("x-windlass-attempt", invocation.attempt.to_string().into()),
    ];
    if let Some(origin) = &invocation.origin {
        facts.extend([
            ("x-windlass-shard", origin.shard.as_str().into()),
            ("x-windlass-epoch", origin.epoch.to_string().into()),
        ]);
        let number = origin.sequence_number.as_ref();
        facts.extend(number.map(|number| ("x-windlass-sequence", number.as_str().into())));
    }
    facts
}

/// The facts as the client context of Lambda.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
pub(super) fn client_context(invocation: &Invocation) -> String {
    let facts = facts(invocation).into_iter();
    let facts = facts.map(|(name, value)| (name.to_owned(), Value::from(value)));
    json!({"custom": Value::Object(facts.collect())}).to_string()
}
