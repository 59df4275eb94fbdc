//! Processes that talk to each other on real nodes, through messengers that nobody trusts: with the
//! real aos module where `tests/interop` is installed, and with the built-in Lua and counter everywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod assign;
mod base_layer;
mod carried;
mod chains;
mod courier;
mod drive;
mod earn;
mod gateway;
mod guest;
mod hard;
mod hostile;
mod impersonation;
mod kills;
mod llama;
mod notices;
mod quorum;
mod race;
mod rig;
mod scenario;
mod spawn;
mod sql;
mod takeover;
mod three;
mod token;
mod turns;
