//! `poker-solver-trainer`: solves Leduc hold'em and leaves a model bundle.
#![deny(unsafe_code)]

mod best_response;
mod bundle;
mod cfr;
mod checkpoint;
mod cli;
mod config;
mod error;
mod files;
mod flat_yaml;
mod leduc;
mod mccfr;
mod posix;
mod progress;
mod rng;
mod solver;
mod train;

use std::process::exit;

use cli::Command;
use train::Outcome;

fn main() {
    posix::catch_stop_signals();
    exit(match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Train { config, output }) => match train::train(&config, &output) {
            Ok(Outcome::Complete) => 0,
            // What a shell reports for a process that the signal ended.
            Ok(Outcome::Stopped(signal)) => 128 + signal,
            Err(error) => {
                eprintln!("{error}");
                1
            }
        },
        Ok(Command::Help) => {
            println!("{}", cli::USAGE);
            0
        }
        Ok(Command::Version) => {
            println!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
            0
        }
        Err(problem) => {
            eprintln!("error: {problem}\n{}", cli::USAGE);
            2
        }
    });
}
