//! Measures filters and prints the figures, as JSON or as a table.

use std::process::ExitCode;

use windlass_testkit::filter_bench::{Case, run};

/// Rounds without an argument.
const ROUNDS: usize = 9;

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|it| it == "--json");
    let rounds = arguments.iter().find_map(|it| it.parse().ok());
    let cases = run(rounds.unwrap_or(ROUNDS).max(1));
    if json {
        println!(
            "{:#}",
            serde_json::Value::Array(cases.iter().map(to_json).collect())
        );
        return ExitCode::SUCCESS;
    }
    println!("nanoseconds a record: filter / walk over the structure = ratio");
    println!(
        "{:>8} {:>6} {:<14} {:>9} {:>9} {:>6}",
        "bytes", "pass", "pattern", "filter", "walk", "ratio"
    );
    for case in cases {
        println!(
            "{:>8} {:>4} % {:<14} {:>9.0} {:>9.0} {:>6.2}",
            case.bytes, case.pass_rate, case.pattern, case.filter, case.walk, case.ratio
        );
    }
    ExitCode::SUCCESS
}

fn to_json(case: &Case) -> serde_json::Value {
    serde_json::json!({
        "pattern": case.pattern,
        "bytes": case.bytes,
        "pass_rate": case.pass_rate,
        "filter_ns": case.filter,
        "walk_ns": case.walk,
        "ratio": case.ratio,
    })
}
