//! Peers that are no nodes and not honest. They run inside the launcher and speak the network's
//! protocol with keys of their own, one of them with a stolen one. No released program has them: no
//! setting makes a node one of these.

mod acts;
mod carry;
mod claim;
mod goods;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weft_net::{Net, NetConfig, NetError, NetEvent, Peer};
use weft_node::control::api::ProcessDetail;
use weft_node::keyring;
use weft_protocol::crypto::Signer;
use weft_protocol::{Address, Id, Network};

use super::cast;
use super::deeds::DeedError;
use super::file::{Scenario, Until};
use super::measure::Figures;
use super::pay;
use super::rogue::Rogue;
use crate::check::Open;
use crate::error::AskError;
use crate::town::{Actor, Town, Trouble};
use crate::wait::{Look, until, until_each};

/// How long evidence may take to come to everybody.
const EVIDENCE_WAIT: Duration = Duration::from_secs(30);
/// Messages to a process of which slots are signed twice.
const VICTIM_MESSAGES: usize = 6;
/// How often it is looked whether rogues have done enough.
const UNTIL_LOOK: Duration = Duration::from_millis(200);
/// How long a rogue may take to be connected.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// The rogue whose key is an attestor's.
const LIAR: u8 = 1;

/// What rogues count while they are at it, by figure.
#[derive(Debug, Default)]
struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    fn one_more(&self, figure: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(figure).or_default() += 1;
    }

    fn of(&self, figure: &str) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(figure).copied().unwrap_or_default() as f64
    }
}

/// The key with which a messenger that is not honest offers, carries and claims.
fn messenger(seed: u64, kind: Rogue) -> Signer {
    Signer::from_seed(&secret(seed, 40 + kind as u8))
}

/// The secret of a rogue's key.
fn secret(seed: u64, rogue: u8) -> [u8; 32] {
    let mut secret = [rogue; 32];
    secret[..8].copy_from_slice(&seed.to_be_bytes());
    secret
}

/// The attestor who lies, where a scenario has one.
pub(super) fn liar_address(seed: u64) -> Address {
    Signer::from_seed(&secret(seed, LIAR)).address()
}

