//! What the user sees while training: plain lines on standard output.

use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::posix;

static ENTER_PRESSED: AtomicBool = AtomicBool::new(false);

/// Prints a line at once.
pub fn say(line: &str) {
    let mut stdout = io::stdout();
    // The result of training is in its files: it goes on when nobody reads the progress any more.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// On a terminal, listens for Enter in the background.
pub fn listen_for_enter() {
    if posix::stdin_is_terminal() {
        thread::spawn(|| {
            for _line in io::stdin().lock().lines().take_while(Result::is_ok) {
                ENTER_PRESSED.store(true, Ordering::Relaxed);
            }
        });
    }
}

/// Whether Enter was pressed since the last call.
pub fn enter_pressed() -> bool {
    ENTER_PRESSED.load(Ordering::Relaxed) && ENTER_PRESSED.swap(false, Ordering::Relaxed)
}

/// Measures the speed of this process, which may have started at any iteration.
pub struct Progress {
    started: Instant,
    first_iteration: u64,
    iterations: u64,
}

impl Progress {
    /// Starts the clock; `first_iteration` of all `iterations` are done already.
    pub fn start(first_iteration: u64, iterations: u64) -> Progress {
        Progress {
            started: Instant::now(),
            first_iteration,
            iterations,
        }
    }

    /// The progress line after `iteration`.
    pub fn line(&self, iteration: u64, exploitability: f64) -> String {
        let done = (iteration - self.first_iteration) as f64;
        self.line_at_speed(iteration, exploitability, done / self.started.elapsed().as_secs_f64())
    }

    fn line_at_speed(&self, iteration: u64, exploitability: f64, per_second: f64) -> String {
        let iterations = self.iterations;
        let width = iterations.to_string().len();
        let left = Duration::from_secs_f64(((iterations - iteration) as f64 / per_second).min(1e9));
        format!(
            "iteration {iteration:>width$}/{iterations}   exploitability {exploitability:.9} chips/hand   {} it/s   eta {}",
            with_commas(per_second as u64),
            short_duration(left.as_secs())
        )
    }
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn short_duration(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_how_good_how_fast_and_how_long() {
        let progress = Progress::start(0, 50_000);
        assert_eq!(
            progress.line_at_speed(1_200, 0.002_31, 3_500.4),
            "iteration  1200/50000   exploitability 0.002310000 chips/hand   3,500 it/s   eta 13s"
        );
    }

    #[test]
    fn a_process_that_has_done_nothing_yet_still_gets_a_line() {
        let line = Progress::start(10, 20).line_at_speed(10, 0.5, 0.0);
        assert!(line.ends_with("0 it/s   eta 277777h46m"), "{line}");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(with_commas),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 59, 61, 3_599, 3_660].map(short_duration),
            ["0s", "59s", "1m01s", "59m59s", "1h01m"]
        );
    }
}
