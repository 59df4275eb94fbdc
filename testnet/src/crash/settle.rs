//! The calm after the storm: waiting until all nodes have everything, and asking for all of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use weft_node::control::api::{ProcessDetail, Request};
use weft_node::control::client::ANSWER_WAIT;
use weft_protocol::{Address, Id};

use super::evidence::{Final, collect, convicts};
use super::judge;
use super::nothing;
use crate::check::{Open, Step};
use crate::error::AskError;
use crate::node::{Door, Node};
use crate::report::ActorReport;
use crate::screen::Screen;
use crate::tour::{anchor, compare};
use crate::town::{Actor, Town, Trouble};
use crate::wait::{Look, until};

/// How long the nodes may take to have everything: a push that failed many times is tried again
/// after up to a minute.
const SETTLE_WAIT: Duration = Duration::from_secs(180);

/// Waits until every node has every slot, has computed what it computes and has carried what it
/// carries; then asks for all of it.
pub(crate) async fn settle(
    town: &Town<'_>,
    doors: &[Door],
    actors: &[Actor],
    holders: &impl Fn(&Actor) -> Vec<usize>,
) -> Result<Vec<Final>, Trouble> {
    // What is pushed into a log that was looked at before is seen at the second look.
    let mut before = None;
    let look = async || {
        let mut heads = Vec::new();
        for actor in actors {
            match whole(doors, actor, &holders(actor)).await? {
                Ok(head) => heads.push(head),
                Err(missing) => {
                    before = None;
                    return Ok(Look::NotYet(format!("{}: {missing}", actor.name)));
                }
            }
        }
        let is_same = before.as_ref() == Some(&heads);
        let seen = format!("heads {heads:?} for the first time");
        before = Some(heads);
        Ok::<_, AskError>(if is_same { Look::There(()) } else { Look::NotYet(seen) })
    };
    until("all nodes to have everything", SETTLE_WAIT, look).await?;
    let mut finals = Vec::new();
    for actor in actors {
        let computed = actor.computing.iter().map(|node| compare::computed(town, actor, *node));
        finals.push(collect(doors, actor, &holders(actor), try_join_all(computed).await?).await?);
    }
    Ok(finals)
}

/// The head of a process when all nodes have it whole, else what is missing.
async fn whole(
    doors: &[Door],
    actor: &Actor,
    holders: &[usize],
) -> Result<Result<Option<u64>, String>, AskError> {
    let request = Request::Process { process: actor.id, state_root: false };
    let ask = async |node: &usize| {
        let detail = doors[*node].ask::<ProcessDetail>("a process", &request, ANSWER_WAIT).await?;
        Ok::<_, AskError>((*node, detail))
    };
    let details = join_all(holders.iter().map(ask)).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let details: BTreeMap<usize, ProcessDetail> = details.into_iter().collect();
    let head = details.get(&actor.scheduler).and_then(|detail| detail.info.head);
    let behind = details.iter().find(|(_, detail)| detail.info.head != head);
    if let Some((node, detail)) = behind {
        return Ok(Err(format!("node {node} has {:?}, the head is {head:?}", detail.info.head)));
    }
    // Whoever carries alone must have heard of all that was sent, and have a receipt for it.
    let sent = details.get(&actor.scheduler).map(|detail| detail.outbox_pending + detail.outbox_settled);
    let alone = |detail: &ProcessDetail| detail.info.duties.iter().any(|duty| duty == "carry");
    let is_done = |detail: &ProcessDetail| detail.outbox_pending == 0 && Some(detail.outbox_settled) >= sent;
    if let Some((node, detail)) = details.iter().find(|(_, detail)| alone(detail) && !is_done(detail)) {
        let (pending, settled) = (detail.outbox_pending, detail.outbox_settled);
        return Ok(Err(format!("node {node} has {pending} to carry, and receipts of {settled} of {sent:?}")));
    }
    let computing: Vec<ProcessDetail> =
        actor.computing.iter().filter_map(|node| details.get(node).cloned()).collect();
    Ok(compare::laggard(actor, &computing).map_or(Ok(head), Err))
}

/// Replays a process on a node that does not schedule it, and looks for its log on the weave of
/// the one that does.
pub(crate) async fn verify(
    town: &Town<'_>,
    actor: &Actor,
    known: &Final,
    open: &mut Open,
) -> Result<String, Trouble> {
    let report = ActorReport {
        name: known.name.clone(),
        process: known.process,
        scheduler: known.scheduler,
        attestors: actor.attestors.clone(),
        quorum: actor.quorum,
        slots: known.log().to_vec(),
        computed: known.computed.clone(),
        equal: true,
    };
    let ((), said) = compare::verify(town, actor, &report, open).await?;
    let (batches, _) = anchor::anchored(town, actor, open).await?;
    let misplaced = judge::misplaced_batches(&known.name, &batches, known.log().len());
    nothing(open, "slots in no batch or in two", &misplaced);
    Ok(format!("{said}; anchored in {} batches", batches.len()))
}

/// Errors in logs that a run brought about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excused {
    /// A process that is wronged on purpose: what is said of it is as it should be.
    pub(crate) wronged: Option<Id>,
    /// An attestor who lies: that nodes find out is as it should be.
    pub(crate) liar: Option<Address>,
    /// Whether peers go away before the end. In the end all of them do.
    pub(crate) gone: bool,
}

