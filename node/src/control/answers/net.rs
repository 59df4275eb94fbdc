//! The node's place in the network: its peers, who serves a process, and what may be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_net::{Key, Peer, ReachInfo, Reachability};
use weft_protocol::Id;
use weft_protocol::lobby::SHARDS;

use super::super::api::{Check, CheckState, Doctor, Failure, FailureCode, PeerInfo, ProviderInfo};
use super::{Answers, fail};
use crate::clock::Offset;
use crate::follower::verify_head;
use crate::{hosting, lobby, remote};

/// Providers in one answer; more serve nobody who reads it.
const PROVIDERS_MAX: usize = 64;

/// How each peer was found. Anybody may be on a topic: whoever was found in another way comes before.
#[derive(Debug, Default)]
struct Ways {
    /// In the order in which they were noted.
    peers: Vec<Peer>,
    ways: BTreeMap<Peer, Vec<String>>,
}

impl Ways {
    fn note(&mut self, peers: impl IntoIterator<Item = Peer>, way: &str) {
        for peer in peers {
            let ways = self.ways.entry(peer).or_default();
            if ways.is_empty() {
                self.peers.push(peer);
            }
            ways.push(way.to_owned());
        }
    }

    /// The first of them, without this node.
    fn first(mut self, own: Peer) -> impl Iterator<Item = (Peer, Vec<String>)> {
        let others = self.peers.into_iter().filter(move |peer| *peer != own).take(PROVIDERS_MAX);
        others.map(move |peer| (peer, self.ways.remove(&peer).unwrap_or_default()))
    }
}

fn stopped(error: impl ToString) -> Failure {
    fail(FailureCode::Fault, error.to_string())
}

impl Answers {
    pub(super) async fn peers(&self) -> Result<Vec<PeerInfo>, Failure> {
        let peers = self.shared.net.peers().await.map_err(stopped)?;
        let info = |info: weft_net::PeerInfo| PeerInfo {
            peer_id: info.peer.to_string(),
            address: info.peer.address(),
            addresses: info.addresses,
            outbound: info.dialled,
            relayed: info.relayed,
            round_trip_ms: info.round_trip_ms,
            score: info.score,
            topics: info.topics,
            agent: info.agent,
        };
        Ok(peers.into_iter().map(info).collect())
    }

    /// Who serves a process, each asked for its head.
    pub(super) async fn providers(&self, process: Id) -> Result<Vec<ProviderInfo>, Failure> {
        let shared = &self.shared;
        let found = hosting::find_process(shared, process).await;
        let found = found.map_err(|error| fail(FailureCode::Unknown, error.to_string()))?;
        let others = async {
            tokio::join!(
                shared.net.subscribers(process),
                shared.net.providers(Key::Process(process)),
                async { lobby::named(shared, process) },
            )
        };
        // One that is gone is looked for for ten seconds: the others are told before that.
        let scheduler = remote::with_address(shared, found.scheduler());
        let ((topic, records, lobby), scheduler) = remote::together(others, scheduler).await;
        let mut ways = Ways::default();
        ways.note(scheduler.and_then(Result::ok), "scheduler");
        ways.note(lobby.into_iter().map(|named| named.peer), "lobby");
        ways.note(records.unwrap_or_default(), "record");
        ways.note(topic.unwrap_or_default(), "topic");
        let asked = ways.first(shared.net.peer()).map(|(peer, ways)| {
            let found = &found;
            async move {
                let head = remote::head(shared, peer, process).await;
                let (head, problem) = match head {
                    Ok(Some(head)) => match verify_head(Arc::clone(found), head).await {
                        Some(head) => (Some(head.slot), None),
                        None => (None, Some("its head is not signed by the scheduler".to_owned())),
                    },
                    Ok(None) => (None, Some("it has nothing of the process".to_owned())),
                    Err(error) => (None, Some(error.to_string())),
                };
                ProviderInfo {
                    peer_id: peer.to_string(),
                    address: peer.address(),
                    found: ways,
                    head,
                    problem,
                }
            }
        });
        Ok(futures::future::join_all(asked).await)
    }

    pub(super) async fn doctor(&self) -> Result<Doctor, Failure> {
        let net = &self.shared.net;
        let reach = net.reach().await.map_err(stopped)?;
        let peers = net.peers().await.map_err(stopped)?;
        let metrics = net.metrics();
        let topics = net.levels().into_iter().find(|level| level.name == "topics");
        let outbound = peers.iter().filter(|peer| peer.dialled).count();
        let checks = vec![
            ports(&net.listening(), self.shared.config.listen.len()),
            company(peers.len(), outbound, reach.relayed),
            reached(&reach),
            relays(&reach),
            direct(metrics.direct_upgrades, metrics.direct_upgrades_failed),
            full("topics", "topics joined", topics.map_or((0, 0), |level| (level.used, level.limit))),
            lobby_of(self.shared.lobby.counts()),
            check("book", CheckState::Good, format!("{} peers to come back to after a restart", reach.book)),
            clock(self.shared.offset.seen(self.shared.clock.now())),
        ];
        Ok(Doctor { checks })
    }
}

fn check(name: &str, state: CheckState, text: impl Into<String>) -> Check {
    Check { name: name.to_owned(), state, text: text.into() }
}

fn ports(listening: &[String], asked: usize) -> Check {
    match (listening, asked) {
        ([], 0) => check("ports", CheckState::Fair, "it listens nowhere: `listen` is empty, it only dials"),
        ([], _) => check("ports", CheckState::Bad, "it listens on none of its addresses; see the log"),
        (all, _) => check("ports", CheckState::Good, format!("listens on {}", all.join(" "))),
    }
}

