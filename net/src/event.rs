//! What the network layer tells the node.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use weft_protocol::Id;
use weft_protocol::lobby::Shard;
use weft_protocol::wire::{self, RESPONSE_BYTES_MAX};

use crate::codec::Taken;
use crate::peer::Peer;

/// What the network layer tells the node. Nothing in it is verified.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetEvent {
    /// An announcement on the topic of a process that this node joined. The ticket wants a verdict
    /// within 10 seconds; without one the announcement is ignored.
    Gossip {
        /// Whose topic it came on. The bytes may claim another process: check.
        process: Id,
        /// The announcement's bytes.
        data: Bytes,
        /// Who forwarded it; not who made it.
        from: Peer,
        /// What the verdict is given on.
        ticket: Ticket,
    },
    /// A fact on a lobby shard that this node is on. The ticket is like that of other gossip.
    Lobby {
        /// On which shard it came. The bytes may claim another: check.
        shard: Shard,
        /// The fact's bytes.
        data: Bytes,
        /// Who forwarded it; not who made it.
        from: Peer,
        /// What the verdict is given on.
        ticket: Ticket,
    },
    /// A peer asks for something. A reply that is dropped tells the peer that we failed.
    Request {
        /// Who asks.
        peer: Peer,
        /// What is asked.
        request: wire::Request,
        /// Where the answer goes.
        reply: Reply,
    },
    /// A peer is connected that was not.
    PeerUp {
        /// Which one.
        peer: Peer,
    },
    /// The last connection with a peer is gone.
    PeerDown {
        /// Which one.
        peer: Peer,
    },
    /// A peer and this node now share a process's topic, whichever joined last. Both hear of it;
    /// who may be behind asks the other for its head. (Publishing a head again would not do: equal
    /// bytes are gossiped once in ten minutes.)
    Subscribed {
        /// The process.
        process: Id,
        /// The other peer.
        peer: Peer,
    },
}

/// The right to give one verdict on one announcement.
#[derive(Debug)]
pub struct Ticket(pub(crate) u64);

/// Where the answer to a peer's request goes.
#[derive(Debug)]
pub struct Reply {
    pub(crate) answer: oneshot::Sender<wire::Response>,
    /// The request's share of the memory for large requests, held until it is answered.
    pub(crate) _budget: Option<Taken>,
}

/// An answer that was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It is larger than a response may be; the peer was told that we failed.
    #[error("the response has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The peer went away or no longer waits.
    #[error("the peer no longer waits for the response")]
    Gone,
}

impl Reply {
    /// Answers the request. Never waits.
    ///
    /// # Errors
    /// When the answer is too large or nobody waits for it.
    pub fn send(self, response: wire::Response) -> Result<(), ReplyError> {
        let bytes = response.encoded_len();
        if bytes > RESPONSE_BYTES_MAX {
            let text = format!("the response would have {bytes} bytes");
            // The error below says what matters, whether or not the peer still listens.
            let _ = self.answer.send(refusal(wire::refusal::Code::Fault, text, 0));
            return Err(ReplyError::TooLarge { bytes, limit: RESPONSE_BYTES_MAX });
        }
        self.answer.send(response).map_err(|_| ReplyError::Gone)
    }
}

/// A response that refuses a request.
pub(crate) fn refusal(code: wire::refusal::Code, text: String, retry_ms: u64) -> wire::Response {
    let refusal = wire::Refusal { code: code.into(), text, retry_ms };
    wire::Response { body: Some(wire::response::Body::Refusal(refusal)) }
}
