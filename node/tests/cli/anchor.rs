//! Batches that go to a weave for a fee: to that of another node, by signed transactions.

use serde_json::{Value, json};

use super::node::{Node, until, until_is, up};
use super::recover::liar::Liar;

const WALLET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/wallet.json");

/// A node whose weave others may post to.
fn keeper() -> (Node, String) {
    let node = Node::start_with(&["--weave-listen", "0", "--weave-accepts", "true"]);
    let address = node.ready["weave_api"].as_str().unwrap().to_owned();
    (node, address)
}

/// The flags of one that posts there.
fn paying<'a>(address: &'a str, limit: &'a str) -> Vec<&'a str> {
    vec![
        "--anchor",
        "arweave",
        "--anchor-gateways",
        address,
        "--anchor-weave",
        "weft.local",
        "--anchor-wallet",
        WALLET,
        "--anchor-day-limit",
        limit,
        "--anchor-confirmations",
        "3",
        "--anchor-check-ms",
        "100",
    ]
}

fn increment(node: &Node, process: &str, times: usize) {
    for _ in 0..times {
        node.json(&["send", process, "--action", "Increment", "--wait"]);
    }
}

fn anchored(node: &Node, process: &str) -> Value {
    let all = node.json(&["processes"]);
    all.as_array().unwrap().iter().find(|one| one["process"] == process).unwrap()["anchored"].clone()
}

fn settled(node: &Node, process: &str, slot: u64) {
    until("all slots to be final", || match anchored(node, process) {
        found if found == json!(slot) => Ok(()),
        found => Err(format!("slot {found}: {}", node.json(&["anchor", "status"]))),
    });
}

#[test]
fn logs_of_two_nodes_go_to_the_weave_of_a_third_and_come_back() {
    let (keeper, address) = keeper();
    let flags = paying(&address, "1000000");
    let (one, two) = (Node::start_with(&flags), Node::start_with(&flags));
    assert_eq!(one.ready["weave"], "weft.local");
    assert!(!one.ready["leaves"].as_str().unwrap().contains("nowhere else"), "{}", one.ready);
    let logs = [one.counter(), two.counter()];
    increment(&one, &logs[0], 7);
    increment(&two, &logs[1], 3);
    // One is killed with whatever is on its way, and goes on.
    let one = Node::start_as(one.killed(), &flags);
    increment(&one, &logs[0], 2);
    settled(&one, &logs[0], 9);
    settled(&two, &logs[1], 3);
    for node in [&one, &two] {
        // What is attested late goes in a batch of its own.
        let info = all_final(node);
        assert_eq!((&info["backend"], &info["weave"]), (&json!("arweave"), &json!("weft.local")), "{info}");
        assert_eq!(info["gateways"][0]["network"], "weft.local");
        let postings = info["postings"].as_array().unwrap();
        assert!(!postings.is_empty());
        // Each was signed once, and costs what the weave asks: 1,000 and as much for each chunk, and the margin.
        for posting in postings {
            assert_eq!((&posting["state"], &posting["signed"]), (&json!("final"), &json!(1)), "{posting}");
            let chunks = posting["bytes"].as_u64().unwrap().div_ceil(256 * 1024);
            assert_eq!(posting["winston"], json!((1 + chunks) * 1_100), "{posting}");
        }
        let paid: u64 = postings.iter().map(|posting| posting["winston"].as_u64().unwrap()).sum();
        assert_eq!((&info["spent"], &info["spent_today"]), (&json!(paid), &json!(paid)), "{info}");
        let human = node.weft(&["anchor", "--quiet"]).expect(0);
        assert!(human.text().contains("weft.local (arweave)"), "{}", human.text());
    }
    let new = Node::start();
    for (log, slots) in logs.iter().zip([10, 4]) {
        let report = new.json(&["recover", log, "--from", &address]);
        assert_eq!((&report["slots"], &report["missing"]), (&json!(slots), &Value::Null), "{report}");
        assert_eq!(new.json(&["verify", log])["difference"], Value::Null);
    }
    for node in [new, one, two, keeper] {
        node.stop();
    }
}

/// Waits until nothing of a node is on its way; answers what it says of it.
fn all_final(node: &Node) -> Value {
    until("all batches to be final", || {
        let info = node.json(&["anchor", "status"]);
        let rest = (info["waiting_slots"].clone(), info["open_batches"].clone());
        if rest == (json!(0), json!(0)) { Ok(info) } else { Err(info.to_string()) }
    })
}

/// A disk is lost, and with it the notes of what was paid for. What is on the weave is not paid for again.
#[test]
fn a_scheduler_that_comes_back_from_the_weave_pays_for_none_of_it_again() {
    comes_back_and_pays_nothing(|_| None, "1");
}

/// The gateway that is asked first names bundles that are in no block: the word of one alone has nothing paid for twice.
#[test]
fn nor_where_the_first_gateway_names_bundles_that_are_in_no_block() {
    for quorum in ["1", "2"] {
        comes_back_and_pays_nothing(|address| Some(Liar::elsewhere(address)), quorum);
    }
}

