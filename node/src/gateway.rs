//! The HTTP gateway: today's clients of ao (aoconnect, aos, wallets) find all units here, on one port.
//!
//! It takes signed items to their schedulers and reads: a process may be anywhere on the mesh, as what
//! is not on this node is asked of the peers that serve it. It decides nothing, redirects
//! nobody, and signs nothing for a caller. Connections, bodies, queries and waits have limits, pages of
//! other origins are let in only where the operator says so, and every error is JSON with `error`.
//!
//! In: [`Desk::answer`] is given a request; `route` reads what is asked for and `guard` who may ask,
//! both pure. Out: [`reads`](crate::reads), here or from a peer, and the [`Submitter`](crate::submit).

mod answer;
mod arweave;
mod body;
mod compute;
mod connections;
mod desk;
mod events;
mod feed;
mod find;
mod graphql;
mod guard;
mod guarded;
mod hyperbeam;
mod lookup;
mod messenger;
mod monitor;
mod params;
mod problem;
mod refusal;
mod route;
mod scan;
mod scheduler;
mod server;
mod spawned;
mod waiting;
mod weave;

pub(crate) use desk::Desk;
pub(crate) use monitor::{Wish, clients_of, outlast};
pub(crate) use server::GatewayServer;
pub(crate) use weave::WeaveDesk;

/// How long a page up to this moment waits until its newest slot is evaluated, in milliseconds.
const NOW_MS: u64 = 60_000;
