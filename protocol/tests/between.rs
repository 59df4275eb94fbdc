//! What passes between processes and between nodes: pushes and their proofs, slot records,
//! epochs, evidence, offers, the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "between/attestation.rs"]
mod attestation;
#[path = "between/epoch.rs"]
mod epoch;
#[path = "between/evidence.rs"]
mod evidence;
#[path = "between/fixture.rs"]
mod fixture;
#[path = "../../tests/src/full.rs"]
mod full;
#[path = "between/impersonation.rs"]
mod impersonation;
#[path = "between/lobby.rs"]
mod lobby;
#[path = "between/market.rs"]
mod market;
#[path = "between/offer.rs"]
mod offer;
#[path = "between/origin.rs"]
mod origin;
#[path = "between/record.rs"]
mod record;
#[path = "between/replay.rs"]
mod replay;
#[path = "between/result.rs"]
mod result;
#[path = "between/sent.rs"]
mod sent;
#[path = "between/spawn.rs"]
mod spawn;
#[path = "between/subscription.rs"]
mod subscription;
#[path = "between/wire.rs"]
mod wire;
