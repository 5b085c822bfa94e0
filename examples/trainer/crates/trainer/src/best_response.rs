//! How far a strategy is from an equilibrium, computed exactly.

use crate::leduc::{terminal_values, Leduc, Node, PerRank, RANKS};
use crate::solver::PerAction;

/// Both in chips per hand (the ante is 1 chip).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// Half of what the two best responses win together: (max u1(., s2) + max u2(s1, .)) / 2. This is NashConv / 2 of
    /// Lanctot et al. 2017, "A Unified Game-Theoretic Approach to Multiagent Reinforcement Learning"; 0 at an
    /// equilibrium. In a zero-sum game it is what a perfect opponent wins per hand, with the seats alternating.
    pub exploitability: f64,
    /// What player one wins when both play the strategy.
    pub player_one_value: f64,
}

/// Evaluates `strategy`, given by information set, for both players.
pub fn evaluate(game: &Leduc, strategy: &[PerAction]) -> Evaluation {
    let best = |player| expected_chips(game, strategy, player, OwnPlay::BestResponse);
    Evaluation {
        exploitability: (best(0) + best(1)) / 2.0,
        player_one_value: expected_chips(game, strategy, 0, OwnPlay::Strategy),
    }
}

#[derive(Clone, Copy)]
enum OwnPlay {
    Strategy,
    BestResponse,
}

/// What `player` wins per hand against an opponent who plays `strategy`.
fn expected_chips(game: &Leduc, strategy: &[PerAction], player: usize, own_play: OwnPlay) -> f64 {
    let walk = Walk {
        game,
        strategy,
        player,
        own_play,
    };
    walk.values(game.root, &[1.0; RANKS]).iter().sum()
}

struct Walk<'a> {
    game: &'a Leduc,
    strategy: &'a [PerAction],
    player: usize,
    own_play: OwnPlay,
}

impl Walk<'_> {
    /// The value of `node` for each private card of the player, weighted by how likely the opponent and the cards lead
    /// to here. All that the player cannot tell apart is summed, so choosing per private card is a legal best response.
    fn values(&self, node: usize, opponent_reach: &PerRank) -> PerRank {
        match &self.game.nodes[node] {
            Node::Terminal { weighted, .. } => terminal_values(weighted, self.player, opponent_reach),
            Node::PublicCard { children } => {
                let mut values = PerRank::default();
                for &child in children {
                    let of_child = self.values(child, opponent_reach);
                    (0..RANKS).for_each(|rank| values[rank] += of_child[rank]);
                }
                values
            }
            Node::Decision {
                player,
                first_set,
                children,
            } => {
                if *player == self.player {
                    self.own_decision(*first_set, children, opponent_reach)
                } else {
                    self.opponent_decision(*first_set, children, opponent_reach)
                }
            }
        }
    }

    fn own_decision(&self, first_set: usize, children: &[usize], opponent_reach: &PerRank) -> PerRank {
        let mut values = match self.own_play {
            OwnPlay::Strategy => [0.0; RANKS],
            OwnPlay::BestResponse => [f64::NEG_INFINITY; RANKS],
        };
        for (action, &child) in children.iter().enumerate() {
            let of_child = self.values(child, opponent_reach);
            for rank in 0..RANKS {
                match self.own_play {
                    OwnPlay::Strategy => values[rank] += self.strategy[first_set + rank][action] * of_child[rank],
                    OwnPlay::BestResponse => values[rank] = values[rank].max(of_child[rank]),
                }
            }
        }
        values
    }

    fn opponent_decision(&self, first_set: usize, children: &[usize], opponent_reach: &PerRank) -> PerRank {
        let mut values = PerRank::default();
        for (action, &child) in children.iter().enumerate() {
            let mut reach = *opponent_reach;
            (0..RANKS).for_each(|rank| reach[rank] *= self.strategy[first_set + rank][action]);
            let of_child = self.values(child, &reach);
            (0..RANKS).for_each(|rank| values[rank] += of_child[rank]);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leduc::Action;

    /// A strategy that always takes the first of `wanted` that is legal.
    fn always(game: &Leduc, wanted: &[Action]) -> Vec<PerAction> {
        let pure = |actions: &Vec<Action>| {
            let chosen = wanted
                .iter()
                .find_map(|want| actions.iter().position(|action| action == want));
            let mut strategy = PerAction::default();
            strategy[chosen.expect("no wanted action is legal")] = 1.0;
            strategy
        };
        game.information_sets.iter().map(|set| pure(&set.actions)).collect()
    }

    #[test]
    fn against_folding_at_every_bet_the_best_response_wins_the_ante() {
        let game = Leduc::new();
        let evaluation = evaluate(&game, &always(&game, &[Action::Fold, Action::Call]));
        assert!((evaluation.exploitability - 1.0).abs() < 1e-12, "{evaluation:?}");
        assert!(evaluation.player_one_value.abs() < 1e-12, "{evaluation:?}");
    }

    #[test]
    fn against_always_calling_the_best_response_bets_what_is_ahead_on_average() {
        let game = Leduc::new();
        let evaluation = evaluate(&game, &always(&game, &[Action::Call]));
        assert!(
            (evaluation.exploitability - value_of_value_betting()).abs() < 1e-12,
            "{evaluation:?}"
        );
    }

    /// A player who only checks and calls leaves one choice per round, to bet or not, so the best response can be
    /// found by enumerating the 120 deals of three cards: the first bet by own card, the second by own and public card.
    fn value_of_value_betting() -> f64 {
        let rank = |card: usize| card / 2;
        let strength = |card: usize, public: usize| if rank(card) == rank(public) { 3 } else { rank(card) };
        let mut total = 0.0;
        for own in 0..6 {
            let mut by_first_bet = [0.0, 0.0];
            for (bet, worth) in by_first_bet.iter_mut().enumerate() {
                for public in (0..6).filter(|&card| card != own) {
                    let others = (0..6).filter(|&card| card != own && card != public);
                    let wins: i32 = others
                        .map(|other| strength(own, public).cmp(&strength(other, public)) as i32)
                        .sum();
                    let small = f64::from(wins) * (1.0 + 2.0 * bet as f64);
                    let large = f64::from(wins) * (5.0 + 2.0 * bet as f64);
                    *worth += small.max(large) / 120.0;
                }
            }
            total += by_first_bet[0].max(by_first_bet[1]);
        }
        total
    }
}
