//! Tables of dead letters, and their payloads.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;
use serde_json::Value;

use super::table::{self, Column, Narrow, resource, tail};
use super::{serialize, show, terminal_width, text};
use crate::cli::OutputFormat;

/// Prints a list page by page, so that its length takes no memory.
pub(crate) struct DeadLetterList {
    format: OutputFormat,
    is_first: bool,
}

impl DeadLetterList {
    pub(crate) const fn new(format: OutputFormat) -> Self {
        Self {
            format,
            is_first: true,
        }
    }

    /// Prints a page, which is not empty unless it is the only one; `false` if standard output is
    /// closed.
    pub(crate) fn show(&mut self, letters: &[Value], is_last: bool) -> anyhow::Result<bool> {
        let text = self.render(letters, is_last)?;
        self.is_first = false;
        show(&text)
    }

    fn render(&self, letters: &[Value], is_last: bool) -> anyhow::Result<String> {
        match self.format {
            OutputFormat::Table if letters.is_empty() => Ok("no dead letters".to_owned()),
            OutputFormat::Table => {
                let table = dead_letter_table(letters, terminal_width());
                let rows = table.split_once('\n').filter(|_| !self.is_first);
                Ok(rows.map_or_else(|| table.clone(), |(_, rows)| rows.to_owned()))
            }
            // The items of a sequence need nothing around or between them.
            OutputFormat::Yaml => serialize(self.format, &letters),
            OutputFormat::Json => {
                let array = serialize(self.format, &letters)?;
                let items = match self.is_first {
                    true => array.as_str(),
                    false => array.trim_start_matches("[\n"),
                };
                Ok(match items.strip_suffix("\n]").filter(|_| !is_last) {
                    Some(items) => format!("{items},"),
                    None => items.to_owned(),
                })
            }
        }
    }
}

fn dead_letter_table(letters: &[Value], width: Option<usize>) -> String {
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
    fn pages_are_one_list_in_every_format() {
        let letters: Vec<_> = (0..5).map(|id| json!({"id": id.to_string()})).collect();
        let print = |format, pages: &[&[Value]]| {
            let mut list = DeadLetterList::new(format);
            let mut text = String::new();
            for (number, page) in (1..).zip(pages) {
                let page = list.render(page, number == pages.len()).unwrap();
                list.is_first = false;
                text.push_str(page.trim_end());
                text.push('\n');
            }
            text
        };
        let split: [&[Value]; 3] = [&letters[..2], &letters[2..4], &letters[4..]];
        for format in [OutputFormat::Json, OutputFormat::Yaml] {
            assert_eq!(print(format, &split), print(format, &[&letters]));
            assert_eq!(
                print(format, &[&letters]).trim_end(),
                serialize(format, &letters).unwrap().trim_end()
            );
        }
        let empty = print(OutputFormat::Json, &[&[]]);
        assert_eq!(empty, "[]\n");
        let table = print(OutputFormat::Table, &split);
        assert_eq!(
            (table.lines().count(), table.matches("GivenUpAt").count()),
            (6, 1)
        );
        assert_eq!(print(OutputFormat::Table, &[&[]]), "no dead letters\n");
    }

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
