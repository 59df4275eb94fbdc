//! What still goes from one part of a network to another while it is cut. A partition that parts nobody would
//! break no promise, so a scenario would be green with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::Instant;
use weft_node::control::api::{PeerInfo, Request, Submitted};

use crate::error::AskError;
use crate::town::{Actor, Town, Trouble};
use crate::user::encoded;
use crate::wait::{Look, until_each};

/// How long a peer may take for a slot of a scheduler in another part: in a network that is whole it takes
/// milliseconds.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// How long a network may take that was cut: many times what it does.
const HEAL_WAIT: Duration = Duration::from_secs(180);
/// How often it is looked at meanwhile: what the figure is exact to.
const HEAL_LOOK: Duration = Duration::from_millis(100);

/// What crosses a cut.
#[derive(Debug)]
pub(super) struct Crossing {
    /// Connections from one part to another: each is there until a ping has failed twice.
    pub(super) connections: usize,
    /// Slots that peers were told by schedulers in other parts; nothing where nobody could be asked.
    pub(super) answers: Option<usize>,
    /// What the peers were handed for that: they go on with it when the network is whole.
    handed: Vec<(usize, String)>,
}

/// Looks what crosses the cut between these groups, with the help of the peers that run.
///
/// # Errors
/// A peer that does not answer, or an item that cannot be signed.
pub(super) async fn crossing(
    town: &Town<'_>,
    actors: &[Actor],
    groups: &[Vec<usize>],
    runs: impl Fn(usize) -> bool,
) -> Result<Crossing, Trouble> {
    let nodes: Vec<usize> = (0..town.fleet.nodes().len()).filter(|node| runs(*node)).collect();
    let connections = connections(town, groups, &nodes).await?;
    let handed = handed(town, actors, groups, &nodes)?;
    let answers = handed.iter().map(async |(peer, item)| {
        let request = Request::Submit { item: item.clone() };
        town.ask::<Submitted>(*peer, "a slot from another part", &request, ANSWER_WAIT).await.is_ok()
    });
    let answers = join_all(answers).await;
    let answers = (!answers.is_empty()).then(|| answers.into_iter().filter(|answered| *answered).count());
    Ok(Crossing { connections, answers, handed })
}

/// Waits until everybody who computes has the slots that the schedulers have now, and gives how long that is after
/// `whole`. Both are asked of those that run; the load goes on meanwhile. In the end what was handed to peers while
/// the network was cut has its slots too: none of them comes when nobody reckons with it.
///
/// # Errors
/// A peer that does not answer, or one that never has them.
pub(super) async fn healed(
    town: &Town<'_>,
    actors: &[Actor],
    runs: impl Fn(usize) -> bool,
    (crossing, whole): (&Crossing, Instant),
) -> Result<Duration, Trouble> {
    let up = actors.iter().filter(|actor| runs(actor.scheduler));
    let wanted = up.map(async |actor| {
        let head = town.detail(actor, actor.scheduler, false).await?.info.head;
        Ok::<_, AskError>((actor, head))
    });
    let wanted = try_join_all(wanted).await?;
    let look = async || {
        for (actor, wanted) in &wanted {
            let computing: Vec<usize> = actor.computing.iter().copied().filter(|node| runs(*node)).collect();
            let details = try_join_all(computing.iter().map(|node| town.detail(actor, *node, false))).await?;
            let behind = computing.iter().zip(&details).find(|(_, detail)| detail.info.head < *wanted);
            if let Some((node, detail)) = behind {
                let (name, head) = (&actor.name, detail.info.head);
                return Ok(Look::NotYet(format!("node {node} has {head:?} of {wanted:?} of {name}")));
            }
        }
        Ok::<_, AskError>(Look::There(whole.elapsed()))
    };
    let took = until_each("a cut network to be one again", HEAL_WAIT, HEAL_LOOK, look).await?;
    for (peer, item) in &crossing.handed {
        let look = async || {
            let request = Request::Submit { item: item.clone() };
            let told = town.ask::<Submitted>(*peer, "its slot", &request, HEAL_WAIT).await;
            Ok::<_, AskError>(told.map_or_else(|error| Look::NotYet(error.to_string()), |_| Look::There(())))
        };
        until_each("a message from the time of the cut", HEAL_WAIT, HEAL_LOOK, look).await?;
    }
    Ok(took)
}

/// The group of a node: whoever is in none stays with the first.
fn group_of(groups: &[Vec<usize>], node: usize) -> usize {
    groups.iter().position(|group| group.contains(&node)).unwrap_or(0)
}

async fn connections(town: &Town<'_>, groups: &[Vec<usize>], nodes: &[usize]) -> Result<usize, AskError> {
    let at: BTreeMap<&str, usize> =
        nodes.iter().map(|node| (town.fleet.node(*node).ready().peer_id.as_str(), *node)).collect();
    let ask = async |node: &usize| {
        let peers = town.fleet.node(*node).ask::<Vec<PeerInfo>>("its peers", &Request::Peers).await?;
        Ok::<_, AskError>((*node, peers))
    };
    let mut across = BTreeSet::new();
    for (node, peers) in try_join_all(nodes.iter().map(ask)).await? {
        let others = peers.iter().filter_map(|peer| at.get(peer.peer_id.as_str()).copied());
        let others = others.filter(|other| group_of(groups, *other) != group_of(groups, node));
        across.extend(others.map(|other| (node.min(other), node.max(other))));
    }
    Ok(across.len())
}

/// A message for each group and each process that another group schedules, and the peer that hands it in.
fn handed(
    town: &Town<'_>,
    actors: &[Actor],
    groups: &[Vec<usize>],
    nodes: &[usize],
) -> Result<Vec<(usize, String)>, Trouble> {
    let mut handed = Vec::new();
    for group in 0..groups.len() {
        let Some(peer) = nodes.iter().find(|node| group_of(groups, **node) == group) else { continue };
        for other in (0..groups.len()).filter(|other| *other != group) {
            let is_there = |actor: &&Actor| {
                nodes.contains(&actor.scheduler) && group_of(groups, actor.scheduler) == other
            };
            let Some(actor) = actors.iter().find(is_there) else { continue };
            let item = town.user.message(actor.id, "Increment", Vec::new(), "")?;
            handed.push((*peer, encoded(&item)));
        }
    }
    Ok(handed)
}
