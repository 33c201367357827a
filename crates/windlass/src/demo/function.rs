//! The demo's functions that are code: the examples of the configuration, with a handler around them
//! that passes each event on to the ledger, so that the proof is the same as with HTTP.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::{Value, json};

const EXAMPLE: &str = include_str!("../../../../config/examples/python/app.py");

const HANDLER: &str = include_str!("handler.py");

/// As many as are useful on a small machine.
const MAX_PROCESSES: u32 = 4;

/// Writes the function into a directory and returns its configuration. Its events arrive at `ledger`.
pub(super) fn python(directory: &Path, ledger: &str) -> anyhow::Result<Value> {
    expect_runtime()?;
    for (name, text) in [("app.py", EXAMPLE), ("handler.py", HANDLER)] {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(json!({
        "command": ["python3", "-m", "awslambdaric", "handler.handler"],
        "directory": directory,
        "environment": {"LEDGER": ledger},
        "processes": {"minimum": 1, "maximum": MAX_PROCESSES},
    }))
}

fn expect_runtime() -> anyhow::Result<()> {
    let mut check = Command::new("python3");
    check.args(["-c", "import awslambdaric"]);
    check.stdin(Stdio::null()).stdout(Stdio::null());
    match check.stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!(
            "python3 has no package awslambdaric, which runs functions in Python; install it with \
             `python3 -m pip install awslambdaric`, in a virtual environment where the system's \
             Python is managed: `python3 -m venv venv && . venv/bin/activate`"
        ),
        Err(error) => bail!(
            "cannot run python3, which the function of the demo needs ({error}); install Python 3, \
             such as with `apt-get install python3 python3-venv`"
        ),
    }
}
