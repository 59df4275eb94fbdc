//! `weft checkpoint`: what a Compute Unit of the reference posts of a memory, and whether a replay agrees.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use weft_protocol::state::{LEAF_BYTES, tree_root, zero_leaf};
use weft_protocol::{DataItem, Hash, Id, Verified};

use super::Context;
use super::exit::{CliError, Exit};
use super::files::{self, FILE_BYTES_MAX};
use super::item::is_like_an_item;
use super::screen::{Colour, Screen, pairs};
use super::state::{Memory, state_of};
use crate::control::api::{Request, SlotInfo};
use crate::control::client::ANSWER_WAIT;
use crate::legacy::checkpoint::{Claims, MEMORY_BYTES_MAX, MemoryError, Unpacked, unpack};
use crate::recover::{AloneError, GatewayError, item_from};

#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    /// The file of the data item, raw or base64, `-` for standard input; with --from, the id of the item
    #[arg(value_name = "FILE|ID", allow_hyphen_values = true)]
    what: PathBuf,
    /// Read the item from this gateway; its id and signature are checked
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Replay the process on this node to the same slot and compare the memories page by page, and the logs
    /// there: exit 0 equal, 1 different
    #[arg(long)]
    compare: bool,
    /// Write the memory there, byte for byte; `-` writes it to standard output and nothing else
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What is said of a checkpoint.
#[derive(Serialize)]
struct Report {
    /// The id of the item.
    item: Id,
    /// Who signed it.
    signer: String,
    #[serde(flatten)]
    claims: Claims,
    /// Bytes of its data.
    gzip_bytes: u64,
    memory_bytes: u64,
    /// Bytes of the pages that are not all zeros.
    memory_used: u64,
    /// As in `weft state`.
    memory_root: Hash,
    /// SHA-256 of the memory; `sha256` is what the tag says.
    memory_sha256: String,
    /// Whether the two are one.
    hash_matches: bool,
    /// Where the memory was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
}

/// What a replay on this node says.
#[derive(Serialize)]
struct Compared {
    equal: bool,
    /// What is not as here: `module`, `timestamp`, `block-height`, `assignment`, `hash-chain`, `memory`.
    differs: Vec<&'static str>,
    state_root: Hash,
    memory_bytes: u64,
    memory_root: Hash,
    /// Pages of 64 KiB that differ, those that only one memory has among them.
    pages: u64,
    /// The first of them, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_page: Option<u64>,
    /// Slots that were evaluated again.
    replayed: u64,
    elapsed_ms: u64,
}

impl From<MemoryError> for CliError {
    fn from(error: MemoryError) -> Self {
        Self::no(format!("this checkpoint has no memory that can be read: {error}"))
    }
}

pub(super) async fn run(of: Checkpoint, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let to_stdout = of.out.as_deref() == Some(Path::new("-"));
    if to_stdout && (screen.is_json() || of.compare) {
        let flag = if of.compare { "--compare" } else { "--json" };
        return Err(CliError::input(format!(
            "--out - writes the memory to standard output; {flag} cannot go with it"
        )));
    }
    let item = read(&of, screen).await?;
    let claims = Claims::read(item.tags())
        .map_err(|error| CliError::input(format!("item {} is no checkpoint: {error}", item.id())))?;
    let mut memory = of.out.as_deref().map_or_else(|| Ok(Memory::nowhere()), Memory::create)?;
    let data = item.data();
    let Unpacked { bytes, sha256 } = screen.busy("unpacking", || {
        unpack(&data, MEMORY_BYTES_MAX, |number, page| match page.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => memory.put(number, page),
        })
    })?;
    let leaves = memory.end(bytes)?.to_vec();
    let hash_matches = sha256 == claims.sha256;
    // A file of what is not what it says is not put in its place; what went into a pipe is gone, and the exit code says so.
    let placed = of.out.as_deref().filter(|_| hash_matches);
    if placed.is_some() {
        memory.place(bytes)?;
    }
    if to_stdout && hash_matches {
        return Ok(Exit::Ok);
    }
    let compared = match of.compare && hash_matches {
        true => Some(compare(&claims, &leaves, context).await?),
        false => None,
    };
    let used = leaves.iter().filter(|leaf| **leaf != zero_leaf()).count() * LEAF_BYTES;
    let report = Report {
        item: item.id(),
        signer: item.owner_text(),
        claims,
        gzip_bytes: data.len() as u64,
        memory_bytes: bytes,
        memory_used: used as u64,
        memory_root: tree_root(leaves),
        memory_sha256: sha256,
        hash_matches,
        out: placed.map(files::shown),
        compared,
    };
    if to_stdout {
        return Err(CliError::no(not_its_hash(&report)));
    }
    screen.answer(&report, || human(&report, screen))?;
    let is_equal = report.compared.as_ref().is_none_or(|compared| compared.equal);
    Ok(if hash_matches && is_equal { Exit::Ok } else { Exit::No })
}

