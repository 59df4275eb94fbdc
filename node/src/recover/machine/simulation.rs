//! Gateways that are down for a while, slow, lie, forget what they had and list what they have no bytes of, over whole
//! logs and fixed seeds. Each slot has its place in bundles; what is held changes while the log is read.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use super::*;
use crate::dice::Dice;

/// Slots of a log.
const SLOTS: u64 = 400;
/// Slots of one bundle.
const BUNDLE: u64 = 20;
/// Runs.
const SEEDS: u64 = 300;

/// A gateway: which bundles it lists, which it gives, and how it behaves.
struct Peer {
    lists: BTreeSet<u64>,
    gives: BTreeSet<u64>,
    /// Of a hundred answers so many do not come.
    silent: u64,
    /// Of a hundred bundles so many are something else.
    false_bytes: u64,
    /// Of a hundred bundles so many have a stranger's items in front.
    junk: u64,
    /// It forgets a bundle now and then.
    forgets: bool,
    asked: u32,
}

impl Peer {
    fn of(dice: &mut Dice) -> Self {
        let all: BTreeSet<u64> = (0..SLOTS / BUNDLE).collect();
        let mut peer = Self {
            lists: all.clone(),
            gives: all,
            silent: 0,
            false_bytes: 0,
            junk: 0,
            forgets: false,
            asked: 0,
        };
        match dice.roll(6) {
            0 => peer.silent = 100,
            1 => peer.silent = 30,
            2 => peer.false_bytes = 100,
            3 => peer.junk = 100,
            4 => peer.forgets = true,
            // It lists all, and has the bytes of some.
            _ => peer.gives.retain(|_| dice.roll(2) == 0),
        }
        peer
    }

    fn steady() -> Self {
        let all: BTreeSet<u64> = (0..SLOTS / BUNDLE).collect();
        Self { lists: all.clone(), gives: all, silent: 0, false_bytes: 0, junk: 0, forgets: false, asked: 0 }
    }
}

/// Reads a log; answers the slots that came, and the search.
fn play(peers: &mut [Peer], dice: &mut Dice) -> (BTreeSet<u64>, Search) {
    let mut search = Search::new(peers.len());
    let mut effects = Effects::new();
    let mut here = BTreeSet::new();
    for slot in 0..SLOTS {
        if here.contains(&slot) {
            continue;
        }
        let bundle = slot / BUNDLE;
        search.handle(Input::Want(Want::Slot(slot)), Now(0), &mut effects);
        let mut steps = 0;
        'looking: loop {
            let all: Vec<Effect> = effects.drain().collect();
            steps += 1;
            assert!(steps < 10_000 && !all.is_empty(), "the search of slot {slot} goes on and on");
            for effect in all {
                let input = match effect {
                    Effect::GiveUp { .. } => continue,
                    Effect::Nobody { .. } => break 'looking,
                    Effect::Found => {
                        here.extend(bundle * BUNDLE..(bundle + 1) * BUNDLE);
                        break 'looking;
                    }
                    Effect::List { gateway, .. } => {
                        let peer = &mut peers[gateway];
                        peer.asked += 1;
                        if peer.forgets && dice.roll(3) == 0 {
                            let gone = dice.roll(SLOTS / BUNDLE);
                            peer.lists.remove(&gone);
                            peer.gives.remove(&gone);
                        }
                        let sources = peer.lists.contains(&bundle).then_some(Source::Alone(0));
                        match dice.roll(100) < peer.silent {
                            true => Input::Failed { gateway },
                            false => Input::Listed { gateway, sources: sources.into_iter().collect() },
                        }
                    }
                    Effect::Fetch { gateway, .. } => {
                        let peer = &mut peers[gateway];
                        peer.asked += 1;
                        if dice.roll(100) < peer.silent {
                            Input::Failed { gateway }
                        } else if dice.roll(100) < peer.false_bytes {
                            Input::Lacked { gateway, instead: Instead::Lie }
                        } else if dice.roll(100) < peer.junk {
                            Input::Lacked { gateway, instead: Instead::Junk }
                        } else if peer.gives.contains(&bundle) {
                            Input::Had { gateway }
                        } else {
                            Input::Lacked { gateway, instead: Instead::Nothing }
                        }
                    }
                };
                search.handle(input, Now(0), &mut effects);
            }
        }
    }
    (here, search)
}

/// Wherever it stands among them, one that is steady is enough.
#[test]
fn a_log_comes_whole_while_one_gateway_is_steady() {
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut peers: Vec<Peer> = (0..dice.roll(6)).map(|_| Peer::of(&mut dice)).collect();
        let place = usize::try_from(dice.roll(peers.len() as u64 + 1)).unwrap();
        peers.insert(place, Peer::steady());
        let (here, search) = play(&mut peers, &mut dice);
        assert_eq!(here.len() as u64, SLOTS, "seed {seed}");
        assert!(!search.has_given_up(place), "seed {seed}");
        for (gateway, peer) in peers.iter().enumerate() {
            // Each bundle is asked for at most once of each, and liars are soon not asked at all.
            assert!(u64::from(peer.asked) <= 2 * SLOTS / BUNDLE, "seed {seed}: gateway {gateway}");
            if peer.silent == 100 {
                assert!(peer.asked <= FAILURES_MAX, "seed {seed}: gateway {gateway}");
            }
            if peer.false_bytes == 100 {
                assert!(peer.asked <= 2 * LIES_MAX, "seed {seed}: gateway {gateway}");
            }
        }
    }
}

/// What nobody has is missing, what somebody has is not, and it always ends.
#[test]
fn without_a_steady_one_what_comes_is_what_somebody_gives() {
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut peers: Vec<Peer> = (0..=dice.roll(5)).map(|_| Peer::of(&mut dice)).collect();
        let (here, search) = play(&mut peers, &mut dice);
        for bundle in 0..SLOTS / BUNDLE {
            let is_here = here.contains(&(bundle * BUNDLE));
            // Forgetting only takes away, so who gives it in the end did all the time.
            let given = peers.iter().enumerate().any(|(gateway, peer)| {
                let is_honest = peer.silent == 0 && peer.false_bytes == 0 && peer.junk == 0;
                is_honest && peer.gives.contains(&bundle) && !search.has_given_up(gateway)
            });
            assert!(is_here || !given, "seed {seed}: bundle {bundle} was to be had");
        }
    }
}
