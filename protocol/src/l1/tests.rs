//! Transactions and chunks from both sides. Golden values are in the conformance vectors.

#![allow(clippy::unwrap_used)]

use sha2::Digest as _;

use super::chunk::{
    self, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, ChunkError, chunk_ranges, prove_chunks, verify_chunk,
};
use super::*;

const WALLET: &str = include_str!("../../../tests/vectors/wallet.json");

fn draft() -> L1Draft {
    L1Draft {
        target: Some(Address([3; 32])),
        quantity: 1,
        reward: 10_u128.pow(20),
        last_tx: Bytes::from_static(&[7; 48]),
        tags: vec![L1Tag::new("Bundle-Format", "binary"), L1Tag::new("Bundle-Version", "2.0.0")],
        data: Bytes::from_static(b"data"),
    }
}

fn tx() -> Verified<L1Tx> {
    draft().sign(&Signer::from_jwk(WALLET).unwrap()).unwrap()
}

/// The verdict on the transaction's JSON after a change.
fn verdict(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), L1Error> {
    let mut json = serde_json::from_str(&tx().to_json()).unwrap();
    change(&mut json);
    L1Tx::parse_json(json.to_string().as_bytes())?.verify().map(|_| ())
}

#[test]
fn a_signed_transaction_reads_back() {
    let tx = tx();
    let read = L1Tx::parse_json(tx.to_json().as_bytes()).unwrap().verify().unwrap();
    assert_eq!(read, tx);
    assert!(tx.is_bundle());
    assert_eq!(tx.data_root(), chunk::data_root(b"data"));
    let other_wallet = L1Draft::default().sign(&Signer::from_seed(&[1; 32]));
    assert!(matches!(other_wallet, Err(L1Error::Signature(SignatureError::Signing(_)))));
    // The header alone is signed, whether or not the data comes with it.
    let header = L1Tx::parse_json(tx.to_header_json().as_bytes()).unwrap().verify().unwrap();
    assert_eq!((header.data().len(), header.to_json_with(b"data")), (0, tx.to_json()));
    let signer = Signer::from_jwk(WALLET).unwrap();
    let foreign = draft().sign_with(signer.owner_key().into(), |_| Ok(tx.signature().clone()));
    assert_eq!(foreign, Ok(tx.clone()), "the same draft, the same signature");
    let other = L1Draft { reward: 1, ..draft() };
    let foreign = other.sign_with(signer.owner_key().into(), |_| Ok(tx.signature().clone()));
    assert_eq!(foreign, Err(L1Error::Signature(SignatureError::Mismatch)));
    let empty = L1Draft::default().sign(&Signer::from_jwk(WALLET).unwrap()).unwrap();
    assert_eq!((empty.data_root(), empty.data_size()), (None, 0));
    assert_eq!(L1Tx::parse_json(empty.to_json().as_bytes()).unwrap().verify().unwrap(), empty);
}

#[test]
fn every_field_is_limited() {
    assert_eq!(verdict(|_| ()), Ok(()));
    assert_eq!(verdict(|json| json["format"] = 1.into()), Err(L1Error::Format(1)));
    assert_eq!(verdict(|json| json["denomination"] = "0".into()), Ok(()));
    for (field, values) in [
        ("id", &["", "A", "*"][..]),
        ("owner", &["", "AQAB"]),
        ("target", &["A", "AQAB"]),
        ("quantity", &["", "-1", "+1", "01", "1e3", "1000000000000000000000", "x"]),
        ("reward", &["1000000000000000000000", " 1"]),
        ("data_size", &["18446744073709551616", "0"]),
        ("data_root", &["", "AQAB"]),
        ("signature", &["", "AQAB"]),
        ("denomination", &["1"]),
        ("data", &["=", "A", "ZGF0YR"]),
    ] {
        for value in values {
            let expected =
                L1Error::Field(if field == "data_size" && *value == "0" { "data_root" } else { field });
            assert_eq!(verdict(|json| json[field] = (*value).into()), Err(expected), "{field} = {value}");
        }
    }
    let long = "A".repeat(68);
    assert_eq!(verdict(|json| json["last_tx"] = long.into()), Err(L1Error::Field("last_tx")));
    let long = "A".repeat(2800);
    assert_eq!(verdict(|json| json["tags"][0]["name"] = long.into()), Err(L1Error::Field("tags")));
    let empty = serde_json::json!({ "name": "", "value": "" });
    let many = vec![empty; L1_TAGS_MAX + 1];
    assert_eq!(verdict(|json| json["tags"] = many.into()), Err(L1Error::Field("tags")));
    assert!(matches!(verdict(|json| json["quantity"] = 1.into()), Err(L1Error::Malformed { .. })));
    let long = vec![b' '; L1_JSON_BYTES_MAX + 1];
    assert_eq!(L1Tx::parse_json(&long).map(|_| ()), Err(L1Error::TooLong(long.len())));
}

#[test]
fn nothing_that_is_signed_can_be_changed() {
    let mismatch = Err(L1Error::Signature(SignatureError::Mismatch));
    let other = Id([1; 32]).to_string();
    assert_eq!(verdict(|json| json["reward"] = "2".into()), mismatch);
    assert_eq!(verdict(|json| json["target"] = "".into()), mismatch);
    assert_eq!(verdict(|json| json["tags"][1]["value"] = "AA".into()), mismatch);
    assert_eq!(verdict(|json| json["data_size"] = "5".into()), mismatch);
    assert_eq!(verdict(|json| json["data"] = "ZGF0ZQ".into()), Err(L1Error::Data));
    assert_eq!(verdict(|json| json["data"] = "ZGF0".into()), Err(L1Error::Data));
    // Without inline data there is nothing to compare yet.
    assert_eq!(verdict(|json| json["data"] = "".into()), Ok(()));
    assert!(matches!(verdict(|json| json["id"] = other.into()), Err(L1Error::Id { .. })));
}

