//! External-sampling Monte Carlo CFR (Lanctot et al. 2009, "Monte Carlo Sampling for Regret Minimization in Extensive
//! Games"): cards and the opponent's actions are sampled, all of the player's own actions are tried.

use crate::leduc::{Leduc, Node, MAX_ACTIONS};
use crate::rng::SplitMix64;
use crate::solver::{regret_matching, PerAction, State};

/// Updates the regrets of `player`, and the average strategy of the opponent, on one sampled deal.
pub fn update(game: &Leduc, state: &mut State, player: usize) {
    let deal = Deal::sample(&mut state.rng);
    let mut pass = Pass {
        game,
        player,
        deal,
        state,
    };
    pass.value(game.root);
}

struct Deal {
    private: [usize; 2],
    public: usize,
}

impl Deal {
    /// The first three cards of a shuffled deck, as ranks.
    fn sample(rng: &mut SplitMix64) -> Deal {
        let mut deck = [0, 0, 1, 1, 2, 2];
        for dealt in 0..3 {
            let left = deck.len() - dealt;
            deck.swap(dealt, dealt + rng.next_below(left));
        }
        Deal {
            private: [deck[0], deck[1]],
            public: deck[2],
        }
    }
}

struct Pass<'a> {
    game: &'a Leduc,
    player: usize,
    deal: Deal,
    state: &'a mut State,
}

impl Pass<'_> {
    /// The sampled counterfactual value of `node` for the player, in chips.
    fn value(&mut self, node: usize) -> f64 {
        let game = self.game;
        match &game.nodes[node] {
            Node::Terminal { payoff, .. } => {
                let won_by_one = payoff[self.deal.private[0]][self.deal.private[1]];
                if self.player == 0 {
                    won_by_one
                } else {
                    -won_by_one
                }
            }
            Node::PublicCard { children } => self.value(children[self.deal.public]),
            Node::Decision {
                player,
                first_set,
                children,
            } => {
                let set = first_set + self.deal.private[*player];
                let strategy = regret_matching(&self.state.regrets[set], children.len());
                if *player == self.player {
                    self.own_decision(set, children, &strategy)
                } else {
                    // The opponent gets here as often as its own strategy plays to here, so adding the strategy
                    // unweighted averages it by reach, as the average strategy has to be.
                    for (sum, probability) in self.state.strategy_sums[set].iter_mut().zip(&strategy) {
                        *sum += probability;
                    }
                    let action = sample_action(&strategy, children.len(), &mut self.state.rng);
                    self.value(children[action])
                }
            }
        }
    }

    fn own_decision(&mut self, set: usize, children: &[usize], strategy: &PerAction) -> f64 {
        let mut of_action = [0.0; MAX_ACTIONS];
        let mut value = 0.0;
        for (action, &child) in children.iter().enumerate() {
            of_action[action] = self.value(child);
            value += strategy[action] * of_action[action];
        }
        let regrets = self.state.regrets[set].iter_mut().take(children.len());
        for (regret, value_of_action) in regrets.zip(of_action) {
            *regret += value_of_action - value;
        }
        value
    }
}

fn sample_action(strategy: &PerAction, actions: usize, rng: &mut SplitMix64) -> usize {
    let mut left = rng.next_f64();
    for (action, probability) in strategy.iter().enumerate().take(actions) {
        if left < *probability {
            return action;
        }
        left -= probability;
    }
    // Rounding can leave a sliver above the last probability: it belongs to the last action that is played at all.
    strategy.iter().rposition(|&probability| probability > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leduc::RANKS;

    #[test]
    fn deals_two_cards_of_one_rank_a_fifth_of_the_time() {
        let mut rng = SplitMix64 { state: 3 };
        let mut pairs = 0;
        let mut by_rank = [0; RANKS];
        for _ in 0..30_000 {
            let deal = Deal::sample(&mut rng);
            pairs += u32::from(deal.private[0] == deal.private[1]);
            by_rank[deal.public] += 1;
        }
        assert!((5_700..6_300).contains(&pairs), "{pairs}");
        assert!(
            by_rank.iter().all(|count| (9_700..10_300).contains(count)),
            "{by_rank:?}"
        );
    }

    #[test]
    fn samples_actions_by_their_probability() {
        let mut rng = SplitMix64 { state: 5 };
        let mut counts = [0; MAX_ACTIONS];
        for _ in 0..10_000 {
            counts[sample_action(&[0.2, 0.0, 0.8], 3, &mut rng)] += 1;
        }
        assert!((1_850..2_150).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[1], 0);
    }
}
