//! What only peers of a later release can read.

use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use weft_protocol::Id;

/// The last field of an `Announcement` that has a meaning, by its number in `weft.proto`.
const FIELD_LAST: u32 = 9;

/// The field of it that names the process.
const FIELD_PROCESS: u32 = 1;

/// Whether bytes that are no announcement of this release may be one of a later release about a process: fields at their top
/// level, one of which has no meaning yet. An announcement names the process of its topic in any release.
pub(super) fn is_of_later_release(mut announcement: &[u8], process: Id) -> bool {
    let (mut is_later, mut is_its) = (false, false);
    while !announcement.is_empty() {
        let Ok((field, kind)) = decode_key(&mut announcement) else { return false };
        if (field, kind) == (FIELD_PROCESS, WireType::LengthDelimited) {
            let mut named = Vec::new();
            let read =
                prost::encoding::bytes::merge(kind, &mut named, &mut announcement, DecodeContext::default());
            if read.is_err() || named != process.0 {
                return false;
            }
            is_its = true;
        } else if skip_field(kind, field, &mut announcement, DecodeContext::default()).is_err() {
            return false;
        }
        is_later |= field > FIELD_LAST;
    }
    is_later && is_its
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;
    use weft_protocol::wire::announcement::Body;
    use weft_protocol::wire::{self, WireError, decode_canonical};

    use super::*;

    const PROCESS: Id = Id([1; 32]);

    /// Whoever adds one to these raises the number above.
    #[test]
    fn every_field_that_has_a_meaning_is_counted() {
        let number = |body: &Body| match body {
            Body::Slot(_) => 2,
            Body::Attestation(_) => 3,
            Body::Head(_) => 4,
            Body::Pending(_) => 5,
            Body::Offer(_) => 6,
            Body::Receipt(_) => 7,
            Body::Evidence(_) => 8,
            Body::Placed(_) => FIELD_LAST,
        };
        let last = Body::Placed(wire::Placed::default());
        assert_eq!(number(&last), 9);
        // The field's number is the key of its bytes, above the three bits of its kind.
        let bytes = wire::Announcement { process: bytes::Bytes::new(), body: Some(last) }.encode_to_vec();
        assert_eq!(u32::from(bytes[0]) >> 3, FIELD_LAST);
    }

    /// What has a meaning today is none of tomorrow, whatever it is worth, and neither is what has no fields.
    #[test]
    fn an_announcement_of_a_later_release_has_a_field_without_a_meaning() {
        let known = |body| wire::Announcement { process: vec![1; 32].into(), body }.encode_to_vec();
        let last = known(Some(Body::Placed(wire::Placed { to: 3, ..Default::default() })));
        let ends_badly = [&last[..], &[0]].concat();
        for bytes in
            [&known(None)[..], &last, &[], &[0x52], &[0x52, 9, 1], &[0x53], &[0x0b; 500], &ends_badly]
        {
            assert!(!is_of_later_release(bytes, PROCESS), "{bytes:02x?}");
        }
        // Field 10, and field 200.
        for later in [&[0x52, 1, 1][..], &[0x50, 7], &[0xc2, 0x0c, 0]] {
            let bytes: Bytes = [&last[..], later].concat().into();
            assert!(is_of_later_release(&bytes, PROCESS), "{bytes:02x?}");
            let read = decode_canonical::<wire::Announcement>(&bytes, bytes.len());
            assert_eq!(read, Err(WireError::NotCanonical));
            assert!(!is_of_later_release(&bytes, Id([2; 32])), "the topic is another's");
            // Of no process, or of another one beside this.
            assert!(!is_of_later_release(later, PROCESS));
            let other = wire::Announcement { process: vec![2; 32].into(), body: None }.encode_to_vec();
            assert!(!is_of_later_release(&[&bytes[..], &other].concat(), PROCESS));
        }
    }
}
