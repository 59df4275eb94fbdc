#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const PAGE: u64 = LEAF_BYTES as u64;

fn id(byte: u8) -> String {
    Id([byte; 32]).to_string()
}

/// The tags of a checkpoint, as the reference writes them.
fn tags() -> Vec<Tag> {
    let all = [
        ("Data-Protocol", "ao".to_owned()),
        ("Variant", "ao.TN.1".into()),
        ("Type", "Checkpoint".into()),
        ("Module", id(1)),
        ("Process", id(2)),
        ("Nonce", "17".into()),
        ("Timestamp", "1717171717171".into()),
        ("Block-Height", "1440000".into()),
        ("Content-Type", "application/octet-stream".into()),
        ("SHA-256", "Ab".repeat(32)),
        ("Content-Encoding", "gzip".into()),
        ("Assignment", id(3)),
        ("Hash-Chain", id(4)),
    ];
    all.into_iter().map(|(name, value)| Tag::new(name, value)).collect()
}

/// The tags with one of another value, or without it.
fn with(name: &str, value: Option<&str>) -> Vec<Tag> {
    let mut all = tags();
    all.retain(|tag| tag.name != name);
    all.extend(value.map(|value| Tag::new(name, value)));
    all
}

fn zip(memory: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(memory).unwrap();
    encoder.finish().unwrap()
}

/// What comes out, and how many pages were handed over.
fn unzip(data: &[u8], bytes_max: u64) -> (Result<Unpacked, MemoryError>, u32) {
    let mut pages = 0;
    let unpacked = unpack(data, bytes_max, |number, page| {
        assert_eq!((number, page.len()), (pages, LEAF_BYTES));
        pages += 1;
        Ok(())
    });
    (unpacked, pages)
}

#[test]
fn tags_are_read() {
    let claims = Claims::read(&tags()).unwrap();
    let expected = Claims {
        process: Id([2; 32]),
        module: Id([1; 32]),
        slot: 17,
        epoch: 0,
        timestamp: 1_717_171_717_171,
        block_height: 1_440_000,
        cron: None,
        assignment: Some(Id([3; 32])),
        hash_chain: Some(Hash([4; 32])),
        sha256: "ab".repeat(32),
    };
    assert_eq!(claims, expected);
    let of_cron = [with("Cron-Interval", Some("0-5-minutes")), vec![Tag::new("Epoch", "2")]].concat();
    let claims = Claims::read(&of_cron).unwrap();
    assert_eq!((claims.cron.as_deref(), claims.epoch), (Some("0-5-minutes"), 2));
    for optional in ["Assignment", "Hash-Chain", "Variant", "Content-Type"] {
        assert!(Claims::read(&with(optional, None)).is_ok(), "{optional}");
    }
}

#[test]
fn a_tag_that_is_missing_or_wrong_is_named() {
    let needed = [
        "Data-Protocol",
        "Type",
        "Content-Encoding",
        "Process",
        "Module",
        "Nonce",
        "Timestamp",
        "Block-Height",
        "SHA-256",
    ];
    for name in needed {
        assert_eq!(Claims::read(&with(name, None)), Err(ClaimError::Missing(name)));
    }
    let wrong = [
        ("Data-Protocol", "AO"),
        ("Type", "Message"),
        ("Content-Encoding", "br"),
        ("Process", "me"),
        ("Module", "6oYAxVAnH8yKsZKpMgHSbRv7uVWey68PAqYuSXeZBbh"),
        ("Nonce", "-1"),
        ("Nonce", "+1"),
        ("Nonce", "1.0"),
        ("Nonce", "undefined"),
        ("Nonce", "18446744073709551616"),
        ("Timestamp", " 1"),
        ("Block-Height", "0x10"),
        ("Epoch", "one"),
        ("Assignment", "none"),
        ("Hash-Chain", "AAAA"),
        ("SHA-256", "abcd"),
    ];
    for (name, value) in wrong {
        let error = Claims::read(&with(name, Some(value))).unwrap_err();
        assert!(error.to_string().contains(&format!("tag {name} is `{value}`")), "{error}");
    }
    let long = Claims::read(&with("Nonce", Some(&"x".repeat(3_000)))).unwrap_err();
    assert!(long.to_string().len() < 200, "{long}");
}

