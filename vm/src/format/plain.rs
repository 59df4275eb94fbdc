//! `wasm32-weft-plain`, our own format: what a guest written for Weft needs and nothing else.
//!
//! # Exports
//!
//! | export | type | what it does |
//! |---|---|---|
//! | `memory` | 32-bit memory | the only state that lasts from message to message |
//! | `alloc` | `(i32) -> i32` | gives room for so many bytes; called once for the message and once for the environment |
//! | `handle` | `(i32, i32, i32, i32) -> i64` | address and length of the message JSON, address and length of the environment JSON; returns the result JSON as `address << 32 \| length` |
//!
//! Both texts are UTF-8 without a zero byte behind them. The result JSON is that of every ao
//! module: `{"ok":true,"response":{"Output":..,"Messages":[..],"Spawns":[..],"Assignments":[..]}}`
//! or `{"ok":false,"response":<error>}`. There is no initialisation beyond the data segments.
//!
//! A module may throw WebAssembly exceptions of numbers (`try_table` with `catch` and `catch_all`). One
//! that nobody catches ends the message as a trap does.
//!
//! # Imports
//!
//! Only functions of the module `weft`. All but `read_item` are pure functions of memory; addresses and
//! lengths are unsigned 32-bit. An address outside of memory traps.
//!
//! | import | type | what it does |
//! |---|---|---|
//! | `sha256` | `(data, length, out)` | 32 bytes to `out` |
//! | `sha384` | `(data, length, out)` | 48 bytes |
//! | `keccak256` | `(data, length, out)` | 32 bytes |
//! | `blake3` | `(data, length, out)` | 32 bytes |
//! | `ed25519_verify` | `(key, signature, data, length) -> i32` | 1 if it is the key's (32 bytes) strict signature (64 bytes), else 0 |
//! | `rsa_pss_verify` | `(modulus, signature, data, length) -> i32` | 1 if it is a signature as of an Arweave wallet (both 512 bytes), else 0 |
//! | `secp256k1_recover` | `(hash, signature, out) -> i32` | writes the 65 bytes of the public key that signed `hash` (32 bytes) with `signature` (r, s, v: 65 bytes; v 27 or 28; low s) and gives 1, or gives 0 |
//! | `read_item` | `(id, length, out, room) -> i64` | the bytes of the item with this id (43 characters), and as many of them at `out` as there is room for; -1 if this message may not read it. It may read what has a slot in the log, and what the process boots from |

use wasmtime::{Linker, Module, Store};
use weft_protocol::crypto::guest as offered;

use super::Format;
use crate::error::ModuleError;
use crate::host::args::{Args, give, takes_numbers};
use crate::host::{Guest, HostState, Stop, part, weave};
use crate::limits::RESULT_BYTES_MAX;
use crate::live::{Export, Exports};

const MODULE: &str = "weft";
/// Gas of one signature check, beside that of the bytes: about its time.
const ED25519_GAS: u64 = 50_000_000;
/// See [`ED25519_GAS`].
const RSA_GAS: u64 = 200_000_000;
/// See [`ED25519_GAS`].
const SECP256K1_GAS: u64 = 200_000_000;
/// A hash costs about this much more per byte than copying.
const HASH_FACTOR: u64 = 50;

type HostFunction = fn(&mut Guest<'_>, Args<'_>) -> Result<i64, Stop>;

fn function(name: &str) -> Option<HostFunction> {
    Some(match name {
        "sha256" => |guest, args| hash(guest, args, offered::sha256),
        "sha384" => |guest, args| hash(guest, args, offered::sha384),
        "keccak256" => |guest, args| hash(guest, args, offered::keccak256),
        "blake3" => |guest, args| hash(guest, args, offered::blake3),
        "ed25519_verify" => |guest, args| verify(guest, args, &ED25519),
        "rsa_pss_verify" => |guest, args| verify(guest, args, &RSA),
        "secp256k1_recover" => secp256k1_recover,
        "read_item" => weave::read_item,
        _ => return None,
    })
}

