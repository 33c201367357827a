//! `--watch`: the progress of a replay until it has ended.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use windlass_admin::replays::ReplayReport;

use super::{path, report};
use crate::client::{ApiError, Client};
use crate::output;

const INTERVAL: Duration = Duration::from_secs(1);

/// Steps of the bar.
const STEPS: u64 = 1_000;

enum Progress {
    Terminal(ProgressBar),
    Pipe,
}

/// Exit code 0 if the replay is completed; an interrupt leaves it running.
pub(super) async fn run(client: &Client, name: &str) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let progress = Progress::start();
    let mut last = String::new();
    loop {
        match client.call(Method::GET, &path(name), None).await {
            Ok(value) => {
                let report = report(&value)?;
                let line = line(&report);
                if line != last && !progress.show(&report, &line)? {
                    return Ok(ExitCode::SUCCESS);
                }
                last = line;
                match report.state.as_str() {
                    "Completed" => return Ok(ExitCode::SUCCESS),
                    "Cancelled" | "Failed" => return Ok(ExitCode::FAILURE),
                    _ => {}
                }
            }
            Err(error) if is_gone(&error) => {
                crate::eprint_error(&format!("replay {name} was deleted"));
                return Ok(ExitCode::FAILURE);
            }
            // The daemon may be restarting, or its store busy.
            Err(error) if may_pass(&error) => {
                crate::eprint_error(&format!("{error:#}; retrying"));
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = interrupt.recv() => {
                crate::eprint_error(&format!(
                    "replay {name} continues; 'windlass replay show {name}' shows it"
                ));
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<ApiError>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}

/// Whether the same request may succeed later: the daemon was not reached, or could not answer.
fn may_pass(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<ApiError>();
    refusal.is_none_or(|refusal| {
        refusal.status.is_server_error() || refusal.status == StatusCode::TOO_MANY_REQUESTS
    })
}

impl Progress {
    fn start() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Pipe;
        }
        let style = ProgressStyle::with_template("{bar:40} {msg}").expect("the template is valid");
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stdout());
        Self::Terminal(bar.with_style(style))
    }

    /// `false` if standard output is closed.
    fn show(&self, report: &ReplayReport, line: &str) -> anyhow::Result<bool> {
        match self {
            Self::Terminal(bar) => {
                bar.set_position(steps(report.fraction));
                bar.set_message(line.to_owned());
                if is_ended(report) {
                    bar.abandon();
                }
                Ok(true)
            }
            Self::Pipe => output::show(line),
        }
    }
}

fn is_ended(report: &ReplayReport) -> bool {
    matches!(report.state.as_str(), "Completed" | "Cancelled" | "Failed")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "it is between 0 and the number of steps"
)]
fn steps(fraction: f64) -> u64 {
    (fraction.clamp(0.0, 1.0) * STEPS as f64) as u64
}

/// `again Running 42.5 %, 1200 delivered, 3 filtered out, ends about 12:00:00Z; …`
fn line(report: &ReplayReport) -> String {
    let ReplayReport {
        name,
        state,
        delivered,
        ..
    } = report;
    let percent = report.fraction * 100.0;
    let mut line = format!("{name} {state} {percent:.1} %, {delivered} delivered");
    for (count, what) in [
        (report.filtered_out, "filtered out"),
        (report.given_up, "given up"),
        (report.failed_invocations, "failed invocations"),
    ] {
        if 0 < count {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    if let Some(end) = &report.estimated_end {
        line.push_str(&format!(", ends about {end}"));
    }
    if let Some(reason) = &report.reason {
        line.push_str(&format!("; {reason}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_what_holds_it() {
        let report = ReplayReport {
            name: "again".to_owned(),
            state: "Running".to_owned(),
            reason: Some("shard 0: function error".to_owned()),
            event_source_arn: String::new(),
            function_arn: String::new(),
            mapping: None,
            from: Value::Null,
            to: Value::Null,
            created_at: None,
            ended_at: None,
            rate: None,
            delivered: 1_200,
            filtered_out: 0,
            given_up: 3,
            failed_invocations: 0,
            fraction: 0.4249,
            estimated_end: Some("2026-11-23T12:00:00.000Z".to_owned()),
            shards: Vec::new(),
        };
        assert_eq!(
            line(&report),
            "again Running 42.5 %, 1200 delivered, 3 given up, ends about 2026-11-23T12:00:00.000Z; \
             shard 0: function error"
        );
        assert_eq!([steps(0.0), steps(0.5), steps(1.0)], [0, 500, 1_000]);
    }
}
