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

/// Memory of its processes, and gas of a message, unless their own tags say otherwise.
const LIMITS: [(&str, &str); 2] = [("Memory-Limit", "1-gb"), ("Compute-Limit", "9000000000000")];

/// The Lua runtime as a module.
///
/// # Errors
/// [`NodeError::Key`] if it cannot be signed, which no input causes.
pub fn lua() -> Result<&'static Verified<DataItem>, NodeError> {
    static ITEM: OnceLock<Verified<DataItem>> = OnceLock::new();
    if let Some(item) = ITEM.get() {
        return Ok(item);
    }
    let item = module(LUA, guests::LUA, Format::Plain.name())?;
    Ok(ITEM.get_or_init(|| item))
}

/// The id of a module that comes with the binary, by its name.
pub fn id_of(name: &str) -> Option<Id> {
    (name == LUA).then(lua)?.ok().map(|item| item.id())
}

/// Puts what comes with the binary among the items that this node holds and serves.
pub(crate) async fn keep(store: &Store) -> Result<(), NodeError> {
    let item = lua()?;
    if store.read()?.item(&item.id())?.is_none() {
        store.write(vec![Write::Item { id: item.id(), raw: item.raw().clone() }]).await?;
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

    /// Processes name it for ever: it changes only with the guest itself.
    #[test]
    fn the_module_is_one_that_any_node_takes() {
        let item = lua().unwrap();
        let again = DataItem::verify_bytes(item.raw().clone()).unwrap();
        let module = Module::accept(again).unwrap();
        assert_eq!((module.format(), module.wasm().as_ref()), (Format::Plain.name(), guests::LUA));
        assert_eq!(id_of("lua"), Some(module.id()));
        assert_eq!(id_of("other"), None);
    }
}