/// The item, which is what its signer signed.
async fn read(of: &Checkpoint, screen: Screen) -> Result<Verified<DataItem>, CliError> {
    let name = files::shown(&of.what);
    if let Some(from) = &of.from {
        let id: Id = name
            .parse()
            .map_err(|_| CliError::input(format!("`{name}` is not an id, as --from needs it")))?;
        let bytes_max = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX);
        let found = screen.waiting("asking the gateway", item_from(from, id, bytes_max)).await;
        return found.map_err(|error| match &error {
            AloneError::Gateway { error: GatewayError::Address(_), .. } => CliError::input(error.to_string()),
            AloneError::Gateway { error: other, .. } if !other.is_unknown() => {
                CliError::fault(error.to_string())
            }
            _ => CliError::no(format!("item {id}: {error}")),
        });
    }
    let raw = files::raw_or_base64(files::read(&of.what, FILE_BYTES_MAX)?);
    if !is_like_an_item(&raw) {
        return Err(CliError::input(format!(
            "{name} cannot be read as a data item, neither as raw bytes nor as base64"
        )));
    }
    let verified = screen.busy("verifying", || DataItem::verify_bytes(raw));
    verified.map_err(|error| CliError::no(format!("{name} is no valid data item: {error}")))
}

/// Holds a checkpoint against the log of this node and the memory that a replay of it comes to.
async fn compare(claims: &Claims, theirs: &[Hash], context: &Context) -> Result<Compared, CliError> {
    let Claims { process, slot, .. } = *claims;
    if let Some(cron) = &claims.cron {
        return Err(CliError::no(format!(
            "this checkpoint holds the memory after a tick of cron {} that follows slot {slot}; a replay stops only \
             at slots, so the two cannot be compared",
            context.screen.foreign(cron)
        )));
    }
    let mut client = context.client().await?;
    let request = Request::Slots { process, from: slot, limit: 1 };
    let slots: Vec<SlotInfo> = client.call(&request, ANSWER_WAIT).await?;
    drop(client);
    let mut memory = Memory::nowhere();
    // A slot that is not here is said by this.
    let info = state_of(process, Some(slot), Some(&mut memory), context).await?;
    let ours = memory.end(info.memory_bytes)?;
    let (pages, first_page) = different(ours, theirs);
    let here = slots.first();
    let same_as_here = |claimed: Option<Hash>, here: Option<Hash>| claimed.is_none() || claimed == here;
    let hash = |id: Id| Hash(id.0);
    let checks = [
        ("module", claims.module == info.module),
        ("timestamp", claims.timestamp == info.timestamp),
        ("block-height", claims.block_height == info.block_height),
        ("assignment", same_as_here(claims.assignment.map(hash), here.map(|here| hash(here.assignment)))),
        ("hash-chain", same_as_here(claims.hash_chain, here.map(|here| here.hash_chain))),
        ("memory", pages == 0),
    ];
    let differs: Vec<&str> = checks.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect();
    Ok(Compared {
        equal: differs.is_empty(),
        differs,
        state_root: info.state_root,
        memory_bytes: info.memory_bytes,
        memory_root: info.memory_root,
        pages,
        first_page,
        replayed: info.replayed,
        elapsed_ms: info.elapsed_ms,
    })
}

