//! Offers that outlast a restart. A messenger that comes back would else believe itself alone, and carry at once what is another's
//! turn, until all others have said their offers again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use weft_protocol::offer::Offer;
use weft_protocol::wire::announcement::Body as Announced;
use weft_protocol::{Address, Id, Now, wire};
use weft_storage::{StoreError, Write};

use super::machine::{Place, Said};
use super::{Body, Market};
use crate::lobby::machine::share::{KEPT_BURST, NEW_BURST};
use crate::shared::Shared;

/// The setting that holds them: announcements, each with its length before it.
const SETTING: &str = "offers";
/// Offers that are kept, those for the processes with the lowest ids: each is verified before the node is up, and they are taken up
/// as what one neighbour hands on at once.
const KEPT_MAX: usize = KEPT_BURST as usize;
/// Messengers whose offers they are, likewise.
const MESSENGERS_MAX: usize = NEW_BURST as usize;

/// The offers of others for the processes that this node carries for.
fn encoded(market: &Market, now: Now) -> Bytes {
    let offers = market.carried().into_iter().flat_map(|process| {
        let bodies: Vec<Body> = market.machine().bodies_at(process, now).collect();
        bodies.into_iter().map(move |body| (process, body))
    });
    let (mut bytes, mut messengers) = (Vec::new(), BTreeSet::new());
    let mut is_one_of_few = |by: Address| {
        messengers.contains(&by) || (messengers.len() < MESSENGERS_MAX && messengers.insert(by))
    };
    for (process, offer) in offers.filter(|(_, offer)| is_one_of_few(offer.messenger())).take(KEPT_MAX) {
        let body = Some(Announced::Offer(offer.to_wire()));
        let announcement = wire::Announcement { process: wire::bytes(process), body };
        bytes.extend(announcement.encode_length_delimited_to_vec());
    }
    bytes.into()
}

/// Writes the offers down that are known now, unless they are those that were written last, which are given back.
pub(super) async fn save(shared: &Shared, last: Bytes) -> Bytes {
    let value = encoded(&shared.market, shared.clock.now());
    if value == last {
        return last;
    }
    let write = Write::Setting { name: SETTING.to_owned(), value: value.clone() };
    match shared.store.write(vec![write]).await {
        Ok(()) => value,
        Err(error) => {
            tracing::debug!(%error, "the offers of others were not written down");
            last
        }
    }
}

/// Takes up the offers that were known before a restart and still hold, before anything is carried.
///
/// # Errors
/// The disk.
pub fn restore(shared: &Shared) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let mut left = shared.store.read()?.setting(SETTING)?.unwrap_or_default();
    for _ in 0..KEPT_MAX {
        if !left.has_remaining() {
            break;
        }
        // What another build wrote is heard again from others.
        let Ok(announcement) = wire::Announcement::decode_length_delimited(&mut left) else { break };
        let Ok(process) = wire::id("process", &announcement.process) else { continue };
        let Some(Announced::Offer(message)) = announcement.body else { continue };
        take(shared, process, &message, now);
    }
    Ok(())
}