/// A scheduler is wiped, and comes back with a gateway of this kind before the one that it had, and this quorum of them.
fn comes_back_and_pays_nothing(first: impl Fn(&str) -> Option<Liar>, quorum: &str) {
    let (keeper, address) = keeper();
    let flags = paying(&address, "1000000");
    let one = Node::start_with(&flags);
    let process = one.counter();
    increment(&one, &process, 9);
    settled(&one, &process, 9);
    all_final(&one);
    let old = one.stop();
    let empty = tempfile::tempdir().unwrap();
    std::fs::copy(old.path().join("key.json"), empty.path().join("key.json")).unwrap();
    let liar = first(&address);
    let mut flags = paying(&address, "1000000");
    if let Some(liar) = &liar {
        let at = flags.iter().position(|flag| *flag == "--anchor-gateways").unwrap();
        flags.splice(at..at, ["--anchor-quorum", quorum, "--anchor-gateways", &liar.address]);
    }
    let node = Node::start_as(empty, &flags);
    let report = node.json(&["recover", "--all", "--from", &address]);
    assert_eq!((&report["whole"], &report["slots"]), (&json!(1), &json!(10)), "{report}");
    settled(&node, &process, 9);
    all_final(&node);
    // Nothing of its slots was in a batch of this life.
    let weave = node.json(&["weave"]);
    let batches = weave["batches"].as_array().unwrap();
    let with_slots = batches.iter().filter(|batch| batch["from"].as_u64() <= batch["to"].as_u64());
    assert_eq!(with_slots.count(), 0, "{weave}");
    node.stop();
    drop(liar);
    keeper.stop();
}

/// What was stored here alone counts for nobody else: where an operator turns to a weave, all of it goes there.
#[test]
fn what_is_attested_goes_to_a_weave_that_is_chosen_later() {
    let (keeper, address) = keeper();
    let node = Node::start();
    let process = node.counter();
    increment(&node, &process, 5);
    settled(&node, &process, 5);
    all_final(&node);
    let node = Node::start_as(node.stop(), &paying(&address, "1000000"));
    assert_eq!(node.ready["weave"], "weft.local");
    settled(&node, &process, 5);
    all_final(&node);
    let new = Node::start();
    until("what is attested to come back", || {
        let report = new.json(&["recover", &process, "--from", &address]);
        let checked = new.json(&["verify", &process])["attestations_checked"].as_u64();
        if checked > Some(0) { Ok(()) } else { Err(report.to_string()) }
    });
    for node in [new, node, keeper] {
        node.stop();
    }
}

#[test]
fn an_estimate_is_what_a_flush_costs_and_a_limit_is_kept() {
    let (keeper, address) = keeper();
    let folder = tempfile::tempdir().unwrap();
    let start = |folder: tempfile::TempDir, limit: &str| {
        // Batches wait for an hour here.
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["up", "--json", "--log", "warn", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        command.args(paying(&address, limit)).env_clear().env("WEFT_DATA_DIR", folder.path());
        Node::start_by(folder, command)
    };
    let node = start(folder, "1");
    let process = node.counter();
    increment(&node, &process, 20);
    let estimate = node.json(&["anchor", "estimate"]);
    assert_eq!((&estimate["slots"], &estimate["transactions"]), (&json!(21), &json!(1)), "{estimate}");
    let items = estimate["items"].as_u64().unwrap();
    assert_eq!(estimate["overhead_bytes"], json!(32 + 64 * items), "{estimate}");
    let info = node.json(&["anchor", "flush"]);
    assert_eq!((&info["waiting_slots"], &info["open_batches"]), (&json!(0), &json!(1)), "{info}");
    let trouble = || {
        let info = node.json(&["anchor", "status"]);
        info["postings"][0]["trouble"].as_str().unwrap_or_default().to_owned()
    };
    until("the limit to hold it back", || match trouble() {
        text if text.contains("`anchor_day_limit` is 1;") => Ok(()),
        text => Err(text),
    });
    assert_eq!((anchored(&node, &process), &node.json(&["anchor"])["spent"]), (Value::Null, &json!(0)));
    let node = start(node.stop(), "1000000");
    settled(&node, &process, 20);
    let posting = node.json(&["anchor", "status"])["postings"][0].clone();
    // Attestations that came since may be in it too.
    let (cost, fee) = (posting["winston"].as_u64().unwrap(), estimate["fee"].as_u64().unwrap());
    assert!(cost.abs_diff(fee) * 10 <= fee, "{cost} was estimated as {fee}");
    until_is("nothing to be left", &json!(0), || node.json(&["anchor", "status"])["open_batches"].clone());
    node.stop();
    keeper.stop();
}

#[test]
fn half_of_it_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut half = paying("http://127.0.0.1:1", "5");
    half.truncate(4);
    let ran = super::weft(folder.path(), &[&["config", "check"], &half[..]].concat());
    assert!(ran.err.contains("it needs `anchor_wallet`"), "{}", ran.err);
    // A file that is no wallet is named at the start.
    let wallet = folder.path().join("wallet.json");
    std::fs::write(&wallet, "{}").unwrap();
    let mut whole = paying("http://127.0.0.1:1", "5");
    whole[7] = wallet.to_str().unwrap();
    let ended = up(folder.path(), &whole).output().unwrap();
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && text.contains("wallet.json"), "{text}");
}