/// How many pages of two memories differ, and the first that does.
fn different(ours: &[Hash], theirs: &[Hash]) -> (u64, Option<u64>) {
    let longer = ours.len().max(theirs.len());
    let mut all = (0..longer).filter(|&page| ours.get(page) != theirs.get(page)).map(|page| page as u64);
    let first = all.next();
    (all.count() as u64 + u64::from(first.is_some()), first)
}

fn not_its_hash(report: &Report) -> String {
    format!(
        "its tag SHA-256 is {}, but the memory that was written has {}: do not use it",
        report.claims.sha256, report.memory_sha256
    )
}

fn human(report: &Report, screen: Screen) -> String {
    let Report { claims, .. } = report;
    let after = match &claims.cron {
        None => claims.slot.to_string(),
        Some(cron) => format!("{}, and a tick of cron {}", claims.slot, screen.foreign(cron)),
    };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let hash = match report.hash_matches {
        true => screen.paint(Colour::Green, "matches the memory"),
        false => screen.paint(
            Colour::Red,
            &format!(
                "does NOT match the memory: the tag says {}, the memory has {}",
                claims.sha256, report.memory_sha256
            ),
        ),
    };
    let mut rows = vec![
        ("checkpoint", report.item.to_string()),
        ("signed by", screen.foreign(&report.signer)),
        ("process", claims.process.to_string()),
        ("module", claims.module.to_string()),
        ("after slot", after),
        ("timestamp", claims.timestamp.to_string()),
        ("block height", claims.block_height.to_string()),
        ("assignment", or_none(claims.assignment.map(|id| id.to_string()))),
        ("hash chain", or_none(claims.hash_chain.map(|chain| chain.to_string()))),
        ("data", format!("{} bytes of gzip", report.gzip_bytes)),
        ("memory", format!("{} bytes, {} of them in use", report.memory_bytes, report.memory_used)),
        ("memory root", report.memory_root.to_string()),
        ("SHA-256", hash),
    ];
    if let Some(out) = &report.out {
        rows.push(("written to", screen.foreign(out)));
    }
    if let Some(compared) = &report.compared {
        rows.push(("replay", format!("{} slots in {} ms", compared.replayed, compared.elapsed_ms)));
        rows.push(("its state root", compared.state_root.to_string()));
        rows.push(("verdict", verdict(report, compared, screen)));
    } else if report.hash_matches {
        rows.push(("replay", "none; on a node that has the process, `--compare` makes one".into()));
    }
    pairs(&rows)
}

fn verdict(report: &Report, compared: &Compared, screen: Screen) -> String {
    if compared.equal {
        return screen.paint(Colour::Green, "equal: this node's replay comes to the same memory");
    }
    let mut text = format!("DIFFERENT from this node: {}", compared.differs.join(", "));
    if let Some(page) = compared.first_page {
        let from = page * LEAF_BYTES as u64;
        let lengths = match report.memory_bytes == compared.memory_bytes {
            true => String::new(),
            false => format!("; the memory here has {} bytes", compared.memory_bytes),
        };
        text.push_str(&format!(
            "\n{} pages differ, the first is page {page}, from byte {from} on{lengths}",
            compared.pages
        ));
    }
    screen.paint(Colour::Red, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_that_differs_is_found() {
        let page = |byte| Hash([byte; 32]);
        let ours = [page(1), page(2), page(3)];
        assert_eq!(different(&ours, &ours), (0, None));
        assert_eq!(different(&ours, &[page(1), page(9), page(8)]), (2, Some(1)));
        // What one of them lacks differs, though it were zeros.
        assert_eq!(different(&ours, &ours[..2]), (1, Some(2)));
        assert_eq!(different(&[], &ours), (3, Some(0)));
    }
}
