//! Modules that come with the binary: the same items, with the same ids, on every node of a build.
//!
//! They are signed with a published key, so that nobody has to have made them: an id is the hash of a
//! signature, and only these bytes with these tags give this one.

use std::sync::OnceLock;

use bytes::Bytes;
use weft_protocol::crypto::Signer;
use weft_protocol::crypto::guest::sha256;
use weft_protocol::{DataItem, Draft, Id, Tag, Verified};
use weft_storage::{Store, Write};
use weft_vm::{Format, guests};

use crate::error::NodeError;

/// What the Lua runtime is called: the module of a process that names no other.
pub const LUA: &str = "lua";

/// What the ledger of the messenger market is called.
pub const LEDGER: &str = "ledger";

/// The modules that come with the binary: their names and bytes, in the order in which they are shown.
const MODULES: [(&str, &[u8]); 2] = [(LUA, guests::LUA), (LEDGER, guests::LEDGER)];

/// Memory of its processes, and gas of a message, unless their own tags say otherwise.
const LIMITS: [(&str, &str); 2] = [("Memory-Limit", "1-gb"), ("Compute-Limit", "9000000000000")];

/// The modules that come with the binary, in the order of `MODULES`.
///
/// # Errors
/// [`NodeError::Key`] if one cannot be signed, which no input causes.
pub fn items() -> Result<&'static [Verified<DataItem>], NodeError> {
    static ITEMS: OnceLock<Vec<Verified<DataItem>>> = OnceLock::new();
    if let Some(items) = ITEMS.get() {
        return Ok(items);
    }
    let items: Result<Vec<_>, NodeError> =
        MODULES.iter().map(|(name, wasm)| module(name, wasm, Format::Plain.name())).collect();
    let items = items?;
    Ok(ITEMS.get_or_init(|| items))
}

/// The names and ids of the modules that come with the binary; none of them if they cannot be signed.
pub fn named() -> impl Iterator<Item = (&'static str, Id)> {
    let items = items().unwrap_or_default();
    MODULES.iter().zip(items).map(|((name, _), item)| (*name, item.id()))
}

/// The id of a module that comes with the binary, by its name.
pub fn id_of(name: &str) -> Option<Id> {
    named().find(|(known, _)| *known == name).map(|(_, id)| id)
}

/// The name of a module that comes with the binary.
pub fn name_of(module: &Id) -> Option<&'static str> {
    named().find(|(_, id)| id == module).map(|(name, _)| name)
}

/// Puts what comes with the binary among the items that this node holds and serves.
pub(crate) async fn keep(store: &Store) -> Result<(), NodeError> {
    for item in items()? {
        if store.read()?.item(&item.id())?.is_none() {
            store.write(vec![Write::Item { id: item.id(), raw: item.raw().clone() }]).await?;
        }
    }
    Ok(())
}

fn module(name: &str, wasm: &'static [u8], format: &str) -> Result<Verified<DataItem>, NodeError> {
    let mut tags = vec![
        Tag::new("Data-Protocol", "ao"),
        Tag::new("Name", name),
        Tag::new("Variant", "ao.TN.1"),
        Tag::new("Type", "Module"),
        Tag::new("Module-Format", format),
        Tag::new("Input-Encoding", "JSON-1"),
        Tag::new("Output-Encoding", "JSON-1"),
        Tag::new("Content-Type", "application/wasm"),
    ];
    tags.extend(LIMITS.map(|(name, value)| Tag::new(name, value)));
    // No secret: it makes the ids of these items the same everywhere.
    let signer = Signer::from_seed(&sha256(b"weft/builtin/1"));
    let draft = Draft { target: None, anchor: None, tags, data: Bytes::from_static(wasm) };
    draft.sign(&signer).map_err(|error| NodeError::Key(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::module::Module;

    use super::*;

    /// Processes name them for ever: they change only with the guests themselves.
    #[test]
    fn the_modules_are_some_that_any_node_takes() {
        for ((name, wasm), item) in MODULES.iter().zip(items().unwrap()) {
            let again = DataItem::verify_bytes(item.raw().clone()).unwrap();
            let module = Module::accept(again).unwrap();
            assert_eq!((module.format(), module.wasm().as_ref()), (Format::Plain.name(), *wasm));
            assert_eq!((id_of(name), name_of(&module.id())), (Some(module.id()), Some(*name)));
        }
        assert_eq!((id_of("other"), name_of(&Id([0; 32]))), (None, None));
    }
}
