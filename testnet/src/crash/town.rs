//! The processes of a crash run: three that push to each other, each scheduled by another node.

use weft_node::control::api::{ProcessInfo, Request};
use weft_protocol::Id;

use crate::check::Open;
use crate::town::{Actor, Cast, Town, Trouble};

/// The built-in guest, which counts and relays.
const FORMAT: &str = "wasm32-weft-plain";
/// Attestors that must agree, of the three that compute a process.
const QUORUM: usize = 2;
/// Who schedules each process, and who computes and attests it, its scheduler among them. Nodes
/// from 2 on carry messages too, so two or three of these carry what the process sends.
const PLACES: [(&str, usize, [usize; 3]); 3] =
    [("one", 0, [0, 2, 3]), ("two", 1, [1, 3, 4]), ("three", 2, [2, 3, 4])];

/// Spawns the processes and has every node hold them.
pub(super) async fn found(town: &Town<'_>, open: &mut Open) -> Result<Vec<Actor>, Trouble> {
    let module = town.publish(weft_node::guests::COUNTER, FORMAT, &[]).await?;
    let mut actors = Vec::new();
    for (name, scheduler, computing) in PLACES {
        let (attestors, module) = (&computing, module.module);
        let cast =
            Cast { name, module, scheduler, attestors, quorum: QUORUM, computing: &computing, tags: &[] };
        let actor = town.spawn(cast, open).await?;
        town.host(&actor, open).await?;
        for node in (0..town.fleet.nodes().len()).filter(|node| !computing.contains(node)) {
            follow(town, node, actor.id).await?;
        }
        actors.push(actor);
    }
    Ok(actors)
}

/// Has a node hold the log of a process that it does not compute.
async fn follow(town: &Town<'_>, node: usize, process: Id) -> Result<(), Trouble> {
    let request = Request::Host { process, compute: false, messenger: false, evaluate: None };
    let _: ProcessInfo = town.insist(node, "to follow a process", &request).await?;
    Ok(())
}
