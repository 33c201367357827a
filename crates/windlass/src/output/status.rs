//! What mappings, shards and queues are doing: numbers in tables, and what needs words below them.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::table::{Column, Narrow, push, render, tail};
use super::{millis, text};

/// The numbers of one look, to see how fast they grow.
pub(crate) struct Look {
    at: Instant,
    /// Events read since the daemon started, by mapping.
    polled: BTreeMap<String, u64>,
}

/// Events per second, by mapping.
pub(crate) type Rates = BTreeMap<String, f64>;

impl Look {
    pub(crate) fn at(at: Instant, statuses: &[Value]) -> Self {
        let polled = statuses.iter().filter_map(|status| {
            let polled = status["counts"]["polled"].as_u64()?;
            Some((status["uuid"].as_str()?.to_owned(), polled))
        });
        Self {
            at,
            polled: polled.collect(),
        }
    }

    /// How fast the numbers have grown since an earlier look. A daemon that has started anew counts
    /// from zero again, which says nothing.
    pub(crate) fn rates_since(&self, earlier: &Self) -> Rates {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        let rates = self.polled.iter().filter_map(|(uuid, &polled)| {
            let grown = polled.checked_sub(*earlier.polled.get(uuid)?)?;
            #[expect(clippy::cast_precision_loss, reason = "it is shown to a tenth")]
            let rate = grown as f64 / seconds;
            rate.is_finite().then(|| (uuid.clone(), rate))
        });
        rates.collect()
    }
}

/// Everything that [`look`](crate::status::look) has seen.
pub(crate) fn status_table(statuses: &[Value], rates: &Rates, width: Option<usize>) -> String {
    if statuses.is_empty() {
        return "no mappings".to_owned();
    }
    let mut parts = vec![mappings(statuses, rates, width)];
    parts.extend(units(statuses, width));
    let notes: Vec<String> = statuses.iter().flat_map(notes).collect();
    if !notes.is_empty() {
        parts.push(notes.join("\n"));
    }
    parts.join("\n\n")
}

fn mappings(statuses: &[Value], rates: &Rates, width: Option<usize>) -> String {
    let mut columns = [
        Column::new("mapping", Narrow::Keep),
        Column::new("state", Narrow::Keep),
        Column::new("events/s", Narrow::Keep),
        Column::new("behind", Narrow::Keep),
        Column::new("last result", Narrow::Shorten(in_a_word)),
        Column::new("failed", Narrow::Drop),
        Column::new("invoked", Narrow::Drop),
        Column::new("polled", Narrow::Drop),
    ];
    for status in statuses {
        let (uuid, counts) = (text(&status["uuid"]), &status["counts"]);
        let rate = rates.get(&uuid).map(|rate| format!("{rate:.1}"));
        let row = [
            uuid,
            text(&status["state"]),
            rate.unwrap_or_default(),
            millis(&status["behind_ms"]),
            text(&status["last_processing_result"]),
            text(&counts["failed_invocations"]),
            text(&counts["invoked"]),
            text(&counts["polled"]),
        ];
        push(&mut columns, row);
    }
    render(columns, width)
}

/// One row a shard or queue; `None` if there are none.
fn units(statuses: &[Value], width: Option<usize>) -> Option<String> {
    let mut columns = [
        Column::new("mapping", Narrow::Keep),
        Column::new("unit", Narrow::Keep),
        Column::new("behind", Narrow::Keep),
        Column::new("held", Narrow::Keep),
        Column::new("in flight", Narrow::Drop),
        Column::new("last result", Narrow::Shorten(in_a_word)),
        Column::new("position", Narrow::Shorten(tail)),
    ];
    let mut some = false;
    for status in statuses {
        for unit in units_of(status) {
            some = true;
            let queue = unit.shard_id.is_none();
            let (held, in_flight) = if queue {
                ("held_messages", "in_flight_messages")
            } else {
                ("buffered_records", "in_flight_records")
            };
            let row = [
                short(status),
                unit.name(),
                millis(&unit.members["behind_ms"]),
                text(&unit.members[held]),
                text(&unit.members[in_flight]),
                text(&unit.members["last_result"]),
                unit.position(),
            ];
            push(&mut columns, row);
        }
    }
    some.then(|| render(columns, width))
}

/// A result where there is no room for it; what is wrong stands below the tables in full.
fn in_a_word(result: &str) -> String {
    let (word, _) = result.split_once(':').unwrap_or((result, ""));
    if word == "No records processed" {
        return "none".to_owned();
    }
    word.to_owned()
}

