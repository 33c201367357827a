//! Measures filters and prints the results as JSON. The argument is the number of rounds.

use serde_json::{Value, json};
use windlass_testkit::filter_bench::{Case, run};

/// Default number of rounds.
const ROUNDS: usize = 9;

#[expect(clippy::print_stdout, reason = "the results go to standard output")]
fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok());
    let cases = run(rounds.unwrap_or(ROUNDS).max(1));
    let cases = cases.iter().map(to_json).collect();
    println!("{:#}", Value::Array(cases));
}

fn to_json(case: &Case) -> Value {
    json!({
        "pattern": case.pattern,
        "bytes": case.bytes,
        "pass_rate": case.pass_rate,
        "filter_ns": case.filter,
    })
}
