//! The processes of a scenario: who schedules, computes, attests and holds them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use weft_node::control::api::{CarryRequest, ProcessInfo, Request};
use weft_protocol::{Address, Id, Tag};

use super::file::{Processes, Scenario};
use crate::check::Open;
use crate::fleet::Fleet;
use crate::town::{Actor, Cast, Town, Trouble};

/// The built-in guest, which counts and relays.
const FORMAT: &str = "wasm32-weft-plain";
/// Processes that every peer holds, if there are no more: else those hold one that compute it.
const HELD_BY_ALL: usize = 8;

/// Things asked of peers at once: each has connections for more, and fewer cores.
const AT_ONCE: usize = 16;
/// How long a peer may take to say whether it holds a process, where nobody waits for that: its scheduler may be
/// away.
const TRY_WAIT: Duration = Duration::from_secs(2);

/// The peers that compute a process, its scheduler first: the others are spread evenly.
pub(super) fn computing(of: &Processes, process: usize, peers: usize) -> Vec<usize> {
    let scheduler = process % of.schedulers;
    let others: Vec<usize> = (0..peers).map(|step| (scheduler + 1 + step) % peers).collect();
    let others = others.into_iter().filter(|peer| *peer != scheduler);
    // Those that schedule are the last to be asked.
    let (schedule, free): (Vec<usize>, Vec<usize>) = others.partition(|peer| *peer < of.schedulers);
    let turn = if free.is_empty() { 0 } else { process * (of.computed_by - 1) % free.len() };
    let spread = free.iter().cycle().skip(turn).take(free.len()).chain(&schedule);
    std::iter::once(scheduler).chain(spread.take(of.computed_by - 1).copied()).collect()
}

/// The peers that hold the log of a process, of `peers` that there are.
pub(super) fn holders(actor: &Actor, scenario: &Scenario, peers: usize) -> Vec<usize> {
    if scenario.processes.get_ref().count <= HELD_BY_ALL {
        return (0..peers).collect();
    }
    let carriers = scenario.carriers().filter(|node| *node < peers);
    actor.computing.iter().copied().chain(carriers).collect()
}

/// Who carries for each process: its id, and the addresses of those peers.
pub(super) fn carriers(fleet: &Fleet, scenario: &Scenario, actors: &[Actor]) -> Vec<(Id, Vec<Address>)> {
    let carries = |actor: &Actor, node: usize| {
        fleet.plan().carries(node)
            && node < scenario.first()
            && (actor.computing.contains(&node) || scenario.carriers().contains(&node))
    };
    let of = |actor: &Actor| {
        let nodes = (0..fleet.nodes().len()).filter(|node| carries(actor, *node));
        (actor.id, nodes.map(|node| fleet.node(node).ready().address).collect())
    };
    actors.iter().map(of).collect()
}

/// Spawns the processes under load, with the terms of the market that they have, and has all hold them that are to.
///
/// # Errors
/// Why there is one less.
pub(super) async fn found(
    town: &Town<'_>,
    scenario: &Scenario,
    liar: Option<Address>,
    terms: &[Tag],
    open: &mut Open,
) -> Result<Vec<Actor>, Trouble> {
    let of = scenario.processes.get_ref();
    let peers = scenario.first();
    let module = town.publish(weft_node::guests::COUNTER, FORMAT, &[]).await?.module;
    // An attestor that is no peer is named beside the others.
    let mut tags: Vec<Tag> = liar.iter().map(|liar| Tag::new("Compute", liar.to_string())).collect();
    tags.extend_from_slice(terms);
    let spawn = async |process: usize| {
        let computing = computing(of, process, scenario.carriers().start);
        let name = format!("p{process}");
        let (scheduler, computing, quorum) = (computing[0], &computing[..], of.quorum);
        let cast =
            Cast { name: &name, module, scheduler, attestors: computing, quorum, computing, tags: &tags };
        let mut part = Open::new("spawn");
        Ok::<_, Trouble>((town.spawn(cast, &mut part).await?, part))
    };
    let spawned: Vec<(Actor, Open)> =
        stream::iter((0..of.count).map(spawn)).buffered(AT_ONCE).try_collect().await?;
    let (actors, parts): (Vec<Actor>, Vec<Open>) = spawned.into_iter().unzip();
    parts.into_iter().for_each(|part| open.take(part));
    let of_actor = |actor: &Actor| holders(actor, scenario, peers);
    let wanted = actors.iter().flat_map(|actor| of_actor(actor).into_iter().map(move |node| (actor, node)));
    hold(town, wanted, scenario).await?;
    Ok(actors)
}