/// What a mapping has to say in words: why it cannot run, how its last invocation ended, and what
/// each shard or queue waits for.
fn notes(status: &Value) -> Vec<String> {
    let (mut notes, short) = (Vec::new(), short(status));
    if let Some(problem) = status["problem"].as_str() {
        notes.push(format!("{short} cannot run: {problem}"));
    }
    let result = status["last_processing_result"]
        .as_str()
        .unwrap_or_default();
    if result.starts_with("PROBLEM") {
        notes.push(format!("{short} last result: {result}"));
    }
    for unit in units_of(status) {
        if let Some(waiting) = unit.members["waiting_for"].as_str() {
            notes.push(format!("{short} {} waits: {waiting}", unit.name()));
        }
    }
    notes
}

/// A shard, or the queue.
struct Unit<'a> {
    shard_id: Option<&'a str>,
    members: &'a Value,
}

impl Unit<'_> {
    fn name(&self) -> String {
        self.shard_id.unwrap_or("queue").to_owned()
    }

    fn position(&self) -> String {
        if self.shard_id.is_none() {
            return format!("{} received", text(&self.members["received"]));
        }
        let checkpoint = &self.members["checkpoint"];
        let place = checkpoint["sequence_number"].as_str();
        place
            .or(checkpoint["timestamp"].as_str())
            .or(checkpoint["type"].as_str())
            .unwrap_or_default()
            .to_owned()
    }
}

fn units_of(status: &Value) -> Vec<Unit<'_>> {
    let shards = status["shards"].as_array().into_iter().flatten();
    let shards = shards.map(|shard| Unit {
        shard_id: shard["shard_id"].as_str(),
        members: shard,
    });
    let queue = status["queue"].is_object().then(|| Unit {
        shard_id: None,
        members: &status["queue"],
    });
    shards.chain(queue).collect()
}

/// Enough of a UUID to find it in the table above.
fn short(status: &Value) -> String {
    let uuid = text(&status["uuid"]);
    uuid.get(..8).unwrap_or(&uuid).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    const UUID: &str = "14e0db71-5d35-4eb5-b481-8945cf9d10c2";
    const NUMBER: &str = "49590338271490256608559692538361571095921575989136588898";

    fn status(polled: u64) -> Value {
        json!({
            "uuid": UUID,
            "state": "Creating",
            "last_processing_result": "PROBLEM: Function call failed",
            "problem": "ListShards of stream orders failed (Gone): ResourceNotFoundException",
            "counts": {"polled": polled, "invoked": 7, "failed_invocations": 3},
            "behind_ms": 1250,
            "shards": [{
                "shard_id": "shardId-000000000000",
                "checkpoint": {"type": "after", "sequence_number": NUMBER},
                "last_result": "PROBLEM: Function call failed",
                "waiting_for": "function answers with errors, attempt 4, next in 3.2 s",
            }],
        })
    }

    #[test]
    fn eighty_columns_break_no_identifier_and_hide_no_reason() {
        let shown = status_table(&[status(5)], &Rates::new(), Some(80));
        for part in [
            UUID,
            "shardId-000000000000",
            "…989136588898",
            "14e0db71 cannot run: ListShards of stream orders failed (Gone)",
            "14e0db71 last result: PROBLEM: Function call failed",
            "14e0db71 shardId-000000000000 waits: function answers with errors, attempt 4",
        ] {
            assert!(shown.contains(part), "'{part}' is not in:\n{shown}");
        }
        let tables = shown.rsplit_once("\n\n").unwrap().0;
        assert!(
            tables.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
        let shown = status_table(&[status(5)], &Rates::new(), None);
        assert!(shown.contains(NUMBER), "{shown}");
    }

    #[test]
    fn eighty_columns_have_room_for_the_last_result() {
        let mut status = status(5);
        for (result, shows) in [
            ("OK", "OK"),
            ("No records processed", "none"),
            ("PROBLEM: Function could not be reached", "PROBLEM"),
        ] {
            status["last_processing_result"] = json!(result);
            status["shards"][0]["last_result"] = json!(result);
            let shown = status_table(std::slice::from_ref(&status), &Rates::new(), Some(80));
            for row in [2, 5] {
                let row = shown.lines().nth(row - 1).unwrap();
                assert!(row.split_whitespace().any(|cell| cell == shows), "{shown}");
            }
        }
    }

    #[test]
    fn rates_are_between_two_looks() {
        let start = Instant::now();
        let first = Look::at(start, &[status(100)]);
        let second = Look::at(start + Duration::from_secs(2), &[status(325)]);
        let rates = second.rates_since(&first);
        assert_eq!(rates[UUID], 112.5);
        let shown = status_table(&[status(325)], &rates, Some(80));
        assert!(shown.contains("112.5"), "{shown}");
        // A daemon that was restarted counts from zero.
        assert!(first.rates_since(&second).is_empty());
    }
}
