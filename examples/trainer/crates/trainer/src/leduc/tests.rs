use super::*;

fn set<'g>(game: &'g Leduc, private: usize, public: Option<usize>, betting: &str) -> &'g InformationSet {
    game.information_sets
        .iter()
        .find(|set| (set.private, set.public, set.betting.as_str()) == (private, public, betting))
        .expect("no such information set")
}

/// Follows `betting` (with `f` for a fold and a `/` before the second round) to its node.
fn node_after<'g>(game: &'g Leduc, betting: &str, public: usize) -> &'g Node {
    let mut at = game.root;
    for step in betting.chars() {
        at = match &game.nodes[at] {
            Node::PublicCard { children } => {
                assert_eq!(step, '/');
                children[public]
            }
            Node::Decision {
                first_set, children, ..
            } => {
                let action = match step {
                    'f' => Action::Fold,
                    'c' => Action::Call,
                    _ => Action::Raise,
                };
                let legal = &game.information_sets[*first_set].actions;
                children[legal.iter().position(|&other| other == action).expect("illegal action")]
            }
            Node::Terminal { .. } => panic!("the hand is over before {step}"),
        };
    }
    &game.nodes[at]
}

fn payoff(game: &Leduc, betting: &str, public: usize) -> PerDeal {
    match node_after(game, betting, public) {
        Node::Terminal { payoff, .. } => *payoff,
        _ => panic!("{betting} does not end the hand"),
    }
}

#[test]
fn has_288_information_sets_144_for_each_player() {
    let game = Leduc::new();
    let of_player_one = game.information_sets.iter().filter(|set| set.player == 0).count();
    let first_round = game.information_sets.iter().filter(|set| set.public.is_none()).count();
    assert_eq!(game.information_sets.len(), 288);
    assert_eq!(of_player_one, 144);
    assert_eq!(first_round, 18);
}

#[test]
fn telling_suits_apart_gives_the_936_information_sets_of_the_literature() {
    let suited = |set: &InformationSet| match set.public {
        None => 2,
        Some(public) if public == set.private => 2,
        Some(_) => 4,
    };
    assert_eq!(Leduc::new().information_sets.iter().map(suited).sum::<usize>(), 936);
}

#[test]
fn allows_one_bet_and_one_raise_in_each_round() {
    let game = Leduc::new();
    assert_eq!(set(&game, 0, None, "").actions, [Action::Call, Action::Raise]);
    assert_eq!(
        set(&game, 0, None, "cr").actions,
        [Action::Fold, Action::Call, Action::Raise]
    );
    assert_eq!(set(&game, 0, None, "crr").actions, [Action::Fold, Action::Call]);
    assert_eq!(set(&game, 2, Some(2), "rrc/").actions, [Action::Call, Action::Raise]);
    assert_eq!(set(&game, 2, Some(2), "rrc/").player, 0);
    assert_eq!(set(&game, 2, Some(2), "rrc/rr").actions, [Action::Fold, Action::Call]);
}

#[test]
fn pays_the_loser_s_chips_to_the_winner() {
    let game = Leduc::new();
    let (jack, queen, king) = (0, 1, 2);
    assert_eq!(payoff(&game, "rf", jack)[jack][king], 1.0);
    assert_eq!(payoff(&game, "rrf", jack)[king][jack], -3.0);
    assert_eq!(payoff(&game, "rrc/crrf", jack)[king][jack], 9.0);
    assert_eq!(payoff(&game, "cc/cc", jack)[king][queen], 1.0);
    assert_eq!(payoff(&game, "cc/cc", queen)[king][queen], -1.0);
    assert_eq!(payoff(&game, "rrc/rrc", jack)[king][king], 0.0);
    assert_eq!(payoff(&game, "rrc/rrc", jack)[jack][king], 13.0);
}

#[test]
fn deals_sum_to_one_before_and_after_the_public_card() {
    let pairs = || (0..RANKS).flat_map(|one| (0..RANKS).map(move |two| (one, two)));
    let before: f64 = pairs().map(|(one, two)| deal_probability(one, two, None)).sum();
    let after: f64 = pairs()
        .flat_map(|(one, two)| (0..RANKS).map(move |public| deal_probability(one, two, Some(public))))
        .sum();
    assert!((before - 1.0).abs() < 1e-12);
    assert!((after - 1.0).abs() < 1e-12);
    assert_eq!(deal_probability(0, 0, Some(0)), 0.0);
}

#[test]
fn every_terminal_is_zero_sum() {
    let game = Leduc::new();
    let reach = [1.0; RANKS];
    for node in &game.nodes {
        if let Node::Terminal { weighted, .. } = node {
            let sum_for = |player| terminal_values(weighted, player, &reach).iter().sum::<f64>();
            assert!((sum_for(0) + sum_for(1)).abs() < 1e-12);
        }
    }
}
