//! What RULES.md 6.12 refuses, for each scheme, next to what it takes.

#![allow(clippy::unwrap_used)]

use ed25519_dalek::{Signer as _, SigningKey};
use k256::ecdsa::SigningKey as EthereumKey;
use sha3::{Digest, Keccak256};

use super::*;

const WALLET: &str = include_str!("../../../tests/vectors/wallet.json");
/// The order of the ed25519 base point, little-endian.
const ED25519_ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
/// The order of the secp256k1 base point, big-endian.
const SECP256K1_ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// a + b over equally long big-endian numbers; `None` when it does not fit.
fn add(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut carry = 0;
    let mut out = vec![0; a.len()];
    for at in (0..a.len()).rev() {
        let sum = u16::from(a[at]) + u16::from(b[at]) + carry;
        out[at] = sum as u8;
        carry = sum >> 8;
    }
    (carry == 0).then_some(out)
}

/// a - b, where a is larger.
fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut out = vec![0; a.len()];
    for at in (0..a.len()).rev() {
        let difference = i16::from(a[at]) - i16::from(b[at]) - borrow;
        out[at] = difference as u8;
        borrow = i16::from(difference < 0);
    }
    out
}

/// The ed25519 schemes with one key: the owner, the signature.
fn ed25519_schemes(message: &[u8]) -> Vec<(SignatureType, Vec<u8>, Vec<u8>)> {
    let key = key(1);
    let hex = hex::encode(message);
    let aptos = format!("APTOS\nmessage: {hex}\nnonce: bundlr");
    [
        (SignatureType::Ed25519, message),
        (SignatureType::Solana, hex.as_bytes()),
        (SignatureType::InjectedAptos, aptos.as_bytes()),
    ]
    .into_iter()
    .map(|(kind, text)| (kind, key.verifying_key().to_bytes().to_vec(), key.sign(text).to_bytes().to_vec()))
    .collect()
}

fn plus_order(signature: &[u8]) -> Vec<u8> {
    let mut s: Vec<u8> = signature[32..].iter().rev().copied().collect();
    let order: Vec<u8> = hex::decode(ED25519_ORDER).unwrap().into_iter().rev().collect();
    s = add(&s, &order).unwrap();
    s.reverse();
    [&signature[..32], &s].concat()
}

/// The neutral point as key and R, and S = 0, satisfy the plain equation for every message.
fn small_order() -> (Vec<u8>, Vec<u8>) {
    let mut neutral = vec![0; 32];
    neutral[0] = 1;
    (neutral.clone(), [neutral, vec![0; 32]].concat())
}

#[test]
fn ed25519_schemes_take_one_signature_only() {
    let message = [7; 48];
    for (kind, owner, signature) in ed25519_schemes(&message) {
        assert_eq!(verify_signature(kind, &owner, &message, &signature), Ok(()), "{kind:?}");
        let other = verify_signature(kind, &owner, &[8; 48], &signature);
        assert_eq!(other, Err(SignatureError::Mismatch), "{kind:?}");
        let shifted = verify_signature(kind, &owner, &message, &plus_order(&signature));
        assert_eq!(shifted, Err(SignatureError::Mismatch), "{kind:?}: S + order");
        let (weak, forged) = small_order();
        assert!(
            ed25519_dalek::VerifyingKey::from_bytes(&weak.clone().try_into().unwrap()).unwrap().is_weak()
        );
        let forgery = verify_signature(kind, &weak, &message, &forged);
        assert_eq!(forgery, Err(SignatureError::Key), "{kind:?}: small-order key");
    }
}

