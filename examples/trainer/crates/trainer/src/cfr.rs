//! CFR+ and discounted CFR: full passes over the public tree, all private cards at once
//! (Johanson et al. 2011, "Accelerating Best Response Calculation in Large Extensive Games", describe such passes).

use crate::leduc::{terminal_values, Leduc, Node, PerRank, MAX_ACTIONS, RANKS};
use crate::solver::{regret_matching, PerAction, State};

/// What the two algorithms do differently, in one iteration.
pub struct Rule {
    /// The weight of this iteration's strategy in the average.
    weight: f64,
    /// The factors for positive and negative regrets once this iteration's were added.
    keep_positive: f64,
    keep_negative: f64,
}

impl Rule {
    /// CFR+ (Tammelin 2014, "Solving Large Imperfect Information Games Using CFR+"): negative regrets are forgotten,
    /// iteration t weighs t in the average.
    pub fn cfr_plus(iteration: u64) -> Rule {
        Rule {
            weight: iteration as f64,
            keep_positive: 1.0,
            keep_negative: 0.0,
        }
    }

    /// Discounted CFR (Brown and Sandholm 2019, "Solving Imperfect-Information Games via Discounted Regret
    /// Minimization") with alpha 1.5, beta 0, gamma 2: t^alpha / (t^alpha + 1) of the positive and t^beta / (t^beta + 1)
    /// of the negative regrets are kept; its discount of the average is the same as weighing iteration t by t^gamma.
    pub fn discounted_cfr(iteration: u64) -> Rule {
        let t = iteration as f64;
        // t^1.5 by a square root: `powf` may round differently from one C library to the next.
        let t_alpha = t * t.sqrt();
        Rule {
            weight: t * t,
            keep_positive: t_alpha / (t_alpha + 1.0),
            keep_negative: 0.5,
        }
    }

    fn discounted(&self, regret: f64) -> f64 {
        if regret > 0.0 {
            regret * self.keep_positive
        } else {
            regret * self.keep_negative
        }
    }
}

/// Updates the regrets and the average strategy of `player` by one pass over the tree.
pub fn update(game: &Leduc, state: &mut State, player: usize, rule: Rule) {
    let mut pass = Pass {
        game,
        rule,
        player,
        state,
    };
    pass.values(game.root, &[1.0; RANKS], &[1.0; RANKS]);
}

struct Pass<'a> {
    game: &'a Leduc,
    rule: Rule,
    player: usize,
    state: &'a mut State,
}

impl Pass<'_> {
    /// The counterfactual value at `node` of each private card of the player; the reaches are the probabilities with
    /// which each of them plays to here, by private card.
    fn values(&mut self, node: usize, own_reach: &PerRank, opponent_reach: &PerRank) -> PerRank {
        let game = self.game;
        match &game.nodes[node] {
            Node::Terminal { weighted, .. } => terminal_values(weighted, self.player, opponent_reach),
            Node::PublicCard { children } => {
                let mut values = PerRank::default();
                for &child in children {
                    add(&mut values, &self.values(child, own_reach, opponent_reach));
                }
                values
            }
            Node::Decision {
                player,
                first_set,
                children,
            } => {
                let strategies = self.current_strategies(*first_set, children.len());
                if *player == self.player {
                    self.own_decision(*first_set, children, &strategies, own_reach, opponent_reach)
                } else {
                    let mut values = PerRank::default();
                    for (action, &child) in children.iter().enumerate() {
                        let reach = after(opponent_reach, &strategies, action);
                        add(&mut values, &self.values(child, own_reach, &reach));
                    }
                    values
                }
            }
        }
    }

    fn own_decision(
        &mut self,
        first_set: usize,
        children: &[usize],
        strategies: &[PerAction; RANKS],
        own_reach: &PerRank,
        opponent_reach: &PerRank,
    ) -> PerRank {
        let mut of_action = [PerRank::default(); MAX_ACTIONS];
        let mut values = PerRank::default();
        for (action, &child) in children.iter().enumerate() {
            let reach = after(own_reach, strategies, action);
            of_action[action] = self.values(child, &reach, opponent_reach);
            add(&mut values, &after(&of_action[action], strategies, action));
        }
        for rank in 0..RANKS {
            let regrets = &mut self.state.regrets[first_set + rank];
            let sums = &mut self.state.strategy_sums[first_set + rank];
            for action in 0..children.len() {
                regrets[action] = self
                    .rule
                    .discounted(regrets[action] + of_action[action][rank] - values[rank]);
                sums[action] += self.rule.weight * own_reach[rank] * strategies[rank][action];
            }
        }
        values
    }

    fn current_strategies(&self, first_set: usize, actions: usize) -> [PerAction; RANKS] {
        let mut strategies = [PerAction::default(); RANKS];
        for (rank, strategy) in strategies.iter_mut().enumerate() {
            *strategy = regret_matching(&self.state.regrets[first_set + rank], actions);
        }
        strategies
    }
}

fn add(values: &mut PerRank, more: &PerRank) {
    for (value, term) in values.iter_mut().zip(more) {
        *value += term;
    }
}

/// `per_rank` times the probability of `action` with each private card.
fn after(per_rank: &PerRank, strategies: &[PerAction; RANKS], action: usize) -> PerRank {
    let mut scaled = *per_rank;
    for (value, strategy) in scaled.iter_mut().zip(strategies) {
        *value *= strategy[action];
    }
    scaled
}
