//! Checks that service managers wait for a drain before they kill the daemon.
//!
//! If they do not, nothing is lost, but records in flight are delivered twice.

use super::{Files, Finding};

/// The default drain timeout of the daemon.
const DRAIN: (&str, &str) = ("config/windlass.yaml", "drain_timeout:");

/// The time that a service manager waits before it kills the daemon.
const STOPS: &[(&str, &str)] = &[
    ("deploy/systemd/windlass.service", "TimeoutStopSec="),
    ("deploy/compose.yaml", "stop_grace_period:"),
];

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
        return Err(Finding::new(path, 0, format!("missing `{key}`")));
    };
    let number = value.trim().strip_suffix('s').unwrap_or(value.trim());
    number.parse().map_err(|_| {
        let text = format!("`{key}` must be in seconds, for example `35s`");
        Finding::new(path, 0, text)
    })
}
