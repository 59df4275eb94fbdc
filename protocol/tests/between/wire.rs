//! The wire: canonical, limited, and never a panic.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use weft_protocol::wire::{
    self, HEADS_MAX, RANGE_SLOTS_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, WireError, decode_canonical,
};

fn heads(count: usize) -> Bytes {
    let processes = vec![Bytes::from_static(&[1; 32]); count];
    let body = wire::request::Body::Head(wire::HeadRequest { processes });
    wire::Request { body: Some(body) }.encode_to_vec().into()
}

#[test]
fn limits_are_reached_and_held() {
    let read = |bytes: &Bytes, max| decode_canonical::<wire::Request>(bytes, max);
    let full = heads(HEADS_MAX);
    assert!(read(&full, full.len()).is_ok());
    assert_eq!(
        read(&full, full.len() - 1),
        Err(WireError::TooLong { length: full.len(), max: full.len() - 1 })
    );
    assert_eq!(read(&heads(HEADS_MAX + 1), REQUEST_BYTES_MAX), Err(WireError::TooMany(&[2, 1])));
}

#[test]
fn empty_elements_are_counted_before_they_are_built() {
    let slots = vec![wire::SlotRecord::default(); RANGE_SLOTS_MAX + 1];
    let body = wire::response::Body::Range(wire::RangeResponse { slots, more: false });
    let bytes: Bytes = wire::Response { body: Some(body) }.encode_to_vec().into();
    let read = decode_canonical::<wire::Response>(&bytes, RESPONSE_BYTES_MAX);
    assert_eq!(read, Err(WireError::TooMany(&[3, 1])));
    // The same elements over several copies of the enclosing field, which protobuf would merge.
    let half = vec![wire::SlotRecord::default(); RANGE_SLOTS_MAX / 2 + 1];
    let body = wire::response::Body::Range(wire::RangeResponse { slots: half, more: false });
    let half = wire::Response { body: Some(body) }.encode_to_vec();
    let read = decode_canonical::<wire::Response>(&[half.clone(), half].concat().into(), RESPONSE_BYTES_MAX);
    assert_eq!(read, Err(WireError::TooMany(&[3, 1])));
}

#[test]
fn a_second_encoding_is_refused() {
    let head = wire::Head { process: vec![1; 32].into(), epoch: 1, slot: 2, assignment: Bytes::new() };
    let bytes = head.encode_to_vec();
    let read = |bytes: Vec<u8>| decode_canonical::<wire::Head>(&bytes.into(), 1024);
    assert_eq!(read(bytes.clone()), Ok(head));
    // An unknown field, a default that is written out, a number with a needless byte, a repeat.
    assert_eq!(read([&bytes[..], &[0x78, 1]].concat()), Err(WireError::NotCanonical));
    assert_eq!(read([&bytes[..], &[0x22, 0]].concat()), Err(WireError::NotCanonical));
    let long = [&bytes[..bytes.len() - 1], &[0x82, 0]].concat();
    assert_eq!(read(long), Err(WireError::NotCanonical));
    assert_eq!(read([&bytes[..], &[0x18, 2]].concat()), Err(WireError::NotCanonical));
    let swapped = [&bytes[34..], &bytes[..34]].concat();
    assert_eq!(read(swapped), Err(WireError::NotCanonical));
    assert_eq!(read(bytes[..10].to_vec()), Err(WireError::Malformed));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        weft_protocol::wire::fuzz_body(&bytes);
    }

    #[test]
    fn changed_messages_never_panic(at in 0_usize..3_000, flip in 1_u8.., cut in 0_usize..3_000) {
        use crate::fixture::*;
        let (proof, dispatch) = Sender::new(true).prove(MESSAGE);
        let push = Push::of(&proof, &dispatch, CARRIER);
        let mut log = Log::new(target());
        log.assign(None);
        let assignment = log.assign(Some(push.item.id()));
        let mut bytes =
            weft_protocol::record::to_wire(&assignment, &push.item, Some(&push.proof)).encode_to_vec();
        let (at, cut) = (at % bytes.len(), cut % bytes.len());
        bytes[at] ^= flip;
        weft_protocol::wire::fuzz_body(&bytes);
        weft_protocol::wire::fuzz_body(&bytes[..cut]);
    }
}
