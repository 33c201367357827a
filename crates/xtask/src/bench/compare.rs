//! Measurements that take turns, and the ratio of their CPU per record within each round.

use std::fmt;

use anyhow::Result;
use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::programs::{Client, Launcher, Load};
use super::report::{Cost, median};
use super::{finish, measure, with_release_programs};

#[derive(Args)]
pub(crate) struct Options {
    /// Number of rounds; a round measures everything that is compared
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of records per measurement, after a warm-up with a tenth as many [default: 400000, of
    /// lanes 2000000: of fewer, much of the time is spent on fresh memory]
    #[arg(long, value_parser = value_parser!(u64).range(1_000..))]
    records: Option<u64>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Makes comparisons of a number of rounds and of records per measurement.
type Measure = fn(&Launcher<'_>, (u32, u64)) -> Result<Vec<Comparison>>;

/// Measures, prints the figures and writes them to `target/bench/{name}.json`.
pub(super) fn run(
    options: &Options,
    name: &str,
    default_records: u64,
    measure: Measure,
) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let records = options.records.unwrap_or(default_records);
        let comparisons = measure(launcher, (options.rounds, records))?;
        let figures: Value = comparisons.iter().map(Comparison::to_json).collect();
        let text: String = comparisons.iter().map(ToString::to_string).collect();
        let file = work_dir.join(format!("{name}.json"));
        finish(&file, &figures, &text, options.json)
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>, measure: Measure) -> Result<()> {
    for comparison in measure(launcher, (1, 1_000))? {
        print!("{comparison}");
    }
    Ok(())
}

/// A measurement that is compared with others.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) client: Client,
    pub(super) load: Load,
}

/// The first contestant compared with each of the others.
pub(super) struct Comparison {
    what: &'static str,
    /// Of the ratio of the first to the second, at most.
    goal: f64,
    names: Vec<&'static str>,
    /// Each with the costs of all contestants.
    rounds: Vec<Vec<Cost>>,
}

impl Comparison {
    /// Measures all contestants in each round; every second round reverses their order.
    pub(super) fn measure(
        launcher: &Launcher<'_>,
        what: &'static str,
        goal: f64,
        contestants: &[Contestant],
        (rounds, records): (u32, u64),
    ) -> Result<Self> {
        let mut all = Vec::new();
        for number in 0..rounds {
            let mut order: Vec<usize> = (0..contestants.len()).collect();
            if number % 2 == 1 {
                order.reverse();
            }
            let mut costs = Vec::new();
            for index in order {
                let Contestant { client, load, .. } = &contestants[index];
                costs.push(measure::cost(launcher, *client, load, records)?);
            }
            if number % 2 == 1 {
                costs.reverse();
            }
            eprintln!("{what}, round {} of {rounds}", number + 1);
            all.push(costs);
        }
        Ok(Self {
            what,
            goal,
            names: contestants.iter().map(|it| it.name).collect(),
            rounds: all,
        })
    }

    /// The median of a figure of one contestant.
    fn median(&self, contestant: usize, figure: impl Fn(&Cost) -> f64) -> f64 {
        median(
            self.rounds
                .iter()
                .map(|costs| figure(&costs[contestant]))
                .collect(),
        )
    }

    /// The median of the ratios of the first contestant to another.
    fn ratio(&self, contestant: usize) -> f64 {
        let ratio =
            |costs: &Vec<Cost>| costs[0].us_per_record() / costs[contestant].us_per_record();
        median(self.rounds.iter().map(ratio).collect())
    }

    pub(super) fn to_json(&self) -> Value {
        let contestants = self.names.iter().enumerate().map(|(index, name)| {
            let rounds = self.rounds.iter().map(|costs| costs[index].to_json());
            json!({
                "name": name,
                "ratio_of_the_first": self.ratio(index),
                "us_per_record": self.median(index, Cost::us_per_record),
                "records_per_second": self.median(index, Cost::records_per_second),
                "records_per_invocation": self.median(index, Cost::records_per_invocation),
                "p50_ms": self.median(index, |cost| cost.wait_ms(|wait| wait.p50)),
                "p99_ms": self.median(index, |cost| cost.wait_ms(|wait| wait.p99)),
                "rounds": rounds.collect::<Value>(),
            })
        });
        json!({
            "what": self.what,
            "goal": self.goal,
            "contestants": contestants.collect::<Value>(),
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{}: user and system CPU per record, medians of {} rounds",
            self.what,
            self.rounds.len()
        )?;
        for (index, name) in self.names.iter().enumerate() {
            write!(
                formatter,
                "  {name:<24}{:>9.2} µs{:>9.1} per invocation{:>9.0} a second",
                self.median(index, Cost::us_per_record),
                self.median(index, Cost::records_per_invocation),
                self.median(index, Cost::records_per_second),
            )?;
            let wait = self.median(index, |cost| cost.wait_ms(|wait| wait.p50));
            if !wait.is_nan() {
                let p99 = self.median(index, |cost| cost.wait_ms(|wait| wait.p99));
                write!(
                    formatter,
                    "   receive to invoke p50 {wait:.2} ms, p99 {p99:.2} ms"
                )?;
            }
            match index {
                0 => {}
                1 => write!(
                    formatter,
                    "   ratio {:.2}, goal {:.2}",
                    self.ratio(index),
                    self.goal
                )?,
                _ => write!(formatter, "   ratio {:.2}", self.ratio(index))?,
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_within_a_round() {
        let comparison = Comparison {
            what: "a test",
            goal: 2.5,
            names: vec!["first", "second", "third"],
            rounds: [[2, 1, 1], [9, 3, 9], [4, 4, 2]]
                .map(|millis| millis.map(Cost::of_cpu_millis).into())
                .into(),
        };
        let json = comparison.to_json();
        assert_eq!(json["contestants"][1]["ratio_of_the_first"], 2.0);
        assert_eq!(json["contestants"][2]["ratio_of_the_first"], 2.0);
        assert_eq!(json["contestants"][0]["us_per_record"], 4.0);
        let text = comparison.to_string();
        assert!(
            text.contains(
                "3.00 µs     10.0 per invocation     1000 a second   ratio 2.00, goal 2.50"
            )
        );
    }
}
