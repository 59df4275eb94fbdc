//! The rules of Weft: what every honest node computes alike.
//!
//! Pure functions and types over bytes: ids, tags, ANS-104 items and bundles, signatures,
//! processes, messages, assignments, the hash chain, outcomes, attestations, origin proofs,
//! cron order, state roots and the wire messages.
//!
//! This crate never does IO, reads a clock, draws randomness, spawns a task or iterates a
//! `HashMap`. Bytes from outside enter as [`Unverified`] and leave only as [`Verified`]. `RULES.md` beside it is the
//! specification in words.
//!
//! | for | begin with |
//! |---|---|
//! | signed items | [`Draft`], [`DataItem`], [`bundle`], [`crypto::Signer`] |
//! | a process and its log | [`process::Process`], [`assignment::Assignment`], [`record::SlotRecord`], [`hash_chain`] |
//! | what a log comes to | [`fold::Fold`], [`outcome::Outcome`], [`attestation::Attestation`], [`state`] |
//! | a message between processes | [`push`], [`origin::OriginProof`], [`spawn`] |
//! | paid messengers | [`offer`], [`market`] |
//! | dishonest keys | [`evidence`] |
//! | what peers say to each other | [`wire`], [`lobby`], [`head`] |
//! | the roles of a node | [`Machine`], [`Effects`], [`Now`] |
//!
//! An item is made, sent as bytes and verified by whoever gets them:
//!
//! ```
//! use weft_protocol::crypto::Signer;
//! use weft_protocol::{DataItem, Draft, Tag};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signer = Signer::from_seed(&[7; 32]);
//! let draft = Draft { tags: vec![Tag::new("Action", "Greet")], data: "hello".into(), ..Draft::default() };
//! let sent = draft.sign(&signer)?;
//!
//! let item = DataItem::verify_bytes(sent.raw().clone())?;
//! assert_eq!(item.id(), sent.id());
//! assert_eq!(item.owner(), signer.address());
//! assert_eq!(item.tag("Action"), Some("Greet"));
//!
//! // With one bit changed nobody signed it.
//! let mut forged = sent.raw().to_vec();
//! *forged.last_mut().ok_or("no bytes")? ^= 1;
//! assert!(DataItem::verify_bytes(forged).is_err());
//! # Ok(())
//! # }
//! ```

mod hashing;
mod merkle;

pub mod assignment;
pub mod attestation;
pub mod base_layer;
pub mod bundle;
pub mod cron;
pub mod crypto;
pub mod data_digest;
pub mod data_item;
pub mod deep_hash;
pub mod epoch;
pub mod evidence;
pub mod fold;
pub mod hash_chain;
pub mod head;
pub mod header;
pub mod held;
pub mod id;
pub mod js;
pub mod key_signature;
pub mod l1;
pub mod limits;
pub mod lobby;
pub mod machine;
pub mod mark;
pub mod market;
pub mod message;
pub mod module;
pub mod offer;
pub mod origin;
pub mod outcome;
pub mod owner;
pub mod placed;
pub mod position;
pub mod postage;
pub mod process;
pub mod push;
pub mod record;
pub mod seen;
pub mod sender;
pub mod spawn;
pub mod state;
pub mod subscription;
pub mod tag;
pub mod time;
pub mod verify;
pub mod wire;

pub use data_item::{DataItem, Draft};
pub use id::{Address, Hash, Id, Network};
pub use machine::{Effects, Machine, Now};
pub use position::Position;
pub use tag::Tag;
pub use verify::{Unverified, Verified};
