//! `weft module`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weft_protocol::Tag;
use weft_protocol::module::{parse_compute_limit, parse_memory_limit};
use weft_vm::Format;

use super::exit::{CliError, Exit};
use super::screen::table;
use super::talk::ask;
use super::{Context, compose, files};
use crate::control::api::{LINE_BYTES_MAX, ModuleInfo, Request};

/// Bytes of a module that can be handed to a node: base64 of it, its tags and the request around
/// it fit in a line.
const WASM_BYTES_MAX: u64 = (LINE_BYTES_MAX as u64 - 64 * 1024) / 4 * 3;

/// What `weft module add` is told.
pub(super) struct New {
    pub(super) file: PathBuf,
    pub(super) format: String,
    pub(super) memory_limit: String,
    pub(super) compute_limit: String,
    pub(super) tags: Vec<Tag>,
}

pub(super) async fn add(new: New, context: &Context) -> Result<Exit, CliError> {
    let refused = |error: weft_protocol::process::Refusal| CliError::input(error.to_string());
    parse_memory_limit(&new.memory_limit).map_err(refused)?;
    parse_compute_limit(&new.compute_limit).map_err(refused)?;
    Format::parse(&new.format).map_err(|error| CliError::input(format!("--format: {error}")))?;
    let wasm = wasm(&new.file)?;
    let signer = context.signer()?;
    let draft = compose::module(wasm.into(), &new.format, &new.memory_limit, &new.compute_limit, new.tags)?;
    let item = draft.sign(&signer).map_err(|error| CliError::input(error.to_string()))?;
    let request = Request::PutModule { item: STANDARD.encode(item.raw()) };
    let info: ModuleInfo = ask(context, "compiling and storing the module", &request).await?;
    context.screen.answer(&info, || info.module.to_string())?;
    context.screen.remark(&format!("start a process with it: `weft spawn --module {}`", info.module));
    Ok(Exit::Ok)
}

/// Reads a WebAssembly file.
pub(super) fn wasm(file: &std::path::Path) -> Result<Vec<u8>, CliError> {
    let wasm = files::read(file, WASM_BYTES_MAX)?;
    if !wasm.starts_with(b"\0asm") {
        let name = files::shown(file);
        let hint =
            if wasm.starts_with(b"(") { "; it looks like text, which must be assembled first" } else { "" };
        return Err(CliError::input(format!(
            "{name} is not a WebAssembly module: it does not begin with \\0asm{hint}"
        )));
    }
    Ok(wasm)
}

pub(super) async fn list(context: &Context) -> Result<Exit, CliError> {
    let modules: Vec<ModuleInfo> = ask(context, "asking the node", &Request::Modules).await?;
    context.screen.answer(&modules, || {
        let rows = modules.iter().map(|module| {
            [
                module.module.to_string(),
                module.name.clone().unwrap_or_else(|| "-".to_owned()),
                context.screen.foreign(&module.format),
                module.bytes.to_string(),
                context.screen.foreign(&module.owner),
            ]
        });
        table(["MODULE", "NAME", "FORMAT", "BYTES", "OWNER"], rows)
    })?;
    Ok(Exit::Ok)
}
