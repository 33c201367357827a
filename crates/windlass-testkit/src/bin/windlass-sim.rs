//! Runs simulated worlds and prints totals, or the seed that failed and its last steps.
//!
//! `windlass-sim --seeds 20000 --from 0 --fresh 100` runs 20,000 fixed seeds and 100 random ones.
//! `--keep-going` counts the failures instead of stopping at the first.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use windlass_testkit::world::{self, Failure, Run, Totals};

const WORLDS: [(&str, Run); 6] = [
    ("shard", world::shard::run),
    ("queue", world::queue::run),
    ("slot", world::slot::run),
    ("stream", world::stream::run),
    ("process", world::process::run),
    ("redrive", world::redrive::run),
];

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => return print(&mut out, &error, ExitCode::from(64)),
    };
    // A panic of a consumer is reported as a failure of its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let fresh = RandomState::new().build_hasher().finish() >> 16;
    if 0 < arguments.fresh {
        print(&mut out, &format!("fresh seeds from {fresh}"), ());
    }
    let fixed = arguments.from..arguments.from + arguments.seeds;
    let seeds = fixed.chain(fresh..fresh + arguments.fresh);
    let mut passed = true;
    for (name, run) in WORLDS {
        if arguments.only.as_deref().is_none_or(|only| only == name) {
            passed &= simulate(&mut out, name, run, seeds.clone(), arguments.keep_going);
        }
    }
    ExitCode::from(u8::from(!passed))
}

fn simulate(
    out: &mut impl Write,
    name: &str,
    run: Run,
    seeds: impl Iterator<Item = u64>,
    keep_going: bool,
) -> bool {
    let started = Instant::now();
    let mut totals = Totals::default();
    let mut failures: Vec<Failure> = Vec::new();
    for seed in seeds {
        match world::simulate(run, seed) {
            Ok(world) => totals += world,
            Err(failure) => {
                failures.push(failure);
                if !keep_going {
                    break;
                }
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut text = format!("{name}: {totals}, {seconds:.1} s");
    if let Some(first) = failures.first() {
        let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
        for failure in &failures {
            *rules.entry(failure.broken.name).or_default() += 1;
        }
        text = format!(
            "{name}: {first}\n{text}, {} FAILED {rules:?}",
            failures.len()
        );
    }
    print(out, &text, failures.is_empty())
}

struct Arguments {
    seeds: u64,
    from: u64,
    fresh: u64,
    keep_going: bool,
    only: Option<String>,
}

impl Arguments {
    const USAGE: &str = "usage: windlass-sim [--seeds N] [--from SEED] [--fresh N] [--keep-going] \
                         [--only shard|queue|slot|stream|process|redrive]";

    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self {
            seeds: 2_000,
            from: 0,
            fresh: 0,
            keep_going: false,
            only: None,
        };
        while let Some(name) = arguments.next() {
            if name == "--keep-going" {
                read.keep_going = true;
                continue;
            }
            let value = arguments.next().ok_or(Self::USAGE)?;
            if name == "--only" {
                if !WORLDS.iter().any(|(world, _)| *world == value) {
                    return Err(format!("unknown world {value:?}\n{}", Self::USAGE));
                }
                read.only = Some(value);
                continue;
            }
            let number = value
                .parse()
                .map_err(|_| format!("{name} must be a number, not {value:?}\n{}", Self::USAGE))?;
            match name.as_str() {
                "--seeds" => read.seeds = number,
                "--from" => read.from = number,
                "--fresh" => read.fresh = number,
                _ => return Err(format!("unknown argument {name:?}\n{}", Self::USAGE)),
            }
        }
        Ok(read)
    }
}

fn print<T>(out: &mut impl Write, text: &str, then: T) -> T {
    writeln!(out, "{text}").expect("stdout can be written");
    then
}
