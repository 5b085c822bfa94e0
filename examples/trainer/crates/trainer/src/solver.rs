//! Counterfactual regret minimisation: its state, and the parts its variants share.

use crate::cfr::{self, Rule};
use crate::config::Algorithm;
use crate::leduc::{Leduc, MAX_ACTIONS};
use crate::mccfr;
use crate::rng::SplitMix64;

/// One number for each action of an information set, in the order of its `actions`; unused ones stay 0.
pub type PerAction = [f64; MAX_ACTIONS];

/// All that changes while training, and so all that a checkpoint has to hold.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    pub iteration: u64,
    pub rng: SplitMix64,
    /// Both by information set.
    pub regrets: Vec<PerAction>,
    pub strategy_sums: Vec<PerAction>,
}

impl State {
    /// Nothing learnt yet: every strategy is uniform.
    pub fn new(information_sets: usize, seed: u64) -> State {
        State {
            iteration: 0,
            rng: SplitMix64 { state: seed },
            regrets: vec![PerAction::default(); information_sets],
            strategy_sums: vec![PerAction::default(); information_sets],
        }
    }
}

/// One iteration updates player one, then player two against player one's new strategy (alternating updates).
pub fn iterate(game: &Leduc, algorithm: Algorithm, state: &mut State) {
    state.iteration += 1;
    for player in 0..2 {
        match algorithm {
            Algorithm::CfrPlus => cfr::update(game, state, player, Rule::cfr_plus(state.iteration)),
            Algorithm::Dcfr => cfr::update(game, state, player, Rule::discounted_cfr(state.iteration)),
            Algorithm::Mccfr => mccfr::update(game, state, player),
        }
    }
}

/// The average strategy, which is what converges to an equilibrium; uniform where the player's own play never leads.
pub fn average_strategy(game: &Leduc, state: &State) -> Vec<PerAction> {
    let sets = game.information_sets.iter().zip(&state.strategy_sums);
    sets.map(|(set, sums)| normalised(sums, set.actions.len())).collect()
}

/// Regret matching (Hart and Mas-Colell 2000): probabilities in proportion to the positive regrets.
pub fn regret_matching(regrets: &PerAction, actions: usize) -> PerAction {
    normalised(&regrets.map(|regret| regret.max(0.0)), actions)
}

/// Scales the first `actions` weights to sum to one; uniform if all are zero.
fn normalised(weights: &PerAction, actions: usize) -> PerAction {
    let total: f64 = weights.iter().sum();
    let mut probabilities = PerAction::default();
    for (probability, weight) in probabilities.iter_mut().zip(weights).take(actions) {
        *probability = if total > 0.0 {
            weight / total
        } else {
            1.0 / actions as f64
        };
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::best_response::evaluate;

    /// Published for Leduc hold'em with ante 1, e.g. by OpenSpiel's sequence-form solver.
    const GAME_VALUE: f64 = -0.0856;

    fn solve(algorithm: Algorithm, iterations: u64) -> crate::best_response::Evaluation {
        let game = Leduc::new();
        let mut state = State::new(game.information_sets.len(), 1);
        for _ in 0..iterations {
            iterate(&game, algorithm, &mut state);
        }
        evaluate(&game, &average_strategy(&game, &state))
    }

    #[test]
    fn regret_matching_ignores_negative_regrets() {
        assert_eq!(regret_matching(&[3.0, -5.0, 1.0], 3), [0.75, 0.0, 0.25]);
        assert_eq!(regret_matching(&[-3.0, -5.0, 0.0], 2), [0.5, 0.5, 0.0]);
    }

    #[test]
    fn cfr_plus_reaches_the_game_value() {
        let evaluation = solve(Algorithm::CfrPlus, 1_000);
        assert!((0.0..0.001).contains(&evaluation.exploitability), "{evaluation:?}");
        assert!(
            (evaluation.player_one_value - GAME_VALUE).abs() < 0.001,
            "{evaluation:?}"
        );
    }

    #[test]
    fn discounted_cfr_reaches_the_game_value() {
        let evaluation = solve(Algorithm::Dcfr, 1_000);
        assert!((0.0..0.001).contains(&evaluation.exploitability), "{evaluation:?}");
        assert!(
            (evaluation.player_one_value - GAME_VALUE).abs() < 0.001,
            "{evaluation:?}"
        );
    }

    #[test]
    fn sampling_approaches_the_game_value() {
        let evaluation = solve(Algorithm::Mccfr, 200_000);
        assert!((0.0..0.05).contains(&evaluation.exploitability), "{evaluation:?}");
        assert!(
            (evaluation.player_one_value - GAME_VALUE).abs() < 0.02,
            "{evaluation:?}"
        );
    }
}
