//! Items parsed and verified a second on one core, beside the strict check of the signature alone as its library has it,
//! from a key that is read anew each time. Items cost parsing and hashing beside that, and of ed25519 less for the
//! check itself: a thread keeps keys ready, as a log has few.
//!
//! The same thread checks items and bare signatures in turns; printed is the middle turn.
//! `cargo bench -p weft-protocol --bench verify [-- --quick]`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use rsa::pss::Signature as RsaSignature;
use rsa::signature::Verifier as _;
use rsa::{BoxedUint, RsaPublicKey};
use sha2::Sha256;
use weft_protocol::crypto::Signer;
use weft_protocol::{DataItem, Draft, Id, Tag};

/// An RSA key of 4096 bits, for tests.
const WALLET: &str = include_str!("../../tests/vectors/wallet.json");
const TURNS: usize = 5;
/// What a signature is over: a SHA-384.
const MESSAGE_BYTES: usize = 48;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.iter().any(|argument| argument == flag);
    // `tests/run` only asks whether it runs.
    let (ed25519, rsa) = if is("--test") || !is("--bench") {
        (10, 2)
    } else if is("--quick") {
        (10_000, 500)
    } else {
        (50_000, 2_500)
    };
    measure_ed25519(ed25519);
    measure_rsa(rsa);
}

/// As a client's library writes a transfer.
fn item(signer: &Signer, number: u64) -> Bytes {
    let pairs = [
        ("Data-Protocol", "ao"),
        ("Variant", "ao.TN.1"),
        ("Type", "Message"),
        ("SDK", "aoconnect"),
        ("Action", "Transfer"),
        ("Recipient", "rJXjYc2Jw1oO2rp0Yl1l3M0cC7mZk2o4nA9uWq5Xb8E"),
        ("Quantity", "1000000000000"),
    ];
    let tags = pairs.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    let data = Bytes::from(number.to_string());
    let draft = Draft { target: Some(Id([7; 32])), tags, data, ..Draft::default() };
    draft.sign(signer).unwrap().raw().clone()
}

fn message(number: usize) -> [u8; MESSAGE_BYTES] {
    let mut message = [7; MESSAGE_BYTES];
    message[..8].copy_from_slice(&(number as u64).to_be_bytes());
    message
}

/// The items and the bare checks in turns.
fn compare(name: &str, items: &[Bytes], mut bare: impl FnMut(usize)) {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        let started = Instant::now();
        for item in items {
            DataItem::verify_bytes(item.clone()).unwrap();
        }
        times[0].push(started.elapsed());
        let started = Instant::now();
        (0..items.len()).for_each(&mut bare);
        times[1].push(started.elapsed());
    }
    let [items_took, bare_took] = times.map(|mut times| {
        times.sort_unstable();
        times[TURNS / 2]
    });
    let count = items.len() as f64;
    let each = |took: Duration| took.as_secs_f64() / count;
    println!(
        "{name}: {:.0} items/s of {} bytes ({:.1} us each), bare signatures {:.0}/s ({:.1} us), ratio {:.2}",
        1.0 / each(items_took),
        items[0].len(),
        each(items_took) * 1e6,
        1.0 / each(bare_took),
        each(bare_took) * 1e6,
        each(items_took) / each(bare_took),
    );
}

fn measure_ed25519(count: usize) {
    let signer = Signer::from_seed(&[1; 32]);
    let items: Vec<Bytes> = (0..count).map(|number| item(&signer, number as u64)).collect();
    let key: [u8; 32] = signer.owner_key().try_into().unwrap();
    let signed: Vec<[u8; 64]> =
        (0..count).map(|number| signer.sign(&message(number)).unwrap().try_into().unwrap()).collect();
    compare("ed25519", &items, |number| {
        let key = VerifyingKey::from_bytes(&key).unwrap();
        key.verify_strict(&message(number), &signed[number].into()).unwrap();
    });
}

fn measure_rsa(count: usize) {
    let signer = Signer::from_jwk(WALLET).unwrap();
    // Signing takes longer than checking; a few signatures do for all turns.
    let few = count.min(50);
    let items: Vec<Bytes> = (0..few).map(|number| item(&signer, number as u64)).collect();
    let items: Vec<Bytes> = items.into_iter().cycle().take(count).collect();
    let modulus = signer.owner_key();
    let signed: Vec<RsaSignature> = (0..few)
        .map(|number| RsaSignature::try_from(signer.sign(&message(number)).unwrap().as_slice()).unwrap())
        .collect();
    compare("RSA-PSS 4096", &items, |number| {
        let modulus = BoxedUint::from_be_slice(&modulus, 4096).unwrap();
        let key = RsaPublicKey::new(modulus, BoxedUint::from(65_537_u64)).unwrap();
        let key = rsa::pss::VerifyingKey::<Sha256>::new_with_auto_salt_len(key);
        key.verify(&message(number % few), &signed[number % few]).unwrap();
    });
}
