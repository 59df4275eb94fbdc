//! Seasons of the messenger market: what stands behind messengers changes, and so does how well they carry; their shares
//! follow, what lies is lost, and no money comes from nowhere.
//!
//! The log of the source, its sets and proofs, the target's log, claims, answers and the judge are the real ones, and so are
//! the ledger's rules, the reading of its bonds and what a node that schedules makes of two logs.

mod bank;
mod logs;
mod messengers;
mod season;

use std::collections::{BTreeMap, BTreeSet};

use messengers::{MESSENGERS, Shares, Way};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use season::{Off, Season, TURNING, WINDOWS};
use weft_tests::full::is_full;

/// Seasons in the ordinary run, and when `WEFT_FULL=1`.
const SEASONS: (u64, u64) = (2, 24);
/// Messages that a slot sends: 9,600 pushes a season.
const ENTRIES: usize = 8;
/// The same in the one season of 100,000 pushes.
const ENTRIES_FULL: usize = 84;
/// How far one of fifty shares may be off, in standard deviations, that all of them together are as far off as one alone is
/// beyond three: the 0.27 % of that, divided among fifty (Bonferroni).
const SIGMAS_OF_FIFTY: f64 = 4.04;
/// The same of one of the six groups, and of one in one of 25 seasons.
const SIGMAS_OF_SIX: f64 = 3.51;
const SIGMAS_OF_GROUPS: f64 = 4.29;

/// The weight of each messenger; none where it was not in the draw.
type Weights = BTreeMap<u8, Option<u32>>;
/// Messengers whose shares are held to their weights together, and whether those changed in the middle of the season.
type Group = (&'static str, fn(Way) -> bool, bool);
const GROUPS: [Group; 6] = [
    ("who adds to its bond", |way| way == Way::Deposits, true),
    ("who takes its bond out", |way| way == Way::Withdraws, true),
    ("who carries nothing", |way| way == Way::Idles, true),
    ("who lost its bond", |way| way.is_liar(), true),
    ("the whale", |way| way == Way::Whale, false),
    ("newcomers", |way| way == Way::Newcomer, false),
];

/// Those of a group.
fn members(is_one: fn(Way) -> bool) -> Vec<u8> {
    MESSENGERS.filter(|by| is_one(Way::of(*by))).collect()
}

/// The windows of a season that a group's weights are held to: the later ones, where they changed.
fn counted(windows: &[Shares], changed: bool) -> &[Shares] {
    if changed { &windows[TURNING as usize..] } else { windows }
}

/// How far the pushes that were first of these messengers in some windows are from what the weights beside each window say, in
/// standard deviations.
fn sigmas<'a>(windows: impl IntoIterator<Item = (&'a Shares, &'a Weights)>, of: &[u8]) -> f64 {
    let (mut off, mut variance) = (0.0, 0.0);
    for (shares, weights) in windows {
        let share: f64 = of.iter().map(|by| Shares::share(weights, *by)).sum();
        let count: u32 = of.iter().map(|by| shares.firsts[by]).sum();
        let pushes = f64::from(shares.pushes());
        off += f64::from(count) - pushes * share;
        variance += pushes * share * (1.0 - share);
    }
    off / variance.sqrt()
}

/// Windows with the weights that each of them began with.
fn own(windows: &[Shares]) -> impl Iterator<Item = (&Shares, &Weights)> {
    windows.iter().map(|shares| (shares, &shares.weights))
}

/// The windows of a season that count, with the weights that it began with.
fn old(windows: &[Shares], changed: bool) -> impl Iterator<Item = (&Shares, &Weights)> {
    counted(windows, changed).iter().map(|shares| (shares, &windows[0].weights))
}

/// The messengers whose shares in one window are further off than chance has them.
fn off_alone(windows: &[Shares]) -> Vec<String> {
    let all = (1..).zip(windows).flat_map(|(number, window)| MESSENGERS.map(move |by| (number, window, by)));
    let all = all.map(|(number, window, by)| (number, by, sigmas([(window, &window.weights)], &[by])));
    let off = all.filter(|(.., off)| off.abs() >= SIGMAS_OF_FIFTY);
    off.map(|(number, by, off)| format!("window {number}, {by} {:?}: {off:.2} sigmas", Way::of(by))).collect()
}

/// The same of groups over the season.
fn off_together(windows: &[Shares]) -> Vec<String> {
    let of = |(who, is_one, changed): Group| (who, sigmas(own(counted(windows, changed)), &members(is_one)));
    let off = GROUPS.into_iter().map(of).filter(|(_, off)| off.abs() >= SIGMAS_OF_GROUPS);
    off.map(|(who, off)| format!("{who}: {off:.2} sigmas")).collect()
}

/// Plays a season and holds its shares to what was expected of each messenger.
fn play(seed: u64, off: Off, entries: usize) -> (Season, Vec<Shares>) {
    let mut season = Season::new(seed, off);
    let windows: Vec<Shares> = (0..WINDOWS).map(|_| season.window(entries)).collect();
    assert_eq!([off_alone(&windows), off_together(&windows)].concat(), [""; 0], "seed {seed}");
    season.end();
    (season, windows)
}

