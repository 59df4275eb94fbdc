//! Items that mean harm, as large as they may be and many at once, at the gateway of a real node: each is refused by
//! name, the node stays as small as it was, and others are answered meanwhile.

use weft_protocol::Tag;
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::limits::ITEM_BYTES_MAX;

use super::gateway::{assert_lives, post, start};
use super::node::Node;

/// How often all are sent, and by how many at once: a gigabyte in all.
const ROUNDS: usize = 2;
const CLIENTS: usize = 8;
/// What they may cost in memory at any time: the largest bodies that are read at once, and some copies.
const MORE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A message as long as a body may be, of which one thing is wrong: what that is, and what is said of it.
fn harmful(process: &str, number: u64) -> Vec<(&'static str, Vec<u8>)> {
    // Type, signature, owner, target, no anchor: then the two counts of the tags.
    const COUNTS: usize = 2 + 64 + 32 + 1 + 32 + 1;
    let signer = Signer::from_seed(&[77; 32]);
    let named = [("Data-Protocol", "ao"), ("Type", "Message"), ("Number", &*number.to_string())];
    let tags = named.map(|(name, value)| Tag::new(name, value)).into();
    let data = vec![b'x'; ITEM_BYTES_MAX - 1_024].into();
    let draft = Draft { target: Some(process.parse().unwrap()), tags, data, ..Draft::default() };
    let raw = draft.sign(&signer).unwrap().raw().to_vec();
    let with = |at: usize, bytes: &[u8]| {
        let mut raw = raw.clone();
        raw[at..at + bytes.len()].copy_from_slice(bytes);
        raw
    };
    let most = u64::MAX.to_le_bytes();
    vec![
        ("signature", with(10, &[raw[10] ^ 1])),
        ("signature", with(raw.len() - 1, b"y")),
        ("tags", with(COUNTS, &most)),
        ("tags", with(COUNTS + 8, &most)),
        // A block of the tags that says it has more entries, or a longer text, than there are bytes.
        ("tags", with(COUNTS + 16, &[0xfe, 0xff, 0xff, 0xff, 0x0f])),
        ("tags", with(COUNTS + 17, &[0xfe, 0xff, 0xff, 0xff, 0x0f])),
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
    let before = peak(&node);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, process) = (&address, &process);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    for (part, raw) in harmful(process, (client * ROUNDS + round) as u64) {
                        let (status, told) = post(address, "/", &raw);
                        let is_named =
                            status == 400 && told["error"].as_str().is_some_and(|said| said.contains(part));
                        assert!(is_named || status == 429 || status == 503, "{part}: {status} {told}");
                    }
                }
            });
        }
        for slot in 1..=4 {
            let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
            assert_eq!((&sent["slot"], &sent["result"]["code"]), (&slot.into(), &0.into()), "{sent}");
            assert_lives(&address);
        }
    });
    assert_lives(&address);
    if let (Some(before), Some(after)) = (before, peak(&node)) {
        let more = after.saturating_sub(before) >> 20;
        assert!(after < before + MORE_BYTES_MAX, "{more} MiB more than the {} MiB before", before >> 20);
    }
}