fn data(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 7) as u8 ^ (at >> 13) as u8).collect()
}

#[test]
fn chunks_are_cut_at_their_limits() {
    let lengths = |size| chunk_ranges(size).map(|range| range.len()).collect::<Vec<_>>();
    let (max, min) = (CHUNK_BYTES_MAX, CHUNK_BYTES_MIN);
    assert_eq!(lengths(0), [0; 0]);
    assert_eq!(lengths(1), [1]);
    assert_eq!(lengths(max), [max]);
    assert_eq!(lengths(max + 1), [max / 2 + 1, max / 2]);
    assert_eq!(lengths(max + min - 1), [(max + min) / 2, (max + min) / 2 - 1]);
    assert_eq!(lengths(max + min), [max, min]);
    assert_eq!(lengths(2 * max), [max, max]);
    assert_eq!(lengths(2 * max + 1), [max, max / 2 + 1, max / 2]);
}

#[test]
fn every_chunk_is_proven_at_every_offset_of_its_own() {
    for size in [1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX, 5 * CHUNK_BYTES_MAX + 40_000] {
        let data = data(size);
        let root = chunk::data_root(&data).unwrap();
        for proof in prove_chunks(&data) {
            let chunk = &data[proof.range.clone()];
            let range = proof.range.start as u64..proof.range.end as u64;
            let check = |offset| verify_chunk(&root, size as u64, offset, &proof.data_path, chunk);
            assert_eq!(check(range.start), Ok(range.clone()));
            assert_eq!(check(range.end - 1), Ok(range.clone()));
            assert!(check(range.end).is_err());
            assert!(range.start == 0 || check(range.start - 1).is_err());
        }
    }
}

#[test]
fn forged_chunks_are_refused() {
    let data = data(3 * CHUNK_BYTES_MAX);
    let (root, size) = (chunk::data_root(&data).unwrap(), data.len() as u64);
    let proof = &prove_chunks(&data)[1];
    let (chunk, path) = (&data[proof.range.clone()], &proof.data_path);
    let offset = proof.range.start as u64;
    let other = &data[..CHUNK_BYTES_MAX];
    assert_eq!(verify_chunk(&root, size, offset, path, other), Err(ChunkError::Chunk));
    assert_eq!(verify_chunk(&root, size, offset, path, &chunk[1..]), Err(ChunkError::Chunk));
    // A path that ends in the hash of other bytes, which a published library takes.
    let mut forged = path.to_vec();
    let leaf = forged.len() - 64;
    forged[leaf..leaf + 32].copy_from_slice(&crate::crypto::guest::sha256(other));
    assert_eq!(verify_chunk(&root, size, offset, &forged, other), Err(ChunkError::Path));
    for at in [0, 40, 80, path.len() - 1] {
        let mut bent = path.to_vec();
        bent[at] ^= 1;
        assert_eq!(verify_chunk(&root, size, offset, &bent, chunk), Err(ChunkError::Path), "{at}");
    }
    for length in [0, 63, 65, path.len() - 1] {
        let cut = verify_chunk(&root, size, offset, &path[..length], chunk);
        assert_eq!(cut, Err(ChunkError::PathLength(length)));
    }
    let long = vec![0; chunk::DATA_PATH_BYTES_MAX + 64];
    assert_eq!(verify_chunk(&root, size, offset, &long, chunk), Err(ChunkError::PathLength(long.len())));
    let outside = ChunkError::Offset { offset: size, data_size: size };
    assert_eq!(verify_chunk(&root, size, size, path, chunk), Err(outside));
    assert_eq!(verify_chunk(&root, size + 1, size, path, chunk), Err(ChunkError::Path));
    assert_eq!(verify_chunk(&Hash::ZERO, size, offset, path, chunk), Err(ChunkError::Path));
}

#[test]
fn a_path_leads_to_its_transaction_and_to_no_other() {
    let all: Vec<(Hash, u64)> = (0..5).map(|at| (Hash([at; 32]), 100 + u64::from(at))).collect();
    let total: u64 = all.iter().map(|(_, bytes)| bytes).sum();
    let paths = chunk::prove_transactions(&all);
    // The root of two leaves, by hand, is what the shortest path ends in.
    let root = |path: &[u8]| {
        let (first, _) = path.split_first_chunk::<96>().unwrap();
        let [left, right, note]: [&[u8]; 3] = [&first[..32], &first[32..64], &first[64..]];
        let hash = |bytes: &[u8]| sha2::Sha256::digest(bytes).to_vec();
        Hash(hash(&[hash(left), hash(right), hash(note)].concat()).try_into().unwrap())
    };
    let root = root(&paths[0]);
    let mut start = 0;
    for ((data_root, bytes), path) in all.iter().zip(&paths) {
        let range = start..start + bytes;
        for offset in [range.start, range.end - 1] {
            let found = chunk::verify_path(&root, total, offset, path).unwrap();
            assert_eq!(found, (*data_root, range.clone()));
        }
        for offset in [range.start.wrapping_sub(1), range.end] {
            assert!(chunk::verify_path(&root, total, offset, path).is_err(), "{offset}");
        }
        let mut bad = path.to_vec();
        bad[3] ^= 1;
        assert!(chunk::verify_path(&root, total, range.start, &bad).is_err());
        start = range.end;
    }
    assert!(chunk::prove_transactions(&[]).is_empty());
}
