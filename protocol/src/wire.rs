//! The wire messages, generated from `proto/weft.proto`.

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

include!(concat!(env!("OUT_DIR"), "/weft.v1.rs"));
