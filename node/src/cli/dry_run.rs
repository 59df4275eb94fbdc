//! `weft dry-run`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use weft_protocol::owner::owner_text;
use weft_protocol::{DataItem, Id, Tag};

use super::Context;
use super::args::{Data, Tags};
use super::exit::{CliError, Exit};
use super::files;
use super::process::{DATA_BYTES_MAX, code_text, human_outcome};
use super::talk::ask_within;
use crate::control::api::{DryRunBody, DryRunInfo, Request};
use crate::control::client::ANSWER_WAIT;
use crate::dry_run::WAIT_MAX;

/// Bytes of a message in a file: an item of the largest size, in JSON.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct DryRun {
    /// The process
    #[arg(allow_hyphen_values = true)]
    process: Id,
    /// The action: what the process is asked to do
    #[arg(long, allow_hyphen_values = true)]
    action: Option<String>,
    /// Who the message is from [default: this node's key]
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    owner: Option<String>,
    /// The whole message instead: a data item, or JSON as the /dry-run of today's compute units takes it; `-`
    /// reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["action", "owner", "data", "tags"])]
    item: Option<PathBuf>,
    /// Use the state after this slot instead of the newest
    #[arg(long, value_name = "NUMBER")]
    slot: Option<u64>,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    tags: Tags,
}

pub(super) async fn run(of: DryRun, context: &Context) -> Result<Exit, CliError> {
    let DryRun { process, action, owner, item, slot, data, tags } = of;
    let message = match item {
        Some(file) => from_file(&file)?,
        None => {
            let owner = match owner {
                Some(owner) => owner,
                None => context.signer()?.address().to_string(),
            };
            let action = action.map(|action| Tag::new("Action", action));
            let given = data.data.is_some();
            let data = files::data(data.data.as_deref(), DATA_BYTES_MAX)?;
            DryRunBody {
                owner,
                data: given.then(|| String::from_utf8_lossy(&data).into_owned()),
                tags: action.into_iter().chain(tags.tags).collect(),
                ..DryRunBody::default()
            }
        }
    };
    let request = Request::DryRun { process, message, slot };
    // The node keeps the time; ours only guards against one that is stuck.
    let info: DryRunInfo = ask_within(context, "evaluating", &request, WAIT_MAX + ANSWER_WAIT).await?;
    context.screen.answer(&info, || human(&info, context))?;
    Ok(if info.code == 0 { Exit::Ok } else { Exit::No })
}

fn human(info: &DryRunInfo, context: &Context) -> String {
    let head = format!("after slot {}: {}", info.position, code_text(info.code));
    human_outcome(&info.result, &head, Some(info.gas), "nothing is kept", context.screen)
}

/// A message as it stands in a file.
fn from_file(file: &Path) -> Result<DryRunBody, CliError> {
    let bytes = files::read(file, FILE_BYTES_MAX)?;
    let name = files::shown(file);
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return serde_json::from_slice(&bytes)
            .map_err(|error| CliError::input(format!("{name} is not the JSON of a message: {error}")));
    }
    let item = DataItem::parse(Bytes::from(files::raw_or_base64(bytes)))
        .map_err(|error| CliError::input(format!("{name} is neither JSON nor a data item: {error}")))?;
    // Nobody's signature counts in a dry run.
    let item = item.claims();
    Ok(DryRunBody {
        id: Some(item.id().to_string()),
        owner: owner_text(item),
        target: item.target().map(|target| target.to_string()),
        data: Some(String::from_utf8_lossy(&item.data()).into_owned()),
        anchor: item.anchor().and_then(|anchor| std::str::from_utf8(anchor).ok()).map(str::to_owned),
        tags: item.tags().to_vec(),
        ..DryRunBody::default()
    })
}
