//! What a process shows of itself to whoever types: its prompt, its owner and what it keeps.
//!
//! A task of its own asks for it, as the process answers by running, which may take long: nobody waits for it at
//! a prompt.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weft_protocol::{Id, Tag};

use super::super::state;
use super::super::talk::ask_aside;
use crate::control::api::{DryRunBody, DryRunInfo, ProcessDetail, Request};
use crate::control::client::ANSWER_WAIT;

/// How long the process may take to show what it has.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Sights that wait to be taken.
const SIGHTS_MAX: usize = 4;
/// Bytes of a name that is offered: what is longer is quicker to copy.
const NAME_BYTES_MAX: usize = 64;
/// Names that are offered.
const NAMES_MAX: usize = 10_000;

/// Something that was seen.
#[derive(Debug)]
pub(super) enum Sight {
    /// The prompt that the process gives, the first sight of all. None where the node does not compute it, or it
    /// has none.
    Prompt(Option<String>),
    /// Whose process it is, which is not this key.
    Owner(String),
    /// The names of what it keeps.
    Names(Vec<String>),
}

/// Sights as they come. The task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Sights {
    asks: mpsc::Sender<()>,
    sights: mpsc::Receiver<Sight>,
    task: JoinHandle<()>,
}

impl Drop for Sights {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sights {
    /// Looks at a process of the node of this folder, with the eyes of this key.
    pub(super) fn start(data_dir: PathBuf, process: Id, key: String) -> Self {
        // One ask is enough: it is answered with what is there then.
        let (asks, asked) = mpsc::channel(1);
        let (seen, sights) = mpsc::channel(SIGHTS_MAX);
        let viewer = Viewer { data_dir, process, key };
        let task = tokio::spawn(async move {
            // Nobody listens any more where it ends.
            let _ = viewer.run(asked, &seen).await;
        });
        Self { asks, sights, task }
    }

    /// Has the process looked at again.
    pub(super) fn look(&self) {
        // One that waits does as well.
        let _ = self.asks.try_send(());
    }

    /// The next one. Safe to cancel.
    pub(super) async fn next(&mut self) -> Sight {
        match self.sights.recv().await {
            Some(sight) => sight,
            // The task ends with this alone.
            None => std::future::pending().await,
        }
    }
}

struct Viewer {
    data_dir: PathBuf,
    process: Id,
    key: String,
}

impl Viewer {
    async fn run(
        self,
        mut asked: mpsc::Receiver<()>,
        seen: &mpsc::Sender<Sight>,
    ) -> Result<(), mpsc::error::SendError<Sight>> {
        let info = self.dry_run("Eval", Some(String::new())).await;
        seen.send(Sight::Prompt(info.and_then(|info| prompt(&info.result).map(str::to_owned)))).await?;
        let (mut knows_owner, mut shows) = (false, true);
        while asked.recv().await.is_some() {
            // A process that the node has not heard of is looked for meanwhile.
            if !knows_owner && let Some(owner) = self.owner().await {
                knows_owner = true;
                if owner != self.key {
                    seen.send(Sight::Owner(owner)).await?;
                }
            }
            if shows && let Some(info) = self.dry_run(state::READ, None).await {
                let names = names(&info.result);
                shows = names.is_some();
                if let Some(names) = names {
                    seen.send(Sight::Names(names)).await?;
                }
            }
        }
        Ok(())
    }

    async fn owner(&self) -> Option<String> {
        let request = Request::Process { process: self.process, state_root: false };
        let detail: ProcessDetail = ask_aside(&self.data_dir, &request, ANSWER_WAIT).await?;
        Some(detail.owner)
    }

    /// None where the node does not compute it, or not in time.
    async fn dry_run(&self, action: &str, data: Option<String>) -> Option<DryRunInfo> {
        let message = body(self.key.clone(), action, data);
        let request = Request::DryRun { process: self.process, message, slot: None };
        ask_aside(&self.data_dir, &request, LOOK_MAX).await
    }
}

/// A message that is evaluated without being sent.
pub(super) fn body(owner: String, action: &str, data: Option<String>) -> DryRunBody {
    DryRunBody { owner, data, tags: vec![Tag::new("Action", action)], ..DryRunBody::default() }
}

/// The prompt that a result gives.
pub(super) fn prompt(result: &Value) -> Option<&str> {
    ["/Output/prompt", "/Output/data/prompt"].iter().find_map(|at| result.pointer(at)?.as_str())
}

/// The names of what a process keeps, if it shows them.
fn names(result: &Value) -> Option<Vec<String>> {
    let text = result.pointer("/Output/data")?.as_str()?;
    let value: Value = serde_json::from_str(text).ok()?;
    let globals = value.get("globals")?.as_object()?;
    let names = globals.into_iter().map(|(name, _)| name).filter(|name| is_name(name));
    Some(names.take(NAMES_MAX).cloned().collect())
}

/// Whether a name can be typed in Lua. A process may have any text for one, which is put into the line.
fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = name.bytes().next();
    name.len() <= NAME_BYTES_MAX
        && first.is_some_and(|first| is_part(first) && !first.is_ascii_digit())
        && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_offers_names_alone() {
        for name in ["Balances", "_x", "a1"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for hostile in
            ["", "1a", "a b", "A\x1b[2J", "A\nos.exit()", "A()", "A-b", "\u{e4}", "A\u{202e}", &long]
        {
            assert!(!is_name(hostile), "{hostile:?}");
        }
    }
}