/// Why a rogue cannot begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum RogueError {
    #[error("a rogue has no network: {0}")]
    Net(#[from] NetError),
    #[error("a rogue reaches no peer")]
    Alone,
    #[error("the key of a scheduler: {0}")]
    Key(#[from] keyring::KeyError),
}

/// A rogue's place in the network.
struct Place {
    net: Net,
    events: mpsc::Receiver<NetEvent>,
    /// All peers that it reached.
    peers: Vec<Peer>,
    /// The processes under load, and who schedules each.
    processes: Vec<(Id, Peer)>,
    /// All of them as they were spawned, and what they pay.
    actors: Vec<Actor>,
    pays: u64,
    /// The ledger where they pay, and who schedules it.
    ledger: Option<(Id, Peer)>,
    network: Network,
    seed: u64,
    tally: Arc<Tally>,
}

/// All rogues of a scenario. They end with it.
pub(super) struct Rogues {
    seed: u64,
    tally: Arc<Tally>,
    kinds: Vec<Rogue>,
    victim: Option<Actor>,
    tasks: Vec<(Rogue, JoinHandle<()>)>,
}

impl Drop for Rogues {
    fn drop(&mut self) {
        self.abort(|_| true);
    }
}

impl Rogues {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, tally: Arc::default(), kinds: Vec::new(), victim: None, tasks: Vec::new() }
    }

    /// Those that carry, with their addresses.
    pub(super) fn messengers(&self) -> Vec<(Rogue, Address)> {
        let address = |kind: &Rogue| (*kind, messenger(self.seed, *kind).address());
        self.kinds.iter().filter(|kind| kind.carries()).map(address).collect()
    }

    /// The process whose slots are signed twice.
    pub(super) fn victim(&self) -> Option<Id> {
        self.victim.as_ref().map(|victim| victim.id)
    }

    /// Lets one begin.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn start(
        &mut self,
        kind: Rogue,
        town: &Town<'_>,
        (actors, ledger): (&[Actor], Option<&Actor>),
        scenario: &Scenario,
    ) -> Result<(), DeedError> {
        self.kinds.push(kind);
        let place = self.place(kind, town, (actors, ledger), scenario).await?;
        let key = messenger(self.seed, kind);
        let act = match kind {
            Rogue::LyingComputer => {
                tokio::spawn(acts::lie(place, Signer::from_seed(&secret(self.seed, LIAR))))
            }
            Rogue::EquivocatingScheduler => {
                // The first that schedules none of the processes under load.
                let twin = scenario.processes.get_ref().schedulers;
                let key = keyring::load(town.fleet.node(twin).data_dir()).map_err(RogueError::from)?;
                let victim = cast::victim(town, scenario, twin, &mut Open::new("victim")).await?;
                let act = tokio::spawn(acts::sign_twice(place, key.signer, victim.id));
                for _ in 0..VICTIM_MESSAGES {
                    town.send(&victim, "Increment", Vec::new(), "").await?;
                }
                self.victim = Some(victim);
                act
            }
            Rogue::WithholdingMessenger => tokio::spawn(acts::withhold(place)),
            Rogue::ForgingMessenger => tokio::spawn(acts::forge(place)),
            Rogue::OfferFlooder => tokio::spawn(acts::crowd(place)),
            Rogue::Flooder => tokio::spawn(acts::flood(place)),
            Rogue::DelayingMessenger => tokio::spawn(carry::delay(place, key)),
            Rogue::ReorderingMessenger => tokio::spawn(carry::reorder(place, key)),
            Rogue::AlteringMessenger => tokio::spawn(carry::alter(place, key)),
            Rogue::DoubleClaimingMessenger => {
                if let Some(ledger) = ledger {
                    pay::mint(town, ledger, key.address(), 2 * pay::PURSE, &mut Open::new("purse")).await?;
                }
                tokio::spawn(claim::twice(place, key))
            }
        };
        self.tasks.push((kind, act));
        Ok(())
    }

    /// A peer that is connected with all nodes and on the topics of all processes.
    async fn place(
        &self,
        kind: Rogue,
        town: &Town<'_>,
        (actors, ledger): (&[Actor], Option<&Actor>),
        scenario: &Scenario,
    ) -> Result<Place, RogueError> {
        let network = Network::of_name(&town.fleet.node(0).ready().network);
        let (net, events) = Net::start(NetConfig::new(secret(self.seed, 100 + kind as u8), network))?;
        let dial = async |node: usize| {
            let listen = town.fleet.node(node).ready().listen.first().cloned().unwrap_or_default();
            (node, net.dial(&listen).await.ok())
        };
        let all = join_all((0..town.fleet.nodes().len()).map(dial));
        let dialled = tokio::time::timeout(CONNECT_WAIT, all).await;
        let dialled = dialled.map_err(|_| RogueError::Alone)?;
        let of = |node: usize| dialled.iter().find(|(at, _)| *at == node).and_then(|(_, peer)| *peer);
        let processes: Vec<(Id, Peer)> =
            actors.iter().filter_map(|actor| Some((actor.id, of(actor.scheduler)?))).collect();
        let peers: Vec<Peer> = dialled.iter().filter_map(|(_, peer)| *peer).collect();
        if processes.len() < actors.len() {
            return Err(RogueError::Alone);
        }
        for (process, _) in &processes {
            // A topic that it is not on it cannot harm; what it did is counted.
            let _ = net.join(*process).await;
        }
        let ledger = ledger.and_then(|ledger| Some((ledger.id, of(ledger.scheduler)?)));
        let (actors, pays) = (actors.to_vec(), scenario.processes.get_ref().pays);
        let (seed, tally) = (self.seed, Arc::clone(&self.tally));
        Ok(Place { net, events, peers, processes, actors, pays, ledger, network, seed, tally })
    }

    /// Waits until one of them has done so much of something, or the time for it is over: that is expected not to be.
    pub(super) async fn until(&self, Until { of, at_least, within }: &Until, open: &mut Open) {
        let look = async || {
            let done = self.tally.of(of);
            Ok::<_, std::convert::Infallible>(if done >= *at_least {
                Look::There(())
            } else {
                Look::NotYet(done.to_string())
            })
        };
        let is_done = until_each(of.as_str(), within.0, UNTIL_LOOK, look).await.is_ok();
        let expected = format!("within {:?}", within.0);
        open.that(format!("until {at_least} {of}"), expected, self.tally.of(of), is_done);
    }

    fn abort(&self, is_meant: impl Fn(Rogue) -> bool) {
        self.tasks.iter().filter(|(kind, _)| is_meant(*kind)).for_each(|(_, act)| act.abort());
    }

    /// What some of them hold back is never handed over: logs that are read in the end would grow meanwhile.
    pub(super) fn let_go(&self) {
        self.abort(|kind| matches!(kind, Rogue::DelayingMessenger | Rogue::ReorderingMessenger));
    }

    /// Ends all of them, and tells what they did.
    pub(super) async fn end(&mut self, town: &Town<'_>) -> Figures {
        let counted = self.kinds.iter().flat_map(|kind| kind.counts());
        let mut figures: Figures = counted.map(|figure| (*figure, self.tally.of(figure))).collect();
        if let Some(victim) = &self.victim {
            figures.insert("evidence", evidence(town, victim).await as f64);
        }
        self.abort(|_| true);
        figures
    }
}

