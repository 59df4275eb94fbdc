//! What a weave that costs money has of a log already. A scheduler that lost its disk has its logs back from that weave,
//! and not its notes of what it posted there: what is final there is found again, and not paid for a second time.
//!
//! A gateway's word leads to a bundle; that it is final says a quorum, what is in it say its bytes, which are those that
//! the transaction commits to, and each part of a slot must be in it, the same as it lies here. That there is none
//! says a quorum too: where one gateway's bundle is of no use the next gateway is asked. Bundles that an upload
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
        let Some(held) = held(shared, (clients.as_slice(), gateways.as_mut_slice()), &known, slot).await?
        else {
            break;
        };
        next = held.after;
        last = Some(held.after - 1);
        let weave = shared.anchored_on().to_owned();
        let noted = shared.store.read()?.anchored(&process, &weave)?.map(|row| row.slot);
        let mut writes = held.writes;
        if noted < last {
            let row = AnchoredRow { slot: held.after - 1, batch: held.root, height: held.height };
            writes.push(Write::Anchored { process, weave, row });
        }
        shared.store.write(writes).await?;
    }
    Ok(last)
}

/// A final bundle that has slots.
struct Held {
    /// The root of its bytes.
    root: Hash,
    /// The height of its block.
    height: u64,
    /// The slot after the last one of which it has all parts.
    after: u64,
    /// What is to be noted of what else is in it.
    writes: Vec<Write>,
}

/// The first final bundle that a gateway gives and that has this slot; none where a quorum has none. One that names a
/// bundle which has nothing of it, or which is in no block, has said no more than one that knows of none: an index may be
/// stale, and a transaction that was signed anew leaves one behind that never was mined.
async fn held(
    shared: &SharedRef,
    (clients, gateways): (&[Client], &mut [Gateway]),
    known: &Arc<Process>,
    slot: (u64, Id),
) -> Result<Option<Held>, FoundError> {
    let anchor = &shared.config.anchor;
    let (mut denied, mut is_coming) = (0, false);
    for gateway in gateways {
        let Holding { id, root, bytes } = match holding(gateway, (known.id(), shared.address), slot).await {
            Ok(Some(holding)) => holding,
            // A node of the weave without an index knows nothing of items.
            Err(error) if !error.is_refused() => {
                tracing::debug!(gateway = gateway.name(), %error, "what a weave has of a log is not known");
                continue;
            }
            Ok(None) | Err(_) => {
                denied += 1;
                continue;
            }
        };
        let (at, with, from) = (SharedRef::clone(shared), Arc::clone(known), slot.0);
        let read = tokio::task::spawn_blocking(move || reach(&at, &with, from, bytes));
        let (after, writes) = joined(read.await).ok_or(FoundError::Cut)??;
        if after == from {
            denied += 1;
            continue;
        }
        let told = join_all(clients.iter().map(|client| told(client, &id))).await;
        match verdict(&told, anchor.quorum(), anchor.confirmations) {
            Verdict::Final { height, .. } => return Ok(Some(Held { root, height, after, writes })),
            Verdict::Open => denied += 1,
            Verdict::Mined { .. } | Verdict::Unclear => is_coming = true,
        }
    }
    match (is_coming, denied >= anchor.quorum()) {
        (true, _) => Err(FoundError::NotYet(slot.0)),
        (false, true) => Ok(None),
        (false, false) => Err(FoundError::Silent),
    }
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
