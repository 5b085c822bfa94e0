//! Kills the real binary and starts it again: whatever happened, the bundle has the same bytes.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;

use common::{files_in, finish, scratch, Running};

const SIGKILL: i32 = 9;

fn config(algorithm: &str, iterations: u64, report_every: u64, checkpoint_every: u64) -> String {
    format!(
        "game: leduc\nalgorithm: {algorithm}\niterations: {iterations}\nseed: 3\n\
         report_every: {report_every}\ncheckpoint_every: {checkpoint_every}\n"
    )
}

fn survives_interruptions(name: &str, config: &str) {
    let scratch = scratch(name, config);
    let uninterrupted = scratch.join("uninterrupted");
    finish(&scratch, &uninterrupted);
    let output = scratch.join("interrupted");

    // In one run: killed, asked to stop in both ways, killed twice. Each start must find the one before.
    for (start, (signal, lines)) in [("KILL", 4), ("TERM", 3), ("INT", 2), ("KILL", 3), ("KILL", 3)]
        .iter()
        .enumerate()
    {
        let mut running = Running::start(&scratch, &output);
        running.read_reports(*lines);
        running.signal(signal);
        let (status, log) = running.end();
        assert_eq!(
            log.contains("resuming from checkpoint"),
            start > 0,
            "start {start}: {log}"
        );
        match *signal {
            "KILL" => assert_eq!(status.signal(), Some(SIGKILL), "{log}"),
            "TERM" => assert_eq!(status.code(), Some(143), "{log}"),
            _ => assert_eq!(status.code(), Some(130), "{log}"),
        }
        if *signal != "KILL" {
            let last = log.lines().last().unwrap_or("");
            assert!(
                last.starts_with(&format!("stopped by SIG{signal} after iteration ")),
                "{log}"
            );
        }
    }
    let log = finish(&scratch, &output);
    assert!(log.contains("resuming from checkpoint"), "{log}");
    assert_eq!(files_in(&output), files_in(&uninterrupted));
}

#[test]
fn cfr_plus_survives_interruptions() {
    survives_interruptions("cfr-plus", &config("cfr+", 200_000, 2_000, 700));
}

#[test]
fn discounted_cfr_survives_interruptions() {
    survives_interruptions("dcfr", &config("dcfr", 200_000, 2_000, 700));
}

#[test]
fn sampling_survives_interruptions() {
    survives_interruptions("mccfr", &config("mccfr", 4_000_000, 40_000, 14_000));
}

/// With a checkpoint after each iteration most of the time goes into writing them, and so do most of the kills.
#[test]
fn survives_kills_while_writing_checkpoints() {
    let scratch = scratch("writing", &config("mccfr", 300, 1, 1));
    let uninterrupted = scratch.join("uninterrupted");
    finish(&scratch, &uninterrupted);
    let output = scratch.join("interrupted");

    let mut kills = 0;
    loop {
        let mut running = Running::start(&scratch, &output);
        running.read_reports(1 + kills % 5);
        running.signal("KILL");
        let (status, _) = running.end();
        if status.success() {
            break;
        }
        assert_eq!(status.signal(), Some(SIGKILL));
        kills += 1;
        assert!(kills < 300, "no progress from one start to the next");
    }
    assert!(kills >= 5, "only {kills} kills");
    assert_eq!(files_in(&output), files_in(&uninterrupted));
}

#[test]
fn a_death_between_bundle_and_checkpoint_removal_is_made_good() {
    let scratch = scratch("removal", &config("dcfr", 20_000, 500, 1_000));
    let output = scratch.join("output");
    let mut running = Running::start(&scratch, &output);
    running.read_reports(5);
    running.signal("TERM");
    assert_eq!(running.end().0.code(), Some(143));
    let checkpoint = fs::read(output.join("checkpoint.bin")).unwrap();
    finish(&scratch, &output);
    let complete = files_in(&output);

    fs::write(output.join("checkpoint.bin"), &checkpoint).unwrap();
    fs::write(output.join(".checkpoint.bin.tmp"), &checkpoint[..100]).unwrap();
    let log = finish(&scratch, &output);
    assert!(log.contains("resuming from checkpoint.bin"), "{log}");
    assert_eq!(files_in(&output), complete);
}

#[test]
fn damaged_checkpoints_are_reported_and_never_believed() {
    let scratch = scratch("damaged", &config("cfr+", 200_000, 1_000, 500));
    let uninterrupted = scratch.join("uninterrupted");
    finish(&scratch, &uninterrupted);
    let output = scratch.join("output");
    let stop_after_reports = || {
        let mut running = Running::start(&scratch, &output);
        running.read_reports(3);
        running.signal("TERM");
        let (status, log) = running.end();
        assert_eq!(status.code(), Some(143), "{log}");
        log
    };
    let damage = |name: &str| {
        let mut bytes = fs::read(output.join(name)).unwrap();
        bytes[1_000] ^= 1;
        fs::write(output.join(name), bytes).unwrap();
    };

    stop_after_reports();
    damage("checkpoint.bin");
    let log = stop_after_reports();
    assert!(
        log.contains("removed checkpoint.bin, which is damaged: its checksum is wrong"),
        "{log}"
    );
    assert!(log.contains("resuming from checkpoint.prev.bin at iteration "), "{log}");

    damage("checkpoint.bin");
    let previous = fs::read(output.join("checkpoint.prev.bin")).unwrap();
    fs::write(output.join("checkpoint.prev.bin"), &previous[..previous.len() / 2]).unwrap();
    let log = finish(&scratch, &output);
    assert!(log.contains("removed checkpoint.prev.bin, which is damaged"), "{log}");
    assert!(!log.contains("resuming"), "{log}");
    assert_eq!(files_in(&output), files_in(&uninterrupted));
}