/// How many peers hold evidence against the scheduler of a process: all of them soon, or so many as
/// there are in the end.
async fn evidence(town: &Town<'_>, victim: &Actor) -> usize {
    let peers = town.fleet.nodes().len();
    let mut holding = 0;
    let look = async || {
        let asked = join_all((0..peers).map(|node| town.detail(victim, node, false))).await;
        let convicted = |detail: &Result<ProcessDetail, AskError>| {
            detail.as_ref().is_ok_and(|detail| !detail.evidence.is_empty())
        };
        holding = asked.iter().filter(|detail| convicted(detail)).count();
        // Who signed twice need not say so of itself.
        Ok::<_, Trouble>(if holding + 1 >= peers {
            Look::There(())
        } else {
            Look::NotYet(holding.to_string())
        })
    };
    // Whether they are enough is what the scenario expects.
    let _ = until("evidence", EVIDENCE_WAIT, look).await;
    holding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Span;

    #[tokio::test]
    async fn what_a_rogue_does_not_do_in_time_is_missed() {
        let rogues = Rogues::new(1);
        let until =
            |at_least| Until { of: "delayed".to_owned(), at_least, within: Span(Duration::from_millis(300)) };
        rogues.tally.one_more("delayed");
        let mut open = Open::new("steps");
        rogues.until(&until(1.0), &mut open).await;
        rogues.until(&until(3.0), &mut open).await;
        let checks = open.close("").checks;
        let told: Vec<_> =
            checks.iter().map(|check| (check.what.as_str(), check.seen.as_str(), check.holds)).collect();
        assert_eq!(told, [("until 1 delayed", "1", true), ("until 3 delayed", "1", false)]);
        assert_eq!(checks[1].expected, "within 300ms");
    }

    #[test]
    fn of_all_rogues_those_that_carry_have_a_messengers_key() {
        let mut rogues = Rogues::new(1);
        rogues.kinds = vec![
            Rogue::LyingComputer,
            Rogue::EquivocatingScheduler,
            Rogue::WithholdingMessenger,
            Rogue::ForgingMessenger,
            Rogue::OfferFlooder,
            Rogue::Flooder,
            Rogue::DelayingMessenger,
            Rogue::ReorderingMessenger,
            Rogue::AlteringMessenger,
            Rogue::DoubleClaimingMessenger,
        ];
        let carry: Vec<Rogue> = rogues.messengers().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(carry, rogues.kinds[6..]);
    }
}
