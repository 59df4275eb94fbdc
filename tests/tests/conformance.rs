//! Every line of every vector in `tests/vectors`, read by our code: see the README there.
//!
//! A field that these structures do not name, a file that no test reads and a line that does not
//! parse are failures, so no vector can be left out by accident.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "conformance/checkpoints.rs"]
mod checkpoints;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_node::anchor::post::chunk_json;
use weft_protocol::bundle::{Bundle, is_bundle};
use weft_protocol::crypto::{SignatureType, Signer, guest};
use weft_protocol::l1::block::BlockData;
use weft_protocol::l1::chunk::{ChunkError, chunk_ranges, data_root, prove_chunks, verify_chunk};
use weft_protocol::l1::{L1Error, L1Tx};
use weft_protocol::{DataItem, Draft, Hash, Tag, tag};
use weft_storage::anchor;

/// The files, each with its number of lines; none for a file that is one value.
const FILES: [(&str, Option<usize>); 8] = [
    ("README.md", None),
    ("ans104.jsonl", Some(31)),
    ("blocks.jsonl", Some(6)),
    ("bundles.jsonl", Some(6)),
    ("checkpoints.jsonl", Some(3)),
    ("keys.json", None),
    ("l1tx.jsonl", Some(10)),
    ("wallet.json", None),
];

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors"].iter().collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn lines<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let text = read(name);
    let parse = |(at, line)| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}, line {}: {error}", at + 1))
    };
    let lines: Vec<T> = text.lines().enumerate().map(parse).collect();
    let expected = FILES.iter().find(|(file, _)| *file == name).and_then(|(_, count)| *count);
    assert_eq!(Some(lines.len()), expected, "{name}");
    lines
}

fn base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The data that `data_gen` describes.
fn det(size: usize) -> Vec<u8> {
    let block = |n: usize| guest::sha256(format!("block {n}").as_bytes());
    (0..size.div_ceil(32)).flat_map(block).take(size).collect()
}

#[test]
fn every_vector_file_is_read() {
    let entries = std::fs::read_dir(folder()).unwrap();
    let found: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let known: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known);
}

