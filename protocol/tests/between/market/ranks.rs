//! Ranks: the same everywhere, by weight, and nobody's but the leaver's move.

use weft_protocol::market::{BOND_UNIT, Entry, Quality, Standing, UNITS_MAX, Window, draws, rank_score};
use weft_protocol::offer::OfferTerms;
use weft_protocol::push::Source;
use weft_protocol::{Address, Hash, Position};

use super::fixture::*;
use crate::fixture::*;
use crate::full::is_full;

/// Push ids in the big test: 100,000 with `WEFT_FULL=1`, as the market promises.
fn pushes() -> u32 {
    if is_full() { 100_000 } else { 10_000 }
}

fn push_id(number: u32) -> Hash {
    let position = Position { slot: 256 + u64::from(number / 8), ..SENT };
    Source { process: ROOT, position, index: number % 8 }.push_id(NETWORK)
}

/// Fifty messengers of which the last five have no bond.
fn fifty() -> Vec<Entry> {
    let bond = |number: u8| if number < 45 { BOND_UNIT * u64::from(1 + number % 40) } else { BOND_UNIT - 1 };
    let all = 0..50_u8;
    all.map(|number| entry(100 + number, bond(number), 1 + u32::from(number % 4), offer(0))).collect()
}

fn first(window: &Window, push: &Hash) -> Address {
    window.order(push, 1)[0].messenger()
}

#[test]
fn ranks_are_golden() {
    let window = window(&hard(&PUSH_TERMS), entries());
    let letters = |number| {
        let order = window.order(&push_id(number), 1);
        let letter = |entry: &&Entry| {
            let seed = MESSENGERS.iter().position(|&seed| address(seed) == entry.messenger()).unwrap();
            char::from(b'a' + seed as u8)
        };
        order.iter().map(letter).collect::<String>()
    };
    let orders: Vec<String> = (0..60).map(letters).collect();
    // In two of sixty the one without a bond goes first, else last.
    assert_eq!(
        orders.join(" "),
        "dcbaef debcaf debcaf ecdbaf cedabf cdeabf aecdbf edbacf edbcaf abdcef dcaebf ecbdaf \
         ecdbaf ebdcaf dbecaf bcedaf debacf acdebf debcaf edcbaf cdebaf aedcbf edcbaf dceabf \
         ecdabf bcedaf cbeadf cedbaf dcebaf dcebaf deacbf ecdbaf bdceaf edbcaf dabecf dceabf \
         cedbaf ecdbaf ebdcaf cebadf dacbef cdebaf eabdcf dcbeaf dcbeaf cedabf ecdbaf ecabdf \
         edabcf edbcaf cbdeaf bcedaf ecdbaf fcebda edbacf edcbaf baecdf cdbeaf faedcb cbedaf"
    );
    assert_eq!(hex::encode(&rank_score(&push_id(0), &address(21)).0[..8]), "48d919fe910bf579");
}

#[test]
fn draws_are_units_of_bond_by_quality_within_bounds() {
    let of = |bond, quality| draws(bond, Quality::new(quality).unwrap());
    assert_eq!(of(0, 4), None);
    assert_eq!(of(BOND_UNIT - 1, 4), None);
    assert_eq!(of(BOND_UNIT, 1), Some(1));
    assert_eq!(of(3 * BOND_UNIT - 1, 2), Some(4));
    assert_eq!(of(UNITS_MAX * BOND_UNIT, 4), Some(128));
    assert_eq!(of(u64::MAX, 4), Some(128));
    assert_eq!(Quality::new(0), None);
    assert_eq!(Quality::new(5), None);
}

/// How far one of fifty shares may be off, in standard deviations, that all of them together are as far off as one alone
/// is beyond three: the 0.27 % of that, divided among fifty (Bonferroni).
const SIGMAS_OF_FIFTY: f64 = 4.04;
/// Pearson's sum of fifty shares, with 49 degrees of freedom, is below and above these as rarely.
const SQUARES_OF_FIFTY: std::ops::Range<f64> = 25.8..81.1;

#[test]
fn shares_are_the_weights_and_newcomers_have_their_twentieth() {
    // Windows with other seeds, which follow from what stands in their sets.
    for price in [0, 1, 2] {
        let known = fifty().into_iter().map(|one| {
            let seed = (100..150).find(|&seed| address(seed) == one.messenger()).unwrap();
            entry(seed, one.bond(), one.quality().number(), offer(price))
        });
        check_shares(&window(&hard(&PUSH_TERMS), known.collect()));
    }
}

