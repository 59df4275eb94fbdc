//! Sixty-four nodes at once.

use std::time::Duration;

use crate::large;

const NODES: usize = 64;
const MESSAGES: usize = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Copies of a message that come for each delivery. A node has four to six in its mesh, each of whom sends
/// to the others but the one it heard from, unless those say in time that they have it.
const COPIES_MAX: f64 = 4.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_reaches_every_one_of_sixty_four_nodes_with_few_copies() {
    let bare = large::bare(NODES, MESSAGES, PAUSE, large::OURS).await;
    let ours = large::ours(NODES, MESSAGES, PAUSE).await;
    for (name, figures) in [("bare", &bare), ("ours", &ours)] {
        assert_eq!(figures.delivered, figures.expected, "{name}");
        assert!(figures.copies >= 1.0, "{name}: nothing was counted");
        // As loose as a machine that does other work needs it.
        assert!(figures.latency(50) < 60_000.0 && figures.cpu_ms < 1_000.0, "{name}: it crawls");
        assert!(figures.node_kib < 64.0 * 1024.0, "{name}: {:.0} KiB a node", figures.node_kib);
    }
    assert!(ours.copies <= COPIES_MAX, "{:.2} copies", ours.copies);
    // Who is in a mesh need not ask, unless the machine has no time for it. Nodes that ask are late themselves, so what
    // the machine has time for shows in the bare ones.
    let is_busy = bare.latency(50) > 250.0;
    assert!(
        is_busy || ours.asked_percent < 20.0,
        "{:.1} %, {} late, {:.0} ms, bare {:.0} ms",
        ours.asked_percent,
        ours.late_nodes,
        ours.latency(50),
        bare.latency(50)
    );
    // Latency and processor time depend on what else the machine does: see benches/mesh.rs.
    assert!(ours.copies <= bare.copies * 1.3, "{:.2} copies, bare {:.2}", ours.copies, bare.copies);
}
