//! Requests of peers to the node and their answers, and our requests to peers.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::BoxFuture;
use libp2p::PeerId;
use libp2p::request_response::{
    Event, InboundFailure, InboundRequestId, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use prost::Message as _;
use tokio::sync::oneshot;
use weft_protocol::Now;
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::{self, WireError};

use super::Service;
use crate::codec::Body;
use crate::conduct::Fault;
use crate::event::{NetEvent, Reply, refusal};
use crate::gossip::flood;
use crate::handle::RequestError;
use crate::limits::{
    ANSWER_SHARE_KIB, BODY_SMALL_BYTES, BUSY_RETRY_MS, REQUESTS_INBOUND_MAX, REQUESTS_OUTBOUND_MAX, UNREAD_MS,
};
use crate::metrics::Counters;
use crate::peer::Peer;

type Channel = ResponseChannel<Body<wire::Response>>;

/// The answer to one request of a peer.
pub(super) struct Answer {
    id: InboundRequestId,
    peer: PeerId,
    channel: Channel,
    outcome: Outcome,
}

enum Outcome {
    Given(wire::Response),
    /// The node dropped the request.
    Dropped,
    /// The peer no longer waits.
    TooLate,
}

pub(super) type AnswerFuture = BoxFuture<'static, Answer>;

/// Our requests that wait for an answer.
pub(super) type Waiting = HashMap<OutboundRequestId, oneshot::Sender<Result<wire::Response, RequestError>>>;

/// Large answers that are on their way, and since when.
pub(super) type OnTheirWay = HashMap<InboundRequestId, Now>;

async fn answer(
    (id, peer): (InboundRequestId, PeerId),
    channel: Channel,
    given: oneshot::Receiver<wire::Response>,
    within: Duration,
) -> Answer {
    let outcome = match tokio::time::timeout(within, given).await {
        Ok(Ok(response)) => Outcome::Given(response),
        Ok(Err(_)) => Outcome::Dropped,
        Err(_) => Outcome::TooLate,
    };
    Answer { id, peer, channel, outcome }
}

impl Service {
    pub(super) fn on_request_event(&mut self, event: Event<Body<wire::Request>, Body<wire::Response>>) {
        match event {
            Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                self.on_request((request_id, peer), request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                let response = response.message.map_err(|e| RequestError::Malformed(e.to_string()));
                self.end_request(request_id, response);
            }
            Event::OutboundFailure { request_id, error, .. } => {
                self.end_request(request_id, Err(request_error(error)));
            }
            Event::InboundFailure { peer, request_id, error, .. } => {
                let since = self.on_their_way.remove(&request_id);
                match error {
                    // An answer that was late itself says nothing of who did not read it.
                    InboundFailure::Timeout
                        if since.is_some_and(|since| since.plus_ms(UNREAD_MS) <= self.now()) =>
                    {
                        self.run_floods(flood::Input::Unread(peer));
                    }
                    InboundFailure::Io(error) => {
                        tracing::debug!(%peer, %error, "a request could not be read or answered");
                    }
                    _ => {}
                }
            }
            Event::ResponseSent { peer, request_id, .. } => {
                if self.on_their_way.remove(&request_id).is_some() {
                    self.run_floods(flood::Input::Read(peer));
                }
            }
        }
    }

    fn on_request(
        &mut self,
        (id, peer): (InboundRequestId, PeerId),
        request: Body<wire::Request>,
        channel: Channel,
    ) {
        let message = match request.message {
            Ok(message) => message,
            Err(reason) => {
                Counters::add(&self.counters.requests_malformed);
                // A newer version may ask for what is not known here: it is told so, and no more. What is
                // new is asked for in few words; many would cost this node a look at each.
                if !matches!(reason, WireError::NotCanonical) || request.budget.is_some() {
                    self.fault(peer, Fault::Malformed);
                }
                self.respond(channel, refusal(Code::Invalid, format!("malformed request: {reason}"), 0));
                return;
            }
        };
        let (sender, given) = oneshot::channel();
        let reply = Reply { answer: sender, _budget: request.budget };
        let event = NetEvent::Request { peer: Peer(peer), request: message, reply };
        if self.answers.len() >= REQUESTS_INBOUND_MAX || self.events.try_send(event).is_err() {
            Counters::add(&self.counters.requests_busy);
            self.respond(channel, refusal(Code::Busy, "this node is busy".into(), BUSY_RETRY_MS));
            return;
        }
        Counters::add(&self.counters.requests_received);
        self.answers.push(Box::pin(answer((id, peer), channel, given, self.settings.limits.request_timeout)));
    }

    pub(super) fn on_answer(&mut self, answer: Answer) {
        match answer.outcome {
            Outcome::Given(response) => {
                let response = self.budgeted(answer.peer, response);
                let is_large = response.budget.is_some();
                if self.respond(answer.channel, response) && is_large {
                    self.on_their_way.insert(answer.id, self.now());
                }
            }
            Outcome::Dropped => {
                let text = "this node failed to answer".into();
                self.respond(answer.channel, refusal(Code::Fault, text, 0));
            }
            Outcome::TooLate => {}
        }
    }

    /// The answer with its share of the memory, or that the peer has to wait: it asks for more than it reads.
    fn budgeted(&self, peer: PeerId, response: wire::Response) -> Body<wire::Response> {
        let bytes = response.encoded_len();
        if bytes <= BODY_SMALL_BYTES {
            return response.into();
        }
        // Who has gone does not hear it in any case.
        let budget = self.peers.get(&peer).and_then(|state| state.outgoing.try_take(bytes, ANSWER_SHARE_KIB));
        if budget.is_some() {
            return Body { message: Ok(response), budget };
        }
        Counters::add(&self.counters.answers_busy);
        refusal(Code::Busy, "as much is on its way to you as may be".into(), BUSY_RETRY_MS).into()
    }

    /// Says whether the peer still waited for it.
    fn respond(&mut self, channel: Channel, response: impl Into<Body<wire::Response>>) -> bool {
        let waited = self.swarm.behaviour_mut().requests.send_response(channel, response.into()).is_ok();
        if !waited {
            tracing::debug!("a peer did not wait for its answer");
        }
        waited
    }

    pub(super) fn request(
        &mut self,
        peer: Peer,
        request: wire::Request,
        done: oneshot::Sender<Result<wire::Response, RequestError>>,
    ) {
        if self.waiting.len() >= REQUESTS_OUTBOUND_MAX {
            // Whoever asked and went away waits for nothing: peers that are silent would keep these places
            // until their time is over.
            self.waiting.retain(|_, asker| !asker.is_closed());
        }
        if self.waiting.len() >= REQUESTS_OUTBOUND_MAX {
            let _ = done.send(Err(RequestError::TooMany { limit: REQUESTS_OUTBOUND_MAX }));
            return;
        }
        Counters::add(&self.counters.requests_sent);
        let id = self.swarm.behaviour_mut().requests.send_request(&peer.0, request.into());
        self.waiting.insert(id, done);
    }

    fn end_request(&mut self, id: OutboundRequestId, result: Result<wire::Response, RequestError>) {
        if result.is_err() {
            Counters::add(&self.counters.requests_failed);
        }
        if let Some(done) = self.waiting.remove(&id) {
            let _ = done.send(result);
        }
    }
}

fn request_error(failure: OutboundFailure) -> RequestError {
    match failure {
        OutboundFailure::DialFailure => RequestError::Unreachable,
        OutboundFailure::Timeout => RequestError::Timeout,
        OutboundFailure::ConnectionClosed => RequestError::Disconnected,
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
        OutboundFailure::Io(error) => RequestError::Io(error.to_string()),
    }
}
