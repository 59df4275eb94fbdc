//! What a fuzzer feeds arbitrary bytes to: every message, and every type that is read from one.

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::epoch::Certificate;
use crate::evidence::{
    Evidence as TypedEvidence, Judgement as TypedJudgement, ReplayEvidence as TypedReplay,
};
use crate::header::Header;
use crate::held::Held;
use crate::id::{Address, Network};
use crate::l1::L1Tx;
use crate::origin::OriginProof as TypedProof;
use crate::outcome::OutboxEntry;
use crate::{attestation, head, lobby, market, offer, placed, record};

/// Reads `bytes` as every wire message and every hand-written form, goes on into the typed
/// values where that succeeds, and checks that what was read is written as it came.
///
/// # Panics
/// If a decoder accepts bytes that its encoder does not give: that is the bug to find.
pub fn fuzz_body(bytes: &[u8]) {
    let network = Network(7);
    let bytes = Bytes::copy_from_slice(bytes);
    if let Some(message) = same::<SlotRecord>(&bytes) {
        let _ = record::SlotRecord::from_wire(&message);
    }
    if let Some(message) = same::<Head>(&bytes) {
        let _ = head::Head::from_wire(&message);
    }
    if let Some(message) = same::<Attestation>(&bytes) {
        let _ = attestation::Attestation::from_wire(&message, network).map(|read| read.verify());
    }
    fuzz_held(&bytes);
    if let Some(message) = same::<Offer>(&bytes) {
        let _ = offer::Offer::from_wire(&message, network).map(|read| read.verify());
    }
    fuzz_said(&bytes, network);
    same::<OfferSet>(&bytes);
    let terms = market::PushTerms { ledger: Id([0; 32]), price_max: u64::MAX, kib_max: u64::MAX };
    let market = market::Market { network, process: Id([0; 32]), terms };
    if let Ok(read) = market::OfferSet::read(&market, 1, &bytes) {
        assert_eq!(read.encode(), bytes, "offer set");
    }
    if let Ok(read) = market::Answer::decode(&bytes) {
        assert_eq!(read.encode(), bytes, "answer");
    }
    if let Ok(read) = market::Opening::decode(Address([0; 32]), Id([0; 32]), 1, &bytes) {
        assert_eq!(read.encode(), bytes, "opening of a claim");
    }
    if let Ok(read) = market::Earlier::decode(&bytes) {
        assert_eq!(read.encode(), bytes, "earlier push");
    }
    same::<Request>(&bytes);
    same::<Response>(&bytes);
    same::<EpochCertificate>(&bytes);
    same::<Evidence>(&bytes);
    if let Ok(read) = TypedJudgement::decode(&bytes, network) {
        let _ = read.to_string();
    }
    same::<OriginProof>(&bytes);
    if let Ok(read) = Certificate::decode(&bytes, network) {
        assert_eq!(read.claims().to_wire().encode_to_vec(), bytes, "certificate");
    }
    if let Ok(read) = TypedEvidence::decode(&bytes, network) {
        assert_eq!(read.claims().encode(), bytes, "evidence");
        let _ = read.verify();
    }
    if let Ok(read) = TypedProof::decode(&bytes) {
        assert_eq!(read.encode(), bytes, "origin proof");
    }
    if let Ok(read) = TypedReplay::decode(&bytes) {
        let _ = read.open(network);
    }
    if let Ok(read) = Header::parse(&bytes) {
        assert_eq!(read.claims().to_bytes(), bytes, "header");
        let _ = read.verify();
    }
    if let Ok(read) = OutboxEntry::from_head_bytes(&bytes) {
        assert_eq!(read.head_bytes(), bytes, "entry head");
    }
    if let Ok(read) = OutboxEntry::from_bytes(&bytes) {
        assert_eq!(read.to_bytes(), bytes, "entry");
    }
}

fn same<T: WireMessage>(bytes: &Bytes) -> Option<T> {
    let message: T = decode_canonical(bytes, RESPONSE_BYTES_MAX).ok()?;
    assert_eq!(Message::encode_to_vec(&message), *bytes, "a message is not canonical");
    Some(message)
}

fn fuzz_held(bytes: &Bytes) {
    if let Ok(tx) = L1Tx::from_bytes(bytes) {
        assert_eq!(tx.claims().to_bytes(), bytes, "transaction");
        let _ = tx.verify();
    }
    if let Ok(held) = Held::parse(bytes.clone()) {
        assert_eq!(held.claims().raw(), bytes, "what is held");
        let _ = held.verify();
    }
}

/// What is said on lobby shards and process topics.
fn fuzz_said(bytes: &Bytes, network: Network) {
    if let Some(LobbyFact { body: Some(lobby_fact::Body::Advert(message)) }) = same(bytes)
        && let Ok(read) = lobby::Advert::from_wire(&message, network)
    {
        assert_eq!(read.claims().to_wire(), message, "advert");
        let _ = read.verify();
    }
    if let Some(Announcement { body: Some(announcement::Body::Placed(message)), .. }) = same(bytes)
        && let Ok(read) = placed::Placed::from_wire(&message, network, Id([0; 32]))
    {
        assert_eq!(read.claims().to_wire(), message, "placed");
        let _ = read.verify();
    }
}
