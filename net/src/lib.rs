//! The network of Weft: a libp2p swarm behind a small handle.
//!
//! [`Net::start`] listens on TCP and WebSockets with noise and yamux and on QUIC, finds peers by bootstrap list,
//! peer book, mDNS and Kademlia, learns whether it can be reached and uses relays when not, joins one
//! gossipsub topic per process, and carries requests between nodes. The node hears [`NetEvent`]s and asks
//! through [`Net`]; libp2p's types stop here.
//!
//! What is absent: this crate knows nothing of the rules of processes, verifies no item and trusts
//! no peer. An announcement is forwarded only after the node has said [`Verdict::Accept`]. Its one
//! task never waits on the node: a full event queue means that gossip is ignored and requests are
//! answered with Busy, both counted.
//!
//! A node's key is its name in both worlds: [`Peer::address`] of a peer id is the key's ao
//! address, so a scheduler named in a process can be recognised, and found by [`Key::Address`].
//!
//! ```no_run
//! use weft_net::{Net, NetConfig, NetEvent, Verdict};
//! use weft_protocol::{Id, Network};
//!
//! # async fn watch(process: Id) -> Result<(), Box<dyn std::error::Error>> {
//! let (net, mut events) = Net::start(NetConfig::new([7; 32], Network::of_name("example")))?;
//! net.join(process).await?;
//! while let Some(event) = events.recv().await {
//!     if let NetEvent::Gossip { data, from, ticket, .. } = event {
//!         println!("{} bytes by way of {from}", data.len());
//!         // Whoever knows the rules decides whether it is forwarded.
//!         net.verdict(ticket, Verdict::Ignore);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod bandwidth;
mod behaviour;
mod closing;
mod codec;
mod conduct;
mod config;
mod crowd;
mod discovery;
mod doze;
mod event;
mod gossip;
mod handle;
mod keep;
mod key;
pub mod limits;
mod metrics;
mod network;
mod peer;
mod readers;
mod remembered;
mod service;
#[cfg(test)]
mod simulation;
mod transport;

pub use address::{AddressError, check_listen, check_peer};
pub use conduct::Fault;
pub use config::{ConfigError, NetConfig, NetLimits, reachability_of};
pub use discovery::machine::reach::Reachability;
pub use event::{NetEvent, Reply, ReplyError, Ticket};
pub use gossip::machine::Verdict;
pub use handle::{
    DialError, JoinError, Net, NetError, PeerInfo, ProvideError, PublishError, Published, ReachInfo,
    RequestError, Stopped,
};
pub use key::Key;
pub use metrics::{NetLevel, NetMetrics};
pub use peer::{Peer, PeerError};
pub use remembered::{Remembered, RememberedPeer, RememberedProvider};
