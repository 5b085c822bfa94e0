//! Leduc hold'em (Southey et al. 2005, "Bayes' Bluff: Opponent Modelling in Poker"), as a public tree.
//!
//! Six cards, J Q K in two suits. Each player antes 1 chip and gets a private card; a betting round with bets of 2;
//! a public card; a betting round with bets of 4. A round has at most one bet and one raise. At showdown a pair with the
//! public card wins, else the higher rank; equal ranks split the pot.
//!
//! The tree holds only what both players see, betting and public card; every node stands for all private cards at once.
//! Suits never decide anything, so cards are ranks and each deal of ranks carries its probability, which loses nothing.
//! A round has 6 places to act and 5 ways to end without a fold, so there are 6 x 3 information sets in the first round
//! and 5 x 6 x 3 x 3 in the second: 288. (The 936 found elsewhere tell suits apart: 6 x 6 + 5 x 6 x 6 x 5.)

pub const RANKS: usize = 3;
pub const RANK_NAMES: [&str; RANKS] = ["J", "Q", "K"];
pub const MAX_ACTIONS: usize = 3;

const CARDS_PER_RANK: u32 = 2;
const ANTE: u32 = 1;
const BET_OF_ROUND: [u32; 2] = [2, 4];
const MAX_BETS_PER_ROUND: u32 = 2;

/// One number for each private card a player may hold.
pub type PerRank = [f64; RANKS];
/// One number for each pair of private cards: player one's rank first, then player two's.
pub type PerDeal = [[f64; RANKS]; RANKS];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Fold,
    /// A check, or a call of a bet.
    Call,
    /// A bet, or a raise of one.
    Raise,
}

pub enum Node {
    /// `player` (0 or 1) acts; with private rank `r` it is in information set `first_set + r`.
    Decision {
        player: usize,
        first_set: usize,
        children: Vec<usize>,
    },
    /// The public card is dealt; one child for each rank.
    PublicCard { children: [usize; RANKS] },
    /// The hand is over. `payoff` is what player one wins, in chips; `weighted` the same times the deal's probability.
    Terminal { payoff: PerDeal, weighted: PerDeal },
}

/// What a player knows when it acts, and what it may do.
pub struct InformationSet {
    pub player: usize,
    pub private: usize,
    pub public: Option<usize>,
    /// The betting so far: `c` for check or call, `r` for bet or raise, `/` between the rounds.
    pub betting: String,
    pub actions: Vec<Action>,
}

pub struct Leduc {
    pub nodes: Vec<Node>,
    pub root: usize,
    pub information_sets: Vec<InformationSet>,
}

/// The public state of a hand in progress.
#[derive(Clone)]
struct Position {
    player: usize,
    paid: [u32; 2],
    bets_this_round: u32,
    public: Option<usize>,
    betting: String,
}

impl Position {
    fn faces_bet(&self) -> bool {
        self.paid[self.player] < self.paid[1 - self.player]
    }

    fn legal_actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.faces_bet() {
            actions.push(Action::Fold);
        }
        actions.push(Action::Call);
        if self.bets_this_round < MAX_BETS_PER_ROUND {
            actions.push(Action::Raise);
        }
        actions
    }
}

impl Leduc {
    /// Builds the whole tree.
    pub fn new() -> Leduc {
        let mut game = Leduc {
            nodes: Vec::new(),
            root: 0,
            information_sets: Vec::new(),
        };
        game.root = game.add_decision(&Position {
            player: 0,
            paid: [ANTE; 2],
            bets_this_round: 0,
            public: None,
            betting: String::new(),
        });
        game
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn add_decision(&mut self, position: &Position) -> usize {
        let actions = position.legal_actions();
        let first_set = self.information_sets.len();
        for private in 0..RANKS {
            self.information_sets.push(InformationSet {
                player: position.player,
                private,
                public: position.public,
                betting: position.betting.clone(),
                actions: actions.clone(),
            });
        }
        let children = actions.iter().map(|&action| self.add_after(position, action)).collect();
        self.add(Node::Decision {
            player: position.player,
            first_set,
            children,
        })
    }

    fn add_after(&mut self, position: &Position, action: Action) -> usize {
        let (player, opponent) = (position.player, 1 - position.player);
        let mut next = position.clone();
        next.player = opponent;
        match action {
            Action::Fold => {
                let lost = f64::from(position.paid[player]);
                let won_by_one = if player == 0 { -lost } else { lost };
                self.add_terminal(position.public, |_, _| won_by_one)
            }
            Action::Call => {
                next.paid[player] = position.paid[opponent];
                next.betting.push('c');
                // Player one's check leaves player two to act; every other check or call closes the round.
                if position.faces_bet() || player == 1 {
                    self.add_round_end(&next)
                } else {
                    self.add_decision(&next)
                }
            }
            Action::Raise => {
                let round = usize::from(position.public.is_some());
                next.paid[player] = position.paid[opponent] + BET_OF_ROUND[round];
                next.bets_this_round += 1;
                next.betting.push('r');
                self.add_decision(&next)
            }
        }
    }

    fn add_round_end(&mut self, position: &Position) -> usize {
        if let Some(public) = position.public {
            let chips = f64::from(position.paid[0]);
            return self.add_terminal(position.public, |one, two| chips * showdown(one, two, public));
        }
        let mut children = [0; RANKS];
        for (public, child) in children.iter_mut().enumerate() {
            *child = self.add_decision(&Position {
                player: 0,
                paid: position.paid,
                bets_this_round: 0,
                public: Some(public),
                betting: format!("{}/", position.betting),
            });
        }
        self.add(Node::PublicCard { children })
    }

    fn add_terminal(&mut self, public: Option<usize>, won_by_one: impl Fn(usize, usize) -> f64) -> usize {
        let mut payoff = PerDeal::default();
        let mut weighted = PerDeal::default();
        for one in 0..RANKS {
            for two in 0..RANKS {
                payoff[one][two] = won_by_one(one, two);
                weighted[one][two] = payoff[one][two] * deal_probability(one, two, public);
            }
        }
        self.add(Node::Terminal { payoff, weighted })
    }
}

/// 1 when player one's card wins against player two's, -1 when it loses, 0 when the pot is split.
fn showdown(one: usize, two: usize, public: usize) -> f64 {
    let strength = |private: usize| if private == public { RANKS } else { private };
    match strength(one).cmp(&strength(two)) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Less => -1.0,
        std::cmp::Ordering::Equal => 0.0,
    }
}

/// The probability that these ranks are dealt, drawing without replacement.
fn deal_probability(one: usize, two: usize, public: Option<usize>) -> f64 {
    let mut left = [CARDS_PER_RANK; RANKS];
    let mut probability = 1.0;
    for rank in [Some(one), Some(two), public].into_iter().flatten() {
        probability *= f64::from(left[rank]) / f64::from(left.iter().sum::<u32>());
        left[rank] = left[rank].saturating_sub(1);
    }
    probability
}

/// What each private card of `player` is worth at a terminal, in chips, summed over the opponent's cards with the
/// deal's probability and the opponent's probability of playing to here (`opponent_reach`).
pub fn terminal_values(weighted: &PerDeal, player: usize, opponent_reach: &PerRank) -> PerRank {
    let mut values = PerRank::default();
    for one in 0..RANKS {
        for two in 0..RANKS {
            if player == 0 {
                values[one] += weighted[one][two] * opponent_reach[two];
            } else {
                values[two] -= weighted[one][two] * opponent_reach[one];
            }
        }
    }
    values
}

#[cfg(test)]
mod tests;
