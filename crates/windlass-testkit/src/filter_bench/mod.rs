//! What filters cost, beside a walk over the structure of the same texts that decides nothing.
//!
//! Both decode the data of a record of Kinesis first. They take turns within a round, and what is
//! compared is the ratio within the round: on a machine that others use, ratios hold where
//! nanoseconds do not.

mod orders;
mod structure;

use std::hint::black_box;
use std::time::{Duration, Instant};

use windlass_filter::{Criteria, Scratch, Subject, View};

use self::orders::Order;
use crate::rng::Rng;

/// How long each of the two is measured in a round.
const SPAN: Duration = Duration::from_millis(20);

/// What a filter asks for, by the name under which it is shown. Each lets through the orders that
/// are wanted and no others.
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

/// The sizes of data, in bytes.
const SIZES: [usize; 3] = [200, 1024, 16 * 1024];

/// How many of a hundred records pass.
const PASS_RATES: [u64; 3] = [1, 50, 100];

/// One kind of filter on one kind of record.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kind of filter.
    pub pattern: &'static str,
    /// The size of the data in bytes.
    pub bytes: usize,
    /// How many of a hundred records pass.
    pub pass_rate: u64,
    /// Nanoseconds a record, the median over the rounds.
    pub filter: f64,
    /// The same of the walk over the structure.
    pub walk: f64,
    /// The median of the ratios of the rounds.
    pub ratio: f64,
}

/// Measures everything, `rounds` times.
///
/// # Panics
/// If a filter does not let through what it should.
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
            let wanted = rng.per_mille(pass_rate * 10);
            Order::draw(bytes, wanted, &mut rng)
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
    let criteria = Criteria::compile(View::Kinesis, &[pattern]).expect("the patterns are valid");
    let mut scratch = Scratch::default();
    let mut passes = |order: &Order| criteria.passes(subject(order), &mut scratch);
    for order in orders {
        assert_eq!(passes(order), order.wanted, "{pattern} on {order:?}");
    }
    let mut index = structure::Index::default();
    let mut walks = |order: &Order| index.value_of(subject(order).data, b"status").is_some();
    let mut figures = Vec::new();
    for round in 0..rounds {
        let first = (round % 2 == 0).then(|| time(orders, &mut passes));
        let walk = time(orders, &mut walks);
        let filter = first.unwrap_or_else(|| time(orders, &mut passes));
        figures.push((filter, walk));
    }
    Case {
        pattern: name,
        bytes,
        pass_rate,
        filter: median(figures.iter().map(|(filter, _)| *filter)),
        walk: median(figures.iter().map(|(_, walk)| *walk)),
        ratio: median(figures.iter().map(|(filter, walk)| filter / walk)),
    }
}

fn subject(order: &Order) -> Subject<'_> {
    Subject {
        event: &order.event,
        data: &order.event[order.data.clone()],
    }
}

/// Nanoseconds a record.
fn time(orders: &[Order], mut judge: impl FnMut(&Order) -> bool) -> f64 {
    let begun = Instant::now();
    let mut n_judged = 0_u32;
    while begun.elapsed() < SPAN {
        for order in orders {
            black_box(judge(black_box(order)));
            n_judged += 1;
        }
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(n_judged)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
