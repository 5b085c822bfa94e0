//! Checkpoints: everything needed to go on as if training had never stopped.
//!
//! Layout, all numbers little-endian: magic (8 bytes), format version (u32), hash of the configuration (u64),
//! iteration (u64), state of the random generator (u64), number of information sets (u64), their regrets and then their
//! strategy sums (3 f64 each), number of reports (u64), the reports (u64 and 2 f64 each), checksum of all before (u64).

use std::path::Path;

use crate::best_response::Evaluation;
use crate::bundle::Report;
use crate::config::Config;
use crate::error::TrainerError;
use crate::files;
use crate::leduc::MAX_ACTIONS;
use crate::rng::SplitMix64;
use crate::solver::{PerAction, State};

pub const CURRENT: &str = "checkpoint.bin";
/// The one before, kept for the day the disk damages the current one.
pub const PREVIOUS: &str = "checkpoint.prev.bin";

const MAGIC: &[u8; 8] = b"LEDUCCFR";
/// To be raised whenever the layout changes, or what an iteration computes.
const VERSION: u32 = 1;

#[derive(PartialEq, Debug)]
pub struct Checkpoint {
    pub state: State,
    pub reports: Vec<Report>,
}

/// What was found in an output directory.
pub struct Found {
    /// The newest good checkpoint and its file name.
    pub checkpoint: Option<(Checkpoint, &'static str)>,
    /// One line for each checkpoint that was damaged and so removed.
    pub damaged: Vec<String>,
}

#[derive(PartialEq, Debug)]
enum Problem {
    Damaged(&'static str),
    /// Whole, but not to be used here.
    Refused(&'static str),
}

/// Writes a checkpoint, and keeps the one before.
pub fn save(directory: &Path, config: &Config, state: &State, reports: &[Report]) -> Result<(), TrainerError> {
    files::write_whole_keeping(PREVIOUS, directory, CURRENT, &encode(config, state, reports))
}

/// Looks for the newest good checkpoint; an error if it belongs to another configuration or format.
/// Damaged ones are removed, lest the next `save` replace a good previous one by them.
pub fn find(directory: &Path, config: &Config, information_sets: usize) -> Result<Found, TrainerError> {
    let mut found = Found {
        checkpoint: None,
        damaged: Vec::new(),
    };
    let mut damaged_names = Vec::new();
    for name in [CURRENT, PREVIOUS] {
        let bytes = match files::read_if_there(directory, name)? {
            Some(bytes) => bytes,
            None => continue,
        };
        match decode(&bytes, config, information_sets) {
            Ok(checkpoint) => {
                found.checkpoint = Some((checkpoint, name));
                break;
            }
            Err(Problem::Damaged(how)) => {
                damaged_names.push(name);
                found.damaged.push(format!("removed {name}, which is damaged: {how}"));
            }
            Err(Problem::Refused(why)) => {
                return Err(TrainerError::new(
                    format!("{} {why}", directory.join(name).display()),
                    "give another --output, or remove the checkpoints there",
                ));
            }
        }
    }
    for name in damaged_names {
        files::remove(directory, name)?;
    }
    Ok(found)
}

/// Removes all checkpoints, the current one last.
pub fn remove(directory: &Path) -> Result<(), TrainerError> {
    files::remove(directory, PREVIOUS)?;
    files::remove(directory, CURRENT)
}

fn encode(config: &Config, state: &State, reports: &[Report]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(fnv1a(config.text.as_bytes()).to_le_bytes());
    bytes.extend(state.iteration.to_le_bytes());
    bytes.extend(state.rng.state.to_le_bytes());
    bytes.extend((state.regrets.len() as u64).to_le_bytes());
    let numbers = state.regrets.iter().chain(&state.strategy_sums).flatten();
    numbers.for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend((reports.len() as u64).to_le_bytes());
    for Report { iteration, evaluation } in reports {
        bytes.extend(iteration.to_le_bytes());
        bytes.extend(evaluation.exploitability.to_le_bytes());
        bytes.extend(evaluation.player_one_value.to_le_bytes());
    }
    let checksum = fnv1a(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], config: &Config, information_sets: usize) -> Result<Checkpoint, Problem> {
    if !bytes.starts_with(MAGIC) {
        return Err(Problem::Damaged("it does not begin like a checkpoint"));
    }
    let (content, checksum) = bytes.split_at(bytes.len() - 8);
    if checksum != fnv1a(content).to_le_bytes() {
        return Err(Problem::Damaged("its checksum is wrong"));
    }
    let mut reader = Reader {
        rest: &content[MAGIC.len()..],
    };
    if reader.u32()? != VERSION {
        return Err(Problem::Refused("was written by another version of this trainer"));
    }
    if reader.u64()? != fnv1a(config.text.as_bytes()) {
        return Err(Problem::Refused("belongs to another configuration"));
    }
    let iteration = reader.u64()?;
    let rng = SplitMix64 { state: reader.u64()? };
    if reader.u64()? != information_sets as u64 {
        return Err(Problem::Refused("is of another game"));
    }
    let state = State {
        iteration,
        rng,
        regrets: reader.per_action(information_sets)?,
        strategy_sums: reader.per_action(information_sets)?,
    };
    let reports = (0..reader.u64()?).map(|_| reader.report()).collect::<Result<_, _>>()?;
    Ok(Checkpoint { state, reports })
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let taken = self.rest.get(..N).and_then(|bytes| bytes.try_into().ok());
        let array = taken.ok_or(Problem::Damaged("it is too short"))?;
        self.rest = &self.rest[N..];
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn f64(&mut self) -> Result<f64, Problem> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    fn per_action(&mut self, information_sets: usize) -> Result<Vec<PerAction>, Problem> {
        let mut table = vec![[0.0; MAX_ACTIONS]; information_sets];
        for number in table.iter_mut().flatten() {
            *number = self.f64()?;
        }
        Ok(table)
    }

    fn report(&mut self) -> Result<Report, Problem> {
        Ok(Report {
            iteration: self.u64()?,
            evaluation: Evaluation {
                exploitability: self.f64()?,
                player_one_value: self.f64()?,
            },
        })
    }
}

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo): enough against accidents, which is all that is asked of it here.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests;
