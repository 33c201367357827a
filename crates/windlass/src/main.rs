//! The daemon: command line, configuration, composition, signals.

mod config;

fn main() {}