/// Who lies loses its bond, and who is snatched from keeps its name; who carries nothing has half of its weight, and never
/// less than a unit of bond is worth.
#[test]
fn shares_follow_bonds_and_quality_and_money_is_conserved() {
    let full = is_full();
    let seasons = (0..if full { SEASONS.1 } else { SEASONS.0 }).map(|seed| (seed, ENTRIES));
    let mut played = Vec::new();
    for (seed, entries) in seasons.chain(full.then_some((100, ENTRIES_FULL))) {
        let (season, windows) = play(seed, Off::None, entries);
        played.push(windows);
        let came = season.came;
        assert_eq!(came.lost, BTreeSet::from(Way::LIARS), "seed {seed}: {came:?}");
        let idle = (came.idle[0], came.idle.last().copied().flatten());
        assert_eq!(idle, (Some(64), Some(32)), "seed {seed}: {came:?}");
        // A season in which nothing happens shows nothing.
        let much = came.paid * 2 > came.pushes && came.refused > 20 && came.answered > 20;
        assert!(much && came.taken > 0 && came.snatched > 20, "seed {seed}: {came:?}");
    }
    // What is off by little, and always to one side, shows over all of them.
    for (who, is_one, changed) in GROUPS {
        let of = members(is_one);
        let off = sigmas(played.iter().flat_map(|windows| own(counted(windows, changed))), &of);
        assert!(off.abs() < SIGMAS_OF_SIX, "all seasons, {who}: {off:.2} sigmas");
        // By the new weights, and not by those that were: one season alone has too few pushes to tell half of a small weight
        // from the whole.
        let by_old = sigmas(played.iter().flat_map(|windows| old(windows, changed)), &of);
        let is_other = !changed || by_old.abs() > SIGMAS_OF_SIX;
        assert!(is_other, "all seasons, {who}: {by_old:.2} sigmas of the old weights");
    }
}

/// A season must be able to fail: what it is there for is off in turn, and is noticed for what it is.
#[test]
fn a_season_with_a_defence_off_is_found_out() {
    for (off, sign) in [(Off::Bonds, "bond of"), (Off::Quality, "quality of"), (Off::Watch, "is paid")] {
        let panic = std::panic::catch_unwind(|| play(0, off, 2)).err();
        let said = panic.and_then(|panic| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        assert!(said.contains(sign), "{off:?}: {said}");
    }
}

/// Pushes of a window in the ordinary run. Of fewer, chance gives some small share more than any bound in deviations allows.
const PUSHES: u32 = 9_600 / WINDOWS as u32;

/// A season as it would be, had other weights than those that it is held to drawn who is first.
fn redrawn(windows: &[Shares], weights: impl Fn(usize) -> Weights) -> Vec<Shares> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut redrawn = Vec::new();
    for (at, window) in windows.iter().enumerate() {
        let weights = weights(at);
        let shares: Vec<(u8, f64)> = MESSENGERS.map(|by| (by, Shares::share(&weights, by))).collect();
        let all: f64 = shares.iter().map(|(_, share)| share).sum();
        let mut firsts: BTreeMap<u8, u32> = MESSENGERS.map(|by| (by, 0)).collect();
        for _ in 0..PUSHES {
            let mut left = rng.random_range(0.0..all);
            let first = shares.iter().find(|(_, share)| {
                left -= share;
                left < 0.0
            });
            *firsts.get_mut(&first.unwrap_or(&shares[0]).0).unwrap() += 1;
        }
        redrawn.push(Shares { firsts, weights: window.weights.clone() });
    }
    redrawn
}

/// The bounds of shares must be able to fail, too: of one messenger in one window, and of a group over a season, its weight
/// changing or not.
#[test]
fn a_draw_by_other_weights_is_found_out() {
    let (_, windows) = play(0, Off::None, 2);
    let began = |at: usize| windows[at].weights.clone();
    let held = |windows: &[Shares]| [off_alone(windows), off_together(windows)];
    assert_eq!(held(&redrawn(&windows, began)).concat(), [""; 0], "by their own");
    // As though bonds and quality were read once.
    let once = held(&redrawn(&windows, |_| began(0)));
    // As though bond counted without an end, and as though who has none had some.
    let weigh = |at: usize, way: Way, other: fn(Option<u32>) -> Option<u32>| {
        let of = |(by, weight)| (by, if Way::of(by) == way { other(weight) } else { weight });
        began(at).into_iter().map(of).collect()
    };
    let whale =
        held(&redrawn(&windows, |at| weigh(at, Way::Whale, |weight| weight.map(|weight| 3 * weight))));
    let newcomers = held(&redrawn(&windows, |at| weigh(at, Way::Newcomer, |_| Some(64))));
    for (found, signs) in [
        (once, ["window 2, 101 Deposits", "who adds to its bond"]),
        (whale, ["100 Whale", "the whale"]),
        (newcomers, ["Newcomer", "newcomers"]),
    ] {
        for (said, sign) in found.into_iter().zip(signs) {
            assert!(said.iter().any(|said| said.contains(sign)), "{sign}: {said:?}");
        }
    }
}
