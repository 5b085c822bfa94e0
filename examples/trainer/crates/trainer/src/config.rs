//! The configuration: what to train, read from a flat YAML file.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::error::TrainerError;
use crate::flat_yaml::{self, Entry};

const REQUIRED_KEYS: [&str; 6] = [
    "game",
    "algorithm",
    "iterations",
    "seed",
    "report_every",
    "checkpoint_every",
];
const OPTIONAL_KEYS: [&str; 2] = ["target_exploitability", "rest_milliseconds"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    CfrPlus,
    Dcfr,
    Mccfr,
}

impl Algorithm {
    const ALL: [Algorithm; 3] = [Algorithm::CfrPlus, Algorithm::Dcfr, Algorithm::Mccfr];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::CfrPlus => "cfr+",
            Algorithm::Dcfr => "dcfr",
            Algorithm::Mccfr => "mccfr",
        }
    }
}

#[derive(PartialEq, Debug)]
pub struct Config {
    pub algorithm: Algorithm,
    pub iterations: u64,
    /// Starts the random generator; only mccfr draws from it.
    pub seed: u64,
    /// In iterations, as is `checkpoint_every`.
    pub report_every: u64,
    pub checkpoint_every: u64,
    /// In chips per hand; training stops at the first report that is this low.
    pub target_exploitability: Option<f64>,
    /// How long to do nothing after each report.
    pub rest: Duration,
    /// The file as it was given.
    pub text: String,
}

impl Config {
    /// Reads and checks the file; errors name the file and the line.
    pub fn read(path: &Path) -> Result<Config, TrainerError> {
        let bytes = fs::read(path).map_err(|error| TrainerError::io("read", path, &error))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            TrainerError::new(
                format!("{}: not a text file in UTF-8", path.display()),
                "give a configuration such as sample_configurations/fast_buckets.yaml",
            )
        })?;
        Config::parse(&text).map_err(|error| {
            let problem = format!("{}: {}", path.display(), error.problem);
            TrainerError::new(problem, error.fix)
        })
    }

    fn parse(text: &str) -> Result<Config, TrainerError> {
        let entries = flat_yaml::parse(text)?;
        if let Some(entry) = entries.iter().find(|entry| !known_keys().any(|key| key == entry.key)) {
            let keys: Vec<&str> = known_keys().collect();
            return Err(entry.error("unknown key", format!("use only {}", keys.join(", "))));
        }
        let game = required(&entries, "game")?;
        if game.value != "leduc" {
            return Err(game.error("unknown game", "write game: leduc"));
        }
        Ok(Config {
            algorithm: algorithm(required(&entries, "algorithm")?)?,
            iterations: count(required(&entries, "iterations")?)?,
            seed: number(required(&entries, "seed")?, "a whole number from 0 to 2^64 - 1")?,
            report_every: count(required(&entries, "report_every")?)?,
            checkpoint_every: count(required(&entries, "checkpoint_every")?)?,
            target_exploitability: find(&entries, "target_exploitability").map(positive).transpose()?,
            rest: find(&entries, "rest_milliseconds")
                .map(count)
                .transpose()?
                .map_or(Duration::ZERO, Duration::from_millis),
            text: text.to_owned(),
        })
    }
}

fn known_keys() -> impl Iterator<Item = &'static str> {
    REQUIRED_KEYS.into_iter().chain(OPTIONAL_KEYS)
}

fn find<'e>(entries: &'e [Entry], key: &str) -> Option<&'e Entry> {
    entries.iter().find(|entry| entry.key == key)
}

fn required<'e>(entries: &'e [Entry], key: &str) -> Result<&'e Entry, TrainerError> {
    find(entries, key)
        .ok_or_else(|| TrainerError::new(format!("key '{key}' is missing"), format!("add a line '{key}: ...'")))
}

fn algorithm(entry: &Entry) -> Result<Algorithm, TrainerError> {
    let named = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.name() == entry.value);
    named.ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        entry.error("unknown algorithm", format!("use one of {names}"))
    })
}

fn number<T: FromStr>(entry: &Entry, wanted: &str) -> Result<T, TrainerError> {
    let parsed = entry.value.parse();
    parsed.map_err(|_| entry.error("not a valid number", format!("write {wanted}")))
}

fn count(entry: &Entry) -> Result<u64, TrainerError> {
    let wanted = "a whole number of at least 1";
    match number(entry, wanted)? {
        0 => Err(entry.error("too small", format!("write {wanted}"))),
        count => Ok(count),
    }
}

fn positive(entry: &Entry) -> Result<f64, TrainerError> {
    let wanted = "a number above 0, in chips per hand, such as 0.001";
    let value: f64 = number(entry, wanted)?;
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(entry.error("out of range", format!("write {wanted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "game: leduc\nalgorithm: dcfr\niterations: 10\nseed: 7\nreport_every: 2\ncheckpoint_every: 5\n";

    fn problem(text: &str) -> String {
        Config::parse(text).expect_err("accepted").problem
    }

    #[test]
    fn reads_every_key() {
        let text = format!("{GOOD}target_exploitability: 0.01\nrest_milliseconds: 20\n");
        let expected = Config {
            algorithm: Algorithm::Dcfr,
            iterations: 10,
            seed: 7,
            report_every: 2,
            checkpoint_every: 5,
            target_exploitability: Some(0.01),
            rest: Duration::from_millis(20),
            text: text.clone(),
        };
        assert_eq!(Config::parse(&text), Ok(expected));
    }

    #[test]
    fn errors_name_the_line_the_key_and_the_fix() {
        let error = Config::parse(&GOOD.replace("iterations: 10", "iterations: ten")).unwrap_err();
        assert_eq!(error.problem, "line 3: iterations: 'ten': not a valid number");
        assert_eq!(error.fix, "write a whole number of at least 1");
    }

    #[test]
    fn refuses_what_it_cannot_train() {
        assert_eq!(
            problem(&GOOD.replace("leduc", "holdem")),
            "line 1: game: 'holdem': unknown game"
        );
        assert_eq!(
            problem(&GOOD.replace("dcfr", "magic")),
            "line 2: algorithm: 'magic': unknown algorithm"
        );
        assert_eq!(
            problem(&GOOD.replace("seed: 7", "seed: -1")),
            "line 4: seed: '-1': not a valid number"
        );
        assert_eq!(
            problem(&GOOD.replace("every: 2", "every: 0")),
            "line 5: report_every: '0': too small"
        );
        assert_eq!(
            problem(&format!("{GOOD}threads: 4")),
            "line 7: threads: '4': unknown key"
        );
        assert_eq!(problem(&GOOD.replace("seed: 7\n", "")), "key 'seed' is missing");
        for bad in ["0", "-1", "inf", "NaN"] {
            let text = format!("{GOOD}target_exploitability: {bad}");
            assert_eq!(
                problem(&text),
                format!("line 7: target_exploitability: '{bad}': out of range")
            );
        }
    }
}
