//! `weft state`: the state of a process at any slot, its memory, and what a Lua program keeps in it.

use std::fs::File;
use std::io::{ErrorKind, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use weft_protocol::state::{LEAF_BYTES, leaf_hash, tree_root, zero_leaf};
use weft_protocol::{Hash, Id, Position, Tag};
use weft_vm::limits::MEMORY_BYTES_MAX;

use super::Context;
use super::exit::{CliError, Exit};
use super::files;
use super::screen::{Screen, pairs};
use super::talk::ask_within;
use crate::control::api::{DryRunBody, DryRunInfo, Reply, Request, StateEvent, StateInfo};
use crate::control::client::{ANSWER_WAIT, ClientError, typed};
use crate::replays::WAIT_MAX;

/// The action that a Lua process takes for a read.
pub(super) const READ: &str = "Weft-Read";

#[derive(Debug, Args)]
pub(crate) struct State {
    /// The process
    #[arg(allow_hyphen_values = true)]
    process: Id,
    /// For a Lua process, what to show as JSON: a global or something in it (`Balances.alice`), a view that
    /// the program offers, `*` for all globals, `.` for an overview
    #[arg(conflicts_with = "out", allow_hyphen_values = true)]
    path: Option<String>,
    /// The state after this slot [default: the newest]
    #[arg(long, value_name = "NUMBER")]
    slot: Option<u64>,
    /// Write the memory to this file, byte for byte; `-` writes nothing but the memory to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What is shown of a state.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    info: StateInfo,
    /// Where the memory was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

pub(super) async fn run(of: State, context: &Context) -> Result<Exit, CliError> {
    let State { process, path, slot, out } = of;
    if let Some(path) = path {
        return read(process, path, slot, context).await;
    }
    let to_stdout = out.as_deref() == Some(Path::new("-"));
    if to_stdout && context.screen.is_json() {
        return Err(CliError::input(
            "--out - writes the memory to standard output; --json cannot go with it",
        ));
    }
    let mut memory = out.as_deref().map(Memory::create).transpose()?;
    let info = state_of(process, slot, memory.as_mut(), context).await?;
    if let Some(memory) = memory {
        memory.place(info.memory_bytes)?;
    }
    if to_stdout {
        return Ok(Exit::Ok);
    }
    let shown = Shown { info, out: out.as_deref().map(files::shown) };
    context.screen.answer(&shown, || human(&shown, context.screen))?;
    Ok(Exit::Ok)
}

/// What the node says of a state. The memory, if it is wanted, comes with it, and is the one that the state root
/// stands for.
pub(super) async fn state_of(
    process: Id,
    slot: Option<u64>,
    mut memory: Option<&mut Memory>,
    context: &Context,
) -> Result<StateInfo, CliError> {
    let mut client = context.client().await?;
    client.send(&Request::State { process, slot, memory: memory.is_some() }).await?;
    let mut bar = context.screen.bar("replaying", 0);
    // The node keeps the time; ours only guards against one that is stuck.
    let silence = WAIT_MAX + ANSWER_WAIT;
    let info: StateInfo = loop {
        let reply = tokio::time::timeout(silence, client.reply()).await;
        match reply.map_err(|_| ClientError::TimedOut { after: silence })?? {
            Reply::Event(value) => match (typed(value)?, &mut memory) {
                (StateEvent::Replayed(progress), _) => bar.set(progress.done, progress.total),
                (StateEvent::Leaf { number, bytes }, Some(memory)) => memory.take(number, &bytes)?,
                (StateEvent::Leaf { .. }, None) => {}
            },
            Reply::Done(value) => break typed(value)?,
            Reply::Error(failure) => return Err(failure.into()),
        }
    };
    if let Some(memory) = memory {
        memory.check(&info)?;
    }
    Ok(info)
}

/// What a process answers that is asked for a part of its state.
#[derive(Serialize)]
struct Read {
    process: Id,
    /// After which position.
    position: Position,
    path: String,
    value: Value,
}

/// Asks the program itself, in a dry run.
async fn read(process: Id, path: String, slot: Option<u64>, context: &Context) -> Result<Exit, CliError> {
    let tag = |name: &str, value: &str| Tag::new(name, value);
    // A tag must have a value, and the overview has no path.
    let asked = path.trim_matches('.');
    let tags = [Some(tag("Action", READ)), (!asked.is_empty()).then(|| tag("Path", asked))];
    let message = DryRunBody {
        owner: context.signer()?.address().to_string(),
        tags: tags.into_iter().flatten().collect(),
        ..DryRunBody::default()
    };
    let request = Request::DryRun { process, message, slot };
    let info: DryRunInfo =
        ask_within(context, "reading", &request, crate::dry_run::WAIT_MAX + ANSWER_WAIT).await?;
    if let Some(error) = info.result.get("Error").and_then(Value::as_str) {
        // What the runtime says of a path.
        if error.starts_with("there is nothing at") {
            context.screen.remark(&format!("`weft state {process} .` gives an overview of what there is"));
        }
        return Err(CliError::no(context.screen.foreign(error)));
    }
    let text = info.result.pointer("/Output/data").and_then(Value::as_str).unwrap_or_default();
    let value: Value = serde_json::from_str(text)
        .map_err(|_| CliError::no("this process does not show its state; `--out` has its memory"))?;
    let read = Read { process, position: info.position, path, value };
    context.screen.answer(&read, || {
        context.screen.foreign(&serde_json::to_string_pretty(&read.value).unwrap_or_default())
    })?;
    Ok(Exit::Ok)
}

fn human(shown: &Shown, screen: Screen) -> String {
    let info = &shown.info;
    let mut rows = vec![
        ("process", info.process.to_string()),
        ("after slot", info.position.to_string()),
        ("state root", info.state_root.to_string()),
        ("memory", format!("{} bytes, {} of them in use", info.memory_bytes, info.memory_used)),
        ("memory root", info.memory_root.to_string()),
        ("running", info.running.to_string()),
        ("replayed", format!("{} slots in {} ms", info.replayed, info.elapsed_ms)),
    ];
    if let Some(out) = &shown.out {
        rows.push(("written to", screen.foreign(out)));
    }
    pairs(&rows)
}

/// A memory on its way into a file, hashed as it comes.
pub(super) struct Memory {
    to: Target,
    name: String,
    /// The hashes of the leaves so far, zero ones included.
    leaves: Vec<Hash>,
}

enum Target {
    /// A file beside the one that is wanted, which takes its place when all is there.
    File { file: File, unfinished: PathBuf, wanted: PathBuf },
    /// Standard output, a pipe or a device: what cannot be skipped is written.
    Stream(Box<dyn Write>),
    /// It is where it belongs, or belongs nowhere.
    Done,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Target::File { unfinished, .. } = &self.to {
            // Nothing else can be done about what cannot be removed.
            let _ = std::fs::remove_file(unfinished);
        }
    }
}

impl Memory {
    /// One that is only hashed.
    pub(super) const fn nowhere() -> Self {
        Self { to: Target::Done, name: String::new(), leaves: Vec::new() }
    }

    pub(super) fn create(path: &Path) -> Result<Self, CliError> {
        let name = files::shown(path);
        let fail = |error: std::io::Error| CliError::input(format!("cannot write {name}: {error}"));
        let is_stream = match std::fs::metadata(path) {
            Ok(of) => !of.is_file(),
            Err(_) => false,
        };
        let to = if path == Path::new("-") {
            Target::Stream(Box::new(std::io::stdout()))
        } else if is_stream {
            Target::Stream(Box::new(File::options().write(true).open(path).map_err(fail)?))
        } else {
            let mut unfinished = path.as_os_str().to_owned();
            unfinished.push(format!(".{}.tmp", std::process::id()));
            let unfinished = PathBuf::from(unfinished);
            let file = File::create_new(&unfinished).map_err(fail)?;
            Target::File { file, unfinished, wanted: path.to_owned() }
        };
        Ok(Self { to, name, leaves: Vec::new() })
    }

    fn fail(&self, error: &std::io::Error) -> CliError {
        match error.kind() {
            ErrorKind::BrokenPipe => CliError::unread(),
            _ => CliError::fault(format!("cannot write {}: {error}", self.name)),
        }
    }

    /// Writes the next leaf that is not zero.
    fn take(&mut self, number: u32, base64: &str) -> Result<(), CliError> {
        let nonsense = |what: &str| ClientError::Malformed { reason: format!("leaf {number} {what}") };
        let bytes = STANDARD.decode(base64).map_err(|_| nonsense("is not base64"))?;
        if bytes.len() != LEAF_BYTES {
            return Err(nonsense("has another length").into());
        }
        if u64::from(number) >= MEMORY_BYTES_MAX / LEAF_BYTES as u64 || (number as usize) < self.leaves.len()
        {
            return Err(nonsense("is out of place").into());
        }
        self.put(number, &bytes)
    }

    /// Writes a leaf that is not zero, none before which is missing but zero ones.
    pub(super) fn put(&mut self, number: u32, leaf: &[u8]) -> Result<(), CliError> {
        self.zeros_until(number as usize)?;
        self.leaves.push(leaf_hash(leaf));
        let written = match &mut self.to {
            Target::File { file, .. } => file.write_all(leaf),
            Target::Stream(stream) => stream.write_all(leaf),
            Target::Done => Ok(()),
        };
        written.map_err(|error| self.fail(&error))
    }

    /// Zeros up to a leaf: skipped in a file, which is sparse then.
    fn zeros_until(&mut self, count: usize) -> Result<(), CliError> {
        let missing = count.saturating_sub(self.leaves.len());
        let written = match &mut self.to {
            Target::File { file, .. } => {
                file.seek(SeekFrom::Start(count as u64 * LEAF_BYTES as u64)).map(drop)
            }
            Target::Stream(stream) => (0..missing).try_for_each(|_| stream.write_all(&[0; LEAF_BYTES])),
            Target::Done => Ok(()),
        };
        written.map_err(|error| self.fail(&error))?;
        self.leaves.resize(self.leaves.len() + missing, zero_leaf());
        Ok(())
    }

    /// Ends a memory of so many bytes, whole leaves, with what is missing of zeros: the hashes of its leaves.
    pub(super) fn end(&mut self, bytes: u64) -> Result<&[Hash], CliError> {
        self.zeros_until(usize::try_from(bytes / LEAF_BYTES as u64).unwrap_or(usize::MAX))?;
        Ok(&self.leaves)
    }

    /// Checks that this is the memory of that state.
    fn check(&mut self, info: &StateInfo) -> Result<(), CliError> {
        let leaves = usize::try_from(info.memory_bytes / LEAF_BYTES as u64).unwrap_or(usize::MAX);
        if info.memory_bytes > MEMORY_BYTES_MAX || self.leaves.len() > leaves {
            return Err(ClientError::Malformed { reason: "the memory has another length".into() }.into());
        }
        if tree_root(self.end(info.memory_bytes)?.to_vec()) != info.memory_root
            || info.root() != info.state_root
        {
            let reason = "the memory is not the one that the state root stands for".into();
            return Err(ClientError::Malformed { reason }.into());
        }
        Ok(())
    }

    /// Puts the file in its place.
    pub(super) fn place(mut self, bytes: u64) -> Result<(), CliError> {
        let placed = match &mut self.to {
            Target::File { file, unfinished, wanted } => file
                .set_len(bytes)
                .and_then(|()| file.sync_all())
                .and_then(|()| std::fs::rename(unfinished, wanted)),
            Target::Stream(stream) => stream.flush(),
            Target::Done => Ok(()),
        };
        placed.map_err(|error| self.fail(&error))?;
        self.to = Target::Done;
        Ok(())
    }
}
