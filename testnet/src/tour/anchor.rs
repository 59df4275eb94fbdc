//! The anchored batch: the log of a process, stored on the scheduler's embedded weave.

use weft_node::control::api::{BatchInfo, Request, WeaveInfo};
use weft_node::control::client::ANSWER_WAIT;

use super::counted;
use crate::check::Open;
use crate::error::AskError;
use crate::town::{Actor, PATIENCE, Town, Trouble};
use crate::wait::{Look, until};

/// Waits until the whole log of a process is in confirmed batches.
pub(crate) async fn anchored(
    town: &Town<'_>,
    actor: &Actor,
    open: &mut Open,
) -> Result<(Vec<BatchInfo>, String), Trouble> {
    let node = actor.scheduler;
    let look = async || {
        let info = town.detail(actor, node, false).await?.info;
        Ok::<_, AskError>(match (info.head, info.anchored) {
            (Some(head), Some(anchored)) if anchored >= head => Look::There(head),
            (head, anchored) => Look::NotYet(format!("slot {anchored:?} of {head:?}")),
        })
    };
    let head = until(format!("node {node} to anchor the log of {}", actor.name), PATIENCE, look).await?;
    let weave: WeaveInfo = town.ask(node, "its weave", &Request::Weave, ANSWER_WAIT).await?;
    let batches: Vec<BatchInfo> =
        weave.batches.into_iter().filter(|batch| batch.process == actor.id).collect();
    open.same("slots without a confirmed batch", &Vec::<u64>::new(), &missing(&batches, head));
    let is_local = weave.weave.starts_with("local:");
    open.that("the weave", "stored here: local:...", &weave.weave, is_local);
    let items: u32 = batches.iter().map(|batch| batch.items).sum();
    let block = batches.iter().filter_map(|batch| batch.block).max().unwrap_or_default();
    let said = format!(
        "slots 0 to {head} of {}: {} in {}, newest in block {block} of {} (stored here)",
        actor.name,
        counted(items, "item", "items"),
        counted(batches.len(), "batch", "batches"),
        short(&weave.weave)
    );
    Ok((batches, said))
}

/// The slots up to `head` that stand in no confirmed batch.
fn missing(batches: &[BatchInfo], head: u64) -> Vec<u64> {
    let confirmed = |slot: &u64| {
        batches.iter().any(|batch| batch.block.is_some() && (batch.from..=batch.to).contains(slot))
    };
    (0..=head).filter(|slot| !confirmed(slot)).collect()
}

/// A weave's name, its id cut.
fn short(name: &str) -> String {
    const SHOWN: usize = 18;
    let cut: String = name.chars().take(SHOWN).collect();
    if cut.len() < name.len() { format!("{cut}...") } else { cut }
}

#[cfg(test)]
mod tests {
    use weft_protocol::{Hash, Id};

    use super::*;

    fn batch(from: u64, to: u64, block: Option<u64>) -> BatchInfo {
        BatchInfo { process: Id([1; 32]), from, to, data_root: Hash([0; 32]), block, items: 1, bytes: 1 }
    }

    #[test]
    fn every_slot_must_be_in_a_confirmed_batch() {
        let batches = [batch(0, 3, Some(1)), batch(4, 5, None), batch(6, 8, Some(3))];
        assert_eq!(missing(&batches, 9), [4, 5, 9]);
        assert!(missing(&batches[..1], 3).is_empty());
        assert_eq!(missing(&[], 0), [0]);
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(short("local:abc"), "local:abc");
        assert_eq!(short(&format!("local:{}", "x".repeat(43))), "local:xxxxxxxxxxxx...");
    }
}