#[test]
fn a_memory_is_unpacked_page_by_page() {
    let mut memory = vec![0; 5 * LEAF_BYTES];
    memory[3 * LEAF_BYTES + 7] = 9;
    let mut back = Vec::new();
    let unpacked = unpack(&zip(&memory), 5 * PAGE, |_, page| {
        back.extend_from_slice(page);
        Ok::<(), MemoryError>(())
    });
    let unpacked = unpacked.unwrap();
    assert!(back == memory);
    assert_eq!((unpacked.bytes, unpacked.sha256), (5 * PAGE, hex(&Sha256::digest(&memory))));
    assert_eq!(unzip(&zip(&[]), PAGE).0.unwrap().bytes, 0);
    // Whoever takes the pages may have enough of them.
    let full = unpack(&zip(&memory), 5 * PAGE, |number, _| match number {
        0..2 => Ok(()),
        _ => Err(MemoryError::TooLarge(0)),
    });
    assert_eq!(full, Err(MemoryError::TooLarge(0)));
}

#[test]
fn a_bomb_is_not_unpacked_beyond_the_limit() {
    let bomb = zip(&vec![0; 1_000 * LEAF_BYTES]);
    assert!(bomb.len() * 900 < 1_000 * LEAF_BYTES, "{} bytes are no bomb", bomb.len());
    for pages in [0, 1, 10, 999] {
        let (unpacked, taken) = unzip(&bomb, pages * PAGE);
        assert_eq!(unpacked, Err(MemoryError::TooLarge(pages * PAGE)));
        assert_eq!(u64::from(taken), pages);
    }
    assert_eq!(unzip(&bomb, 1_000 * PAGE).0.unwrap().bytes, 1_000 * PAGE);
}

#[test]
fn what_is_damaged_is_named() {
    let mut memory = vec![0; 2 * LEAF_BYTES];
    for (at, byte) in memory.iter_mut().enumerate() {
        *byte = (at * at / 7) as u8;
    }
    let whole = zip(&memory);
    let error = |data: &[u8]| unzip(data, 1 << 20).0.unwrap_err();
    for length in [0, 1, 9, 10, 11, whole.len() / 2, whole.len() - 9, whole.len() - 8, whole.len() - 1] {
        assert!(matches!(error(&whole[..length]), MemoryError::Truncated(_)), "cut at {length}");
    }
    assert_eq!(error(b"hello there, this is no gzip"), MemoryError::NotGzip);
    assert_eq!(error(&memory[..1_000]), MemoryError::NotGzip);
    let flipped = |at: usize| {
        let mut data = whole.clone();
        data[at] ^= 1;
        error(&data)
    };
    // The checksum, and the length behind it.
    for at in [whole.len() - 8, whole.len() - 1] {
        let found = flipped(at);
        assert!(matches!(&found, MemoryError::Damaged { after: 131_072, .. }), "{found:?}");
        assert!(found.to_string().contains("checksum"), "{found}");
    }
    // Whatever a byte in the middle makes of the rest, it is not taken for the memory.
    let middle = flipped(whole.len() / 2);
    assert!(matches!(middle, MemoryError::Damaged { .. } | MemoryError::Truncated(_)), "{middle:?}");
    assert_eq!(error(&[&whole[..], &[0]].concat()), MemoryError::Trailing(1));
    // The reference writes one stream; a second is no part of it.
    assert_eq!(error(&[&whole[..], &whole[..]].concat()), MemoryError::Trailing(whole.len()));
    assert_eq!(error(&zip(&memory[..LEAF_BYTES + 1])), MemoryError::NotPages(PAGE + 1));
}
