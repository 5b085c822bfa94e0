//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub const USAGE: &str = "\
usage: poker-solver-trainer train --config FILE --output DIR
       poker-solver-trainer --help | --version

Solves Leduc hold'em as FILE says and leaves config.yaml, strategy.csv, convergence.csv and metrics.json in DIR.
Started again with the same arguments it goes on from the checkpoint in DIR, if there is one.
On a terminal, Enter shows the progress at once; Ctrl-C stops with a checkpoint.

exit codes: 0 complete, 1 failed, 2 wrong usage, 130 or 143 stopped by SIGINT or SIGTERM with a checkpoint";

#[derive(PartialEq, Debug)]
pub enum Command {
    Train { config: PathBuf, output: PathBuf },
    Help,
    Version,
}

/// Understands the arguments after the program's name; an error says what is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    match arguments.next().as_ref().and_then(|first| first.to_str()) {
        Some("-h" | "--help") => Ok(Command::Help),
        Some("-V" | "--version") => Ok(Command::Version),
        Some("train") => parse_train(arguments),
        Some(other) => Err(format!("unknown command '{other}'")),
        None => Err("no command".to_owned()),
    }
}

fn parse_train(mut arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut config = None;
    let mut output = None;
    while let Some(argument) = arguments.next() {
        let option = match argument.to_str() {
            Some("-h" | "--help") => return Ok(Command::Help),
            Some("--config") => &mut config,
            Some("--output") => &mut output,
            _ => return Err(format!("unexpected argument '{}'", argument.to_string_lossy())),
        };
        let value = arguments.next().filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| format!("{} needs a value", argument.to_string_lossy()))?;
        if option.replace(PathBuf::from(value)).is_some() {
            return Err(format!("{} is given twice", argument.to_string_lossy()));
        }
    }
    Ok(Command::Train {
        config: config.ok_or("--config FILE is missing")?,
        output: output.ok_or("--output DIR is missing")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn understands_the_documented_forms() {
        let train = Command::Train {
            config: PathBuf::from("a.yaml"),
            output: PathBuf::from("out"),
        };
        assert_eq!(parsed("train --output out --config a.yaml"), Ok(train));
        assert_eq!(parsed("--help"), Ok(Command::Help));
        assert_eq!(parsed("train --help"), Ok(Command::Help));
        assert_eq!(parsed("--version"), Ok(Command::Version));
    }

    #[test]
    fn says_what_is_wrong() {
        for (line, problem) in [
            ("", "no command"),
            ("solve", "unknown command 'solve'"),
            ("train --config a.yaml", "--output DIR is missing"),
            ("train --output out", "--config FILE is missing"),
            ("train --config", "--config needs a value"),
            ("train --config a --config b", "--config is given twice"),
            ("train a.yaml", "unexpected argument 'a.yaml'"),
        ] {
            assert_eq!(parsed(line), Err(problem.to_owned()));
        }
    }
}
