//! Runs all scripts under `scripts/`.

use std::path::{Path, PathBuf};

use windlass_testkit::script::filter::FilterRunner;
use windlass_testkit::script::lease::LeaseRunner;
use windlass_testkit::script::process::ProcessRunner;
use windlass_testkit::script::queue::QueueRunner;
use windlass_testkit::script::rate::RateRunner;
use windlass_testkit::script::shard::ShardRunner;
use windlass_testkit::script::skip::SkipRunner;
use windlass_testkit::script::slots::SlotsRunner;

#[test]
fn shard() {
    for path in scripts("shard") {
        println!("{}", path.display());
        goldenscript::run(&mut ShardRunner::default(), path).unwrap();
    }
}

#[test]
fn skip() {
    for path in scripts("skip") {
        println!("{}", path.display());
        goldenscript::run(&mut SkipRunner::default(), path).unwrap();
    }
}

#[test]
fn queue() {
    for path in scripts("queue") {
        println!("{}", path.display());
        goldenscript::run(&mut QueueRunner::default(), path).unwrap();
    }
}

#[test]
fn lease() {
    for path in scripts("lease") {
        println!("{}", path.display());
        goldenscript::run(&mut LeaseRunner::default(), path).unwrap();
    }
}

#[test]
fn slots() {
    for path in scripts("slots") {
        println!("{}", path.display());
        goldenscript::run(&mut SlotsRunner::default(), path).unwrap();
    }
}

#[test]
fn rate() {
    for path in scripts("rate") {
        println!("{}", path.display());
        goldenscript::run(&mut RateRunner::default(), path).unwrap();
    }
}

#[test]
fn process() {
    for path in scripts("process") {
        println!("{}", path.display());
        goldenscript::run(&mut ProcessRunner::default(), path).unwrap();
    }
}

#[test]
fn filter() {
    for path in scripts("filter") {
        println!("{}", path.display());
        goldenscript::run(&mut FilterRunner::default(), path).unwrap();
    }
}

fn scripts(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(dir);
    let entries = std::fs::read_dir(&dir).expect("the scripts are next to this file");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("the directory is readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has scripts", dir.display());
    paths
}
