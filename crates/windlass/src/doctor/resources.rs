//! Functions, sources and destinations: whether they exist, may be used, and agree with our clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use windlass_adapters::Adapters;
use windlass_adapters::aws::caller::CredentialsFound;
use windlass_adapters::targets::{FunctionKind, FunctionSettings, HttpTarget};
use windlass_adapters::tls_roots;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::failure::DestinationArn;
use windlass_core::function::FunctionName;
use windlass_core::mapping::{Mapping, Source};
use windlass_core::outcome::Fault;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{
    FunctionLookup, NeededCall, Permission, PortError, ResourceLookup as _, chain,
};

use super::{Checks, Finding};
use crate::config::Config;

/// AWS refuses signatures of another time.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const MAX_CLOCK_DIFFERENCE: u64 = 5 * 60 * 1_000;

/// Differences below it may come from the whole seconds of the answers.
const EXACT_TO: u64 = 1_000;

/// What the mappings of a configuration use.
#[derive(Default)]
struct Uses {
    sources: BTreeSet<SourceArn>,
    destinations: BTreeMap<Arn, DestinationArn>,
    /// By resource, in the order in which they were found.
    calls: BTreeMap<Arn, Vec<NeededCall>>,
}

impl Uses {
    fn add_calls(&mut self, calls: impl IntoIterator<Item = NeededCall>) {
        for call in calls {
            let known = self.calls.entry(call.resource.clone()).or_default();
            if !known.contains(&call) {
                known.push(call);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arn> {
        let sources = self.sources.iter().map(SourceArn::arn);
        sources
            .chain(self.destinations.keys())
            .chain(self.calls.keys())
    }
}

const CREDENTIALS: &str = "AWS credentials";

/// `at_aws`: whether they are used at AWS's own endpoints.
async fn credentials(adapters: &Adapters, at_aws: bool) -> Option<Finding> {
    let found = match adapters.credentials().await? {
        Ok(CredentialsFound {
            access_key_id,
            origin,
        }) => format!("key {access_key_id} from {origin}"),
        Err(error) => {
            return Some(Finding::wrong(
                CREDENTIALS,
                chain(&*error),
                Some(
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role",
                ),
            ));
        }
    };
    let caller = if at_aws {
        adapters.caller().await
    } else {
        None
    };
    Some(match caller {
        None => Finding::ok(CREDENTIALS, found),
        Some(Ok(arn)) => Finding::ok(CREDENTIALS, format!("{found}, of {arn}")),
        Some(Err(error)) => failed(format!("{CREDENTIALS}: {found}"), &error),
    })
}

/// Adds the checks of everything that the configuration names.
pub(super) fn add_checks(checks: &mut Checks, config: &Config, adapters: &Arc<Adapters>) {
    let uses = uses(config, adapters);
    let at_aws = uses.all().any(|arn| adapters.is_at_aws(arn));
    // Requests to other servers are signed, too.
    if uses.all().next().is_some() {
        let adapters = Arc::clone(adapters);
        checks.add(CREDENTIALS, async move {
            credentials(&adapters, at_aws).await.into_iter().collect()
        });
    }
    for (name, settings) in &config.adapters.functions {
        add_function(checks, config, adapters, name, settings);
    }
    for name in lambda_functions(config) {
        add_lambda_function(checks, adapters, name);
    }
    for source in uses.sources {
        let subject = format!("source {source}");
        let adapters = Arc::clone(adapters);
        checks.add(subject.clone(), async move {
            source_findings(&adapters, subject, &source).await
        });
    }
    for destination in uses.destinations.into_values() {
        let subject = format!("destination {}", destination.arn());
        let adapters = Arc::clone(adapters);
        checks.add(subject.clone(), async move {
            destination_finding(&adapters, subject, &destination).await
        });
    }
    for (resource, calls) in uses.calls {
        let subject = format!("permissions of {resource}");
        let adapters = Arc::clone(adapters);
        checks.add(subject.clone(), async move {
            permissions(&adapters, subject, &calls).await
        });
    }
}

fn add_function(
    checks: &mut Checks,
    config: &Config,
    adapters: &Arc<Adapters>,
    name: &str,
    settings: &FunctionSettings,
) {
    let subject = format!("function {name}");
    match &settings.kind {
        FunctionKind::Process(function) => {
            let program = function.command.first().cloned().unwrap_or_default();
            let found = format!("its program {program} can be started");
            checks.add(
                subject.clone(),
                async move { vec![Finding::ok(subject, found)] },
            );
        }
        FunctionKind::Http(function) => {
            let bundle = config.adapters.aws.ca_bundle.as_ref();
            let timeout = FunctionSettings::DEFAULT_TIMEOUT;
            let target = HttpTarget::new(function, timeout, None, bundle);
            checks.add(subject.clone(), async move {
                let connected = match target {
                    Ok(target) => target.check_connection().await,
                    Err(error) => Err(error),
                };
                vec![match connected {
                    Ok(()) => Finding::ok(subject, "it accepts connections"),
                    Err(error) => match tls_roots::describe(&*error) {
                        Some(why) => {
                            Finding::wrong(subject, format!("cannot connect: {why}"), None)
                        }
                        None => Finding::wrong(
                            subject,
                            format!("cannot connect: {}", chain(&*error)),
                            Some("start the function, or correct its url"),
                        ),
                    },
                }]
            });
        }
        FunctionKind::Lambda(_) => {
            if let Some(name) = FunctionName::parse(name) {
                add_lambda_function(checks, adapters, name);
            }
        }
    }
}

/// Functions of mappings that are not under `functions`: they are AWS Lambda's.
fn lambda_functions(config: &Config) -> Vec<FunctionName> {
    let home = config.adapters.home();
    let configured = config.adapters.functions.keys();
    let configured: BTreeSet<Arn> = configured
        .filter_map(|name| Some(FunctionName::parse(name)?.resolve(&home)))
        .collect();
    let mut functions = BTreeMap::new();
    for mapping in &config.mappings {
        let name = mapping.function_name();
        let unqualified = FunctionName {
            qualifier: None,
            ..name.clone()
        };
        if !configured.contains(&unqualified.resolve(&home)) {
            functions.insert(name.resolve(&home), name.clone());
        }
    }
    functions.into_values().collect()
}

fn add_lambda_function(checks: &mut Checks, adapters: &Arc<Adapters>, name: FunctionName) {
    let subject = format!("function {}", name.name);
    let adapters = Arc::clone(adapters);
    checks.add(subject.clone(), async move {
        vec![lambda_function(&adapters, subject, &name).await]
    });
}

async fn lambda_function(adapters: &Adapters, subject: String, name: &FunctionName) -> Finding {
    match adapters.function(name).await {
        Ok(FunctionLookup::Found(arn)) => Finding::ok(subject, format!("{arn} exists")),
        Ok(FunctionLookup::Missing) => Finding::wrong(
            subject,
            "it does not exist",
            Some("add it under 'functions', or create it in AWS Lambda"),
        ),
        Ok(FunctionLookup::Unchecked { reason, .. }) => Finding::warning(
            subject,
            format!("it cannot be looked up: {reason}"),
            "it may be invoked all the same",
        ),
        Err(error) => failed(subject, &error),
    }
}

fn uses(config: &Config, adapters: &Adapters) -> Uses {
    let (home, now) = (config.adapters.home(), Clock::start().wall());
    let queues = config.engine.queue_defaults();
    let mut uses = Uses::default();
    for function in config.adapters.functions.values() {
        if let FunctionKind::Lambda(arn) = &function.kind {
            uses.add_calls(adapters.call_to_invoke(arn));
        }
    }
    for mapping in &config.mappings {
        let name = mapping.function_name();
        let function = adapters.function_arn(name);
        let function = function.unwrap_or_else(|| name.resolve(&home));
        uses.sources.insert(mapping.pair().0);
        // It was checked when the file was read.
        let Ok(mapping) = mapping.to_mapping(function, now) else {
            continue;
        };
        let destination = on_failure(&mapping).into_iter();
        uses.destinations
            .extend(destination.map(|it| (it.arn().clone(), it.clone())));
        uses.add_calls(adapters.needed_calls(&mapping, &queues));
    }
    uses
}

fn on_failure(mapping: &Mapping) -> Option<&DestinationArn> {
    match &mapping.source {
        Source::Stream(stream) => stream.settings.on_failure.as_ref(),
        Source::Queue(_) => None,
    }
}

async fn source_findings(adapters: &Adapters, subject: String, source: &SourceArn) -> Vec<Finding> {
    let (found, difference) = adapters.look_up_source(source).await;
    let found = match found {
        Ok(()) => Finding::ok(subject, "it exists"),
        Err(error) => failed(subject, &error),
    };
    let clock = difference.map(|millis| clock(source, millis));
    [Some(found), clock].into_iter().flatten().collect()
}

/// `millis`: how far the clock of the source is ahead of ours.
fn clock(source: &SourceArn, millis: i64) -> Finding {
    let subject = format!("clock of {source}");
    let direction = if millis < 0 { "behind" } else { "ahead of" };
    let distance = millis.unsigned_abs();
    let found = format!("it is {distance} ms {direction} that of this machine");
    match distance {
        0..=EXACT_TO => Finding::ok(subject, "it agrees with that of this machine to a second"),
        _ if distance < MAX_CLOCK_DIFFERENCE => Finding::ok(subject, found),
        _ => Finding::wrong(
            subject,
            format!("{found}, and AWS refuses signatures that are older or newer than 5 minutes"),
            Some("set the clock of this machine (timedatectl, chrony)"),
        ),
    }
}

/// Where a call of its own would be needed at AWS, its permission is the check.
async fn destination_finding(
    adapters: &Adapters,
    subject: String,
    destination: &DestinationArn,
) -> Vec<Finding> {
    let looked_up = adapters.look_up_destination(destination).await;
    let finding = looked_up.map(|found| match found {
        Ok(()) => Finding::ok(subject, "it exists"),
        Err(error) => failed(subject, &error),
    });
    finding.into_iter().collect()
}

/// One line for all that is permitted, and one for each call that is not.
async fn permissions(adapters: &Adapters, subject: String, calls: &[NeededCall]) -> Vec<Finding> {
    let (mut permitted, mut untried, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    for call in calls {
        let subject = format!("{} on {}", call.action, call.resource);
        match adapters.permission(call).await {
            Permission::NotDenied => permitted.push(call.action),
            Permission::Untried(reason) => untried.push(format!("{} ({reason})", call.action)),
            Permission::Denied(error) if call.is_optional => {
                findings.push(Finding::warning(
                    subject,
                    chain(&error),
                    "mappings work without it, with more repeated invocations",
                ));
            }
            Permission::Denied(error) => {
                findings.push(Finding::wrong(subject, chain(&error), None));
            }
            Permission::Unknown(error) => findings.push(failed(subject, &error)),
        }
    }
    if !permitted.is_empty() {
        let mut found = format!("{} not denied", permitted.join(", "));
        if !untried.is_empty() {
            found.push_str(&format!("; not tried: {}", untried.join(", ")));
        }
        findings.insert(0, Finding::ok(subject, found));
    }
    findings
}

/// A call that failed.
fn failed(subject: String, error: &PortError) -> Finding {
    let found = chain(error);
    match error.fault {
        Fault::Throttled { .. } => Finding::warning(subject, found, "try again later"),
        // Those with a remedy of their own have it there; a check of its own says what is wrong with
        // credentials.
        Fault::Transient | Fault::TimedOut
            if !found.contains("; ") && !found.contains("AWS credentials") =>
        {
            let remedy = "check its endpoint, and that this machine can reach it";
            Finding::wrong(subject, found, Some(remedy))
        }
        Fault::Transient
        | Fault::TimedOut
        | Fault::Denied
        | Fault::Gone
        | Fault::Trimmed
        | Fault::UnknownPosition => Finding::wrong(subject, found, None),
    }
}