fn company(peers: usize, outbound: usize, relayed: usize) -> Check {
    let text = format!("{peers} connected, {outbound} dialled by this node, {relayed} through relays alone");
    match (peers, outbound) {
        (0, _) => check(
            "peers",
            CheckState::Bad,
            "nobody is connected; name a peer with `bootstrap`, or switch on `mdns`",
        ),
        // Whoever dials a node chooses to: a node with guests alone may be surrounded.
        (_, 0) => check("peers", CheckState::Fair, format!("{text}; all of them chose this node")),
        _ => check("peers", CheckState::Good, text),
    }
}

fn reached(reach: &ReachInfo) -> Check {
    let at = reach.confirmed.join(" ");
    match (reach.reachability, reach.confirmed.is_empty()) {
        (Reachability::Assumed, false) => {
            check("reach", CheckState::Good, format!("assumed to be reachable at {at}; nobody was asked"))
        }
        (_, false) => check("reach", CheckState::Good, format!("peers have dialled back {at}")),
        (Reachability::Relayed, true) => {
            check("reach", CheckState::Fair, "it only dials, as configured: `reachable = \"no\"`")
        }
        (_, true) => check(
            "reach",
            CheckState::Fair,
            "no peer has reached it yet; forward its port in the router, or leave it to relays",
        ),
    }
}

fn relays(reach: &ReachInfo) -> Check {
    let names: Vec<_> = reach.relays.iter().map(ToString::to_string).collect();
    match (reach.confirmed.is_empty(), names.is_empty()) {
        (false, _) => check("relays", CheckState::Good, "none is needed"),
        (true, false) => check("relays", CheckState::Good, format!("reached through {}", names.join(" "))),
        (true, true) => {
            check("relays", CheckState::Bad, "nobody can reach this node: no relay has a place for it")
        }
    }
}

fn direct(made: u64, failed: u64) -> Check {
    let text = format!("{made} relayed connections became direct, {failed} did not");
    check("direct", if failed > made { CheckState::Fair } else { CheckState::Good }, text)
}

fn full(name: &str, what: &str, (used, limit): (u64, u64)) -> Check {
    let state = if used >= limit { CheckState::Fair } else { CheckState::Good };
    check(name, state, format!("{used} of {limit} {what}"))
}

fn lobby_of((known, shards): (usize, usize)) -> Check {
    let text = format!("on {shards} of {SHARDS} lobby shards, {known} adverts of others known");
    check("lobby", CheckState::Good, text)
}

fn clock(offset: Option<Offset>) -> Check {
    match offset {
        None => check("clock", CheckState::Good, "nothing to compare it with: no slot of others came yet"),
        Some(Offset::Behind(ms)) => check(
            "clock",
            CheckState::Bad,
            format!(
                "slots arrive from {ms} ms in the future: this clock is behind, or a scheduler's is ahead"
            ),
        ),
        Some(Offset::Ahead(ms)) => check(
            "clock",
            CheckState::Bad,
            format!(
                "no slot was younger than {ms} ms on arrival: this clock is ahead, or the schedulers' are behind"
            ),
        ),
        Some(Offset::None(ms)) => {
            check("clock", CheckState::Good, format!("the youngest slot was {ms} ms old on arrival"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::shared::testing::peer;

    fn reach(reachability: Reachability, confirmed: &[&str]) -> ReachInfo {
        let confirmed = confirmed.iter().map(ToString::to_string).collect();
        ReachInfo { reachability, confirmed, relays: Vec::new(), relayed: 0, book: 0 }
    }

    #[test]
    fn a_crowd_on_the_topic_hides_neither_the_scheduler_nor_those_of_record() {
        let peers: Vec<Peer> = (0..=99).map(peer).collect();
        let by_name: BTreeSet<Peer> = peers.iter().copied().collect();
        // The last by name, so that every order but the right one leaves them out.
        let late: Vec<Peer> = by_name.iter().rev().copied().take(2).collect();
        let mut ways = Ways::default();
        ways.note(Some(late[0]), "scheduler");
        ways.note([late[1], late[0]], "record");
        ways.note(by_name.iter().copied(), "topic");
        let shown: Vec<_> = ways.first(*by_name.first().unwrap()).collect();
        assert_eq!(shown.len(), PROVIDERS_MAX);
        assert_eq!(shown[0], (late[0], vec!["scheduler".into(), "record".into(), "topic".into()]));
        assert_eq!(shown[1], (late[1], vec!["record".into(), "topic".into()]));
        assert!(shown.iter().all(|(peer, _)| Some(peer) != by_name.first()));
    }

    #[test]
    fn what_is_wrong_is_called_so() {
        assert_eq!(ports(&[], 1).state, CheckState::Bad);
        assert_eq!(ports(&[], 0).state, CheckState::Fair);
        assert_eq!(company(0, 0, 0).state, CheckState::Bad);
        assert_eq!(company(3, 0, 0).state, CheckState::Fair);
        assert_eq!(company(3, 1, 0).state, CheckState::Good);
        assert_eq!(reached(&reach(Reachability::Probed, &[])).state, CheckState::Fair);
        assert_eq!(reached(&reach(Reachability::Probed, &["/ip4/192.0.2.1/tcp/1"])).state, CheckState::Good);
        assert_eq!(relays(&reach(Reachability::Relayed, &[])).state, CheckState::Bad);
        assert_eq!(direct(1, 2).state, CheckState::Fair);
        assert_eq!(full("topics", "topics", (5, 5)).state, CheckState::Fair);
        assert_eq!(clock(Some(Offset::Behind(9))).state, CheckState::Bad);
        assert_eq!(clock(None).state, CheckState::Good);
    }
}
