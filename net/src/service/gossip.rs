//! Announcements: from gossipsub to the node, verdicts back, and publishing.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, TopicHash};
use weft_protocol::wire::ANNOUNCEMENT_BYTES_MAX;
use weft_protocol::{Effects, Id, Machine as _};

use super::Service;
use crate::event::{NetEvent, Ticket};
use crate::gossip::flood;
use crate::gossip::machine::{Cause, Effect, Input, Verdict};
use crate::gossip::params;
use crate::handle::{JoinError, PublishError, Published};
use crate::metrics::Counters;
use crate::peer::Peer;

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
                if let Some(process) = self.joined.get(&topic).copied() {
                    self.notify(NetEvent::Subscribed { process, peer: Peer(peer_id) });
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "a peer takes our messages too slowly");
                self.run_floods(flood::Input::Slow(peer_id));
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                self.run_floods(flood::Input::Left(peer_id, self.topic_numbers.hash_one(&topic)));
            }
            gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_announcement(&mut self, message_ref: MessageRef, message: gossipsub::Message) {
        let Some(process) = self.joined.get(&message.topic).copied() else {
            // We left the topic while this was on its way.
            self.report(&message_ref, Verdict::Ignore);
            return;
        };
        if message.data.len() > ANNOUNCEMENT_BYTES_MAX {
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
                    let data = data.take().unwrap_or_default();
                    let event = NetEvent::Gossip { process, data, from, ticket: Ticket(ticket) };
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

    fn topic(&self, process: &Id) -> TopicHash {
        TopicHash::from_raw(self.settings.names.process_topic(process))
    }

    pub(super) fn join(&mut self, process: Id) -> Result<(), JoinError> {
        let topic = self.topic(&process);
        if let Some(other) = self.joined.get(&topic) {
            return if *other == process { Ok(()) } else { Err(JoinError::Collision { other: *other }) };
        }
        let limit = self.settings.limits.topics;
        if self.joined.len() >= limit {
            return Err(JoinError::TooMany { limit });
        }
        let name = IdentTopic::new(topic.as_str());
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        // Without parameters of its own a topic has no score: what is invalid on it costs nothing.
        if let Err(error) = gossip.set_topic_params(name.clone(), params::topic_score()) {
            tracing::error!(error, "the topic has no score");
        }
        if let Err(error) = gossip.subscribe(&name) {
            // Our own filter takes our own names; should it not, the limit says it best.
            tracing::error!(%error, %topic, "cannot subscribe");
            return Err(JoinError::TooMany { limit });
        }
        for peer in self.subscribers(&process) {
            self.notify(NetEvent::Subscribed { process, peer });
        }
        self.joined.insert(topic, process);
        Ok(())
    }

    pub(super) fn leave(&mut self, process: &Id) {
        let topic = self.topic(process);
        if self.joined.get(&topic) == Some(process) {
            self.joined.remove(&topic);
            self.swarm.behaviour_mut().gossip.unsubscribe(&IdentTopic::new(topic.into_string()));
        }
    }

    pub(super) fn subscribers(&self, process: &Id) -> Vec<Peer> {
        let topic = self.topic(process);
        let peers = self.swarm.behaviour().gossip.all_peers();
        peers.filter(|(_, topics)| topics.contains(&&topic)).map(|(peer, _)| Peer(*peer)).collect()
    }

    pub(super) fn publish(&mut self, process: &Id, data: Bytes) -> Result<Published, PublishError> {
        let topic = self.topic(process);
        match self.swarm.behaviour_mut().gossip.publish(topic, Vec::from(data)) {
            Ok(_) => {
                Counters::add(&self.counters.published);
                Ok(Published::Sent)
            }
            Err(gossipsub::PublishError::Duplicate) => Ok(Published::Duplicate),
            Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => {
                Counters::add(&self.counters.published_to_nobody);
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
