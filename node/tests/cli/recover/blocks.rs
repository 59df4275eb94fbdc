//! What a recovery shows of the blocks in which a weave has what came.

use serde_json::{Value, json};
use weft_protocol::Hash;

use super::super::node::Node;
use super::liar::Liar;
use super::{anchored, increment, keeper, recover, replayed};

/// A bundle may be what somebody signed and in no block at all. That it is in one is shown from what most of the gateways
/// say of the block; what is not shown is said, and taken all the same.
#[test]
fn what_is_not_shown_to_be_in_a_block_is_said() {
    let (node, honest) = keeper(&["--anchor-batch-slots", "4"]);
    let process = node.counter();
    increment(&node, &process, 10);
    anchored(&node, &process, 10);
    let expected = replayed(&node, &process);
    let other = honest.replace("127.0.0.1", "localhost");
    let shown = |from: &[&str]| {
        let new = Node::start();
        let report = recover(&new, &process, from);
        assert_eq!((&report["slots"], &report["missing"]), (&json!(11), &Value::Null), "{report}");
        assert_eq!(replayed(&new, &process), expected, "{report}");
        new.stop();
        let is_all = report["bundles"] == report["bundles_in_blocks"];
        assert_eq!(report["not_in_blocks"].is_null(), is_all, "{report}");
        let told = [&report["not_in_blocks"], &report["gateways"][0]["faults"]].map(ToString::to_string);
        (report["bundles_in_blocks"].as_u64().unwrap(), is_all, told)
    };
    let (count, is_all, _) = shown(&[&honest]);
    assert!(count > 1 && is_all);
    // Bundles of nobody's block, though their bytes are those of their names.
    let elsewhere = Liar::elsewhere(&honest);
    let (count, _, [why, _]) = shown(&[&elsewhere.address]);
    assert!(count == 0 && why.contains("it does not have a transaction's place"), "{count}: {why}");
    // Another root of the block: alone it fits to nothing, and of two no more than half say so.
    let root = Liar::saying(&honest, "/block/", "tx_root", json!(Hash([9; 32])));
    let (count, _, [why, faults]) = shown(&[&root.address]);
    assert!(count == 0 && why.contains("is not shown to be in block"), "{count}: {why}");
    assert!(faults.contains("is not shown to be in block"), "{faults}");
    let (count, _, [why, _]) = shown(&[&root.address, &honest]);
    assert!(count == 0 && why.contains("too few gateways say the same"), "{count}: {why}");
    assert!(shown(&[&root.address, &honest, &other]).1);
    // Another path: others give the true one.
    let path = Liar::saying(&honest, "/chunk/", "tx_path", json!("AAAA"));
    let (count, _, [why, _]) = shown(&[&path.address]);
    assert!(count == 0 && why.contains("a data path of 3 bytes"), "{count}: {why}");
    assert!(shown(&[&path.address, &honest]).1);
    // Another place.
    let place = Liar::saying(&honest, "/tx/", "offset", json!("1"));
    assert_eq!(shown(&[&place.address]).0, 0);
    assert!(shown(&[&place.address, &honest]).1);
    // And to people.
    let new = Node::start();
    let ran = new.weft(&["recover", &process, "--from", &elsewhere.address]).expect(0);
    assert!(ran.text().contains("not proven for the others"), "{}", ran.text());
    new.stop();
    node.stop();
}
