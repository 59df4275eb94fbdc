//! Real networks on loopback. Tests wait for what should happen, never for time to pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod broken;
mod discovery;
mod gossip;
mod hostile;
mod large;
mod locations;
mod many;
mod opening;
mod raw;
mod reach;
mod requests;
mod support;
mod topics;
