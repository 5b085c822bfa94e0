//! What a user meets: the sample configurations, refusals, and exit codes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{files_in, finish, scratch, train, Running};

const CONFIG: &str =
    "game: leduc\nalgorithm: cfr+\niterations: 200\nseed: 1\nreport_every: 50\ncheckpoint_every: 1000\n";

fn sample(name: &str) -> String {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "sample_configurations"]
        .iter()
        .collect();
    fs::read_to_string(root.join(name)).unwrap()
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poker-solver-trainer"));
    command.args(arguments).output().unwrap()
}

fn refused(scratch: &Path, output: &Path) -> String {
    let result = train(scratch, output).output().unwrap();
    assert_eq!(result.status.code(), Some(1));
    String::from_utf8(result.stderr).unwrap()
}

#[test]
fn fast_buckets_ends_close_to_an_equilibrium() {
    let config = sample("fast_buckets.yaml");
    let scratch = scratch("fast-buckets", &config);
    let output = scratch.join("output");
    let log = finish(&scratch, &output);
    let first = log.lines().next().unwrap();
    assert!(
        first.contains("game leduc   algorithm cfr+   seed 7   288 information sets"),
        "{first}"
    );

    let bundle = files_in(&output);
    assert_eq!(
        bundle.keys().collect::<Vec<_>>(),
        ["config.yaml", "convergence.csv", "metrics.json", "strategy.csv"]
    );
    assert_eq!(bundle["config.yaml"], config.as_bytes());
    let table = String::from_utf8(bundle["convergence.csv"].clone()).unwrap();
    assert!((20..=40).contains(&(table.lines().count() - 1)), "{table}");
    let last: Vec<f64> = table
        .lines()
        .last()
        .unwrap()
        .split(',')
        .map(|field| field.parse().unwrap())
        .collect();
    assert!((0.0..0.005).contains(&last[1]), "{table}");
    assert!((last[2] - -0.0856).abs() < 0.0001, "{table}");
}

#[test]
fn long_run_starts_and_stops_with_a_checkpoint() {
    let scratch = scratch("long-run", &sample("long_run.yaml"));
    let output = scratch.join("output");
    let mut running = Running::start(&scratch, &output);
    running.read_reports(1);
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(143));
    assert!(output.join("checkpoint.bin").is_file());
    assert!(!output.join("config.yaml").exists());
}

#[test]
fn a_rest_ends_when_the_run_is_stopped() {
    let scratch = scratch("rest", &format!("{CONFIG}rest_milliseconds: 600000\n"));
    let begun = Instant::now();
    let mut running = Running::start(&scratch, &scratch.join("output"));
    running.read_reports(1);
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_complete_bundle_is_left_alone() {
    let scratch = scratch("complete", CONFIG);
    let output = scratch.join("output");
    finish(&scratch, &output);
    let bundle = files_in(&output);
    let log = finish(&scratch, &output);
    assert!(
        log.contains("already complete for this configuration; bundle in "),
        "{log}"
    );
    assert!(!log.contains("iteration "), "{log}");

    fs::write(scratch.join("config.yaml"), format!("{CONFIG}# edited\n")).unwrap();
    let errors = refused(&scratch, &output);
    assert!(
        errors.contains("holds the bundle of another configuration\nfix: "),
        "{errors}"
    );
    assert_eq!(files_in(&output), bundle);
}

#[test]
fn a_checkpoint_of_another_configuration_is_refused_and_kept() {
    let scratch = scratch("other", &sample("long_run.yaml"));
    let output = scratch.join("output");
    let mut running = Running::start(&scratch, &output);
    running.read_reports(1);
    running.signal("TERM");
    running.end();
    let before = files_in(&output);

    fs::write(scratch.join("config.yaml"), CONFIG).unwrap();
    let errors = refused(&scratch, &output);
    assert!(
        errors.contains("checkpoint.bin belongs to another configuration\nfix: "),
        "{errors}"
    );
    assert_eq!(files_in(&output), before);
}

#[test]
fn training_stops_at_the_target() {
    let config = format!("{}target_exploitability: 0.05\n", CONFIG.replace("200", "1000000"));
    let scratch = scratch("target", &config);
    let log = finish(&scratch, &scratch.join("output"));
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("done: exploitability 0.0"), "{log}");
    assert!(!last.contains("1000000"), "{log}");
}

#[test]
fn bad_configurations_name_file_line_and_fix() {
    let scratch = scratch("bad", &CONFIG.replace("seed: 1", "seed: one"));
    let output = scratch.join("output");
    let errors = refused(&scratch, &output);
    assert!(errors.starts_with("error: "), "{errors}");
    assert!(
        errors.contains("config.yaml: line 4: seed: 'one': not a valid number\nfix: write a whole number"),
        "{errors}"
    );
    assert!(!output.exists());
}

#[test]
fn an_output_that_is_a_file_is_refused() {
    let scratch = scratch("file", CONFIG);
    let errors = refused(&scratch, &scratch.join("config.yaml"));
    assert!(errors.contains("cannot make the output directory"), "{errors}");
}

#[test]
fn wrong_usage_exits_with_2_and_shows_the_usage() {
    for arguments in [&[][..], &["solve"], &["train"], &["train", "--config", "a.yaml"]] {
        let result = run(arguments);
        let errors = String::from_utf8(result.stderr).unwrap();
        assert_eq!(result.status.code(), Some(2));
        assert!(
            errors.contains("usage: poker-solver-trainer train --config FILE --output DIR"),
            "{errors}"
        );
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    assert!(String::from_utf8(run(&["--help"]).stdout)
        .unwrap()
        .starts_with("usage: "));
    let version = String::from_utf8(run(&["--version"]).stdout).unwrap();
    assert_eq!(version, format!("poker-solver-trainer {}\n", env!("CARGO_PKG_VERSION")));
}
