use std::time::Duration;

use super::*;
use crate::config::Algorithm;
use crate::leduc::Leduc;
use crate::solver::iterate;

fn config(text: &str) -> Config {
    Config {
        algorithm: Algorithm::Mccfr,
        iterations: 100,
        seed: 9,
        report_every: 1,
        checkpoint_every: 1,
        target_exploitability: None,
        rest: Duration::ZERO,
        text: text.to_owned(),
    }
}

fn trained(iterations: u64) -> (Leduc, Checkpoint) {
    let game = Leduc::new();
    let mut state = State::new(game.information_sets.len(), 9);
    (0..iterations).for_each(|_| iterate(&game, Algorithm::Mccfr, &mut state));
    let report = Report {
        iteration: iterations,
        evaluation: Evaluation {
            exploitability: 0.1,
            player_one_value: -0.2,
        },
    };
    let reports = vec![report; 3];
    (game, Checkpoint { state, reports })
}

#[test]
fn restores_exactly_what_was_saved() {
    let (game, saved) = trained(50);
    let bytes = encode(&config("a"), &saved.state, &saved.reports);
    assert_eq!(decode(&bytes, &config("a"), game.information_sets.len()), Ok(saved));
}

#[test]
fn a_resumed_run_goes_on_exactly_like_an_uninterrupted_one() {
    for algorithm in [Algorithm::CfrPlus, Algorithm::Dcfr, Algorithm::Mccfr] {
        let game = Leduc::new();
        let sets = game.information_sets.len();
        let mut whole = State::new(sets, 9);
        (0..60).for_each(|_| iterate(&game, algorithm, &mut whole));

        let mut first = State::new(sets, 9);
        (0..23).for_each(|_| iterate(&game, algorithm, &mut first));
        let bytes = encode(&config("a"), &first, &[]);
        let mut second = decode(&bytes, &config("a"), sets).unwrap().state;
        (23..60).for_each(|_| iterate(&game, algorithm, &mut second));
        assert_eq!(whole, second);
    }
}

#[test]
fn recognises_every_truncation_and_every_flipped_byte() {
    let (game, saved) = trained(5);
    let sets = game.information_sets.len();
    let bytes = encode(&config("a"), &saved.state, &saved.reports);
    for length in (0..bytes.len()).step_by(7) {
        let result = decode(&bytes[..length], &config("a"), sets);
        assert!(matches!(result, Err(Problem::Damaged(_))), "{length} bytes: {result:?}");
    }
    for at in (0..bytes.len()).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let result = decode(&flipped, &config("a"), sets);
        assert!(matches!(result, Err(Problem::Damaged(_))), "byte {at}: {result:?}");
    }
}

#[test]
fn refuses_a_checkpoint_of_another_configuration() {
    let (game, saved) = trained(5);
    let bytes = encode(&config("a"), &saved.state, &saved.reports);
    let result = decode(&bytes, &config("b"), game.information_sets.len());
    assert_eq!(result, Err(Problem::Refused("belongs to another configuration")));
}
