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

/// How far the pushes that were first of these messengers in some windows are from what the weights of each say, or these, in
/// standard deviations.
fn sigmas(windows: &[Shares], weights: Option<&BTreeMap<u8, Option<u32>>>, of: &[u8]) -> f64 {
    let (mut off, mut variance) = (0.0, 0.0);
    for shares in windows {
        let share: f64 = of.iter().map(|by| Shares::share(weights.unwrap_or(&shares.weights), *by)).sum();
        let count: u32 = of.iter().map(|by| shares.firsts[by]).sum();
        let pushes = f64::from(shares.pushes());
        off += f64::from(count) - pushes * share;
        variance += pushes * share * (1.0 - share);
    }
    off / variance.sqrt()
}

/// Plays a season and holds its shares to what was expected of each messenger.
fn play(seed: u64, off: Off, entries: usize) -> Season {
    let mut season = Season::new(seed, off);
    let windows: Vec<Shares> = (0..WINDOWS).map(|_| season.window(entries)).collect();
    for (number, window) in (1..).zip(&windows) {
        for by in MESSENGERS {
            let off = sigmas(std::slice::from_ref(window), None, &[by]);
            assert!(off.abs() < SIGMAS_OF_FIFTY, "window {number}, {by} {:?}: {off:.2} sigmas", Way::of(by));
        }
    }
    let all = |is_one: &dyn Fn(Way) -> bool| MESSENGERS.filter(|by| is_one(Way::of(*by))).collect::<Vec<_>>();
    let (before, after) = windows.split_at(TURNING as usize);
    let moved: [(&str, Vec<u8>); 4] = [
        ("who adds to its bond", all(&|way| way == Way::Deposits)),
        ("who takes its bond out", all(&|way| way == Way::Withdraws)),
        ("who carries nothing", all(&|way| way == Way::Idles)),
        ("who lost its bond", all(&Way::is_liar)),
    ];
    for (who, of) in moved {
        // By the new weights, and not by those that were.
        let (now, was) = (sigmas(after, None, &of), sigmas(after, Some(&before[0].weights), &of));
        assert!(now.abs() < 3.0 && was.abs() > 3.0, "seed {seed}, {who}: {now:.2} sigmas, {was:.2} before");
    }
    for who in [Way::Whale, Way::Newcomer] {
        let off = sigmas(&windows, None, &all(&|way| way == who));
        assert!(off.abs() < 3.0, "seed {seed}, {who:?}: {off:.2} sigmas");
    }
    season.end();
    season
}

/// Who lies loses its bond, and who is snatched from keeps its name; who carries nothing has half of its weight, and never
/// less than a unit of bond is worth.
#[test]
fn shares_follow_bonds_and_quality_and_money_is_conserved() {
    let full = is_full();
    let seasons = (0..if full { SEASONS.1 } else { SEASONS.0 }).map(|seed| (seed, ENTRIES));
    for (seed, entries) in seasons.chain(full.then_some((100, ENTRIES_FULL))) {
        let came = play(seed, Off::None, entries).came;
        assert_eq!(came.lost, BTreeSet::from(Way::LIARS), "seed {seed}: {came:?}");
        let idle = (came.idle[0], came.idle.last().copied().flatten());
        assert_eq!(idle, (Some(64), Some(32)), "seed {seed}: {came:?}");
        // A season in which nothing happens shows nothing.
        let much = came.paid * 2 > came.pushes && came.refused > 20 && came.answered > 20;
        assert!(much && came.taken > 0 && came.snatched > 20, "seed {seed}: {came:?}");
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