/// The log of a node that is to stop.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// Its bytes when the nodes were told to stop.
    bytes: u64,
}

impl Log {
    /// The log of a node that was not told to stop yet.
    pub(crate) fn of(node: &Node) -> Self {
        // One that cannot be read is told when it is.
        let bytes = std::fs::metadata(node.log()).map_or(0, |log| log.len());
        Self { path: node.log().into(), bytes }
    }

    /// What of its bytes tells of a panic or an error that is not excused.
    fn errors(&self, bytes: &[u8], excused: Excused) -> Vec<String> {
        let wronged = excused.wronged.map(|process| process.to_string());
        let mut end = 0;
        let mut errors = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            end += line.len() as u64;
            let line = String::from_utf8_lossy(line);
            let is_of_wronged = wronged.as_ref().is_some_and(|process| line.contains(process));
            let is_of_gone = (excused.gone || end > self.bytes) && line.contains(GONE);
            let is_of_liar = excused.liar.is_some_and(|liar| convicts(&line, liar));
            if is_bad(&line) && !is_of_wronged && !is_of_gone && !is_of_liar {
                errors.push(harmless(&line));
            }
        }
        errors
    }
}

/// Looks for panics and errors in what the nodes logged from their first start on.
pub(crate) fn read_logs(logs: &[Log], excused: Excused, screen: Screen) -> Step {
    let mut open = Open::new("logs");
    let mut lines = 0;
    for (node, log) in logs.iter().enumerate() {
        match std::fs::read(&log.path) {
            Ok(bytes) => {
                lines += bytes.split_inclusive(|byte| *byte == b'\n').count();
                let errors = log.errors(&bytes, excused);
                nothing(&mut open, &format!("errors in the log of node {node}"), &errors);
            }
            Err(error) => open.broke(format!("{}: {error}", log.path.display())),
        }
    }
    let step = open.close(format!("{lines} lines, none of a panic or an error"));
    screen.step(&step);
    step
}

/// What gossipsub calls an error when a peer is gone before its connection is.
const GONE: &str =
    " ERROR libp2p_gossipsub::behaviour: Could not send rpc to connection handler, peer doesn't exist";

/// Whether a line tells of a panic or of an error.
fn is_bad(line: &str) -> bool {
    line.contains("panicked at") || line.contains(" ERROR ")
}

fn harmless(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    const NOTHING: Excused = Excused { wronged: None, liar: None, gone: false };

    /// A log that was written before the nodes were told to stop.
    fn log(dir: &Path, name: &str, text: &str) -> Log {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        Log { path, bytes: text.len() as u64 }
    }

    fn is_clean(logs: &[Log], excused: Excused) -> bool {
        read_logs(logs, excused, Screen::new(true)).ok
    }

    #[test]
    fn panics_and_errors_in_logs_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let log = |name: &str, text: &str| log(dir.path(), name, text);
        let good = || log("good", "2026-01-01T00:00:00Z  INFO weft: up\nan error that no longer matters\n");
        assert!(is_clean(&[good()], NOTHING));
        let panic = log("panic", "thread 'main' panicked at node/src/lib.rs:1:1:\nwell\n");
        assert!(!is_clean(&[good(), panic], NOTHING));
        let error = log("error", "2026-01-01T00:00:00Z ERROR weft: cannot\n");
        assert!(!is_clean(&[good(), error], Excused { gone: true, ..NOTHING }));
        let none = Log { path: dir.path().join("none"), bytes: 0 };
        assert!(!is_clean(&[good(), none], NOTHING));
    }

    #[test]
    fn what_is_said_of_the_gone_and_the_wronged_is_excused_where_there_are_some() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("2026-01-01T00:00:00Z{GONE} in connected peer list peer=x\n");
        let gone = [log(dir.path(), "gone", &text)];
        assert!(is_clean(&gone, Excused { gone: true, ..NOTHING }), "who was killed is gone");
        assert!(!is_clean(&gone, NOTHING), "nobody was");
        let up = "2026-01-01T00:00:00Z  INFO weft: up\n";
        let mut end = log(dir.path(), "end", &format!("{up}{text}"));
        end.bytes = up.len() as u64;
        assert!(is_clean(&[end], NOTHING), "in the end all go");
        let wronged = Id([1; 32]);
        let line = format!("2026-01-01T00:00:00Z ERROR weft: signed twice process={wronged}\n");
        let logs = [log(dir.path(), "wronged", &line)];
        assert!(is_clean(&logs, Excused { wronged: Some(wronged), ..NOTHING }));
        assert!(!is_clean(&logs, Excused { wronged: Some(Id([2; 32])), ..NOTHING }));
        assert!(!is_clean(&logs, NOTHING));
        let liar = Address([3; 32]);
        let line =
            format!("2026-01-01T00:00:00Z ERROR weft: attestor {liar} was wrong about position 1: it\n");
        let logs = [log(dir.path(), "liar", &line)];
        assert!(is_clean(&logs, Excused { liar: Some(liar), ..NOTHING }));
        assert!(!is_clean(&logs, Excused { liar: Some(Address([4; 32])), ..NOTHING }), "an honest one");
        assert!(!is_clean(&logs, NOTHING));
    }
}
