//! Peers that lie to a real node: they are not believed, what they say goes no further, and the
//! honest work goes on. And honest ones, that a node catches up with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod by_slot;
mod carried;
mod catch_up;
mod followed;
#[path = "../../../tests/src/full.rs"]
mod full;
mod heads;
mod heal;
mod items;
mod joined;
mod judged;
mod lobby;
mod market;
mod pending;
mod placed;
mod proven;
mod reads;
mod recovered;
mod requests;
mod silent;
mod subscribed;
mod support;
mod topic;
mod watched;
