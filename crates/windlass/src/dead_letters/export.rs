//! Writes all dead letters with their events.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use http::StatusCode;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{MEMBER, PATH, id_of, payload_path};
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
    // What is not a file, such as a pipe, cannot be replaced.
    let is_special = std::fs::metadata(file).is_ok_and(|it| !it.is_file());
    let n_letters = if is_special {
        let output = OpenOptions::new().write(true).open(file);
        let mut output = BufWriter::new(output.with_context(failed)?);
        let n_letters = write_all(client, &mut output).await?;
        output.flush().with_context(failed)?;
        n_letters
    } else {
        // A link stays one.
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let new = NewFile::create(file).with_context(failed)?;
        let mut output = BufWriter::new(&new.output);
        let n_letters = write_all(client, &mut output).await?;
        output.flush().with_context(failed)?;
        drop(output);
        new.finish().with_context(failed)?;
        n_letters
    };
    output::print(&format!(
        "{n_letters} dead letters written to {}",
        file.display()
    ))
}

/// A file that replaces another when it is whole, and is removed otherwise.
struct NewFile {
    output: File,
    /// Next to the one that it replaces.
    path: PathBuf,
    replaces: PathBuf,
    is_finished: bool,
}

impl NewFile {
    fn create(replaces: PathBuf) -> std::io::Result<Self> {
        let mut path = replaces.clone().into_os_string();
        path.push(format!(".{}.part", std::process::id()));
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        Ok(Self {
            output: options.open(&path)?,
            path,
            replaces,
            is_finished: false,
        })
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.output.sync_all()?;
        std::fs::rename(&self.path, &self.replaces)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // The error that is reported matters more.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Returns how many they were.
async fn write_all(client: &Client, output: &mut impl Write) -> anyhow::Result<usize> {
    let mut n_letters = 0;
    let mut marker = None;
    loop {
        let (letters, next) = client.page(PATH, &[], MEMBER, marker.as_deref()).await?;
        for letter in letters {
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
        if next.is_none() {
            return Ok(n_letters);
        }
        marker = next;
    }
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
    fn a_file_is_replaced_when_it_is_whole_and_stays_otherwise() {
        let name = format!("windlass-export-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, "before").unwrap();
        let new = NewFile::create(file.clone()).unwrap();
        (&new.output).write_all(b"half").unwrap();
        let part = new.path.clone();
        drop(new);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
        assert!(!part.exists());
        let new = NewFile::create(file.clone()).unwrap();
        (&new.output).write_all(b"whole").unwrap();
        new.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "whole");
        assert!(!part.exists());
        std::fs::remove_file(&file).unwrap();
    }

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
