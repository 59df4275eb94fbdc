//! Where a log's batches lie on a weave, by the word of its scheduler (RULES.md 6.14).
//!
//! A hint and nothing more: it says to whoever looks for the slots under which name gateways may have them. What is there
//! proves itself.

use crate::crypto::{SignatureError, Signer};
use crate::id::{Address, Id, Network};
use crate::key_signature::KeySignature;
use crate::verify::{Unverified, Verified};
use crate::wire::{self, WireError};

/// Characters of a weave's name.
pub const WEAVE_CHARS_MAX: usize = 64;

/// Whether a weave can have this name: 1 to 64 characters of printable ASCII without spaces.
pub fn is_weave_name(name: &str) -> bool {
    (1..=WEAVE_CHARS_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where some slots of a log lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The network.
    pub network: Network,
    /// The log.
    pub process: Id,
    /// The name of the weave.
    pub weave: String,
    /// The transaction, or the item of an upload service, that gateways know the bundle by; else the root of its bytes.
    pub bundle: Id,
    /// The first slot.
    pub from: u64,
    /// The last slot.
    pub to: u64,
    /// The height of the block.
    pub height: u64,
}

impl Place {
    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(13 + 4 + 32 + 8 + 8 + 32 + 8 + self.weave.len());
        out.extend_from_slice(b"weft/placed/1");
        out.extend_from_slice(&self.network.to_bytes());
        out.extend_from_slice(&self.process.0);
        out.extend_from_slice(&self.from.to_be_bytes());
        out.extend_from_slice(&self.to.to_be_bytes());
        out.extend_from_slice(&self.bundle.0);
        out.extend_from_slice(&self.height.to_be_bytes());
        out.extend_from_slice(self.weave.as_bytes());
        out
    }

    /// Signs it.
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn sign(self, signer: &Signer) -> Result<Verified<Placed>, SignatureError> {
        let signature = KeySignature::sign(signer, &self.to_bytes())?;
        Ok(Verified(Placed { place: self, signature }))
    }
}

/// A place with the signature of who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    place: Place,
    signature: KeySignature,
}

impl Placed {
    /// What is said.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Who says it.
    pub fn signer(&self) -> Address {
        self.signature.address()
    }

    /// Reads the wire form; network and process are those of the topic that it came on.
    ///
    /// # Errors
    /// A field that is missing or out of range.
    pub fn from_wire(
        message: &wire::Placed,
        network: Network,
        process: Id,
    ) -> Result<Unverified<Self>, WireError> {
        let name = std::str::from_utf8(&message.weave).ok();
        let weave = name.filter(|name| is_weave_name(name)).ok_or(WireError::Field("weave"))?.to_owned();
        let &wire::Placed { from, to, height, .. } = message;
        if from > to {
            return Err(WireError::Field("to"));
        }
        let bundle = wire::id("bundle", &message.bundle)?;
        let place = Place { network, process, weave, bundle, from, to, height };
        let signature = KeySignature::from_parts(message.signature_type, &message.owner, &message.signature)?;
        Ok(Unverified(Self { place, signature }))
    }

    /// The wire form.
    pub fn to_wire(&self) -> wire::Placed {
        let Place { weave, bundle, from, to, height, .. } = &self.place;
        wire::Placed {
            weave: wire::bytes(weave),
            bundle: wire::bytes(bundle),
            from: *from,
            to: *to,
            height: *height,
            signature_type: self.signature.signature_type().number().into(),
            owner: self.signature.owner_key().clone(),
            signature: self.signature.signature().clone(),
        }
    }
}

impl Unverified<Placed> {
    /// Checks the signature. Whether the key's word counts is for the caller to say.
    ///
    /// # Errors
    /// Why it is not that key's signature over the place.
    pub fn verify(self) -> Result<Verified<Placed>, SignatureError> {
        self.0.signature.verify(&self.0.place.to_bytes())?;
        Ok(Verified(self.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NETWORK: Network = Network(7);
    const PROCESS: Id = Id([1; 32]);

    fn placed() -> Verified<Placed> {
        let weave = "arweave.N.1".to_owned();
        let place = Place {
            network: NETWORK,
            process: PROCESS,
            weave,
            bundle: Id([2; 32]),
            from: 3,
            to: 9,
            height: 5,
        };
        place.sign(&Signer::from_seed(&[1; 32])).unwrap()
    }

    #[test]
    fn what_is_signed_has_one_form() {
        let mut expected = b"weft/placed/1\0\0\0\x07".to_vec();
        expected.extend([[1; 32].as_slice(), &3_u64.to_be_bytes(), &9_u64.to_be_bytes(), &[2; 32]].concat());
        expected.extend([5_u64.to_be_bytes().as_slice(), b"arweave.N.1"].concat());
        assert_eq!(placed().place().to_bytes(), expected);
    }

    #[test]
    fn it_reads_back_and_each_field_is_signed() {
        let placed = placed();
        let read = Placed::from_wire(&placed.to_wire(), NETWORK, PROCESS).unwrap().verify().unwrap();
        assert_eq!((&read, read.signer()), (&placed, Signer::from_seed(&[1; 32]).address()));
        let changes: [fn(&mut wire::Placed); 5] = [
            |message| message.weave = "arweave.N.2".into(),
            |message| message.bundle = wire::bytes(Id([3; 32])),
            |message| message.from = 4,
            |message| message.to = 10,
            |message| message.height = 6,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut message = placed.to_wire();
            change(&mut message);
            assert!(Placed::from_wire(&message, NETWORK, PROCESS).unwrap().verify().is_err(), "field {at}");
        }
        for (network, process) in [(Network(8), PROCESS), (NETWORK, Id([9; 32]))] {
            assert!(Placed::from_wire(&placed.to_wire(), network, process).unwrap().verify().is_err());
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        type Change = fn(&mut wire::Placed);
        let changes: [(Change, &str); 6] = [
            (|message| message.weave = "".into(), "weave"),
            (|message| message.weave = "a b".into(), "weave"),
            (|message| message.weave = vec![b'a'; WEAVE_CHARS_MAX + 1].into(), "weave"),
            (|message| message.bundle = "short".into(), "bundle"),
            (|message| message.from = 10, "to"),
            (|message| message.owner = "short".into(), "owner"),
        ];
        for (change, field) in changes {
            let mut message = placed().to_wire();
            change(&mut message);
            let error = Placed::from_wire(&message, NETWORK, PROCESS).unwrap_err();
            assert_eq!(error, WireError::Field(field));
        }
    }
}
