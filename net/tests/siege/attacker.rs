//! A peer with a swarm of its own, connected to all of a town.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt as _;
use libp2p::Swarm;
use libp2p::gossipsub::IdentTopic;
use libp2p::request_response::Event;
use libp2p::swarm::SwarmEvent;
use prost::Message as _;
use sha2::{Digest, Sha256};
use weft_protocol::Id;

use crate::raw::{Hostile, HostileEvent, connect, swarm};
use crate::support::{network, process, within};
use crate::town::{Citizen, Town, WHILE, blob};

/// The topic of a process, as our nodes name it.
pub fn topic(process: Id) -> IdentTopic {
    let hash = Sha256::digest(process.as_bytes());
    IdentTopic::new(format!("ao1/{}/{}", network().short(), URL_SAFE_NO_PAD.encode(&hash[..16])))
}

pub struct Attacker {
    pub swarm: Swarm<Hostile>,
    pub name: String,
}

impl Attacker {
    /// Connected to everybody.
    pub async fn of(town: &Town) -> Self {
        Self::reading(town, true).await
    }

    /// One that may not read what it is answered.
    pub async fn reading(town: &Town, reads: bool) -> Self {
        Box::pin(Self::by(swarm(reads), town)).await
    }

    /// With this swarm.
    pub async fn by(swarm: Swarm<Hostile>, town: &Town) -> Self {
        // A swarm is kilobytes, and each test would hold it in its own future.
        Box::pin(Self::among(swarm, town)).await
    }

    async fn among(mut swarm: Swarm<Hostile>, town: &Town) -> Self {
        for citizen in &town.citizens {
            connect(&mut swarm, &citizen.address()).await;
        }
        let name = swarm.local_peer_id().to_string();
        let mut attacker = Self { swarm, name };
        attacker
            .run_until("to be known", async |name: &str| {
                for citizen in &town.citizens {
                    if !citizen.is_connected(name).await {
                        return false;
                    }
                }
                true
            })
            .await;
        attacker
    }

    /// On the topic of the town's process, as everybody knows.
    pub async fn on_topic(town: &Town) -> Self {
        let mut attacker = Self::of(town).await;
        attacker.swarm.behaviour_mut().gossip.subscribe(&topic(process(1))).unwrap();
        attacker
            .run_until("to be known on the topic", async |name: &str| {
                for citizen in &town.citizens {
                    let peers = citizen.net.subscribers(process(1)).await.unwrap();
                    if !peers.iter().any(|peer| peer.to_string() == name) {
                        return false;
                    }
                }
                true
            })
            .await;
        // And knows who is there: what it says goes to them.
        let hash = topic(process(1)).hash();
        let everybody = town.citizens.len();
        within("everybody on the topic", async {
            let there = |attacker: &Self| {
                let peers = attacker.swarm.behaviour().gossip.all_peers();
                peers.filter(|(_, topics)| topics.contains(&&hash)).count()
            };
            while there(&attacker) < everybody {
                attacker.run(1).await;
            }
        })
        .await;
        attacker
    }

    /// Says something on a process's topic, to everybody there. What does not go out is not said again.
    pub fn say(&mut self, of: Id, data: impl Into<Vec<u8>>) -> bool {
        self.swarm.behaviour_mut().gossip.publish(topic(of), data).is_ok()
    }

    /// Lets its swarm run for so many steps at most, as long as there is something to do.
    pub async fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if tokio::time::timeout(WHILE, self.swarm.select_next_some()).await.is_err() {
                return;
            }
        }
    }

    /// Lets its swarm run until the check, which is told its name, holds.
    pub async fn run_until(&mut self, what: &str, mut check: impl AsyncFnMut(&str) -> bool) {
        let name = self.name.clone();
        within(what, async {
            let mut pause = tokio::time::interval(WHILE);
            while !check(&name).await {
                tokio::select! {
                    _ = self.swarm.select_next_some() => {}
                    _ = pause.tick() => {}
                }
            }
        })
        .await;
    }

    /// Asks each citizen for eight MiB and takes them. What it said before on the same connections is far smaller:
    /// by then it was read, or is not going to be.
    pub async fn is_answered(&mut self, town: &Town) {
        for citizen in &town.citizens {
            self.is_answered_by(citizen).await;
        }
    }

    /// Asks one of them so.
    pub async fn is_answered_by(&mut self, citizen: &Citizen) {
        let victim = citizen.net.peer().to_string().parse().unwrap();
        let bytes = blob().encode_length_delimited_to_vec();
        self.swarm.behaviour_mut().requests.send_request(&victim, bytes);
        within("an answer", async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::Behaviour(HostileEvent::Requests(Event::Message { .. })) => return,
                    SwarmEvent::Behaviour(HostileEvent::Requests(Event::OutboundFailure {
                        error, ..
                    })) => {
                        panic!("{error}");
                    }
                    _ => {}
                }
            }
        })
        .await;
    }

    /// How many topics of its each citizen knows.
    pub async fn topics_known(&self, town: &Town) -> Vec<usize> {
        let mut known = Vec::new();
        for citizen in &town.citizens {
            let peers = citizen.net.peers().await.unwrap();
            known.push(
                peers.iter().find(|info| info.peer.to_string() == self.name).map_or(0, |info| info.topics),
            );
        }
        known
    }

    async fn go_on(&mut self) {
        loop {
            self.swarm.select_next_some().await;
        }
    }

    /// Lets its swarm run until nobody in the town hears it.
    pub async fn comes_to_nothing(mut self, town: &Town) {
        let name = self.name.clone();
        within("the attacker's end", async {
            tokio::select! {
                () = town.is_rid_of(&name) => {}
                () = self.go_on() => {}
            }
        })
        .await;
    }
}
