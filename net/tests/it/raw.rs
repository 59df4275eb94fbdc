//! A peer that keeps to no limit: libp2p without our crate.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::gossipsub::{self, ConfigBuilder, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};

use crate::support::{network, within};

/// Bytes of a frame that it sends: four times what our nodes take.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of the length of a request.
const LENGTH_BYTES_MAX: usize = 5;

/// Announcements named so far: to it each is another one, also when it says the same again.
static NAMED: AtomicU64 = AtomicU64::new(0);

/// Sends any bytes, and takes them too if it reads at all.
#[derive(Clone)]
pub struct Raw {
    reads: bool,
    /// Leaves a request open that is the length of one alone.
    is_mute: bool,
}

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
    ) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        if !self.reads {
            std::future::pending::<()>().await;
        }
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await?;
        if self.is_mute && bytes.len() <= LENGTH_BYTES_MAX {
            // Nothing follows, and the stream stays open.
            io.flush().await?;
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Vec<u8>,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[derive(NetworkBehaviour)]
pub struct Hostile {
    pub gossip: gossipsub::Behaviour,
    pub requests: request_response::Behaviour<Raw>,
}

/// A swarm that speaks the protocols of our network. It says the same again as often as it is told to.
pub fn swarm(reads: bool) -> Swarm<Hostile> {
    made(Raw { reads, is_mute: false }, Duration::from_secs(10))
}

/// One whose requests may be a length alone, which then stand open so long.
#[allow(dead_code)] // The siege needs it.
pub fn mute(patience: Duration) -> Swarm<Hostile> {
    made(Raw { reads: true, is_mute: true }, patience)
}

fn made(raw: Raw, patience: Duration) -> Swarm<Hostile> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            let config = ConfigBuilder::default()
                .validation_mode(ValidationMode::Anonymous)
                .max_transmit_size(FRAME_BYTES_MAX)
                .connection_handler_queue_len(100_000)
                .message_id_fn(|_| MessageId::new(&NAMED.fetch_add(1, Ordering::Relaxed).to_be_bytes()))
                .build()
                .unwrap();
            let protocol = format!("/ao/{}/request/1", network().short());
            Hostile {
                gossip: gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).unwrap(),
                requests: request_response::Behaviour::with_codec(
                    raw,
                    [(StreamProtocol::try_from_owned(protocol).unwrap(), ProtocolSupport::Full)],
                    request_response::Config::default().with_request_timeout(patience),
                ),
            }
        })
        .unwrap()
        .build()
}

/// Connects with the node that listens here.
pub async fn connect(swarm: &mut Swarm<Hostile>, address: &str) {
    swarm.dial(address.parse::<libp2p::Multiaddr>().unwrap()).unwrap();
    within("a connection", async {
        while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    })
    .await;
}
