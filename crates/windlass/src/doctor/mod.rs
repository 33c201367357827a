//! `windlass doctor`: checks what a configuration needs, without starting anything.
//!
//! Nothing is created at a source, nothing is read from one or invoked, and the store stays as it is.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use windlass_adapters::Adapters;

use crate::cli::OutputFormat;
use crate::config::Config;
use crate::{output, print_config_errors, serve};

mod finding;
mod machine;
mod memory_limit;
mod resources;
mod store;

use finding::{Finding, Verdict};

/// Checks that call others at the same time.
const MAX_CHECKS: usize = 16;

/// Of each of them.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The address to listen on, whatever the file says.
    #[arg(long, value_name = "ADDRESS", env = "WINDLASS_LISTEN")]
    listen: Option<String>,
    /// The store, whatever the file says.
    #[arg(long, value_name = "URL", env = "WINDLASS_STORE")]
    store: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: OutputFormat,
}

/// Prints a line for each check.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let overrides = (args.listen.as_deref(), args.store.as_deref());
    let config = match serve::configuration(Some(&args.config), overrides) {
        Ok(config) => config,
        Err(errors) => return Ok(print_config_errors(Some(&args.config), &errors)),
    };
    let findings = Runtime::new()?.block_on(check(&config));
    match args.output {
        OutputFormat::Table => {
            let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
            output::print(&lines.join("\n"))?;
        }
        OutputFormat::Json | OutputFormat::Yaml => {
            output::print(&output::serialize(args.output, &findings)?)?;
        }
    }
    let is_wrong = findings.iter().any(|it| it.result == Verdict::Wrong);
    Ok(if is_wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn check(config: &Config) -> Vec<Finding> {
    let (of_store, used_by) = store::check(&config.store);
    let mut findings = of_store;
    findings.push(machine::port(config.listen.address, used_by.as_deref()));
    findings.extend(config.listen.tls.iter().flat_map(machine::certificate));
    findings.push(machine::open_file_limit(config.engine.invocation_limit));
    findings.push(machine::memory(config));
    findings.push(machine::drain_timeout(config.engine.drain_timeout));
    let adapters = Arc::new(Adapters::load(config.adapters.clone()).await);
    if let Some(problem) = adapters.endpoint_problem() {
        findings.push(Finding::wrong("AWS endpoints", problem, None));
    }
    let mut checks = Checks::new();
    resources::add_checks(&mut checks, config, &adapters);
    findings.extend(checks.finish().await);
    findings
}

/// Checks that run side by side.
struct Checks {
    running: JoinSet<(usize, Vec<Finding>)>,
    /// Of each check, in the order in which they were added, which is that of their findings.
    subjects: Vec<String>,
    permits: Arc<Semaphore>,
}

impl Checks {
    fn new() -> Self {
        Self {
            running: JoinSet::new(),
            subjects: Vec::new(),
            permits: Arc::new(Semaphore::new(MAX_CHECKS)),
        }
    }

    fn add(
        &mut self,
        subject: impl Into<String>,
        check: impl Future<Output = Vec<Finding>> + Send + 'static,
    ) {
        let (index, subject) = (self.subjects.len(), subject.into());
        self.subjects.push(subject.clone());
        let permits = Arc::clone(&self.permits);
        self.running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let findings = tokio::time::timeout(TIMEOUT, check).await;
            let findings = findings.unwrap_or_else(|_| {
                let found = format!("no answer within {TIMEOUT:?}");
                vec![Finding::warning(
                    subject,
                    found,
                    "check the network, and try again",
                )]
            });
            (index, findings)
        });
    }

    async fn finish(mut self) -> Vec<Finding> {
        let mut findings = BTreeMap::new();
        while let Some(ended) = self.running.join_next().await {
            if let Ok((index, found)) = ended {
                findings.insert(index, found);
            }
        }
        let subjects = self.subjects.into_iter().enumerate();
        let of_each = subjects.flat_map(|(index, subject)| {
            // It panicked, and has printed why.
            let failed = || vec![Finding::warning(subject, "the check failed", "report it")];
            findings.remove(&index).unwrap_or_else(failed)
        });
        of_each.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn findings_are_in_order_and_a_check_that_hangs_is_a_warning() {
        let mut checks = Checks::new();
        for number in 0..2 * MAX_CHECKS {
            let subject = format!("check {number}");
            checks.add(subject.clone(), async move {
                match number {
                    3 => std::future::pending().await,
                    _ => tokio::time::sleep(Duration::from_secs(20 - number as u64 % 20)).await,
                }
                vec![Finding::ok(subject, "fine")]
            });
        }
        let findings = checks.finish().await;
        for (number, finding) in findings.iter().enumerate() {
            assert_eq!(finding.subject, format!("check {number}"));
            let expected = if number == 3 {
                Verdict::Warning
            } else {
                Verdict::Ok
            };
            assert_eq!(finding.result, expected, "{finding}");
        }
        assert_eq!(findings.len(), 2 * MAX_CHECKS);
    }
}
