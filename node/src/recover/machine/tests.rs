//! One honest gateway among any others is enough, and none of them keeps the search for ever.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

/// What a gateway does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Honest,
    /// Has nothing.
    Empty,
    /// Lists many places, none of which has it.
    Boasts,
    /// Gives false bytes.
    Lies,
    /// Gives bundles as they are, in which strangers wrote what is false.
    Strangers,
    Silent,
    /// Answers the list, and is silent then.
    Stalls,
}

const NATURES: [Nature; 7] = [
    Nature::Honest,
    Nature::Empty,
    Nature::Boasts,
    Nature::Lies,
    Nature::Strangers,
    Nature::Silent,
    Nature::Stalls,
];

/// Plays the search for some things; answers what was found, and how often each was asked for anything.
fn play(natures: &[Nature], wants: u64) -> (Vec<bool>, Vec<usize>, Search) {
    let mut search = Search::new(natures.len());
    let mut effects = Effects::new();
    let (mut found, mut asked) = (Vec::new(), vec![0; natures.len()]);
    for want in 0..wants {
        search.handle(Input::Want(Want::Slot(want)), Now(0), &mut effects);
        let before = found.len();
        while found.len() == before {
            let effect =
                effects.drain().next_back().filter(|effect| !matches!(effect, Effect::GiveUp { .. }));
            let input = match effect.expect("the search goes on until it ends") {
                Effect::List { gateway, .. } => {
                    asked[gateway] += 1;
                    let places = match natures[gateway] {
                        Nature::Silent => None,
                        Nature::Empty => Some(0),
                        Nature::Honest => Some(1),
                        Nature::Boasts | Nature::Lies | Nature::Strangers | Nature::Stalls => Some(1_000),
                    };
                    let sources = places.map(|count| (0..count).map(Source::Alone).collect());
                    match sources {
                        Some(sources) => Input::Listed { gateway, sources },
                        None => Input::Failed { gateway },
                    }
                }
                Effect::Fetch { gateway, .. } => {
                    asked[gateway] += 1;
                    match natures[gateway] {
                        Nature::Honest => Input::Had { gateway },
                        Nature::Boasts => Input::Lacked { gateway, instead: Instead::Nothing },
                        Nature::Lies => Input::Lacked { gateway, instead: Instead::Lie },
                        Nature::Strangers => Input::Lacked { gateway, instead: Instead::Junk },
                        Nature::Stalls | Nature::Silent | Nature::Empty => Input::Failed { gateway },
                    }
                }
                Effect::Found => {
                    found.push(true);
                    continue;
                }
                Effect::Nobody { .. } => {
                    found.push(false);
                    continue;
                }
                Effect::GiveUp { .. } => continue,
            };
            search.handle(input, Now(0), &mut effects);
        }
    }
    (found, asked, search)
}

proptest! {
    #[test]
    fn one_honest_gateway_is_enough_and_the_others_cost_little(
        natures in prop::collection::vec(prop::sample::select(&NATURES[..]), 1..6),
        wants in 1_u64..40,
    ) {
        let (found, asked, search) = play(&natures, wants);
        let is_there = natures.contains(&Nature::Honest);
        prop_assert!(found.iter().all(|found| *found == is_there), "{natures:?}: {found:?}");
        for (gateway, nature) in natures.iter().enumerate() {
            let most = match nature {
                Nature::Silent => FAILURES_MAX as usize,
                // Its answer to a list ends what it failed before.
                Nature::Stalls => wants as usize * (1 + PLACES_MAX),
                Nature::Lies => 2 * LIES_MAX as usize,
                Nature::Strangers => 2 * JUNK_MAX as usize,
                Nature::Honest => 2 * wants as usize,
                Nature::Boasts => wants as usize * (1 + PLACES_MAX),
                Nature::Empty => wants as usize,
            };
            prop_assert!(asked[gateway] <= most, "{nature:?} was asked {} times", asked[gateway]);
            let given_up = matches!(nature, Nature::Silent) && asked[gateway] >= FAILURES_MAX as usize;
            prop_assert!(!given_up || search.has_given_up(gateway));
        }
        // Once somebody has it, nobody else is asked.
        if is_there {
            let best = natures.iter().position(|nature| *nature == Nature::Honest).unwrap();
            let later: usize = asked.iter().skip(best + 1).sum();
            prop_assert_eq!(later, 0);
        }
    }
}

#[test]
fn who_lies_is_asked_no_more() {
    let (found, asked, search) = play(&[Nature::Lies, Nature::Honest], 3);
    assert_eq!(found, [true; 3]);
    // Six places of the first thing; then the other one is the better.
    assert_eq!(asked[0], 1 + PLACES_MAX);
    assert!(!search.has_given_up(0));
    let (found, asked, search) = play(&[Nature::Lies], 5);
    assert_eq!(found, [false; 5]);
    assert!(search.has_given_up(0) && asked[0] <= 2 * LIES_MAX as usize, "{asked:?}");
}

#[test]
fn places_of_one_that_is_given_up_are_not_tried() {
    let mut search = Search::new(1);
    let mut effects = Effects::new();
    search.handle(Input::Want(Want::Slot(0)), Now(0), &mut effects);
    for round in 0.. {
        let all: Vec<_> = effects.drain().collect();
        match all.last().unwrap() {
            Effect::Nobody { .. } => break,
            Effect::List { .. } => {
                let sources = vec![Source::Alone(0); 10];
                search.handle(Input::Listed { gateway: 0, sources }, Now(0), &mut effects);
            }
            Effect::Fetch { .. } => search.handle(Input::Failed { gateway: 0 }, Now(0), &mut effects),
            other => assert!(round < 20, "{other:?}"),
        }
    }
    assert!(search.has_given_up(0));
}
