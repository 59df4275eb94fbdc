//! Who has a weave, a gateway or this node, and what it was good for in one run.

use bytes::Bytes;
use weft_protocol::l1::block::BlockData;
use weft_protocol::{Address, DataItem, Hash, Id};
use weft_storage::anchor::{AnchorError, Block, LocalWeave};

use super::ahead::Ahead;
use super::ask::{self, Listed, Question};
use super::gateway::{Gateway, GatewayError, Place, shown};
use super::given::GivenBundle;

/// Faults that are told one by one; the rest are counted.
const FAULTS_SHOWN_MAX: usize = 16;

/// Who has a weave.
pub(super) enum Holder {
    /// A gateway of it.
    Gateway(Box<Gateway>),
    /// This node.
    Here(LocalWeave),
}

impl Holder {
    fn name(&self) -> &str {
        match self {
            Self::Gateway(gateway) => gateway.name(),
            Self::Here(_) => "the weave of this node",
        }
    }

    async fn list(&mut self, question: &Question) -> Result<Option<Vec<Listed>>, GatewayError> {
        match self {
            Self::Gateway(gateway) => gateway.query(&question.to_json()).await.map(ask::read),
            Self::Here(weave) => {
                let question = question.clone();
                here(weave, "a query", move |weave| question.look(weave).map(Some)).await.map(Some)
            }
        }
    }

    async fn bundle(&mut self, id: Id) -> Result<GivenBundle, GatewayError> {
        match self {
            Self::Gateway(gateway) => GivenBundle::ask(gateway, id).await,
            Self::Here(weave) => {
                let bytes = here(weave, "a bundle", move |weave| weave.fetch_now(&Hash(id.0))).await?;
                Ok(GivenBundle::held_against(id, bytes, None).await)
            }
        }
    }

    /// The data of an item that it lists alone.
    pub(super) async fn data(&mut self, id: Id) -> Result<Bytes, GatewayError> {
        match self {
            Self::Gateway(gateway) => gateway.data(id).await,
            // Here all are in bundles.
            Self::Here(_) => Err(GatewayError::Unknown("an item's data")),
        }
    }

    /// The data of an item that has at most so many bytes, wherever it is.
    pub(super) async fn small_data(&mut self, id: Id, max: usize) -> Result<Bytes, GatewayError> {
        let what = "an item's data";
        match self {
            Self::Gateway(gateway) => gateway.small_data(id, max).await,
            Self::Here(weave) => {
                let data = move |weave: &LocalWeave| {
                    let raw = weave.item_now(&id)?;
                    Ok(raw.and_then(|raw| Some(DataItem::parse(raw).ok()?.claims().data())))
                };
                here(weave, what, data).await
            }
        }
    }

    /// Where a bundle is, by its word.
    pub(super) async fn place(&mut self, id: Id) -> Result<Place, GatewayError> {
        match self {
            Self::Gateway(gateway) => gateway.place(id).await,
            Self::Here(weave) => {
                let place = move |weave: &LocalWeave| {
                    let placed = weave.placed(&Hash(id.0))?;
                    Ok(placed.map(|placed| Place {
                        confirmations: placed.confirmations,
                        block: Some(placed.block.hash().to_string()),
                    }))
                };
                here(weave, "a transaction's place", place).await
            }
        }
    }

    /// Which of the weave's bytes is the last of a bundle, counted from 1, by its word.
    pub(super) async fn last_byte(&mut self, id: Id) -> Result<u64, GatewayError> {
        match self {
            Self::Gateway(gateway) => gateway.last_byte(id).await,
            Self::Here(weave) => {
                let last =
                    move |weave: &LocalWeave| Ok(weave.placed(&Hash(id.0))?.map(|placed| placed.range.end));
                here(weave, "where a transaction's data is", last).await
            }
        }
    }

    /// The path from the root of its block to the bundle that has this byte of the weave, counted from 1.
    pub(super) async fn tx_path(&mut self, byte: u64) -> Result<Bytes, GatewayError> {
        match self {
            Self::Gateway(gateway) => gateway.tx_path(byte).await,
            Self::Here(weave) => {
                let path = move |weave: &LocalWeave| {
                    let placed = byte.checked_sub(1).map(|byte| weave.placed_at(byte)).transpose()?;
                    Ok(placed.flatten().map(|placed| placed.tx_path()))
                };
                here(weave, "a chunk", path).await
            }
        }
    }