/// Spawns a process that this node alone schedules and computes, and has all others follow it: for
/// whoever wrongs it.
///
/// # Errors
/// Why there is none.
pub(super) async fn victim(
    town: &Town<'_>,
    scenario: &Scenario,
    scheduler: usize,
    open: &mut Open,
) -> Result<Actor, Trouble> {
    let module = town.publish(weft_node::guests::COUNTER, FORMAT, &[]).await?.module;
    let computing = [scheduler];
    let cast = Cast {
        name: "victim",
        module,
        scheduler,
        attestors: &[],
        quorum: 1,
        computing: &computing,
        tags: &[],
    };
    let actor = town.spawn(cast, open).await?;
    let peers = town.fleet.nodes().len();
    hold(town, (0..peers).map(|node| (&actor, node)), scenario).await?;
    Ok(actor)
}

/// Has nodes do for processes what the scenario says, until they do. Those that were there first carry what a process
/// sends: to have all who came later do so, too, would only be more of the same.
///
/// # Errors
/// Why one does not.
pub(super) async fn hold(
    town: &Town<'_>,
    wanted: impl IntoIterator<Item = (&Actor, usize)>,
    scenario: &Scenario,
) -> Result<(), Trouble> {
    let wanted = wanted.into_iter().filter(|(actor, node)| *node != actor.scheduler);
    let one = async |(actor, node): (&Actor, usize)| {
        let request = request(town, actor, node, scenario);
        let _: ProcessInfo = town.insist(node, "to hold a process", &request).await?;
        Ok::<_, Trouble>(())
    };
    stream::iter(wanted.map(one)).buffer_unordered(AT_ONCE).try_collect().await
}

/// Asks nodes once to do for processes what the scenario says. Those that did not do all of it.
pub(super) async fn try_hold(
    town: &Town<'_>,
    wanted: impl IntoIterator<Item = (&Actor, usize)>,
    scenario: &Scenario,
) -> BTreeSet<usize> {
    let one = async |(actor, node): (&Actor, usize)| {
        let request = request(town, actor, node, scenario);
        let asked = town.ask::<ProcessInfo>(node, "to hold a process", &request, TRY_WAIT).await;
        asked.is_err().then_some(node)
    };
    let failed = stream::iter(wanted.into_iter().map(one)).buffer_unordered(AT_ONCE);
    failed.filter_map(std::future::ready).collect().await
}

fn request(town: &Town<'_>, actor: &Actor, node: usize, scenario: &Scenario) -> Request {
    if scenario.carriers().contains(&node) {
        return Request::Carry(CarryRequest::Begin { process: actor.id, all: true });
    }
    let compute = actor.computing.contains(&node);
    let messenger = compute && node < scenario.first() && town.fleet.plan().carries(node);
    Request::Host { process: actor.id, compute, messenger, evaluate: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_spread_over_the_peers() {
        let of = Processes { count: 12, schedulers: 3, computed_by: 3, quorum: 2, ..Processes::default() };
        let mut work = [0; 12];
        for process in 0..of.count {
            let computing = computing(&of, process, work.len());
            assert_eq!((computing.len(), computing[0]), (3, process % 3));
            let mut peers = computing.clone();
            peers.sort_unstable();
            peers.dedup();
            assert_eq!(peers.len(), 3, "{computing:?}");
            computing[1..].iter().for_each(|peer| work[*peer] += 1);
        }
        assert!(work[..3].iter().all(|times| *times == 0), "schedulers compute their own: {work:?}");
        assert!(work[3..].iter().all(|times| *times >= 2), "{work:?}");
        let two = Processes { schedulers: 2, computed_by: 2, ..of };
        assert_eq!(computing(&two, 1, 2), [1, 0], "where there is nobody else, schedulers do");
    }
}
