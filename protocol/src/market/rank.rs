//! Weighted rendezvous ranking in integers: each messenger draws as often as its weight says, and
//! the highest draw goes first. So each is first with exactly its share of the weight, and one
//! that leaves gives up only its own pushes.

use std::cmp::Reverse;

use super::pay::started_kib;
use super::quality::Quality;
use super::set::Entry;
use crate::hashing::{self, Digest as _, Sha256};
use crate::id::{Address, Hash};

/// The bond that is worth one draw times quality, in the ledger's smallest unit: one token of
/// twelve decimals. Less is no bond.
pub const BOND_UNIT: u64 = 1_000_000_000_000;
/// Units of bond beyond which more adds no weight.
pub const UNITS_MAX: u64 = 32;
/// One push in so many is a newcomer draw, in which those without a bond go first.
const NEWCOMER_EVERY: u64 = 20;
/// Draws that one hash gives: its four words.
const DRAWS_PER_HASH: u32 = 4;

/// How often a messenger draws among those with a bond; none if its bond is less than
/// [`BOND_UNIT`].
pub const fn draws(bond: u64, quality: Quality) -> Option<u32> {
    let units = bond / BOND_UNIT;
    if units == 0 {
        return None;
    }
    let units = if units > UNITS_MAX { UNITS_MAX } else { units };
    Some(units as u32 * quality.number())
}

/// What messengers are ranked by in soft mode for one push, highest first: every node computes the
/// same order from the same offers, and one messenger's leaving moves only its own pushes.
pub fn rank_score(push: &Hash, messenger: &Address) -> Hash {
    hashing::sha256("weft/rank/1", &[&push.0, &messenger.0])
}

/// The entries that carry pushes of so many bytes, in the order of their turns.
pub(super) fn order<'a>(entries: &'a [Entry], seed: &Hash, push: &Hash, bytes: u64) -> Vec<&'a Entry> {
    let carries = |entry: &&Entry| started_kib(bytes) <= u64::from(entry.offer().terms().max_kib);
    let begun = Sha256::new().chain_update(b"weft/rank/2").chain_update(seed).chain_update(push);
    let newcomers_first = is_newcomer_draw(seed, push);
    let mut ranked: Vec<_> = entries
        .iter()
        .filter(carries)
        .map(|entry| {
            let weight = draws(entry.bond(), entry.quality());
            let goes_first = weight.is_some() != newcomers_first;
            let best = best_draw(&begun, &entry.messenger(), weight.unwrap_or(1));
            ((Reverse((goes_first, best)), entry.messenger()), entry)
        })
        .collect();
    ranked.sort_unstable_by_key(|(key, _)| *key);
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

/// Whether those without a bond go first for this push.
fn is_newcomer_draw(seed: &Hash, push: &Hash) -> bool {
    let hash = hashing::sha256("weft/newcomer/1", &[&seed.0, &push.0]);
    words(&hash.0)[0].is_multiple_of(NEWCOMER_EVERY)
}

/// The highest of so many draws: the words of hashes that continue `begun` with the address and
/// the number of the hash.
fn best_draw(begun: &Sha256, messenger: &Address, draws: u32) -> u64 {
    let drawn = |number: u32| {
        let hash = begun.clone().chain_update(messenger).chain_update(number.to_be_bytes());
        words(&hash.finalize().into())
    };
    let hashes = (0..draws.div_ceil(DRAWS_PER_HASH)).flat_map(drawn);
    hashes.take(draws as usize).max().unwrap_or(0)
}

fn words(hash: &[u8; 32]) -> [u64; 4] {
    std::array::from_fn(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&hash[8 * at..8 * at + 8]);
        u64::from_be_bytes(word)
    })
}
