//! One training run, from the configuration to the bundle.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::best_response::evaluate;
use crate::bundle::{self, Report};
use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::error::TrainerError;
use crate::leduc::Leduc;
use crate::posix;
use crate::progress::{self, say, Progress};
use crate::solver::{average_strategy, iterate, State};

/// How long a rest goes on between looks at keyboard and signals.
const LOOK: Duration = Duration::from_millis(50);

#[derive(PartialEq, Debug)]
pub enum Outcome {
    /// The bundle is there.
    Complete,
    /// A signal stopped the run; a checkpoint of all it did is there.
    Stopped(i32),
}

/// Trains what the configuration file asks for, into `output`, from the checkpoint there if there is one.
pub fn train(config_path: &Path, output: &Path) -> Result<Outcome, TrainerError> {
    let config = Config::read(config_path)?;
    let game = Leduc::new();
    say(&first_line(&config, &game));
    fs::create_dir_all(output).map_err(|error| TrainerError::io("make the output directory", output, &error))?;

    let complete = bundle::is_complete(output, &config)?;
    let found = checkpoint::find(output, &config, game.information_sets.len())?;
    found.damaged.iter().for_each(|line| say(line));
    let start = match found.checkpoint {
        Some((checkpoint, name)) => {
            say(&format!(
                "resuming from {name} at iteration {}",
                checkpoint.state.iteration
            ));
            checkpoint
        }
        None if complete => {
            checkpoint::remove(output)?;
            say(&format!(
                "already complete for this configuration; bundle in {}",
                output.display()
            ));
            return Ok(Outcome::Complete);
        }
        None => Checkpoint {
            state: State::new(game.information_sets.len(), config.seed),
            reports: Vec::new(),
        },
    };

    let mut run = Run {
        progress: Progress::start(start.state.iteration, config.iterations),
        game: &game,
        config: &config,
        output,
        state: start.state,
        reports: start.reports,
    };
    progress::listen_for_enter();
    if let Some(signal) = run.iterate_to_the_end()? {
        return Ok(Outcome::Stopped(signal));
    }
    run.finish()?;
    Ok(Outcome::Complete)
}

fn first_line(config: &Config, game: &Leduc) -> String {
    format!(
        "{} {}   game leduc   algorithm {}   seed {}   {} information sets",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        config.algorithm.name(),
        config.seed,
        game.information_sets.len()
    )
}

struct Run<'a> {
    progress: Progress,
    game: &'a Leduc,
    config: &'a Config,
    output: &'a Path,
    state: State,
    reports: Vec<Report>,
}

impl Run<'_> {
    /// Returns the signal that stopped the run, none if it came to its end.
    fn iterate_to_the_end(&mut self) -> Result<Option<i32>, TrainerError> {
        while !self.has_ended() {
            if let Some(signal) = posix::stop_signal() {
                self.stop(signal)?;
                return Ok(Some(signal));
            }
            iterate(self.game, self.config.algorithm, &mut self.state);
            if self.is_due(self.config.report_every) {
                let report = self.evaluated();
                self.print(&report);
                self.reports.push(report);
            } else if progress::enter_pressed() {
                self.print(&self.evaluated());
            }
            if self.state.iteration % self.config.checkpoint_every == 0 {
                self.save()?;
            }
            if self.is_due(self.config.report_every) {
                self.rest();
            }
        }
        Ok(None)
    }

    /// Somebody who presses Enter or stops the run does not wait for the end of the rest.
    fn rest(&self) {
        let end = Instant::now() + self.config.rest;
        while Instant::now() < end && posix::stop_signal().is_none() {
            if progress::enter_pressed() {
                self.print(&self.evaluated());
            }
            thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Only reports decide, so that the end does not depend on when someone looked or interrupted.
    fn has_ended(&self) -> bool {
        let reached = |target| {
            self.reports
                .last()
                .map_or(false, |last| last.evaluation.exploitability <= target)
        };
        self.state.iteration >= self.config.iterations || self.config.target_exploitability.map_or(false, reached)
    }

    fn is_due(&self, report_every: u64) -> bool {
        self.state.iteration % report_every == 0 || self.state.iteration == self.config.iterations
    }

    fn evaluated(&self) -> Report {
        let strategy = average_strategy(self.game, &self.state);
        Report {
            iteration: self.state.iteration,
            evaluation: evaluate(self.game, &strategy),
        }
    }

    fn print(&self, report: &Report) {
        say(&self.progress.line(report.iteration, report.evaluation.exploitability));
    }

    fn save(&self) -> Result<(), TrainerError> {
        checkpoint::save(self.output, self.config, &self.state, &self.reports)
    }

    fn stop(&self, signal: i32) -> Result<(), TrainerError> {
        self.save()?;
        let name = if signal == posix::SIGINT { "SIGINT" } else { "SIGTERM" };
        say(&format!(
            "stopped by {name} after iteration {}; the same command goes on from {}",
            self.state.iteration,
            self.output.join(checkpoint::CURRENT).display()
        ));
        Ok(())
    }

    /// Writes the bundle and only then removes the checkpoints: a death in between is made good by the next start.
    fn finish(&self) -> Result<(), TrainerError> {
        let strategy = average_strategy(self.game, &self.state);
        bundle::write(self.output, self.config, self.game, &strategy, &self.reports)?;
        checkpoint::remove(self.output)?;
        let reached = evaluate(self.game, &strategy).exploitability;
        say(&format!(
            "done: exploitability {reached:.9} chips/hand after {} iterations; bundle in {}",
            self.state.iteration,
            self.output.display()
        ));
        Ok(())
    }
}
