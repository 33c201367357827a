//! Whether whoever stops the daemon gives it the time it takes to drain.
//!
//! Nothing is lost where it does not, but what is in flight is delivered a second time.

use super::{Files, Finding};

/// Where the default of the daemon's own limit stands.
const DRAIN: (&str, &str) = ("config/windlass.yaml", "drain_timeout:");

/// Where the time is given that a manager waits before it kills.
const STOPS: &[(&str, &str)] = &[
    ("deploy/systemd/windlass.service", "TimeoutStopSec="),
    ("deploy/compose.yaml", "stop_grace_period:"),
];

/// Compares the times.
pub(super) fn check(files: &Files) -> Vec<Finding> {
    let drain = match seconds_at(files, DRAIN) {
        Ok(seconds) => seconds,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for &(path, key) in STOPS {
        match seconds_at(files, (path, key)) {
            Ok(stop) if drain < stop => {}
            Ok(stop) => findings.push(Finding::new(
                path,
                0,
                format!("{key} {stop} s must be above drain_timeout, {drain} s"),
            )),
            Err(finding) => findings.push(finding),
        }
    }
    findings
}

fn seconds_at(files: &Files, (path, key): (&str, &str)) -> Result<u64, Finding> {
    let line = files
        .get(path)
        .and_then(|text| text.lines().find_map(|line| line.trim().strip_prefix(key)));
    let Some(value) = line else {
        return Err(Finding::new(path, 0, format!("`{key}` is missing")));
    };
    let number = value.trim().strip_suffix('s').unwrap_or(value.trim());
    number.parse().map_err(|_| {
        let text = format!("`{key}` is to be given in seconds, as in `35s`");
        Finding::new(path, 0, text)
    })
}
