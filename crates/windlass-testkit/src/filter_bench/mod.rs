//! Measures filters on Kinesis records, base64 decoding included.

mod orders;

use std::hint::black_box;
use std::time::{Duration, Instant};

use windlass_filter::{Criteria, Event, EventFormat, MatchBuffers};

use self::orders::Order;
use crate::rng::Rng;

/// Minimum duration of a round.
const ROUND: Duration = Duration::from_millis(20);

/// Name and pattern. Each pattern matches exactly the matching orders.
const PATTERNS: [(&str, &str); 6] = [
    ("one field", r#"{"data":{"status":["paid"]}}"#),
    (
        "three fields",
        r#"{"data":{"status":["paid"],"region":["eu-west-1"],"customer":{"tier":["gold"]}}}"#,
    ),
    (
        "numeric range",
        r#"{"data":{"amount":[{"numeric":[">",100,"<=",500]}]}}"#,
    ),
    ("prefix", r#"{"data":{"id":[{"prefix":"order-w"}]}}"#),
    (
        "$or",
        r#"{"data":{"$or":[{"status":["paid"]},{"amount":[{"numeric":[">",100,"<=",500]}]}]}}"#,
    ),
    (
        "wildcard",
        r#"{"data":{"path":[{"wildcard":"/eu/*/orders/*.json"}]}}"#,
    ),
];

/// Sizes of the data, in bytes.
const SIZES: [usize; 3] = [200, 1024, 16 * 1024];

/// Matching records, in percent.
const PASS_RATES: [u64; 3] = [1, 50, 100];

/// The result for one pattern on one kind of record.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the pattern.
    pub pattern: &'static str,
    /// Size of the data.
    pub bytes: usize,
    /// Matching records, in percent.
    pub pass_rate: u64,
    /// Nanoseconds per record, median of the rounds.
    pub filter: f64,
}

/// Measures every pattern on every kind of record, `rounds` times.
///
/// # Panics
/// If a filter gives a wrong result.
pub fn run(rounds: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for bytes in SIZES {
        for pass_rate in PASS_RATES {
            let orders = orders(bytes, pass_rate);
            for (name, pattern) in PATTERNS {
                cases.push(measure(name, pattern, &orders, bytes, pass_rate, rounds));
            }
        }
    }
    cases
}

fn orders(bytes: usize, pass_rate: u64) -> Vec<Order> {
    let mut rng = Rng::new(bytes as u64 + pass_rate);
    let n_orders = (1024 * 1024 / bytes).min(1000);
    (0..n_orders)
        .map(|_| {
            let matching = rng.per_mille(pass_rate * 10);
            Order::random(bytes, matching, &mut rng)
        })
        .collect()
}

fn measure(
    name: &'static str,
    pattern: &str,
    orders: &[Order],
    bytes: usize,
    pass_rate: u64,
    rounds: usize,
) -> Case {
    let criteria =
        Criteria::compile(EventFormat::Kinesis, &[pattern]).expect("the patterns are valid");
    let mut buffers = MatchBuffers::default();
    let mut matches = |order: &Order| criteria.matches(event(order), &mut buffers);
    for order in orders {
        assert_eq!(matches(order), order.matching, "{pattern} on {order:?}");
    }
    let times = (0..rounds).map(|_| time(orders, &mut matches));
    Case {
        pattern: name,
        bytes,
        pass_rate,
        filter: median(times),
    }
}

fn event(order: &Order) -> Event<'_> {
    Event {
        json: &order.event,
        data: &order.event[order.data.clone()],
    }
}

/// Nanoseconds per record.
fn time(orders: &[Order], mut matches: impl FnMut(&Order) -> bool) -> f64 {
    let start = Instant::now();
    let mut n_records = 0_u32;
    while start.elapsed() < ROUND {
        for order in orders {
            black_box(matches(black_box(order)));
            n_records += 1;
        }
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(n_records)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