/// Offers a module its imports, or refuses it by the name of the first unknown one. A plain
/// module calls nothing through the host.
pub(crate) fn link(linker: &mut Linker<HostState>, module: &Module) -> Result<Vec<String>, ModuleError> {
    for import in module.imports() {
        let unknown = || ModuleError::UnknownImport {
            module: import.module().to_owned(),
            name: import.name().to_owned(),
            format: Format::Plain.name(),
        };
        if import.module() != MODULE {
            return Err(unknown());
        }
        let ty = import.ty().func().filter(|ty| takes_numbers(ty)).cloned().ok_or_else(unknown)?;
        let host = function(import.name()).ok_or_else(unknown)?;
        let given: Vec<_> = ty.results().collect();
        linker
            .func_new(import.module(), import.name(), ty, move |caller, arguments, results| {
                let mut guest = Guest(caller);
                guest.charge(0)?;
                let value = host(&mut guest, Args(arguments))?;
                give(results, &given, value);
                Ok(())
            })
            .map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
    }
    Ok(Vec::new())
}

fn hash<const N: usize>(
    guest: &mut Guest<'_>,
    args: Args<'_>,
    digest: fn(&[u8]) -> [u8; N],
) -> Result<i64, Stop> {
    let (data, length, out) = (args.word(0)?, args.word(1)?, args.word(2)?);
    guest.charge(length.saturating_mul(HASH_FACTOR))?;
    let digest = digest(guest.bytes(data, length)?);
    guest.write(out, &digest)?;
    Ok(0)
}

/// A signature scheme: sizes, price and check.
struct Scheme {
    key_bytes: u64,
    signature_bytes: u64,
    gas: u64,
    check: fn(&[u8], &[u8], &[u8]) -> bool,
}

const ED25519: Scheme =
    Scheme { key_bytes: 32, signature_bytes: 64, gas: ED25519_GAS, check: offered::ed25519_verify };
const RSA: Scheme =
    Scheme { key_bytes: 512, signature_bytes: 512, gas: RSA_GAS, check: offered::rsa_pss_verify };

fn verify(guest: &mut Guest<'_>, args: Args<'_>, scheme: &Scheme) -> Result<i64, Stop> {
    let (data, length) = (args.word(2)?, args.word(3)?);
    guest.charge_gas(scheme.gas)?;
    guest.charge(length.saturating_mul(HASH_FACTOR))?;
    let key = guest.bytes(args.word(0)?, scheme.key_bytes)?;
    let signature = guest.bytes(args.word(1)?, scheme.signature_bytes)?;
    Ok(i64::from((scheme.check)(key, guest.bytes(data, length)?, signature)))
}

fn secp256k1_recover(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    guest.charge_gas(SECP256K1_GAS)?;
    let digest = guest.bytes(args.word(0)?, 32)?;
    let Some(key) = offered::secp256k1_recover(digest, guest.bytes(args.word(1)?, 65)?) else {
        return Ok(0);
    };
    guest.write(args.word(2)?, &key)?;
    Ok(1)
}

/// The entry points of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    alloc: Export,
    handle: Export,
}

impl Entry {
    pub(crate) fn find(exports: &mut Exports<'_>) -> Result<Self, ModuleError> {
        Ok(Self {
            alloc: exports.function(&["alloc"], "alloc(bytes) -> address", 1, 1)?,
            handle: exports.function(
                &["handle"],
                "handle(message, length, environment, length) -> address << 32 | length",
                4,
                1,
            )?,
        })
    }

    /// Hands a message to the guest and reads its answer.
    pub(crate) fn handle(
        &self,
        store: &mut Store<HostState>,
        memory: wasmtime::Memory,
        message: &[u8],
        environment: &[u8],
    ) -> Result<Vec<u8>, wasmtime::Error> {
        let message_at = self.place(store, memory, message)?;
        let environment_at = self.place(store, memory, environment)?;
        let lengths = [message.len() as u64, environment.len() as u64];
        let answer = self.handle.call(store, &[message_at, lengths[0], environment_at, lengths[1]])?;
        let (address, length) = (answer >> 32, answer & 0xffff_ffff);
        if length > RESULT_BYTES_MAX as u64 {
            return Err(Stop::MalformedResult.into());
        }
        Ok(part(memory.data(&*store), address, length).ok_or(Stop::MalformedResult)?.to_vec())
    }

    fn place(
        &self,
        store: &mut Store<HostState>,
        memory: wasmtime::Memory,
        text: &[u8],
    ) -> Result<u64, wasmtime::Error> {
        let address = self.alloc.call(store, &[text.len() as u64])?;
        let room = crate::host::range(address, text.len() as u64)
            .and_then(|room| memory.data_mut(&mut *store).get_mut(room))
            .ok_or(Stop::Abort("alloc gave no room inside of memory"))?;
        room.copy_from_slice(text);
        Ok(address)
    }
}