/// A key that is a true one and a point of order eight, and signatures of it that the plain equation takes: for each point
/// of small order as R, a message of which that is so. Made apart from the code under test.
const MIXED_KEY: &str = "9ea3f11f5bd34f0cd7147fd0a436c088f624c6100c1df6a53c0a29e05d60cea0";
const SMALL_ORDER_R: [(u64, &str); 8] = [
    (
        0,
        "00000000000000000000000000000000000000000000000000000000000000800d3c628b99e985baec8216e7ed1550e900b4f76d05dfa1f1d7a5bffddf481204",
    ),
    (
        0,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85fec78c254cd90840eec580e20ccb5136786b02f5d4f4fb608563bc3fca35bb0c",
    ),
    (
        2,
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a00a223f8c654f760a6326f6807ee986790ac07b4be99e5c19f4d125667433500",
    ),
    (
        2,
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa3d6c01bbc82eeb09bdbd7e063fea901987ca8a5875b5e301c974769ff2424506",
    ),
    (
        8,
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7ff86a19e108f4be30488d919b06d007c67a69fa1b7fd7eca46dd0b835ed063406",
    ),
    (
        9,
        "0000000000000000000000000000000000000000000000000000000000000000d39b6a5c8c9cfefc742c522b486957a2f20b28e572cb6a21755ef7ec12478707",
    ),
    (
        11,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05a26a2d6d9aba9091ef9a9d2f0d99dacee3fef0ec8bf2aa1faecc9081c8c0ad00",
    ),
    (
        12,
        "010000000000000000000000000000000000000000000000000000000000000094367407a96c3ac7a03ddd912221d6b91ece10093752b7a1952c68222d469205",
    ),
];

#[test]
fn an_r_of_small_order_is_refused() {
    let owner = hex::decode(MIXED_KEY).unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(owner.as_slice().try_into().unwrap()).unwrap();
    assert!(!key.is_weak());
    let mut met = std::collections::BTreeSet::new();
    for (number, signature) in SMALL_ORDER_R {
        let message = [&number.to_be_bytes()[..], &[7; 40]].concat();
        let signature = hex::decode(signature).unwrap();
        let read = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        assert!(ed25519_dalek::Verifier::verify(&key, &message, &read).is_ok(), "the equation holds");
        assert!(key.verify_strict(&message, &read).is_err());
        assert_eq!(verify_ed25519(&owner, &message, &signature), Err(SignatureError::Mismatch));
        met.insert(<[u8; 32]>::try_from(&signature[..32]).unwrap());
    }
    for point in &met {
        assert!(ed25519_dalek::VerifyingKey::from_bytes(point).unwrap().is_weak());
    }
    assert_eq!(met.len(), 8, "there are no others");
}

/// The library's strict check of the same bytes, from a key that is read anew.
fn strictly(owner: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(owner.try_into().unwrap());
    let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
    key.is_ok_and(|key| !key.is_weak() && key.verify_strict(message, &signature).is_ok())
}

#[test]
fn every_bit_of_an_ed25519_signature_and_its_key_counts_as_in_the_strict_check() {
    let message = [7; 48];
    let (owner, signature) = (key(3).verifying_key().to_bytes(), key(3).sign(&message).to_bytes());
    assert!(verify_ed25519(&owner, &message, &signature).is_ok() && strictly(&owner, &message, &signature));
    let all = [&owner[..], &signature].concat();
    for bit in 0..all.len() * 8 {
        let mut changed = all.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (owner, signature) = changed.split_at(32);
        assert!(verify_ed25519(owner, &message, signature).is_err(), "bit {bit}");
        assert!(!strictly(owner, &message, signature), "bit {bit}");
    }
}

/// A thread keeps a few keys ready: which ones those are must not show.
#[test]
fn keys_in_any_order_and_number_judge_their_own_signatures_alone() {
    let message = [7; 48];
    let (weak, forged) = small_order();
    let all: Vec<([u8; 32], [u8; 64])> = (1..=20)
        .map(|seed| (key(seed).verifying_key().to_bytes(), key(seed).sign(&message).to_bytes()))
        .collect();
    for step in [1, 3, 7, 19] {
        for turn in 0..3 * all.len() {
            let at = turn * step % all.len();
            let (owner, signature) = &all[at];
            let (_, other) = &all[(at + 1) % all.len()];
            assert_eq!(verify_ed25519(owner, &message, signature), Ok(()), "{step}, {turn}");
            assert_eq!(verify_ed25519(owner, &message, other), Err(SignatureError::Mismatch));
            assert_eq!(verify_ed25519(&weak, &message, &forged), Err(SignatureError::Key));
        }
    }
}

