//! Offers that outlast a restart. A messenger that comes back would else believe itself alone, and carry at once what is another's
//! turn, until all others have said their offers again.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use weft_protocol::offer::Offer;
use weft_protocol::wire::announcement::Body as Announced;
use weft_protocol::{Id, Now, wire};
use weft_storage::{StoreError, Write};

use super::machine::{Place, Said};
use super::{Body, Market};
use crate::shared::Shared;

/// The setting that holds them: announcements, each with its length before it.
const SETTING: &str = "offers";
/// Offers that are kept, those for the processes with the lowest ids: each is verified before the node is up.
const KEPT_MAX: usize = 512;

/// The offers of others for the processes that this node carries for.
fn encoded(market: &Market, now: Now) -> Bytes {
    let offers = market.carried().into_iter().flat_map(|process| {
        let bodies: Vec<Body> = market.machine().bodies_at(process, now).collect();
        bodies.into_iter().map(move |body| (process, body))
    });
    let mut bytes = Vec::new();
    for (process, offer) in offers.take(KEPT_MAX) {
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

    use std::collections::BTreeSet;

    use weft_protocol::crypto::Signer;
    use weft_protocol::offer::OfferTerms;
    use weft_protocol::{Address, Hash};
    use weft_storage::{MemoryDisk, ProcessRow, Roles, Store, StoreConfig};

    use super::super::machine::Input;
    use super::*;
    use crate::shared::SharedRef;
    use crate::shared::testing::{self, NETWORK, peer};

    const OTHERS: Id = Id([2; 32]);

    fn signed(by: u8, valid_to: u64, now: Now) -> Body {
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
        Arc::new(terms.sign(&Signer::from_seed(&[by; 32])).unwrap())
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
        let folder = tempfile::tempdir().unwrap();
        let own = Signer::from_seed(&[1; 32]);
        let store =
            Store::open_with_backend(MemoryDisk::new(), &StoreConfig::new(NETWORK, own.address())).unwrap();
        let start = || testing::shared(folder.path(), own.clone(), store.clone());
        let carried = Id([1; 32]);
        let roles = Roles { messenges: true, watches: true, ..Roles::default() };
        let row = || ProcessRow { module: Id([8; 32]), roles };
        let before = start();
        before.directory.put_row(carried, row());
        let now = before.clock.now();
        before.market.run(Input::Carries(carried, true), now);
        let soon = now.plus_ms(30_000);
        for (by, valid_to) in [(5, soon.0), (6, now.plus_ms(60_000).0)] {
            hear(&before, carried, signed(by, valid_to, now));
            hear(&before, OTHERS, signed(by, valid_to, now));
        }
        let saved = save(&before, Bytes::new()).await;
        assert!(!saved.is_empty());
        assert_eq!(save(&before, saved.clone()).await, saved, "nothing is new");

        let after = start();
        after.directory.put_row(carried, row());
        restore(&after).unwrap();
        let [five, six] = [5, 6].map(|seed| Signer::from_seed(&[seed; 32]).address());
        assert_eq!(at(&after, carried, now), [five, six].into());
        assert_eq!(at(&after, carried, soon), [six].into());
        assert!(at(&after, OTHERS, now).is_empty(), "this node does not carry for it");

        // What is on disk is believed no more than what comes from peers.
        let mut forged = signed(7, soon.0, now).to_wire();
        forged.price_per_push = 0;
        let forged =
            wire::Announcement { process: wire::bytes(carried), body: Some(Announced::Offer(forged)) };
        let mut value = forged.encode_length_delimited_to_vec();
        value.extend(saved.iter());
        value.extend([0x7f, 1, 2]);
        let name = SETTING.to_owned();
        store.write(vec![Write::Setting { name, value: value.into() }]).await.unwrap();
        let again = start();
        again.directory.put_row(carried, row());
        restore(&again).unwrap();
        assert_eq!(at(&again, carried, now), [five, six].into());
    }
}
