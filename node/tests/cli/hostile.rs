//! Items that mean harm, as large as they may be and many at once, at the gateway of a real node: each is refused by
//! name, the node stays as small as it was, and others are answered meanwhile.

use weft_protocol::Tag;
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::limits::ITEM_BYTES_MAX;

use super::gateway::{assert_lives, post, start};
use super::node::Node;
use super::skip::skip;

/// How often all are sent, and by how many at once: two gigabytes in all.
const ROUNDS: usize = 4;
const CLIENTS: usize = 8;
/// What they may cost in memory at any time: three times what bodies may take together.
const MORE_BYTES_MAX: u64 = 3 * 128 * 1024 * 1024;

/// A message as long as a body may be.
fn long(process: &str, number: usize) -> Vec<u8> {
    let signer = Signer::from_seed(&[77; 32]);
    let named = [("Data-Protocol", "ao"), ("Type", "Message"), ("Number", &*number.to_string())];
    let tags = named.map(|(name, value)| Tag::new(name, value)).into();
    let data = vec![b'x'; ITEM_BYTES_MAX - 1_024].into();
    let draft = Draft { target: Some(process.parse().unwrap()), tags, data, ..Draft::default() };
    draft.sign(&signer).unwrap().raw().to_vec()
}

/// What makes a message do harm: a word of what is said of it, where, and the bytes there.
fn harms() -> [(&'static str, usize, Vec<u8>); 6] {
    // Type, signature, owner, target, no anchor: then the two counts of the tags.
    const COUNTS: usize = 2 + 64 + 32 + 1 + 32 + 1;
    let most = u64::MAX.to_le_bytes().to_vec();
    let endless = vec![0xfe, 0xff, 0xff, 0xff, 0x0f];
    [
        ("signature", 10, vec![0; 4]),
        ("signature", ITEM_BYTES_MAX / 2, b"y".to_vec()),
        ("tags", COUNTS, most.clone()),
        ("tags", COUNTS + 8, most),
        // A block of the tags that says it has more entries, or a longer text, than there are bytes.
        ("tags", COUNTS + 16, endless.clone()),
        ("tags", COUNTS + 17, endless),
    ]
}

/// The most memory that the node had so far, in bytes, where the system says so.
fn peak(node: &Node) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.ready["pid"])).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

#[test]
fn large_items_that_mean_harm_cost_little_memory_and_hold_up_nobody() {
    let (node, address) = start();
    let process = node.counter();
    // Without harm it is taken.
    let (status, told) = post(&address, "/", &long(&process, usize::MAX));
    assert!(status < 300, "{status} {told}");
    let before = peak(&node);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, process) = (&address, &process);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let good = long(process, client * ROUNDS + round);
                    for (word, at, bytes) in harms() {
                        let mut raw = good.clone();
                        raw[at..at + bytes.len()].copy_from_slice(&bytes);
                        let (status, told) = post(address, "/", &raw);
                        let is_named = told["error"].as_str().is_some_and(|said| said.contains(word));
                        assert!(status == 400 && is_named, "{word}: {status} {told}");
                    }
                }
            });
        }
        for slot in 2..=5 {
            let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
            assert_eq!((&sent["slot"], &sent["result"]["code"]), (&slot.into(), &0.into()), "{sent}");
            assert_lives(&address);
        }
    });
    assert_lives(&address);
    let (Some(before), Some(after)) = (before, peak(&node)) else {
        assert_ne!(std::env::consts::OS, "linux", "the memory of a program cannot be read");
        let test = "hostile::large_items_that_mean_harm_cost_little_memory_and_hold_up_nobody";
        return skip(test, "no memory was asserted: the system does not tell how much a program had (/proc)")
            .unwrap();
    };
    let more = after.saturating_sub(before) >> 20;
    assert!(after < before + MORE_BYTES_MAX, "{more} MiB more than the {} MiB before", before >> 20);
}