#[test]
fn schemes_over_the_same_key_do_not_mix() {
    let message = [7; 48];
    let schemes = ed25519_schemes(&message);
    for (kind, ..) in &schemes {
        for (signed, owner, signature) in &schemes {
            let valid = verify_signature(*kind, owner, &message, signature).is_ok();
            assert_eq!(valid, kind == signed, "{signed:?} read as {kind:?}");
        }
    }
}

/// A type 6 owner of keys 1, 2, 3 and the signature of those in `signers`.
fn multi(threshold: u8, signers: &[u8], message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut owner = vec![0; aptos::OWNER_BYTES];
    let mut signature = vec![0; aptos::SIGNATURE_BYTES];
    owner[1024] = threshold;
    for seed in 1..=3 {
        let at = usize::from(seed - 1);
        owner[32 * at..32 * at + 32].copy_from_slice(key(seed).verifying_key().as_bytes());
        if signers.contains(&seed) {
            signature[64 * at..64 * at + 64].copy_from_slice(&key(seed).sign(message).to_bytes());
            signature[2048] |= 0x80 >> at;
        }
    }
    (owner, signature)
}

#[test]
fn multi_aptos_needs_exactly_its_threshold() {
    let message = [7; 48];
    let verdict = |threshold, signers: &[u8]| {
        let (owner, signature) = multi(threshold, signers, &message);
        verify_signature(SignatureType::MultiAptos, &owner, &message, &signature)
    };
    assert_eq!(verdict(2, &[1, 3]), Ok(()));
    assert_eq!(verdict(3, &[1, 2, 3]), Ok(()));
    assert_eq!(verdict(0, &[2]), Ok(()));
    for (threshold, signers) in
        [(0, &[][..]), (1, &[]), (2, &[]), (2, &[1]), (2, &[1, 2, 3]), (33, &[1, 2, 3])]
    {
        assert_eq!(verdict(threshold, signers), Err(SignatureError::Mismatch), "{threshold} {signers:?}");
    }
}

#[test]
fn multi_aptos_takes_one_signature_only() {
    let message = [7; 48];
    let (owner, good) = multi(2, &[1, 3], &message);
    let verdict = |signature: &[u8]| verify_signature(SignatureType::MultiAptos, &owner, &message, signature);
    assert_eq!(verdict(&good), Ok(()));
    let mut free_slot = good.clone();
    free_slot[64] = 1;
    assert_eq!(verdict(&free_slot), Err(SignatureError::Mismatch), "a written free slot");
    let mut shifted = good.clone();
    shifted[..64].copy_from_slice(&plus_order(&good[..64]));
    assert_eq!(verdict(&shifted), Err(SignatureError::Mismatch), "S + order");
    let mut bad_second = good.clone();
    bad_second[128] ^= 1;
    assert_eq!(verdict(&bad_second), Err(SignatureError::Mismatch), "the second signature is bad");
    let (mut weak_owner, mut weak) = multi(2, &[1, 3], &message);
    let (point, forged) = small_order();
    weak_owner[..32].copy_from_slice(&point);
    weak[..64].copy_from_slice(&forged);
    let verdict = verify_signature(SignatureType::MultiAptos, &weak_owner, &message, &weak);
    assert_eq!(verdict, Err(SignatureError::Key), "small-order key");
}

/// An Ethereum key's owner and signature of a digest.
fn ethereum(digest: &[u8; 32]) -> ([u8; 65], Vec<u8>) {
    let key = EthereumKey::from_slice(&[9; 32]).unwrap();
    let (signature, id) = key.sign_prehash_recoverable(digest);
    let owner = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
    (owner, [&signature.to_bytes()[..], &[27 + id.to_byte()]].concat())
}

#[test]
fn ethereum_takes_one_signature_only() {
    let message = [7; 48];
    let digest = Keccak256::digest([&b"\x19Ethereum Signed Message:\n48"[..], &message].concat());
    let (owner, signature) = ethereum(&digest.into());
    let address = format!("0x{}", hex::encode(&Keccak256::digest(&owner[1..])[12..]));
    check_ethereum(SignatureType::Ethereum, &owner, &signature);

    let typed = typed_digest(&address, &message);
    let (_, signature) = ethereum(&typed);
    check_ethereum(SignatureType::TypedEthereum, address.as_bytes(), &signature);
    for text in [address.to_uppercase(), address.to_uppercase().replacen("0X", "0x", 1)] {
        let verdict = verify_signature(SignatureType::TypedEthereum, text.as_bytes(), &message, &signature);
        assert_eq!(verdict, Err(SignatureError::Key));
    }
}