// ------------------------------------------------------------------------------------- items

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemVector {
    name: String,
    kind: String,
    raw: String,
    size: usize,
    arbundles_verify: bool,
    strict_valid: bool,
    sig_type: u16,
    id: String,
    owner: String,
    owner_address: String,
    target: String,
    anchor: String,
    /// None where arbundles itself could not read them.
    tags: Option<Vec<Tag>>,
    raw_tags_b64: String,
    data_sha256: String,
    data_len: usize,
    /// What arbundles read, beyond 2^53 where the header was garbage.
    data_offset: f64,
    deep_hash: String,
    eth_address: Option<String>,
    data_gen: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

impl ItemVector {
    fn bytes(&self) -> Bytes {
        let mut raw = STANDARD.decode(&self.raw).unwrap();
        if self.data_gen.is_some() {
            raw.extend(det(self.data_len));
        }
        assert_eq!(raw.len(), self.size, "{}", self.name);
        raw.into()
    }

    fn check(&self, item: &DataItem) {
        let name = &self.name;
        assert_eq!(item.signature_type().number(), self.sig_type, "{name}");
        assert_eq!(item.id().to_string(), self.id, "{name}");
        assert_eq!(item.owner_key(), base64url(&self.owner), "{name}");
        assert_eq!(item.owner().to_string(), self.owner_address, "{name}");
        assert_eq!(item.target().map_or_else(String::new, |id| id.to_string()), self.target, "{name}");
        assert_eq!(item.anchor().map_or(&[][..], |anchor| anchor), base64url(&self.anchor), "{name}");
        assert_eq!(Some(item.tags()), self.tags.as_deref(), "{name}");
        assert_eq!(item.raw_tags(), STANDARD.decode(&self.raw_tags_b64).unwrap(), "{name}");
        assert_eq!(hex(&guest::sha256(&item.data())), self.data_sha256, "{name}");
        assert_eq!(item.data().len(), self.data_len, "{name}");
        assert_eq!((item.raw().len() - item.data().len()) as f64, self.data_offset, "{name}");
        assert_eq!(hex(&item.signing_hash()), self.deep_hash, "{name}");
        match (item.signature_type(), &self.eth_address) {
            (SignatureType::Ethereum, Some(address)) => {
                assert_eq!(item.owner_text().to_lowercase(), *address, "{name}");
            }
            (SignatureType::TypedEthereum, Some(address)) => {
                assert_eq!(item.owner_key(), address.as_bytes(), "{name}");
            }
            (_, address) => assert!(address.is_none() && item.owner_text() == self.owner_address, "{name}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn items_get_their_strict_verdict() {
    let mut valid_types = BTreeSet::new();
    for vector in lines::<ItemVector>("ans104.jsonl") {
        assert_eq!(vector.kind, "item", "{}", vector.name);
        let parsed = DataItem::parse(vector.bytes());
        if let Ok(item) = &parsed {
            vector.check(item.claims());
        }
        let verdict = parsed.map(|item| item.verify());
        assert_eq!(matches!(verdict, Ok(Ok(_))), vector.strict_valid, "{}: {verdict:?}", vector.name);
        if vector.strict_valid {
            assert!(vector.arbundles_verify, "{}: we never accept what arbundles refuses", vector.name);
            valid_types.insert(vector.sig_type);
        }
    }
    assert_eq!(valid_types, (1..=7).collect(), "a valid item of every type");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(rename = "note")]
    _note: String,
    ed25519: BTreeMap<String, Ed25519Key>,
    ethereum: BTreeMap<String, EthereumKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ed25519Key {
    seed: String,
    #[serde(rename = "pub")]
    public: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EthereumKey {
    #[serde(rename = "priv")]
    _private: String,
    address: String,
}

/// The ed25519 seeds by public key, each checked against the rule that made it.
fn seeds(keys: &Keys) -> BTreeMap<Vec<u8>, [u8; 32]> {
    let mut seeds = BTreeMap::new();
    for (label, key) in &keys.ed25519 {
        let seed = guest::sha256(format!("hyperbeam-p2p TEST ONLY {label}").as_bytes());
        let public = Signer::from_seed(&seed).owner_key();
        assert_eq!((hex(&seed), hex(&public)), (key.seed.clone(), key.public.clone()), "{label}");
        seeds.insert(public, seed);
    }
    seeds
}

#[test]
fn ed25519_items_repeat_byte_for_byte() {
    let seeds = seeds(&serde_json::from_str(&read("keys.json")).unwrap());
    let mut repeated = BTreeMap::new();
    for vector in lines::<ItemVector>("ans104.jsonl").iter().filter(|vector| vector.strict_valid) {
        let item = DataItem::verify_bytes(vector.bytes()).unwrap();
        let Some(seed) = seeds.get(item.owner_key()) else { continue };
        let hash = item.signing_hash();
        let text = match item.signature_type() {
            SignatureType::Solana => hex(&hash),
            SignatureType::InjectedAptos => format!("APTOS\nmessage: {}\nnonce: bundlr", hex(&hash)),
            _ => {
                let draft = Draft {
                    target: item.target(),
                    anchor: item.anchor().copied(),
                    tags: item.tags().to_vec(),
                    data: item.data(),
                };
                let ours = draft.sign(&Signer::from_seed(seed)).unwrap();
                // Tags that were written in two blocks are legal, and we write one.
                let is_one_block = tag::encode(item.tags()).unwrap() == item.raw_tags();
                assert_eq!(ours.raw() == item.raw(), is_one_block, "{}", vector.name);
                *repeated.entry((2, is_one_block)).or_insert(0) += 1;
                continue;
            }
        };
        let signature = SigningKey::from_bytes(seed).sign(text.as_bytes());
        assert_eq!(signature.to_bytes(), item.signature(), "{}", vector.name);
        *repeated.entry((vector.sig_type, true)).or_insert(0) += 1;
    }
    assert_eq!(repeated, [((2, false), 1), ((2, true), 5), ((4, true), 1), ((5, true), 1)].into());
}

#[test]
fn the_ethereum_key_is_the_one_that_signed() {
    let keys: Keys = serde_json::from_str(&read("keys.json")).unwrap();
    let named = keys.ethereum.values().map(|key| key.address.clone()).collect::<BTreeSet<_>>();
    let vectors = lines::<ItemVector>("ans104.jsonl");
    let signed = vectors.into_iter().filter_map(|vector| vector.eth_address).collect::<BTreeSet<_>>();
    assert_eq!(named, signed);
}

// ----------------------------------------------------------------------------------- bundles

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleVector {
    name: String,
    kind: String,
    raw: String,
    size: usize,
    strict_valid: bool,
    count: Option<usize>,
    ids: Option<Vec<String>>,
    /// What arbundles read, beyond 2^53 where the header was garbage.
    sizes: Option<Vec<f64>>,
    arbundles_verify: bool,
    #[serde(rename = "arbundles_throws")]
    _arbundles_throws: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

/// How many items of each foreign bundle count, where its frame is sound.
const LENIENT: [(&str, Option<usize>); 6] = [
    ("mixed_10", Some(10)),
    ("empty_0", Some(0)),
    ("bad_header_id", Some(9)),
    ("bad_count_plus1", None),
    ("bad_item_inside", Some(1)),
    ("huge_count", None),
];

#[test]
fn bundles_get_their_strict_and_lenient_verdicts() {
    for vector in lines::<BundleVector>("bundles.jsonl") {
        let name = &vector.name;
        let raw = Bytes::from(STANDARD.decode(&vector.raw).unwrap());
        assert_eq!((raw.len(), &vector.kind[..]), (vector.size, "bundle"), "{name}");
        let bundle = Bundle::parse(raw.clone());
        let strict = bundle.clone().and_then(|bundle| bundle.verify());
        assert_eq!(strict.is_ok(), vector.strict_valid, "{name}: {strict:?}");
        assert!(vector.arbundles_verify || !vector.strict_valid, "{name}");
        let verified = |bundle: &Bundle| {
            bundle.items().filter(|item| item.clone().is_ok_and(|item| item.verify().is_ok())).count()
        };
        let lenient = LENIENT.iter().find(|(known, _)| known == name).expect("a known vector").1;
        assert_eq!(bundle.as_ref().map(verified).ok(), lenient, "{name}");
        if let Ok(bundle) = &bundle {
            let (ids, sizes): (Vec<_>, Vec<_>) =
                bundle.entries().map(|(id, range)| (id.to_string(), range.len() as f64)).unzip();
            assert_eq!(Some(bundle.len()), vector.count, "{name}");
            assert_eq!((Some(ids), Some(sizes)), (vector.ids, vector.sizes), "{name}");
        }
        if let Ok(items) = strict {
            assert_eq!(*Bundle::build(&items).raw(), raw, "{name}: builds the same bytes");
            for nested in items.iter().filter(|item| is_bundle(item.tags())) {
                Bundle::parse(nested.data()).unwrap().verify().unwrap();
            }
        }
    }
}

// -------------------------------------------------------------------------------- transactions

#[derive(Deserialize)]
struct TxVector {
    name: String,
    tx: serde_json::Value,
    verify: bool,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl TxVector {
    /// The other fields: all of them, or none.
    fn details(&self) -> Option<TxDetails> {
        let rest = serde_json::Value::from(self.rest.clone());
        (!self.rest.is_empty()).then(|| serde_json::from_value(rest).unwrap())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TxDetails {
    #[serde(rename = "data_gen")]
    _data_gen: String,
    data_size: usize,
    data_sha256: String,
    data_in_tx: bool,
    deep_hash_sha384_hex: String,
    deep_hash_fields: BTreeMap<String, String>,
    id: String,
    owner_address: String,
    data_root: String,
    n_chunks: usize,
    chunks: Vec<ChunkVector>,
    chunk_post_json_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChunkVector {
    min: usize,
    max: usize,
    data_hash: String,
    proof_offset: usize,
    data_path: String,
}

impl TxDetails {
    fn check_tx(&self, name: &str, tx: &L1Tx) {
        assert_eq!(tx.id().to_string(), self.id, "{name}");
        assert_eq!(tx.owner().to_string(), self.owner_address, "{name}");
        assert_eq!(hex(&tx.signing_hash()), self.deep_hash_sha384_hex, "{name}");
        assert_eq!(tx.data_size(), self.data_size as u64, "{name}");
        assert_eq!(tx.data_root().unwrap().to_string(), self.data_root, "{name}");
        assert_eq!(!tx.data().is_empty(), self.data_in_tx, "{name}");
        for (field, expected) in &self.deep_hash_fields {
            let ours = match &field[..] {
                "format" => "2".into(),
                "owner" => URL_SAFE_NO_PAD.encode(tx.owner_key()),
                "target" => tx.target().map_or_else(String::new, |target| target.to_string()),
                "quantity" => tx.quantity().to_string(),
                "reward" => tx.reward().to_string(),
                "last_tx" => URL_SAFE_NO_PAD.encode(tx.last_tx()),
                "data_size" => tx.data_size().to_string(),
                "data_root" => self.data_root.clone(),
                // A remark on the encoding, which the deep hash proves.
                "tags" => continue,
                _ => panic!("{name}: unknown field {field}"),
            };
            assert_eq!(ours, *expected, "{name}: {field}");
        }
    }

    fn check_chunks(&self, name: &str) {
        let data = det(self.data_size);
        assert_eq!(hex(&guest::sha256(&data)), self.data_sha256, "{name}");
        let root = data_root(&data).unwrap();
        assert_eq!(root.to_string(), self.data_root, "{name}");
        let proofs = prove_chunks(&data);
        assert!(chunk_ranges(data.len()).eq(proofs.iter().map(|proof| proof.range.clone())));
        assert_eq!((proofs.len(), self.chunks.len()), (self.n_chunks, self.n_chunks), "{name}");
        for (ours, theirs) in proofs.iter().zip(&self.chunks) {
            assert_eq!(ours.range, theirs.min..theirs.max, "{name}");
            assert_eq!(ours.range.end - 1, theirs.proof_offset, "{name}");
            assert_eq!(ours.data_hash, theirs.data_hash.parse::<Hash>().unwrap(), "{name}");
            assert_eq!(ours.data_path, base64url(&theirs.data_path), "{name}");
            let chunk = &data[ours.range.clone()];
            let size = self.data_size as u64;
            let place = verify_chunk(&root, size, theirs.proof_offset as u64, &ours.data_path, chunk);
            assert_eq!(place, Ok(theirs.min as u64..theirs.max as u64), "{name}");
        }
        // What is posted of our own bytes comes from arweave-rs: the same, byte for byte.
        assert_eq!(anchor::data_root(&data), Some(root), "{name}");
        assert_eq!(anchor::chunks(&data), proofs, "{name}");
        for (ours, theirs) in proofs.iter().zip(&self.chunks) {
            let posted = chunk_json(&root, &data, ours);
            let posted = posted.as_object().unwrap();
            let keys: Vec<String> = posted.keys().map(|key| format!("{key}:string")).collect();
            assert_eq!(self.chunk_post_json_keys, keys, "{name}");
            assert!(posted.values().all(serde_json::Value::is_string), "{name}");
            assert_eq!(posted["data_path"], theirs.data_path, "{name}");
            assert_eq!(posted["offset"], theirs.proof_offset.to_string(), "{name}");
        }
    }
}

#[test]
fn transactions_and_their_chunks_verify() {
    for vector in lines::<TxVector>("l1tx.jsonl") {
        let name = &vector.name;
        let verdict = L1Tx::parse_json(vector.tx.to_string().as_bytes()).unwrap().verify();
        assert_eq!(verdict.is_ok(), vector.verify, "{name}: {verdict:?}");
        let details = vector.details();
        assert_eq!(details.is_some(), vector.verify, "{name}");
        if let (Ok(tx), Some(details)) = (&verdict, &details) {
            details.check_tx(name, tx);
            details.check_chunks(name);
            let again = L1Tx::parse_json(tx.to_json().as_bytes()).unwrap().verify();
            assert_eq!(again.as_ref(), Ok(tx), "{name}");
        }
    }
}

// ------------------------------------------------------------------------------------ blocks

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockVector {
    name: String,
    block: Value,
    transactions: Vec<PlaceVector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceVector {
    data_size: u64,
    data_root: Hash,
    offset: u64,
    tx_path: String,
}

#[test]
fn paths_lead_from_a_block_to_the_data_of_its_transactions() {
    for BlockVector { name, block: json, transactions } in lines::<BlockVector>("blocks.jsonl") {
        let block = BlockData::parse_json(json.to_string().as_bytes()).unwrap();
        for (at, one) in transactions.iter().enumerate() {
            assert_eq!(data_root(&det(one.data_size as usize)), Some(one.data_root), "{name}");
            let path = base64url(&one.tx_path);
            let check =
                |block: &BlockData, offset| block.verify(&one.data_root, one.data_size, offset, &path);
            assert_eq!(check(&block, one.offset), Ok(()), "{name} {at}");
            // Another place, block, size or root.
            for offset in [0, block.start, one.offset - 1, one.offset + 1, block.end + 1, u64::MAX] {
                assert!(check(&block, offset).is_err(), "{name} {at}: {offset}");
            }
            for other in [
                BlockData { root: Hash::ZERO, ..block },
                BlockData { start: block.start + 1, ..block },
                BlockData { end: one.offset - 1, ..block },
            ] {
                assert!(check(&other, one.offset).is_err(), "{name} {at}: {other:?}");
            }
            for (root, size) in [(one.data_root, one.data_size + 1), (Hash::ZERO, one.data_size)] {
                let found = block.verify(&root, size, one.offset, &path);
                assert_eq!(found, Err(ChunkError::Data(one.data_root)), "{name} {at}");
            }
            for byte in 0..path.len() {
                let mut path = path.clone();
                path[byte] ^= 1;
                let found = block.verify(&one.data_root, one.data_size, one.offset, &path);
                assert!(found.is_err(), "{name} {at}: byte {byte} of the path");
            }
        }
        for field in ["tx_root", "weave_size", "block_size"] {
            for wrong in [Value::Null, "".into(), "-1".into(), serde_json::json!([1])] {
                let mut json = json.clone();
                json[field] = wrong;
                assert!(BlockData::parse_json(json.to_string().as_bytes()).is_err(), "{name}: {field}");
            }
        }
    }
}

#[test]
fn a_transaction_has_the_id_of_its_signature() {
    let mut vector: TxVector = lines("l1tx.jsonl").swap_remove(0);
    vector.tx["id"] = Hash::ZERO.to_string().into();
    let verdict = L1Tx::parse_json(vector.tx.to_string().as_bytes()).unwrap().verify();
    assert!(matches!(verdict, Err(L1Error::Id { .. })), "{verdict:?}");
}
