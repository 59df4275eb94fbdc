//! What a weave that costs money has of a log already. A scheduler that lost its disk has its logs back from that weave,
//! and not its notes of what it posted there: what is final there is found again, and not paid for a second time.
//!
//! A gateway's word leads to a bundle; that it is final says a quorum, what is in it say its bytes, which are those that
//! the transaction commits to, and each part of a slot must be in it, the same as it lies here. Bundles that an upload
//! service put into others are not found, nor is anything where gateways do not say in which bundle an item is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use weft_protocol::bundle::Bundle;
use weft_protocol::process::Process;
use weft_protocol::{DataItem, Hash, Id};
use weft_storage::{AnchoredRow, StoreError, Write};

use super::bundle::settled;
use super::post::quorum::{Told, Verdict, verdict};
use super::post::{Client, held_setting};
use crate::error::NodeError;
use crate::log;
use crate::recover::{Gateway, GatewayError, Holding, holding};
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// Bundles that are looked at in one run.
const BUNDLES_MAX: usize = 10_000;

/// Why it is not known what the weave has.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoundError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("a gateway: {0}")]
    Client(#[from] reqwest::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("too few gateways answer")]
    Silent,
    #[error("what holds slot {0} is in no final block yet, as far as they say")]
    NotYet(u64),
    #[error("the work was cut off")]
    Cut,
}

/// Finds which slots from this one on the weave has for good, and notes them with what lies beside them. Answers the
/// last of them.
///
/// # Errors
/// Why that is not known: it is to be asked again before anything is paid for.
pub(super) async fn found(shared: &SharedRef, process: Id, from: u64) -> Result<Option<u64>, FoundError> {
    let anchor = &shared.config.anchor;
    let known = shared.known(process).await.ok_or(FoundError::Cut)?.process;
    let clients: Vec<Client> =
        anchor.gateways.iter().map(|address| Client::new(address, anchor)).collect::<Result<_, _>>()?;
    let mut gateways: Vec<Gateway> =
        anchor.gateways.iter().map(|address| Gateway::new(address)).collect::<Result<_, _>>()?;
    let (mut next, mut last) = (from, None);
    for _ in 0..BUNDLES_MAX {
        let Some(row) = shared.store.read()?.slot(&process, next)? else { break };
        let slot = (next, row.assignment_id);
        let Some(held) = held(shared, &mut gateways, process, slot).await? else { break };
        let told = join_all(clients.iter().map(|client| told(client, &held.id))).await;
        let height = match verdict(&told, anchor.quorum(), anchor.confirmations) {
            Verdict::Final { height, .. } => height,
            // Somebody gave it, and a quorum knows of no block that has it.
            Verdict::Open => break,
            Verdict::Mined { .. } | Verdict::Unclear => return Err(FoundError::NotYet(next)),
        };
        let (at, with, bytes) = (SharedRef::clone(shared), Arc::clone(&known), held.bytes);
        let read = tokio::task::spawn_blocking(move || reach(&at, &with, next, bytes));
        let (after, mut writes) = joined(read.await).ok_or(FoundError::Cut)??;
        if after == next {
            break;
        }
        next = after;
        last = Some(after - 1);
        let weave = shared.anchored_on().to_owned();
        let noted = shared.store.read()?.anchored(&process, &weave)?.map(|row| row.slot);
        if noted < last {
            let row = AnchoredRow { slot: after - 1, batch: held.root, height };
            writes.push(Write::Anchored { process, weave, row });
        }
        shared.store.write(writes).await?;
    }
    Ok(last)
}

/// The first bundle that a gateway gives; none where a quorum knows of none.
async fn held(
    shared: &Shared,
    gateways: &mut [Gateway],
    process: Id,
    slot: (u64, Id),
) -> Result<Option<Holding>, FoundError> {
    let mut denied = 0;
    for gateway in gateways {
        match holding(gateway, (process, shared.address), slot).await {
            Ok(Some(held)) => return Ok(Some(held)),
            Ok(None) => denied += 1,
            // A node of the weave without an index knows nothing of items.
            Err(error) if error.is_refused() => denied += 1,
            Err(error) => {
                tracing::debug!(gateway = gateway.name(), %error, "what a weave has of a log is not known");
            }
        }
    }
    if denied >= shared.config.anchor.quorum() { Ok(None) } else { Err(FoundError::Silent) }
}

/// What a gateway says of a transaction, if it is one of this weave.
async fn told(client: &Client, tx: &Id) -> Told {
    match client.height().await {
        Some(_) => client.told(tx).await,
        None => Told::Silent,
    }
}

/// The slot after the last one of which a bundle has all parts, and what is to be noted of what else is in it.
fn reach(
    shared: &Shared,
    process: &Process,
    from: u64,
    bytes: Bytes,
) -> Result<(u64, Vec<Write>), FoundError> {
    let Ok(bundle) = Bundle::parse(bytes) else { return Ok((from, Vec::new())) };
    let items: Vec<_> = bundle.items().flatten().collect();
    let by_id: BTreeMap<Id, &Bytes> =
        items.iter().map(|item| (item.claims().id(), item.claims().raw())).collect();
    let has = |item: &DataItem| by_id.get(&item.id()).is_some_and(|raw| *raw == item.raw());
    let reader = shared.store.read()?;
    let head = reader.head(&process.id())?.map_or(0, |(slot, _)| slot);
    let mut next = from;
    'whole: while next <= head {
        for record in log::read_records(&reader, process, next, head)? {
            let parts = [Some(record.assignment_item()), Some(record.item()), record.proof()];
            if !parts.into_iter().flatten().all(|part| has(part)) {
                break 'whole;
            }
            next = record.assignment().slot + 1;
        }
    }
    let ours = items.iter().filter(|item| item.claims().owner() == shared.address);
    let ours = ours.filter_map(|item| Some(item.clone().verify().ok()?.into_inner()));
    let mut writes = settled(shared, process.id(), ours);
    let module = process.module();
    let raw = reader.item(&module)?;
    if let Some((mine, held)) = raw.zip(by_id.get(&module))
        && mine == **held
    {
        let name = held_setting(shared.anchored_on(), &module);
        writes.push(Write::Setting { name, value: Bytes::from_static(&Hash::ZERO.0) });
    }
    Ok((next, writes))
}
