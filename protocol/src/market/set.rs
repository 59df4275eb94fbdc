//! Offer sets: the offers that hold in a window, in the source's own log.
//!
//! A scheduler assigns the set of a window in the last slot before it. Like a mark it takes a slot
//! and is not shown to the module.

use bytes::Bytes;
use prost::Message as _;

use super::quality::Quality;
use super::rank::draws;
use super::terms::Market;
use super::window::window_set_at;
use crate::crypto::SignatureError;
use crate::data_item::{DataItem, Draft};
use crate::hashing;
use crate::id::{Address, Hash, Id, Network};
use crate::machine::Now;
use crate::offer::{Offer, OfferError};
use crate::process::Process;
use crate::tag::Tag;
use crate::verify::Verified;
use crate::wire::{self, OFFER_SET_BYTES_MAX, WireError, decode_canonical};

/// The `Type` tag of a set's item.
pub const OFFER_SET_TYPE: &str = "Offer-Set";
/// Offers of one set: what an answer to a challenge can carry and a reader check.
pub const SET_OFFERS_MAX: usize = 64;
/// Places of a set that offers without a bond have if there are so many, so that bonds cannot
/// shut the market.
pub const NEWCOMERS_MIN: usize = 8;

/// An offer of a set, with what the scheduler says of its messenger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    messenger: Address,
    offer: Verified<Offer>,
    bond: u64,
    quality: Quality,
}

impl Entry {
    /// An offer whose messenger has this bond in the ledger, in its smallest unit.
    pub fn new(offer: Verified<Offer>, bond: u64, quality: Quality) -> Self {
        Self { messenger: offer.messenger(), offer, bond, quality }
    }

    /// Whose offer it is.
    pub const fn messenger(&self) -> Address {
        self.messenger
    }

    /// The offer.
    pub const fn offer(&self) -> &Verified<Offer> {
        &self.offer
    }

    /// The messenger's bond, in the ledger's smallest unit.
    pub const fn bond(&self) -> u64 {
        self.bond
    }

    /// How well it carried.
    pub const fn quality(&self) -> Quality {
        self.quality
    }
}

/// Why an offer has no place in a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The offer's fields.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The messenger's signature, which is over the network's number too.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
    /// It does not hold when the set is assigned.
    #[error("the offer does not hold at {0}")]
    NotLive(u64),
    /// It asks for more than the process pays.
    #[error("the offer asks for more than the process pays")]
    Price,
    /// A quality that is none.
    #[error("quality {0} is not 1 to 4")]
    Quality(u32),
}

/// Why a slot holds no valid set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// Another item, or another slot.
    #[error("slot {0} holds no offer set of the window after it")]
    NotASet(u64),
    /// The bytes.
    #[error("offer set: {0}")]
    Wire(#[from] WireError),
    /// Messengers that do not rise.
    #[error("entry {0} of the set is not in order, or repeats a messenger")]
    Order(usize),
    /// An entry.
    #[error("entry {at} of the set: {error}")]
    Entry {
        /// Its place.
        at: usize,
        /// What is wrong.
        error: EntryError,
    },
}

/// Offers by rising address of their messengers, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OfferSet {
    entries: Vec<Entry>,
}

impl OfferSet {
    /// The set of a window out of all the offers that a scheduler knows, when it assigns it at this
    /// timestamp. Of each messenger the newest offer counts; those that [`read`](Self::read) would
    /// refuse are left out. More than [`SET_OFFERS_MAX`] are chosen by weight, then by price, then by a
    /// hash; [`NEWCOMERS_MIN`] of the places are for those without a bond.
    pub fn build(market: &Market, window: u64, timestamp: u64, known: Vec<Entry>) -> Self {
        let mut entries: Vec<Entry> =
            known.into_iter().filter(|entry| check(market, timestamp, &entry.offer).is_ok()).collect();
        entries.sort_by_key(|entry| (entry.messenger, u64::MAX - entry.offer.terms().sequence));
        entries.dedup_by_key(|entry| entry.messenger);
        entries.sort_by_cached_key(|entry| {
            let terms = entry.offer.terms();
            let weight = draws(entry.bond, entry.quality).unwrap_or(0);
            let lot = hashing::sha256(
                "weft/offer-set/lot",
                &[&market.process.0, &window.to_be_bytes(), &entry.messenger.0],
            );
            (u32::MAX - weight, terms.price_per_push, terms.price_per_kib, lot)
        });
        let bonded = entries.partition_point(|entry| draws(entry.bond, entry.quality).is_some());
        let newcomers = (entries.len() - bonded).min(NEWCOMERS_MIN);
        entries.drain(bonded.min(SET_OFFERS_MAX - newcomers)..bonded);
        entries.truncate(SET_OFFERS_MAX);
        entries.sort_by_key(|entry| entry.messenger);
        Self { entries }
    }

