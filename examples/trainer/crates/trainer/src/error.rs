//! The one kind of error a user meets.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, and how to mend it.
#[derive(Debug, PartialEq)]
pub struct TrainerError {
    pub problem: String,
    pub fix: String,
}

impl TrainerError {
    pub fn new(problem: impl Into<String>, fix: impl Into<String>) -> TrainerError {
        TrainerError {
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// A file operation that failed: `action` is a verb, as in "cannot write out/strategy.csv: disk full".
    pub fn io(action: &str, path: &Path, error: &io::Error) -> TrainerError {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check the permissions of the path and its directory",
            _ => "check the path and the disk's free space",
        };
        TrainerError::new(format!("cannot {action} {}: {error}", path.display()), fix)
    }
}

impl fmt::Display for TrainerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}\nfix: {}", self.problem, self.fix)
    }
}
