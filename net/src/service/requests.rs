//! Requests of peers to the node and their answers, and our requests to peers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use libp2p::PeerId;
use libp2p::request_response::{
    Event, InboundFailure, InboundRequestId, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use prost::Message as _;
use tokio::sync::oneshot;
use weft_protocol::wire::refusal::Code;
use weft_protocol::wire::{self, WireError};
use weft_protocol::{Effects, Machine as _};

use super::Service;
use crate::codec::{Body, NoRoom, Way};
use crate::conduct::Fault;
use crate::event::{NetEvent, Reply, refusal};
use crate::handle::RequestError;
use crate::limits::{
    ANSWER_SHARE_KIB, ANSWERS_SECONDS_MAX, BODY_SMALL_BYTES, BUSY_RETRY_MS, REQUESTS_HELD_BYTES_MAX,
    REQUESTS_HELD_MAX, REQUESTS_INBOUND_MAX, REQUESTS_OUTBOUND_MAX,
};
use crate::metrics::Counters;
use crate::peer::Peer;
use crate::readers;

type Channel = ResponseChannel<Body<wire::Response>>;

/// The answer to one request of a peer.
pub(super) struct Answer {
    id: InboundRequestId,
    peer: PeerId,
    channel: Channel,
    outcome: Outcome,
}

enum Outcome {
    Given(Box<wire::Response>),
    /// The node dropped the request.
    Dropped,
    /// The peer no longer waits.
    TooLate,
}

pub(super) type AnswerFuture = BoxFuture<'static, Answer>;

type Done = oneshot::Sender<Result<wire::Response, RequestError>>;

/// Our requests that are under way, each with its bytes. The library keeps them until they end, also those whose
/// caller has gone.
#[derive(Default)]
pub(super) struct Waiting {
    requests: HashMap<OutboundRequestId, (Done, usize)>,
    bytes: usize,
}

impl Waiting {
    /// How many callers wait.
    pub(super) fn len(&self) -> usize {
        self.requests.values().filter(|(done, _)| !done.is_closed()).count()
    }

    /// Why there may not be one more of so many bytes.
    fn refused(&self, bytes: usize) -> Option<RequestError> {
        let held = self.requests.len();
        if held >= REQUESTS_HELD_MAX {
            return Some(RequestError::TooMany { limit: REQUESTS_HELD_MAX });
        }
        if held >= REQUESTS_OUTBOUND_MAX && self.len() >= REQUESTS_OUTBOUND_MAX {
            return Some(RequestError::TooMany { limit: REQUESTS_OUTBOUND_MAX });
        }
        let limit = REQUESTS_HELD_BYTES_MAX;
        // Silent peers that were sent much keep nobody from a question: those are bounded by their number.
        (bytes > BODY_SMALL_BYTES && self.bytes + bytes > limit).then_some(RequestError::TooMuch { limit })
    }

    fn begin(&mut self, id: OutboundRequestId, done: Done, bytes: usize) {
        self.bytes += bytes;
        self.requests.insert(id, (done, bytes));
    }

    fn end(&mut self, id: OutboundRequestId) -> Option<Done> {
        let (done, bytes) = self.requests.remove(&id)?;
        self.bytes -= bytes;
        Some(done)
    }
}

/// A large answer that is on its way.
pub(super) struct OnItsWay {
    peer: PeerId,
    way: Arc<Way>,
    /// How much of it was said to be taken.
    said: u64,
}

impl OnItsWay {
    /// What was taken of it since this was last asked.
    fn took(&mut self) -> readers::Input<PeerId> {
        let before = std::mem::replace(&mut self.said, self.way.bytes());
        readers::Input::Took(self.peer, self.said - before)
    }
}

/// Large answers that are on their way.
pub(super) type OnTheirWay = HashMap<InboundRequestId, OnItsWay>;

async fn answer(
    (id, peer): (InboundRequestId, PeerId),
    channel: Channel,
    given: oneshot::Receiver<wire::Response>,
    within: Duration,
) -> Answer {
    let outcome = match tokio::time::timeout(within, given).await {
        Ok(Ok(response)) => Outcome::Given(Box::new(response)),
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
                self.end_answer(request_id);
                if let InboundFailure::Io(error) = error {
                    tracing::debug!(%peer, %error, "a request could not be read or answered");
                }
            }
            Event::ResponseSent { request_id, .. } => self.end_answer(request_id),
        }
    }

    fn begin_answer(&mut self, id: InboundRequestId, peer: PeerId, way: Arc<Way>) {
        self.on_their_way.insert(id, OnItsWay { peer, way, said: 0 });
        self.run_readers(readers::Input::Sent(peer));
    }

    fn end_answer(&mut self, id: InboundRequestId) {
        let Some(mut answer) = self.on_their_way.remove(&id) else { return };
        self.run_readers(answer.took());
        self.run_readers(readers::Input::Ended(answer.peer));
    }

    /// Forgets what was on its way to a peer that has gone.
    pub(super) fn end_answers(&mut self, peer: PeerId) {
        self.on_their_way.retain(|_, answer| answer.peer != peer);
        self.run_readers(readers::Input::Gone(peer));
    }

    /// Looks how far answers are on their way.
    pub(super) fn follow_answers(&mut self) {
        let took: Vec<_> = self.on_their_way.values_mut().map(OnItsWay::took).collect();
        for took in took {
            self.run_readers(took);
        }
        self.run_readers(readers::Input::Tick);
    }

    fn run_readers(&mut self, input: readers::Input<PeerId>) {
        let mut effects = Effects::new();
        self.readers.handle(input, self.now(), &mut effects);
        for effect in effects.drain() {
            match effect {
                readers::Effect::Cut(peer) => {
                    tracing::debug!(%peer, "what is on its way to a peer makes room for others");
                    Counters::add(&self.counters.answers_cut);
                    for answer in self.on_their_way.values().filter(|answer| answer.peer == peer) {
                        answer.way.cut();
                    }
                }
                readers::Effect::HangUp(peer) => self.hang_up(peer),
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
                let response = self.budgeted(answer.peer, *response);
                let way = response.budget.as_ref().map(|budget| Arc::clone(&budget.way));
                if self.respond(answer.channel, response)
                    && let Some(way) = way
                {
                    self.begin_answer(answer.id, answer.peer, way);
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
    fn budgeted(&mut self, peer: PeerId, response: wire::Response) -> Body<wire::Response> {
        let bytes = response.encoded_len();
        if bytes <= BODY_SMALL_BYTES {
            return response.into();
        }
        if let Some(retry_ms) = self.overdue_ms(&peer, bytes) {
            Counters::add(&self.counters.answers_busy);
            return refusal(Code::Busy, "this node's line is busy".into(), retry_ms).into();
        }
        let rests = self.readers.rests(&peer, self.now());
        // Who has gone does not hear it in any case.
        let share = self.peers.get(&peer).filter(|_| !rests).map(|state| &state.outgoing);
        match share.map(|share| share.try_take(bytes, ANSWER_SHARE_KIB)) {
            Some(Ok(budget)) => return Body { message: Ok(response), budget: Some(budget) },
            Some(Err(NoRoom::OfAll)) => self.run_readers(readers::Input::Short),
            Some(Err(NoRoom::OfItsOwn)) | None => {}
        }
        Counters::add(&self.counters.answers_busy);
        refusal(Code::Busy, "too much is on its way to you".into(), BUSY_RETRY_MS).into()
    }

    /// How long one more of the larger answers to a peer has to wait until the line has room for it; none where there
    /// is room, or no limit.
    fn overdue_ms(&self, peer: &PeerId, bytes: usize) -> Option<u64> {
        let rate = self.settings.limits.bandwidth_out?;
        let waiting = self.outgoing.taken_bytes();
        // Each has one, however large it is: who reads nothing keeps none from the others.
        let has_one = self.peers.get(peer).is_some_and(|state| state.outgoing.is_in_use(ANSWER_SHARE_KIB));
        let is_late = has_one && (waiting + bytes as u64) / rate > ANSWERS_SECONDS_MAX;
        is_late.then(|| (waiting.saturating_mul(1_000) / rate).max(BUSY_RETRY_MS))
    }

    /// Says whether the peer still waited for it.
    fn respond(&mut self, channel: Channel, response: impl Into<Body<wire::Response>>) -> bool {
        let waited =
            self.swarm.behaviour_mut().others.requests.send_response(channel, response.into()).is_ok();
        if !waited {
            tracing::debug!("a peer did not wait for its answer");
        }
        waited
    }

    pub(super) fn request(&mut self, peer: Peer, request: wire::Request, done: Done) {
        let bytes = request.encoded_len();
        if let Some(refused) = self.waiting.refused(bytes) {
            let _ = done.send(Err(refused));
            return;
        }
        Counters::add(&self.counters.requests_sent);
        let id = self.swarm.behaviour_mut().others.requests.send_request(&peer.0, request.into());
        self.waiting.begin(id, done, bytes);
    }

    fn end_request(&mut self, id: OutboundRequestId, result: Result<wire::Response, RequestError>) {
        if result.is_err() {
            Counters::add(&self.counters.requests_failed);
        }
        if let Some(done) = self.waiting.end(id) {
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
