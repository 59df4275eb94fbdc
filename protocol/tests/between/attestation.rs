//! Attestations: one statement, one signature, one wire form.

use prost::Message as _;
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::wire::{self, WireError, decode_canonical};
use weft_protocol::{Hash, Id, Network, Position, Verified};

use crate::fixture::*;

fn statement() -> Statement {
    Statement {
        network: NETWORK,
        process: Id([1; 32]),
        position: Position { epoch: 2, slot: 3, tick: 4 },
        assignment: Id([5; 32]),
        running: Hash([6; 32]),
        state_root: Hash([7; 32]),
        rules: 8,
    }
}

fn others() -> [Statement; 7] {
    let said = statement();
    [
        Statement { network: Network(8), ..said },
        Statement { process: Id([9; 32]), ..said },
        Statement { position: Position { epoch: 9, slot: 3, tick: 4 }, ..said },
        Statement { assignment: Id([9; 32]), ..said },
        Statement { running: Hash([9; 32]), ..said },
        Statement { state_root: Hash::ZERO, ..said },
        Statement { rules: 9, ..said },
    ]
}

fn through_the_wire(attestation: &Verified<Attestation>) -> Vec<u8> {
    attestation.to_wire().encode_to_vec()
}

fn read(bytes: Vec<u8>, network: Network) -> Option<Verified<Attestation>> {
    let message: wire::Attestation = decode_canonical(&bytes.into(), 4096).ok()?;
    Attestation::from_wire(&message, network).ok()?.verify().ok()
}

#[test]
fn signed_bytes_are_the_rule_s() {
    let expected = [
        b"weft/attest/1".as_slice(),
        &7_u32.to_be_bytes(),
        &[1; 32],
        &2_u64.to_be_bytes(),
        &3_u64.to_be_bytes(),
        &4_u32.to_be_bytes(),
        &[5; 32],
        &[6; 32],
        &[7; 32],
        &8_u32.to_be_bytes(),
    ]
    .concat();
    assert_eq!(statement().to_bytes(), expected);
    let signed = statement().sign(&key(1)).unwrap();
    let golden = blake3::hash(&through_the_wire(&signed)).to_hex()[..32].to_owned();
    assert_eq!(golden, "5227a2ea5f7a41d9d62a92403f6c1d5c");
}

#[test]
fn an_attestation_survives_the_wire_on_its_network_only() {
    let signed = statement().sign(&key(1)).unwrap();
    assert_eq!(read(through_the_wire(&signed), NETWORK), Some(signed.clone()));
    assert_eq!(read(through_the_wire(&signed), Network(8)), None);
    assert_eq!(signed.attestor(), address(1));
}

#[test]
fn no_changed_byte_of_an_attestation_verifies() {
    let bytes = through_the_wire(&statement().sign(&key(1)).unwrap());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut forged = bytes.clone();
            forged[at] ^= 1 << bit;
            assert_eq!(read(forged, NETWORK), None, "byte {at} may change");
        }
    }
}

#[test]
fn a_key_contradicts_itself_only_about_one_assignment() {
    let said = statement().sign(&key(1)).unwrap();
    let contradicts = others().map(|other| said.contradicts(&other.sign(&key(1)).unwrap()));
    assert_eq!(contradicts, [false, false, false, false, true, true, true]);
    assert!(!said.contradicts(&said));
    let other_key = Statement { running: Hash::ZERO, ..statement() }.sign(&key(2)).unwrap();
    assert!(!said.contradicts(&other_key));
}

#[test]
fn schemes_of_wallets_and_wrong_lengths_are_refused() {
    let wire = statement().sign(&key(1)).unwrap().to_wire();
    let field = |message: wire::Attestation| Attestation::from_wire(&message, NETWORK).err();
    for scheme in [0, 3, 4, 5, 6, 7, 8, 65_538] {
        let refused = field(wire::Attestation { signature_type: scheme, ..wire.clone() });
        assert_eq!(refused, Some(WireError::Field("signature_type")));
    }
    let short = field(wire::Attestation { owner: wire.owner.slice(1..), ..wire.clone() });
    assert_eq!(short, Some(WireError::Field("owner")));
    let none = field(wire::Attestation { position: None, ..wire });
    assert_eq!(none, Some(WireError::Field("position")));
}