    /// Reads the data of a set that was assigned at this timestamp. One entry that does not hold
    /// makes the whole set invalid, so that there is one way to be wrong.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn read(market: &Market, timestamp: u64, data: &Bytes) -> Result<Self, SetError> {
        let message: wire::OfferSet = decode_canonical(data, OFFER_SET_BYTES_MAX)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(message.entries.len());
        for (at, entry) in message.entries.iter().enumerate() {
            let entry =
                read_entry(market, timestamp, entry)?.map_err(|error| SetError::Entry { at, error })?;
            if entries.last().is_some_and(|last| last.messenger >= entry.messenger) {
                return Err(SetError::Order(at));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The canonical bytes, at most [`OFFER_SET_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let entry = |entry: &Entry| wire::OfferSetEntry {
            offer: Some(entry.offer.to_wire()),
            bond: entry.bond,
            quality: entry.quality.number(),
        };
        wire::OfferSet { entries: self.entries.iter().map(entry).collect() }.encode_to_vec()
    }

    /// The entries, by rising address.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a messenger.
    pub fn entry(&self, messenger: &Address) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(messenger, |entry| entry.messenger).ok()?;
        self.entries.get(at)
    }
}

fn read_entry(
    market: &Market,
    timestamp: u64,
    message: &wire::OfferSetEntry,
) -> Result<Result<Entry, EntryError>, WireError> {
    let offer = message.offer.as_ref().ok_or(WireError::Field("offer"))?;
    let entry = || {
        let offer = Offer::from_wire(offer, market.network)?;
        check(market, timestamp, offer.claims())?;
        let quality = Quality::new(message.quality).ok_or(EntryError::Quality(message.quality))?;
        Ok(Entry::new(offer.verify()?, message.bond, quality))
    };
    Ok(entry())
}

/// What holds of every offer in a set, but for its signature.
fn check(market: &Market, timestamp: u64, offer: &Offer) -> Result<(), EntryError> {
    if offer.terms().network != market.network {
        return Err(SignatureError::Mismatch.into());
    }
    if !offer.is_live(Now(timestamp)) {
        return Err(EntryError::NotLive(timestamp));
    }
    if !market.terms.affords(offer.terms()) {
        return Err(EntryError::Price);
    }
    Ok(())
}

/// The item of a window's set. Its anchor names network, process and window and not the content: a scheduler that
/// crashed before it committed the slot may know other offers when it builds the item again, and
/// nobody has seen the first.
pub fn draft(network: Network, process: Id, window: u64, set: &OfferSet) -> Draft {
    let anchor: Hash =
        hashing::sha256("weft/offer-set/1", &[&network.to_bytes(), &process.0, &window.to_be_bytes()]);
    Draft {
        target: Some(process),
        anchor: Some(anchor.0),
        tags: vec![
            Tag::new("Data-Protocol", "ao"),
            Tag::new("Type", OFFER_SET_TYPE),
            Tag::new("Variant", "ao.TN.1"),
            Tag::new("Window", window.to_string()),
        ],
        data: set.encode().into(),
    }
}

/// Whether `item`, at `slot` of `process`, which `scheduler` assigned, is the offer set of the window after it, valid
/// or not. An item of anybody else, at another slot or of another window is an ordinary message, and so is any in soft mode.
pub fn is_offer_set(process: &Process, scheduler: Address, item: &DataItem, slot: u64) -> bool {
    let is_set = |window| is_set_of(process.id(), scheduler, item, window);
    process.market().is_some() && window_set_at(slot).is_some_and(is_set)
}

/// Whether `item` is the scheduler's set of this window.
pub(super) fn is_set_of(process: Id, scheduler: Address, item: &DataItem, window: u64) -> bool {
    item.tag("Type") == Some(OFFER_SET_TYPE)
        && item.target() == Some(process)
        && item.tag("Window") == Some(window.to_string().as_str())
        && item.owner() == scheduler
}
