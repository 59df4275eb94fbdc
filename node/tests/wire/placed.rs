//! Where batches lie is said again: to whoever comes when nobody was there, and after a restart.

use prost::Message as _;
use weft_net::{NetEvent, Verdict};
use weft_node::control::api::{BatchInfo, Request, WeaveInfo};
use weft_protocol::placed::{Place, Placed};
use weft_protocol::wire::announcement::Body;
use weft_protocol::{Id, wire};

use crate::support::{Node, Stranger, network, until, within};

/// The first word of its scheduler about where slots of a log lie.
async fn heard(stranger: &mut Stranger, node: &Node, process: Id) -> Place {
    within("where a batch lies", async {
        loop {
            let NetEvent::Gossip { data, ticket, .. } = stranger.events.recv().await.unwrap() else {
                continue;
            };
            stranger.net.verdict(ticket, Verdict::Accept);
            let announcement = wire::Announcement::decode(data).unwrap();
            if let Some(Body::Placed(message)) = announcement.body {
                let placed = Placed::from_wire(&message, network(), process).unwrap().verify().unwrap();
                assert_eq!(placed.signer(), node.signer.address());
                return placed.place().clone();
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_later_hears_where_batches_lie_and_so_does_who_comes_after_a_restart() {
    let often = |config: &mut weft_node::config::Config| config.anchor_batch_age_ms = 100;
    let node = Node::set_up(245, &[], often).await;
    let process = node.counter().await;
    let batch = until("a final batch", || async {
        let weave: WeaveInfo = node.ask(Request::Weave).await.unwrap();
        let is_final =
            |batch: &BatchInfo| batch.process == process && batch.from <= batch.to && batch.block.is_some();
        weave.batches.into_iter().find(is_final)
    })
    .await;
    let is_of_it = |place: &Place| {
        assert_eq!((place.from, place.to, place.bundle), (batch.from, batch.to, Id(batch.data_root.0)));
        assert_eq!(Some(place.height), batch.block);
    };
    // Nobody was there when it was said.
    let mut late = Stranger::on(&node, process, 246).await;
    is_of_it(&heard(&mut late, &node, process).await);
    late.net.shutdown().await;

    let node = Node::in_folder(node.rest().await, &[], often).await;
    let mut later = Stranger::on(&node, process, 247).await;
    is_of_it(&heard(&mut later, &node, process).await);
    node.stop().await;
}