fn typed_digest(address: &str, message: &[u8]) -> [u8; 32] {
    // Written out apart from the code under test.
    let mut domain = Vec::new();
    for text in ["EIP712Domain(string name,string version)", "Bundlr", "1"] {
        domain.extend(Keccak256::digest(text));
    }
    let mut data = Keccak256::digest("Bundlr(bytes Transaction hash,address address)").to_vec();
    data.extend(Keccak256::digest(message));
    data.extend([0; 12]);
    data.extend(hex::decode(&address[2..]).unwrap());
    let mut all = vec![0x19, 0x01];
    all.extend(Keccak256::digest(domain));
    all.extend(Keccak256::digest(data));
    Keccak256::digest(all).into()
}

fn check_ethereum(kind: SignatureType, owner: &[u8], signature: &[u8]) {
    let order = hex::decode(SECP256K1_ORDER).unwrap();
    let verdict = |signature: &[u8]| verify_signature(kind, owner, &[7; 48], signature);
    let with = |r: &[u8], s: &[u8], v: u8| [r, s, &[v]].concat();
    let (r, s, v) = (&signature[..32], &signature[32..64], signature[64]);
    assert_eq!(verdict(signature), Ok(()), "{kind:?}");
    assert!(verify_signature(kind, owner, &[8; 48], signature).is_err());

    let twin = with(r, &subtract(&order, s), 55 - v);
    assert_eq!(verdict(&twin), Err(SignatureError::Mismatch), "{kind:?}: high-s twin");
    // Without the rule the twin would be a second signature of the same key.
    let twin_key = k256::ecdsa::Signature::from_slice(&twin[..64]).unwrap().normalize_s();
    assert_eq!(&twin_key.to_bytes()[..], &signature[..64]);
    let wrapped = subtract(&[0xff; 32], &order);
    for (name, r, s) in [
        ("s + n, wrapped", r, &add(s, &wrapped).unwrap()[..]),
        ("s = n", r, &order),
        ("s = 0", r, &[0; 32]),
        ("r = n", &order, s),
        ("r = 0", &[0; 32], s),
        ("r too large", &[0xff; 32], s),
    ] {
        assert!(verdict(&with(r, s, v)).is_err(), "{kind:?}: {name}");
    }
    for v in [0, 1, 26, 29, 30, 31, 37, 38, 55 - v] {
        assert!(verdict(&with(r, s, v)).is_err(), "{kind:?}: v = {v}");
    }
}

#[test]
fn rsa_takes_one_signature_only() {
    let signer = Signer::from_jwk(WALLET).unwrap();
    let modulus = signer.owner_key();
    let verdict = |modulus: &[u8], message: &[u8], signature: &[u8]| {
        verify_signature(SignatureType::Rsa, modulus, message, signature)
    };
    // The first message whose signature stays in 512 bytes when the modulus is added.
    let (message, signature, sum) = (0..=u8::MAX)
        .find_map(|n| {
            let signature = signer.sign(&[n; 48]).unwrap();
            let sum = add(&signature, &modulus)?;
            Some(([n; 48], signature, sum))
        })
        .unwrap();
    assert_eq!(verdict(&modulus, &message, &signature), Ok(()));
    assert_eq!(verdict(&modulus, &[0xee; 48], &signature), Err(SignatureError::Mismatch));
    assert_eq!(verdict(&modulus, &message, &sum), Err(SignatureError::Mismatch), "signature + modulus");
    assert_eq!(verdict(&modulus, &message, &modulus), Err(SignatureError::Mismatch), "signature = modulus");
    assert_eq!(verdict(&modulus, &message, &[0; 512]), Err(SignatureError::Mismatch), "zero");
    assert_eq!(verdict(&modulus, &message, &signature[1..]), Err(SignatureError::Mismatch), "short");
    let mut even = modulus.clone();
    even[511] &= 0xfe;
    let mut small = modulus.clone();
    small[0] &= 0x7f;
    for bad in [even, small, modulus[1..].to_vec(), [&[0], &modulus[..]].concat(), Vec::new()] {
        assert_eq!(verdict(&bad, &message, &signature), Err(SignatureError::Key));
    }
}

