//! The finished model: `convergence.csv`, `metrics.json`, `strategy.csv` and `config.yaml`.
//!
//! Nothing in it depends on the time or the machine, so the same configuration always gives the same bytes.

use std::fmt::Write;
use std::path::Path;

use crate::best_response::Evaluation;
use crate::config::Config;
use crate::error::TrainerError;
use crate::files;
use crate::leduc::{Action, InformationSet, Leduc, RANK_NAMES};
use crate::solver::PerAction;

const CONFIG: &str = "config.yaml";
const CONVERGENCE: &str = "convergence.csv";
const METRICS: &str = "metrics.json";
const STRATEGY: &str = "strategy.csv";

/// A row of the convergence table.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Report {
    pub iteration: u64,
    pub evaluation: Evaluation,
}

/// Whether `directory` holds a whole bundle of this configuration; an error if it is another configuration's.
pub fn is_complete(directory: &Path, config: &Config) -> Result<bool, TrainerError> {
    match files::read_if_there(directory, CONFIG)? {
        None => Ok(false),
        Some(text) if text != config.text.as_bytes() => Err(TrainerError::new(
            format!("{} holds the bundle of another configuration", directory.display()),
            "give another --output, or move that bundle away",
        )),
        Some(_) => Ok(directory.join(CONVERGENCE).is_file() && directory.join(STRATEGY).is_file()),
    }
}

/// Writes the bundle, `config.yaml` last: where that is, the rest is.
pub fn write(
    directory: &Path,
    config: &Config,
    game: &Leduc,
    strategy: &[PerAction],
    reports: &[Report],
) -> Result<(), TrainerError> {
    files::write_whole(directory, CONVERGENCE, convergence_table(reports).as_bytes())?;
    files::write_whole(directory, METRICS, metrics(reports).as_bytes())?;
    files::write_whole(directory, STRATEGY, strategy_table(game, strategy).as_bytes())?;
    files::write_whole(directory, CONFIG, config.text.as_bytes())
}

fn convergence_table(reports: &[Report]) -> String {
    let mut table = String::from("iteration,exploitability,player_one_value\n");
    for Report { iteration, evaluation } in reports {
        let Evaluation {
            exploitability,
            player_one_value,
        } = evaluation;
        writeln!(table, "{iteration},{exploitability:.9},{player_one_value:.9}").expect("a String takes every write");
    }
    table
}

/// What the last report says, for `inv results`.
fn metrics(reports: &[Report]) -> String {
    let Some(last) = reports.last() else {
        return String::from("{}\n");
    };
    format!(
        "{{\"iterations\": {}, \"exploitability\": {:.9}, \"player_one_value\": {:.9}}}\n",
        last.iteration, last.evaluation.exploitability, last.evaluation.player_one_value
    )
}

/// One line for each information set; the fields of actions that are illegal there are empty.
fn strategy_table(game: &Leduc, strategy: &[PerAction]) -> String {
    let mut table = String::from("player,private_card,public_card,betting,fold,check_call,bet_raise\n");
    for (set, probabilities) in game.information_sets.iter().zip(strategy) {
        let of = |action| probability_field(set, probabilities, action);
        writeln!(
            table,
            "{},{},{},{},{},{},{}",
            set.player + 1,
            RANK_NAMES[set.private],
            set.public.map_or("", |public| RANK_NAMES[public]),
            set.betting,
            of(Action::Fold),
            of(Action::Call),
            of(Action::Raise),
        )
        .expect("a String takes every write");
    }
    table
}

fn probability_field(set: &InformationSet, probabilities: &PerAction, action: Action) -> String {
    match set.actions.iter().position(|&legal| legal == action) {
        Some(index) => format!("{:.9}", probabilities[index]),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solver::{average_strategy, State};

    #[test]
    fn strategy_table_has_a_line_for_each_information_set_and_no_illegal_action() {
        let game = Leduc::new();
        let untrained = average_strategy(&game, &State::new(game.information_sets.len(), 1));
        let table = strategy_table(&game, &untrained);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 1 + 288);
        assert_eq!(lines[1], "1,J,,,,0.500000000,0.500000000");
        assert!(lines.contains(&"2,K,,r,0.333333333,0.333333333,0.333333333"));
        assert!(lines.contains(&"1,Q,J,crc/rr,0.500000000,0.500000000,"));
    }

    #[test]
    fn convergence_table_has_fixed_decimals() {
        let report = Report {
            iteration: 10,
            evaluation: Evaluation {
                exploitability: 1.0 / 3.0,
                player_one_value: -0.0856,
            },
        };
        let expected = "iteration,exploitability,player_one_value\n10,0.333333333,-0.085600000\n";
        assert_eq!(convergence_table(&[report]), expected);
        assert_eq!(
            metrics(&[report]),
            "{\"iterations\": 10, \"exploitability\": 0.333333333, \"player_one_value\": -0.085600000}\n"
        );
    }
}
