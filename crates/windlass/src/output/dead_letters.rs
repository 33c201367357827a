//! Tables of dead letters, and their payloads.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;
use serde_json::Value;

use super::table::{self, Column, Narrow, resource, tail};
use super::text;

pub(crate) fn dead_letter_table(letters: &[Value], width: Option<usize>) -> String {
    let mut columns = [
        Column::new("ID", Narrow::Keep),
        Column::new("GivenUpAt", Narrow::Keep),
        Column::new("Reason", Narrow::Keep),
        Column::new("FunctionArn", Narrow::Shorten(resource)),
        Column::new("EventSourceArn", Narrow::Shorten(resource)),
        Column::new("First", Narrow::Shorten(tail)),
        Column::new("Records", Narrow::Drop),
        Column::new("Bytes", Narrow::Drop),
        Column::new("ShardId", Narrow::Drop),
        Column::new("Redrives", Narrow::Drop),
    ];
    for letter in letters {
        let row = [
            &letter["id"],
            &letter["given_up_at"],
            &letter["reason"],
            &letter["function_arn"],
            &letter["event_source_arn"],
            &letter["sequence_numbers"][0],
            &letter["records"],
            &letter["bytes"],
            &letter["shard_id"],
            &letter["redrives"],
        ];
        table::push(&mut columns, row.map(text));
    }
    table::render(columns, width)
}

/// Prints an event byte for byte; a terminal gets the end of the line in addition.
pub(crate) fn print_payload(payload: &[u8]) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    let end: &[u8] = if output.is_terminal() { b"\n" } else { b"" };
    let written = output
        .write_all(payload)
        .and_then(|()| output.write_all(end));
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_fits_a_terminal_and_keeps_ids_whole() {
        let id = "14e0db71-5d35-4eb5-b481-8945cf9d10c2";
        let letter = json!({
            "id": id, "given_up_at": "2026-11-23T12:00:00.250Z", "reason": "RecordTooLarge",
            "function_arn": "arn:aws:lambda:us-east-1:000000000000:function:resize",
            "event_source_arn": "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
            "shard_id": "shardId-000000000000", "records": 3, "bytes": 1024, "redrives": 0,
            "sequence_numbers": ["49590338271490256608559692538361571095", "4959"],
        });
        let narrow = dead_letter_table(std::slice::from_ref(&letter), Some(120));
        for part in [id, "RecordTooLarge", "function:resize", "stream/orders"] {
            assert!(narrow.contains(part), "{narrow}");
        }
        let wide = dead_letter_table(&[letter], None);
        for part in ["49590338271490256608559692538361571095", "1024"] {
            assert!(wide.contains(part), "{wide}");
        }
    }
}