#[test]
fn rsa_signs_as_openssl_does_without_salt() {
    let signer = Signer::from_jwk(WALLET).unwrap();
    assert_eq!(signer.signature_type(), SignatureType::Rsa);
    assert_eq!(signer.address().to_string(), "zpt0ceC3I6mT_2WpUdO0F3yFnBdeDTpQdZCJQF-JV_Y");
    // Made with Node 20's crypto.sign("sha256", ..., RSA_PKCS1_PSS_PADDING, saltLength 0).
    let expected = "f5bbf7894befce4f52e5324403aee53956ba419c992e4993ab28cb42f20f33e7";
    for _ in 0..2 {
        let signature = signer.sign(b"weft test message").unwrap();
        assert_eq!(hex::encode(guest::sha256(&signature)), expected);
        assert!(guest::rsa_pss_verify(&signer.owner_key(), b"weft test message", &signature));
    }
}

#[test]
fn wallets_are_refused_with_the_reason_and_without_their_text() {
    let wallet: serde_json::Value = serde_json::from_str(WALLET).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut wallet = wallet.clone();
        wallet[field] = value;
        Signer::from_jwk(&wallet.to_string()).map(|_| ())
    };
    let other_d = wallet["n"].clone();
    assert_eq!(with("kty", "OKP".into()), Err(JwkError::Kind));
    assert_eq!(with("d", serde_json::Value::Null), Err(JwkError::Missing("d")));
    assert_eq!(with("q", "*".into()), Err(JwkError::Encoding("q")));
    assert_eq!(with("e", "Aw".into()), Err(JwkError::Exponent));
    assert_eq!(with("n", "gAAB".into()), Err(JwkError::Size(24)));
    assert_eq!(with("d", other_d), Err(JwkError::Inconsistent));
    assert_eq!(with("p", wallet["q"].clone()), Err(JwkError::Inconsistent));
    assert!(matches!(with("d", 1_234_567.into()), Err(JwkError::Malformed { .. })));
    let error = with("d", 1_234_567.into()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("1234567"));
    assert!(matches!(Signer::from_jwk("{"), Err(JwkError::Malformed { line: 1, .. })));
}

#[test]
fn a_printed_signer_shows_its_address_alone() {
    for signer in [Signer::from_seed(&[1; 32]), Signer::from_jwk(WALLET).unwrap()] {
        assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.address()));
    }
}

#[test]
fn wrong_lengths_are_refused_by_every_scheme() {
    for kind in SignatureType::ALL {
        let owner = vec![1; kind.owner_bytes()];
        let signature = vec![1; kind.signature_bytes()];
        assert_eq!(SignatureType::from_number(kind.number()), Some(kind));
        for (owner, signature) in [
            (&owner[1..], &signature[..]),
            (&owner[..], &signature[1..]),
            (&[][..], &[][..]),
            (&owner[..], &signature[..]),
        ] {
            assert!(verify_signature(kind, owner, &[7; 48], signature).is_err(), "{kind:?}");
        }
    }
}

#[test]
fn guest_functions_have_their_known_values() {
    // The digests of "abc" as the standards print them.
    assert_eq!(
        hex::encode(guest::sha256(b"abc")),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        hex::encode(guest::sha384(b"abc")),
        concat!(
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163",
            "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
        )
    );
    assert_eq!(
        hex::encode(guest::keccak256(b"abc")),
        "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    );
    assert_eq!(
        hex::encode(guest::blake3(b"abc")),
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    );
    let digest = guest::keccak256(b"abc");
    let (owner, signature) = ethereum(&digest);
    assert_eq!(guest::secp256k1_recover(&digest, &signature), Some(owner));
    assert_eq!(guest::secp256k1_recover(&digest[1..], &signature), None);
    let signer = Signer::from_seed(&[1; 32]);
    let signature = signer.sign(b"abc").unwrap();
    assert!(guest::ed25519_verify(&signer.owner_key(), b"abc", &signature));
    assert!(!guest::ed25519_verify(&signer.owner_key(), b"abd", &signature));
}
