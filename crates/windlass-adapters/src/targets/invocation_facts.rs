//! What a function learns about an invocation in addition to its event: HTTP functions from headers,
//! local processes from the client context.

use std::borrow::Cow;

use windlass_engine::ports::Invocation;

/// Names and values. The values are text, since clients in some languages accept nothing else in a
/// client context.
pub(super) fn facts(invocation: &Invocation) -> Vec<(&'static str, Cow<'_, str>)> {
    let mut facts = vec![
        ("x-windlass-mapping", invocation.mapping.as_str().into()),
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
