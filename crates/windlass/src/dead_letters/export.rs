//! Writes all dead letters with their events.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context;
use http::StatusCode;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{PATH, id_of, payload_path};
use crate::client::{ApiError, Client};
use crate::output;

/// Rights of the file: events are for its owner only.
const FILE_MODE: u32 = 0o600;

pub(super) async fn run(client: &Client, file: &Path) -> anyhow::Result<()> {
    if file == Path::new("-") {
        let mut output = BufWriter::new(std::io::stdout());
        write_all(client, &mut output).await?;
        return output.flush().context("cannot write to standard output");
    }
    let failed = || format!("cannot write {}", file.display());
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE);
    let mut output = BufWriter::new(options.open(file).with_context(failed)?);
    let n_letters = write_all(client, &mut output).await?;
    output.flush().with_context(failed)?;
    output::print(&format!(
        "{n_letters} dead letters written to {}",
        file.display()
    ))
}

/// Returns how many they were.
async fn write_all(client: &Client, output: &mut impl Write) -> anyhow::Result<usize> {
    let mut n_letters = 0;
    for letter in client.items(PATH, &[], "dead_letters").await? {
        let payload = match client.bytes(&payload_path(id_of(&letter)?)).await {
            Ok(payload) => payload,
            // Deleted since the list was made.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        output
            .write_all(&line(&letter, &payload)?)
            .context("cannot write a dead letter")?;
        n_letters += 1;
    }
    Ok(n_letters)
}

fn is_gone(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<ApiError>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}

/// The letter, with its event as the last member. What a source has sent and nobody can read as JSON
/// becomes a string.
fn line(letter: &Value, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(letter).context("cannot write a dead letter")?;
    line.pop();
    line.extend(b",\"payload\":");
    match serde_json::from_slice::<IgnoredAny>(payload) {
        // Line breaks are between values only: within texts they are escaped.
        Ok(IgnoredAny) => line.extend(payload.iter().map(|byte| match byte {
            b'\n' | b'\r' => b' ',
            other => *other,
        })),
        Err(_) => line.extend(
            Value::from(String::from_utf8_lossy(payload))
                .to_string()
                .bytes(),
        ),
    }
    line.extend(b"}\n");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_letter_and_its_event_as_it_is() {
        let letter = json!({"id": "1"});
        let text = |payload: &[u8]| String::from_utf8(line(&letter, payload).unwrap()).unwrap();
        assert_eq!(
            text(b"{\"b\":1.0,\n\"a\":\"\\n\"}"),
            "{\"id\":\"1\",\"payload\":{\"b\":1.0, \"a\":\"\\n\"}}\n"
        );
        assert_eq!(text(b"{\xff"), "{\"id\":\"1\",\"payload\":\"{\u{fffd}\"}\n");
    }
}