    /// What it says of the data of a block.
    pub(super) async fn block(&mut self, name: &str) -> Result<BlockData, GatewayError> {
        match self {
            Self::Gateway(gateway) => gateway.block(name).await,
            Self::Here(weave) => {
                let name: Option<Hash> = name.parse().ok();
                let block = move |weave: &LocalWeave| {
                    let block = name.map(|name| weave.block_by_hash(&name)).transpose()?.flatten();
                    let of = |block: Block| {
                        let before = block.height.checked_sub(1);
                        let start = before.map_or(Some(0), |height| weave.bytes_at(height))?;
                        let end = weave.bytes_at(block.height)?;
                        Some(BlockData { root: block.transactions_root, start, end })
                    };
                    Ok(block.and_then(of))
                };
                here(weave, "a block", block).await
            }
        }
    }

    /// Whether it is this node, whose lists are its own.
    pub(super) const fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// Counts what was asked beside.
    fn count(&mut self, requests: u64, bytes: u64) {
        if let Self::Gateway(gateway) = self {
            gateway.requests += requests;
            gateway.bytes += bytes;
        }
    }

    /// Questions that were asked over the line, and bytes that came.
    pub(super) fn traffic(&self) -> (u64, u64) {
        match self {
            Self::Gateway(gateway) => (gateway.requests, gateway.bytes),
            Self::Here(_) => (0, 0),
        }
    }
}

/// Looks on the weave of this node, away from the tasks.
async fn here<T: Send + 'static>(
    weave: &LocalWeave,
    what: &'static str,
    look: impl FnOnce(&LocalWeave) -> Result<Option<T>, AnchorError> + Send + 'static,
) -> Result<T, GatewayError> {
    let weave = weave.clone();
    let failed = |why: String| GatewayError::Unreachable(shown(&why));
    let looked = tokio::task::spawn_blocking(move || look(&weave)).await;
    let looked =
        looked.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()));
    looked?.ok_or(GatewayError::Unknown(what))
}

/// A gateway, and what it was good for.
pub(super) struct Asked {
    pub(super) holder: Holder,
    /// Slots of which it gave the assignment.
    pub(super) slots: u64,
    /// What was wrong with it, the first times.
    pub(super) faults: Vec<String>,
    pub(super) faults_count: u64,
    /// The newest assignment that it listed at the beginning.
    pub(super) newest: Option<Listed>,
    /// It answered what is the newest, if only that there is none.
    pub(super) answered: bool,
    ahead: Ahead,
}

impl Asked {
    pub(super) fn of(holder: Holder) -> Self {
        let (faults, ahead) = (Vec::new(), Ahead::default());
        Self { holder, slots: 0, faults, faults_count: 0, newest: None, answered: false, ahead }
    }

    pub(super) fn name(&self) -> &str {
        self.holder.name()
    }

    /// Asks for the assignments from a slot on, and for the bundle that has it, before that is wanted. This node's own
    /// weave is near enough.
    pub(super) fn ask_ahead(&mut self, process: Id, scheduler: Address, slot: u64) {
        if let Holder::Gateway(gateway) = &self.holder {
            self.ahead.begin(gateway, process, scheduler, slot);
        }
    }

    /// A bundle.
    pub(super) async fn bundle(&mut self, id: Id) -> Result<GivenBundle, GatewayError> {
        match self.ahead.bundle(id) {
            Some(given) => Ok(given),
            None => self.holder.bundle(id).await,
        }
    }

    /// What it lists; none where it lists nothing, which is noted.
    pub(super) async fn query(&mut self, question: &Question) -> Option<Vec<Listed>> {
        if let Some((listed, (requests, bytes))) = self.ahead.listed(question).await {
            self.holder.count(requests, bytes);
            if listed.is_some() {
                return listed;
            }
        }
        match self.holder.list(question).await {
            Ok(Some(listed)) => Some(listed),
            Ok(None) => {
                self.fault("its answer to a query is no list of transactions");
                None
            }
            Err(error) => {
                self.fault(error);
                None
            }
        }
    }

    /// Notes what was wrong.
    pub(super) fn fault(&mut self, text: impl ToString) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_SHOWN_MAX {
            self.faults.push(shown(&text.to_string()));
        }
    }
}