/// As if this node had handed it on to itself.
fn take(shared: &Shared, process: Id, message: &wire::Offer, now: Now) {
    let (market, place) = (&shared.market, Place::Process(process));
    let Ok(offer) = Offer::from_wire(message, shared.network) else { return };
    let (by, terms) = (offer.claims().messenger(), offer.claims().terms().clone());
    let is_carried = shared.directory.roles(&process).is_some_and(|roles| roles.messenges);
    if by == shared.address || !is_carried || market.is_news(by, &terms, place, now).is_err() {
        return;
    }
    if let Ok(verified) = offer.verify() {
        let _ = market.hear(Said { by, terms, body: Arc::new(verified) }, place, shared.net.peer(), now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use weft_protocol::Hash;
    use weft_protocol::crypto::Signer;
    use weft_protocol::offer::OfferTerms;
    use weft_storage::{MemoryDisk, ProcessRow, Roles, Store, StoreConfig};

    use super::super::machine::{AT_PROCESS_MAX, Input};
    use super::*;
    use crate::shared::SharedRef;
    use crate::shared::testing::{self, NETWORK, peer};

    const CARRIED: Id = Id([1; 32]);
    const ALL_CARRIED: [Id; 5] = [CARRIED, Id([2; 32]), Id([3; 32]), Id([4; 32]), Id([5; 32])];
    const OTHERS: Id = Id([200; 32]);

    fn signed(by: u16, valid_to: u64, now: Now) -> Body {
        let terms = OfferTerms {
            network: NETWORK,
            sequence: now.0,
            shards: Vec::new(),
            classes: 0,
            price_per_push: 1,
            price_per_kib: 0,
            max_kib: 1,
            capacity_per_s: 1,
            latency_p50_ms: 0,
            stake: Hash::ZERO,
            valid_from: now.0 - 60_000,
            valid_to,
        };
        Arc::new(terms.sign(&signer(by)).unwrap())
    }

    fn signer(number: u16) -> Signer {
        let mut seed = [9; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        Signer::from_seed(&seed)
    }

    fn node(store: &Store, own: &Signer) -> SharedRef {
        let shared = testing::shared(Path::new("nowhere"), own.clone(), store.clone());
        let roles = Roles { messenges: true, watches: true, ..Roles::default() };
        for process in ALL_CARRIED {
            shared.directory.put_row(process, ProcessRow { module: Id([8; 32]), roles });
        }
        shared
    }

    fn hear(shared: &SharedRef, process: Id, body: Body) {
        let (by, terms) = (body.messenger(), body.terms().clone());
        shared.market.hear(Said { by, terms, body }, Place::Process(process), peer(3), shared.clock.now());
    }

    fn at(shared: &SharedRef, process: Id, now: Now) -> BTreeSet<Address> {
        shared.market.at(process, now).into_keys().collect()
    }

    #[tokio::test]
    async fn what_others_offered_is_known_after_a_restart_as_long_as_it_holds() {
        let own = Signer::from_seed(&[1; 32]);
        let store =
            Store::open_with_backend(MemoryDisk::new(), &StoreConfig::new(NETWORK, own.address())).unwrap();
        let before = node(&store, &own);
        let now = before.clock.now();
        before.market.run(Input::Carries(CARRIED, true), now);
        let soon = now.plus_ms(30_000);
        for (by, valid_to) in [(5, soon.0), (6, now.plus_ms(60_000).0)] {
            hear(&before, CARRIED, signed(by, valid_to, now));
            hear(&before, OTHERS, signed(by, valid_to, now));
        }
        let saved = save(&before, Bytes::new()).await;
        assert!(!saved.is_empty());
        assert_eq!(save(&before, saved.clone()).await, saved, "nothing is new");

        let after = node(&store, &own);
        restore(&after).unwrap();
        let [five, six] = [5, 6].map(|number| signer(number).address());
        assert_eq!(at(&after, CARRIED, now), [five, six].into());
        assert_eq!(at(&after, CARRIED, soon), [six].into());
        assert!(at(&after, OTHERS, now).is_empty(), "this node does not carry for it");

        // What is on disk is believed no more than what comes from peers.
        let mut forged = signed(7, soon.0, now).to_wire();
        forged.price_per_push = 0;
        let forged =
            wire::Announcement { process: wire::bytes(CARRIED), body: Some(Announced::Offer(forged)) };
        let mut value = forged.encode_length_delimited_to_vec();
        value.extend(saved.iter());
        value.extend([0x7f, 1, 2]);
        let name = SETTING.to_owned();
        store.write(vec![Write::Setting { name, value: value.into() }]).await.unwrap();
        let again = node(&store, &own);
        restore(&again).unwrap();
        assert_eq!(at(&again, CARRIED, now), [five, six].into());
    }

    #[tokio::test]
    async fn no_more_is_written_down_than_is_taken_up() {
        let own = Signer::from_seed(&[1; 32]);
        let store =
            Store::open_with_backend(MemoryDisk::new(), &StoreConfig::new(NETWORK, own.address())).unwrap();
        let (before, after) = (node(&store, &own), node(&store, &own));
        let now = before.clock.now();
        for (number, process) in (0..).zip(ALL_CARRIED) {
            before.market.run(Input::Carries(process, true), now);
            for by in 0..AT_PROCESS_MAX as u16 {
                let body = signed(number * 1_000 + by, now.plus_ms(60_000).0, now);
                let said = Said { by: body.messenger(), terms: body.terms().clone(), body };
                // Each process has neighbours of its own.
                let _ = before.market.hear(said, Place::Process(process), peer(number as u8), now);
            }
        }
        let known = |shared: &SharedRef| ALL_CARRIED.map(|process| at(shared, process, now).len());
        assert_eq!(known(&before), [AT_PROCESS_MAX; 5]);
        save(&before, Bytes::new()).await;
        restore(&after).unwrap();
        assert_eq!(known(&after).iter().sum::<usize>(), MESSENGERS_MAX);
    }
}
