//! Runs the binary as a user would, and watches what it prints.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// An empty directory for one test, with `config.yaml` in it.
pub fn scratch(name: &str, config: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.yaml"), config).unwrap();
    directory
}

/// `poker-solver-trainer train` with the scratch directory's configuration.
pub fn train(scratch: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poker-solver-trainer"));
    command.arg("train").arg("--config").arg(scratch.join("config.yaml"));
    command.arg("--output").arg(output).stdin(Stdio::null());
    command
}

/// Trains to the end and returns what was printed.
pub fn finish(scratch: &Path, output: &Path) -> String {
    let result = train(scratch, output).output().unwrap();
    let log = String::from_utf8(result.stdout).unwrap();
    let errors = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{log}{errors}");
    log
}

/// Every file of a directory, by name.
pub fn files_in(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// A training run in progress.
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: String,
}

impl Running {
    pub fn start(scratch: &Path, output: &Path) -> Running {
        let mut child = train(scratch, output).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running {
            child,
            stdout,
            log: String::new(),
        }
    }

    /// Waits until `count` more progress lines are there, or the run has ended.
    pub fn read_reports(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            let before = self.log.len();
            if self.stdout.read_line(&mut self.log).unwrap() == 0 {
                return;
            }
            seen += usize::from(self.log[before..].starts_with("iteration "));
        }
    }

    /// Sends a signal by its name without SIG; does nothing to a run that has ended.
    pub fn signal(&mut self, name: &str) {
        let command = format!("kill -s {name} {}", self.child.id());
        Command::new("sh").args(["-c", &command]).status().unwrap();
    }

    /// How it ended, and all it printed.
    pub fn end(mut self) -> (ExitStatus, String) {
        self.stdout.read_to_string(&mut self.log).unwrap();
        (self.child.wait().unwrap(), self.log)
    }
}
