//! Announcements: from gossipsub to the node, verdicts back, and publishing.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, TopicHash};
use weft_protocol::lobby::Shard;
use weft_protocol::wire::{ANNOUNCEMENT_BYTES_MAX, LOBBY_FACT_BYTES_MAX};
use weft_protocol::{Effects, Id, Machine as _};

use super::Service;
use super::command::Place;
use crate::event::{NetEvent, Ticket};
use crate::gossip::flood;
use crate::gossip::machine::{Cause, Effect, Input, Verdict};
use crate::gossip::params;
use crate::handle::{JoinError, PublishError, Published};
use crate::metrics::Counters;
use crate::peer::Peer;

impl Place {
    /// Bytes of what may be said there.
    pub(crate) const fn bytes_max(self) -> usize {
        match self {
            Self::Process(_) => ANNOUNCEMENT_BYTES_MAX,
            Self::Lobby(_) => LOBBY_FACT_BYTES_MAX,
        }
    }
}

/// By what gossipsub knows a message that waits for its verdict.
#[derive(Debug)]
pub(super) struct MessageRef {
    id: MessageId,
    source: PeerId,
}

impl Service {
    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                Counters::add(&self.counters.gossip_received);
                let message_ref = MessageRef { id: message_id, source: propagation_source };
                self.on_announcement(message_ref, message);
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                self.run_floods(flood::Input::Joined(peer_id, self.topic_numbers.hash_one(&topic)));
                if let Some(Place::Process(process)) = self.joined.get(&topic).copied() {
                    self.notify(NetEvent::Subscribed { process, peer: Peer(peer_id) });
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "a peer takes our messages too slowly");
                // Where this node's own line is limited, it may be that which is slow.
                if self.settings.limits.bandwidth_out.is_none() {
                    self.run_floods(flood::Input::Slow(peer_id));
                }
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                self.run_floods(flood::Input::Left(peer_id, self.topic_numbers.hash_one(&topic)));
            }
            gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_announcement(&mut self, message_ref: MessageRef, message: gossipsub::Message) {
        let Some(place) = self.joined.get(&message.topic).copied() else {
            // We left the topic while this was on its way.
            self.report(&message_ref, Verdict::Ignore);
            return;
        };
        if message.data.len() > place.bytes_max() {
            // No correct peer forwards this, and the event queue would hold a gigabyte of it.
            Counters::add(&self.counters.gossip_oversized);
            self.report(&message_ref, Verdict::Reject);
            return;
        }
        if !self.run_floods(flood::Input::Announced(message_ref.source)) {
            Counters::add(&self.counters.gossip_flooded);
            self.report(&message_ref, Verdict::Ignore);
            return;
        }
        let from = Peer(message_ref.source);
        let mut data = Some(Bytes::from(message.data));
        let mut effects = Effects::new();
        self.tickets.handle(Input::Received(message_ref), self.now(), &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Deliver(ticket) => {
                    let (data, ticket_given) = (data.take().unwrap_or_default(), Ticket(ticket));
                    let event = match place {
                        Place::Process(process) => {
                            NetEvent::Gossip { process, data, from, ticket: ticket_given }
                        }
                        Place::Lobby(shard) => NetEvent::Lobby { shard, data, from, ticket: ticket_given },
                    };
                    if self.events.try_send(event).is_err() {
                        self.run_tickets(Input::Undelivered(ticket));
                    }
                }
                effect => self.on_ticket_effect(effect),
            }
        }
    }

    pub(super) fn on_verdict(&mut self, ticket: Ticket, verdict: Verdict) {
        self.run_tickets(Input::Decided(ticket.0, verdict));
    }

    pub(super) fn expire_tickets(&mut self) {
        self.run_tickets(Input::Tick);
    }

    fn run_tickets(&mut self, input: Input<MessageRef>) {
        let mut effects = Effects::new();
        self.tickets.handle(input, self.now(), &mut effects);
        for effect in effects.drain() {
            self.on_ticket_effect(effect);
        }
    }

    fn on_ticket_effect(&mut self, effect: Effect<MessageRef>) {
        let counters = &self.counters;
        match effect {
            Effect::Report(message_ref, verdict, cause) => {
                Counters::add(match (cause, verdict) {
                    (Cause::Full, _) => &counters.gossip_full,
                    (Cause::Expired, _) => &counters.gossip_expired,
                    (Cause::Decided, Verdict::Accept) => &counters.gossip_accepted,
                    (Cause::Decided, Verdict::Ignore) => &counters.gossip_ignored,
                    (Cause::Decided, Verdict::Reject) => &counters.gossip_rejected,
                });
                self.report(&message_ref, verdict);
            }
            Effect::Late => Counters::add(&counters.verdicts_late),
            // Only an announcement that has just come is delivered.
            Effect::Deliver(_) => {}
        }
    }

    fn report(&mut self, message_ref: &MessageRef, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let MessageRef { id, source } = message_ref;
        if !self.swarm.behaviour_mut().gossip.report_message_validation_result(id, source, acceptance) {
            tracing::warn!(message = %id, "gossipsub had forgotten a message that waited for its verdict");
        }
    }

    fn topic(&self, place: Place) -> TopicHash {
        let names = &self.settings.names;
        TopicHash::from_raw(match place {
            Place::Process(process) => names.process_topic(&process),
            Place::Lobby(shard) => names.lobby_topic(shard),
        })
    }

    pub(super) fn join(&mut self, process: Id) -> Result<(), JoinError> {
        let topic = self.topic(Place::Process(process));
        match self.joined.get(&topic) {
            Some(Place::Process(other)) if *other != process => {
                return Err(JoinError::Collision { other: *other });
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let limit = self.settings.limits.topics;
        if self.processes >= limit {
            return Err(JoinError::TooMany { limit });
        }
        self.subscribe(topic, Place::Process(process), params::topic_score())?;
        self.processes += 1;
        for peer in self.subscribers(Place::Process(process)) {
            self.notify(NetEvent::Subscribed { process, peer });
        }
        Ok(())
    }

    /// Shards have places of their own beside those of processes.
    pub(super) fn join_lobby(&mut self, shard: Shard) -> Result<(), JoinError> {
        let topic = self.topic(Place::Lobby(shard));
        if self.joined.contains_key(&topic) {
            return Ok(());
        }
        self.subscribe(topic, Place::Lobby(shard), params::lobby_score())
    }

    fn subscribe(
        &mut self,
        topic: TopicHash,
        place: Place,
        score: gossipsub::TopicScoreParams,
    ) -> Result<(), JoinError> {
        let name = IdentTopic::new(topic.as_str());
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        // Without parameters of its own a topic has no score: what is invalid on it costs nothing.
        if let Err(error) = gossip.set_topic_params(name.clone(), score) {
            tracing::error!(error, "the topic has no score");
        }
        if let Err(error) = gossip.subscribe(&name) {
            // Our own filter takes our own names; should it not, the limit says it best.
            tracing::error!(%error, %topic, "cannot subscribe");
            return Err(JoinError::TooMany { limit: self.settings.limits.topics });
        }
        self.joined.insert(topic, place);
        Ok(())
    }

    pub(super) fn leave(&mut self, place: Place) {
        let topic = self.topic(place);
        if self.joined.get(&topic) == Some(&place) {
            self.joined.remove(&topic);
            self.processes -= usize::from(matches!(place, Place::Process(_)));
            self.swarm.behaviour_mut().gossip.unsubscribe(&IdentTopic::new(topic.into_string()));
        }
    }

    pub(super) fn subscribers(&self, place: Place) -> Vec<Peer> {
        let topic = self.topic(place);
        let peers = self.swarm.behaviour().gossip.all_peers();
        peers.filter(|(_, topics)| topics.contains(&&topic)).map(|(peer, _)| Peer(*peer)).collect()
    }

    pub(super) fn publish(&mut self, place: Place, data: Bytes) -> Result<Published, PublishError> {
        let topic = self.topic(place);
        match self.swarm.behaviour_mut().gossip.publish(topic, Vec::from(data)) {
            Ok(_) => {
                Counters::add(match place {
                    Place::Process(_) => &self.counters.published,
                    Place::Lobby(_) => &self.counters.lobby_published,
                });
                Ok(Published::Sent)
            }
            Err(gossipsub::PublishError::Duplicate) => Ok(Published::Duplicate),
            Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => {
                if let Place::Process(_) = place {
                    Counters::add(&self.counters.published_to_nobody);
                }
                Err(PublishError::NoSubscribers)
            }
            // Sizes were checked, nothing is signed or transformed: what remains is full queues.
            Err(error) => {
                tracing::debug!(%error, "cannot publish");
                Err(PublishError::Busy)
            }
        }
    }
}
