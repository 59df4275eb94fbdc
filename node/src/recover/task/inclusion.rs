//! Whether the bundles that were read are in a block. What is in one proves itself without that; that the weave has it,
//! and will have it tomorrow, is another matter, and a signed transaction may never have been mined.
//!
//! A path leads from the root of a block's transactions to the root of a bundle's bytes: it is asked for and checked here.
//! That a block has that root is what most of the gateways say of it, for nothing less than the whole chain shows it. What
//! cannot be shown is said to be not shown, and is taken all the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use weft_protocol::l1::block::BlockData;
use weft_protocol::{Hash, Id};

use super::super::RecoverError;
use super::super::gateway::GatewayError;
use super::super::sink::Sink;
use super::{Progress, Run};
use crate::anchor::post::quorum::agreed;
use crate::portable::PortableError;

/// Bundles of one run that are looked for in blocks.
pub(super) const FETCHED_MAX: usize = 10_000;
/// How long that may take for all of them.
const INCLUSION_WAIT: Duration = Duration::from_secs(300);
/// How long the gateways may take to say what one block is.
const BLOCK_WAIT: Duration = Duration::from_secs(30);
/// Bundles one after the other whose place a gateway may fail to show before it is asked for no other.
const MISSES_MAX: u32 = 3;

/// A bundle that was read, whose bytes are those that its name or its transaction commits to. Any other is in no block,
/// whatever is there under its name.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    /// Its transaction, or the root of its bytes.
    pub(super) id: Id,
    /// The root of its bytes.
    pub(super) root: Hash,
    /// How many they are.
    pub(super) bytes: u64,
    /// Who gave it.
    pub(super) gateway: usize,
}

/// What came of looking for bundles in blocks.
#[derive(Debug, Default)]
pub(super) struct Inclusion {
    /// Bundles that are shown to be in one.
    pub(super) shown: u64,
    /// Why another one is not: the first that was not.
    pub(super) why_not: Option<String>,
}

/// What is known while bundles are looked for.
struct Looking {
    /// What most gateways say of a block; none where they do not agree.
    blocks: BTreeMap<String, Option<BlockData>>,
    /// In how many bundles one after the other each gateway failed.
    misses: Vec<u32>,
}

impl<S: Sink> Run<'_, S> {
    /// Looks for every bundle that was read in a block.
    ///
    /// # Errors
    /// That whoever waits wants no more.
    pub(super) async fn show_inclusion(&mut self, progress: Progress<'_>) -> Result<Inclusion, RecoverError> {
        let fetched = std::mem::take(&mut self.fetched);
        let (until, slots) = (Instant::now() + INCLUSION_WAIT, self.reading()?.next_slot());
        let mut looking = Looking { blocks: BTreeMap::new(), misses: vec![0; self.gateways.len()] };
        let mut found = Inclusion::default();
        for one in fetched {
            if progress(slots, slots).is_break() {
                return Err(PortableError::Stopped.into());
            }
            let left = until.saturating_duration_since(Instant::now());
            let late = || format!("bundle {}: all of them took too long", one.id);
            if left.is_zero() {
                // A timeout of nothing would begin a question for each of the others and cut it off.
                found.why_not.get_or_insert_with(late);
                break;
            }
            let shown = tokio::time::timeout(left, self.is_included(&one, &mut looking)).await;
            match shown.map_err(|_| late()).flatten() {
                Ok(()) => found.shown += 1,
                Err(why) => {
                    found.why_not.get_or_insert(why);
                }
            }
        }
        if found.why_not.is_none() && found.shown < self.bundles {
            let why =
                format!("their bytes are not those of their names, or there are more than {FETCHED_MAX}");
            found.why_not = Some(why);
        }
        Ok(found)
    }

    /// Asks for the way to a bundle: first who gave it, then the others.
    async fn is_included(&mut self, bundle: &Fetched, looking: &mut Looking) -> Result<(), String> {
        let others = (0..self.gateways.len()).filter(|gateway| *gateway != bundle.gateway);
        let mut why = None;
        for gateway in std::iter::once(bundle.gateway).chain(others) {
            let is_vain = looking.misses.get(gateway).is_none_or(|misses| *misses >= MISSES_MAX);
            if is_vain || self.search.has_given_up(gateway) {
                continue;
            }
            let way = self.way(gateway, bundle, looking).await;
            if let Some(misses) = looking.misses.get_mut(gateway) {
                *misses = if way.is_ok() { 0 } else { *misses + 1 };
            }
            let Err(no) = way else { return Ok(()) };
            why.get_or_insert(format!("bundle {}: {no}", bundle.id));
        }
        Err(why.unwrap_or_else(|| "no gateway showed it of others".to_owned()))
    }

    /// Has one gateway show that a bundle is in a block.
    async fn way(&mut self, gateway: usize, bundle: &Fetched, looking: &mut Looking) -> Result<(), String> {
        let no = |error: GatewayError| error.to_string();
        let asked = self.gateways.get_mut(gateway).ok_or("it is not there")?;
        let place = asked.holder.place(bundle.id).await.map_err(no)?;
        if gateway == bundle.gateway {
            let told = place.confirmations;
            self.told += 1;
            self.least_confirmations = Some(self.least_confirmations.map_or(told, |least| least.min(told)));
        }
        let name = place.block.ok_or("its gateway does not name its block")?;
        let last = asked.holder.last_byte(bundle.id).await.map_err(no)?;
        let path = asked.holder.tx_path(last).await.map_err(no)?;
        let block = match looking.blocks.get(&name) {
            Some(block) => *block,
            None => {
                let block = self.block(&name).await;
                looking.blocks.insert(name.clone(), block);
                block
            }
        };
        let block =
            block.ok_or_else(|| format!("too few gateways say the same of the data of block {name}"))?;
        block.verify(&bundle.root, bundle.bytes, last, &path).map_err(|error| {
            let why = format!("it is not shown to be in block {name}: {error}");
            if let Some(asked) = self.gateways.get_mut(gateway) {
                asked.fault(format!("bundle {}: {why}", bundle.id));
            }
            why
        })
    }

    /// What most of the gateways say of a block.
    async fn block(&mut self, name: &str) -> Option<BlockData> {
        let quorum = self.gateways.len() / 2 + 1;
        let asked: FuturesUnordered<_> =
            self.gateways.iter_mut().map(|asked| asked.holder.block(name)).collect();
        let enough = async {
            let (mut asked, mut told) = (asked, Vec::new());
            while let Some(answer) = asked.next().await {
                told.extend(answer);
                let found = agreed(told.iter().copied(), quorum);
                if found.is_some() {
                    return found;
                }
            }
            None
        };
        tokio::time::timeout(BLOCK_WAIT, enough).await.ok().flatten()
    }
}