fn check_shares(window: &Window) {
    let entries = window.set().entries();
    let weight = |entry: &Entry| draws(entry.bond(), entry.quality());
    let total: u32 = entries.iter().filter_map(weight).sum();
    let newcomers = entries.iter().filter(|entry| weight(entry).is_none()).count();
    assert_eq!((entries.len(), newcomers), (50, 5));
    let mut firsts = vec![0_u32; entries.len()];
    for number in 0..pushes() {
        let first = first(window, &push_id(number));
        firsts[entries.iter().position(|entry| entry.messenger() == first).unwrap()] += 1;
    }
    let n = f64::from(pushes());
    let share = |entry: &Entry| match weight(entry) {
        Some(weight) => 0.95 * f64::from(weight) / f64::from(total),
        None => 0.05 / newcomers as f64,
    };
    let sigmas = |count: u32, share: f64| (f64::from(count) - n * share) / (n * share * (1.0 - share)).sqrt();
    let all = || entries.iter().zip(&firsts).map(|(entry, &count)| (count, share(entry)));
    let off: Vec<f64> = all().map(|(count, share)| sigmas(count, share)).collect();
    assert!(off.iter().all(|sigmas| sigmas.abs() < SIGMAS_OF_FIFTY), "{off:.2?}");
    let squares: f64 = all().map(|(count, share)| (f64::from(count) - n * share).powi(2) / (n * share)).sum();
    assert!(SQUARES_OF_FIFTY.contains(&squares), "{squares}: {off:.2?}");
    let theirs = entries.iter().zip(&firsts).filter(|(entry, _)| weight(entry).is_none());
    assert!(sigmas(theirs.map(|(_, count)| count).sum(), 0.05).abs() < 3.0);
}

/// Its offer is for small pushes, so that for larger ones it is out of an order with the same seed.
#[test]
fn one_that_leaves_moves_its_own_pushes_only() {
    let mut known = fifty();
    let (number, bond) = (107, known[7].bond());
    known[7] = entry(number, bond, 4, OfferTerms { max_kib: 2, ..offer(0) });
    let gone = address(number);
    let window = window(&hard(&PUSH_TERMS), known);
    let order = |push: &Hash, bytes| -> Vec<Address> {
        window.order(push, bytes).iter().map(|entry| entry.messenger()).collect()
    };
    let mut moved = 0;
    for number in 0..pushes() / 5 {
        let push = push_id(number);
        let (with, without) = (order(&push, 2 * 1_024), order(&push, 2 * 1_024 + 1));
        moved += u32::from(with[0] != without[0]);
        assert_eq!(with[0] != without[0], with[0] == gone);
        let others: Vec<Address> = with.into_iter().filter(|messenger| *messenger != gone).collect();
        assert_eq!(others, without);
    }
    assert!(moved > 0);
}

#[test]
fn an_offer_for_smaller_pushes_has_no_rank() {
    let small = OfferTerms { max_kib: 2, ..offer(21) };
    let known = vec![entry(21, BOND_UNIT, 2, small), entry(22, BOND_UNIT, 2, offer(22))];
    let window = window(&hard(&PUSH_TERMS), known);
    let push = push_id(0);
    assert_eq!(window.order(&push, 2 * 1_024).len(), 2);
    assert_eq!(window.order(&push, 2 * 1_024 + 1).len(), 1);
    assert!(window.rank(&push, 2 * 1_024 + 1, &address(21)).is_none());
    assert_eq!(window.rank(&push, 2 * 1_024 + 1, &address(22)).map(|(rank, _)| rank), Some(0));
    assert!(window.order(&push, u64::MAX).is_empty());
    assert!(window.rank(&push, 1, &address(STRANGER)).is_none());
}

#[test]
fn quality_follows_the_share_that_was_carried() {
    let steady = |share: (u32, u32)| (0..40).fold(Standing::NEW, |now, _| now.after(share.0, share.1));
    assert_eq!(Standing::NEW.quality(), Quality::NEW);
    assert_eq!(steady((100, 100)).quality().number(), 4);
    assert_eq!(steady((100, 90)).quality().number(), 3);
    assert_eq!(steady((100, 70)).quality().number(), 2);
    assert_eq!(steady((100, 40)).quality().number(), 1);
    assert_eq!(steady((0, 0)), Standing::NEW);
    // More than all is all, and a long count costs no more than eight half-lives.
    assert_eq!(Standing::NEW.after(9, 99), Standing::NEW.after(9, 9));
    assert_eq!(Standing::NEW.after(u32::MAX, 0).quality().number(), 1);
    // What is 200 pushes old counts half: within a thousandth.
    let idle = Standing::NEW.after(10_000, 10_000);
    assert_eq!((idle.after(199, 0).quality().number(), idle.after(202, 0).quality().number()), (2, 1));
    assert_eq!((idle.quality().number(), Quality::BEST.number()), (4, 4));
}
