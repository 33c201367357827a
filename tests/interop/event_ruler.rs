//! Compares both filters with event-ruler, the library in which AWS matches event patterns.
//!
//! Its results are the reference, except in cases that may run into one of its known bugs, which are
//! listed in `windlass_testkit::patterns::event_ruler_bugs`.

use std::io::{BufWriter, Read as _, Write as _};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use windlass_filter::{Criteria, Event, EventFormat, MatchBuffers};
use windlass_testkit::naive_filter;
use windlass_testkit::patterns::event_ruler_bugs::possible_bug;
use windlass_testkit::patterns::{Case, any_case};
use windlass_tests::servers::Servers;

const FIXED: Range<u64> = 0..20_000;

/// Additional cases, with seeds from the clock.
const N_FRESH: u64 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Match,
    NoMatch,
    /// The pattern is invalid.
    Invalid,
}

#[test]
fn the_naive_filter_agrees_with_event_ruler() {
    agrees_with_event_ruler(|case| match naive_filter::compile(&case.pattern) {
        Err(_) => Answer::Invalid,
        Ok(pattern) if pattern.matches(&case.event) => Answer::Match,
        Ok(_) => Answer::NoMatch,
    })
    .unwrap();
}

#[test]
fn the_filter_agrees_with_event_ruler() {
    agrees_with_event_ruler(|case| {
        let Ok(criteria) = Criteria::compile(EventFormat::Json, &[case.pattern.as_str()]) else {
            return Answer::Invalid;
        };
        let event = Event {
            json: case.event.as_bytes(),
            data: b"",
        };
        if criteria.matches(event, &mut MatchBuffers::default()) {
            Answer::Match
        } else {
            Answer::NoMatch
        }
    })
    .unwrap();
}

/// Compares `ours` with event-ruler.
///
/// # Errors
/// The first case in which the answers differ.
fn agrees_with_event_ruler(ours: impl Fn(&Case) -> Answer) -> anyhow::Result<()> {
    let first = first_fresh_seed()?;
    let seeds = FIXED.chain(first..first + N_FRESH);
    let cases: Vec<(u64, Case)> = seeds.map(|seed| (seed, any_case(seed))).collect();
    let answers = ask_event_ruler(cases.iter().map(|(_, case)| case))?;
    ensure!(answers.len() == cases.len(), "{} answers", answers.len());

    let (mut n_matches, mut n_compared) = (0, 0);
    for ((seed, case), theirs) in cases.iter().zip(answers) {
        let ours = ours(case);
        if ours == theirs {
            n_matches += u64::from(ours == Answer::Match);
            n_compared += 1;
        } else if possible_bug(case).is_none() {
            bail!("seed {seed}: {ours:?}, event-ruler: {theirs:?}, for {case:#?}");
        }
    }
    // Cases that hardly ever match would prove nothing.
    ensure!(
        n_compared <= 4 * n_matches,
        "{n_matches} of {n_compared} match"
    );
    Ok(())
}

/// The answers of event-ruler, in the order of the cases.
fn ask_event_ruler<'a>(cases: impl Iterator<Item = &'a Case>) -> anyhow::Result<Vec<Answer>> {
    let servers = Servers::running();
    let directory = servers.event_ruler();
    let mut child = Command::new("java")
        .args(["-cp", &format!("{directory}:{directory}/*"), "EventRuler"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting event-ruler")?;
    let questions: Vec<String> = cases
        .map(|case| json!({"pattern": case.pattern, "event": case.event}).to_string())
        .collect();
    let mut input = BufWriter::new(child.stdin.take().context("its input is ours")?);
    let mut output = child.stdout.take().context("its output is ours")?;
    let mut text = String::new();
    // It answers each question at once; writing all of them before reading would deadlock.
    thread::scope(|scope| {
        let asking = scope.spawn(move || {
            questions
                .iter()
                .try_for_each(|question| writeln!(input, "{question}"))?;
            input.flush()
        });
        output.read_to_string(&mut text)?;
        asking.join().expect("writing does not panic")
    })
    .context("asking event-ruler")?;
    ensure!(child.wait()?.success(), "event-ruler failed");
    text.lines().map(answer_of).collect()
}

fn answer_of(line: &str) -> anyhow::Result<Answer> {
    let (kind, _) = line.split_once(':').unwrap_or((line, ""));
    match kind {
        "match" => Ok(Answer::Match),
        // An error means that the event is invalid, and so it does not match.
        "no_match" | "error" => Ok(Answer::NoMatch),
        "invalid" => Ok(Answer::Invalid),
        _ => bail!("unexpected answer of event-ruler: {line:?}"),
    }
}

/// Printed before the test runs, so that a failure shows it.
fn first_fresh_seed() -> anyhow::Result<u64> {
    let chosen = std::env::var("WINDLASS_SEED").ok();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = chosen.map_or(Ok(now.as_secs() << 20), |chosen| chosen.parse());
    let seed = seed.context("WINDLASS_SEED is a number")?;
    show(&format!("WINDLASS_SEED={seed}"));
    Ok(seed)
}

#[expect(
    clippy::print_stdout,
    reason = "the test harness captures it and shows it on failure"
)]
fn show(line: &str) {
    println!("{line}");
}
