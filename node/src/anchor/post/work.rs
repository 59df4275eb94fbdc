//! What the poster's machine asks for, done: bundles and rows on disk, signatures, questions to gateways.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use tokio::task::spawn_blocking;
use weft_protocol::bundle::{BUNDLE_TAGS, Bundle};
use weft_protocol::data_item::ItemError;
use weft_protocol::l1::chunk::CHUNK_BYTES_MAX;
use weft_protocol::l1::{L1Draft, L1Error, L1Tag, L1Tx};
use weft_protocol::{Address, Draft, Hash, Id, Tag};
use weft_storage::anchor::{AnchorError, Batch, Wallet, chunks};
use weft_storage::limits::HEADER_BYTES_MAX;
use weft_storage::{PostingRow, PostingState, StoreError, Write};

use super::client::Client;
use super::machine::{Effect, Input, Terms, Took};
use super::quorum::Told;
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// Gateways that are asked for the bytes of a posting at once: each may give all of them.
const READS_MAX: usize = 2;
/// The setting that says what was spent, and when.
const SPENT_SETTING: &str = "anchor-spent";
/// What starts the name of the setting that says that a weave has an item; the weave's name and the id follow.
const HELD_SETTING: &str = "anchored-item/";

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error("the transaction: {0}")]
    L1(#[from] L1Error),
    #[error("the item: {0}")]
    Item(#[from] ItemError),
    #[error("{0} is not on disk")]
    Missing(&'static str),
    #[error("the work was cut off")]
    Cut,
}

/// Who pays.
#[derive(Debug)]
pub(super) enum Payer {
    Wallet(Wallet),
    Bundler(Client),
}

/// Does what the machine asks for.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shared: SharedRef,
    pub(super) gateways: Vec<Client>,
    pub(super) payer: Payer,
}

/// What came of an effect, and the data root of a posting that was built.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) input: Input,
    pub(super) built: Option<(u64, Hash)>,
}

impl From<Input> for Done {
    fn from(input: Input) -> Self {
        Self { input, built: None }
    }
}

/// Whether a weave is known to have an item.
///
/// # Errors
/// A damaged store.
pub(in crate::anchor) fn holds(shared: &Shared, item: &Id) -> Result<bool, StoreError> {
    Ok(shared.store.read()?.setting(&held_setting(shared.anchored_on(), item))?.is_some())
}

/// The setting that says in which posting a weave got an item.
pub(in crate::anchor) fn held_setting(weave: &str, item: &Id) -> String {
    format!("{HELD_SETTING}{weave}/{item}")
}

/// What was spent, and in which day, as it lies on disk.
///
/// # Errors
/// A damaged store.
pub(super) fn spent(shared: &Shared) -> Result<super::spending::Spent, StoreError> {
    let bytes = shared.store.read()?.setting(SPENT_SETTING)?;
    Ok(bytes.and_then(|bytes| super::spending::Spent::from_bytes(&bytes)).unwrap_or_default())
}

impl Worker {
    /// Does what an effect asks for; `root` is the data root of its posting, once it has one.
    pub(super) async fn perform(self: Arc<Self>, effect: Effect, root: Hash) -> Done {
        match effect {
            Effect::Build { number, parts } => match self.build(parts).await {
                Ok((root, bytes)) => {
                    Done { input: Input::Built { number, bytes }, built: Some((number, root)) }
                }
                Err(error) => failed(number, "bundled", &error),
            },
            Effect::LetGo { parts, .. } => {
                if let Err(error) = self.let_go(root, &parts).await {
                    tracing::warn!(%error, "a posting that cannot be made is not forgotten; it is tried again at the next start");
                }
                Input::Tick.into()
            }
            Effect::Quote { number, bytes } => {
                let wallet = self.wallet();
                let quotes = join_all(self.gateways.iter().map(|gateway| gateway.quote(bytes, &wallet)));
                Input::Quoted { number, quotes: quotes.await }.into()
            }
            Effect::Block { number, height } => {
                let blocks = join_all(self.gateways.iter().map(|gateway| gateway.block(height)));
                Input::Blocks { number, blocks: blocks.await }.into()
            }
            Effect::Sign { number, terms } => match self.sign(root, terms).await {
                Ok(tx) => Input::Signed { number, tx }.into(),
                Err(error) => failed(number, "signed", &error),
            },
            Effect::Post { number, to } => match self.post(root, &to).await {
                Ok(took) => Input::Posted { number, took }.into(),
                Err(error) => failed(number, "posted", &error),
            },
            Effect::Ask { number, tx } => match self.ask(root, &tx).await {
                Ok((told, heights)) => Input::Told { number, told, heights }.into(),
                Err(error) => failed(number, "asked after", &error),
            },
            Effect::Read { number, tx } => match self.read(root, &tx).await {
                Ok(holds) => Input::Read { number, holds }.into(),
                Err(error) => failed(number, "read back", &error),
            },
            Effect::Settle { number, height, block } => match self.settle(root, height, block).await {
                Ok(()) => Input::Settled { number }.into(),
                Err(error) => failed(number, "stored as final", &error),
            },
        }
    }

    /// The wallet that pays; nobody's where a bundler does.
    fn wallet(&self) -> Address {
        match &self.payer {
            Payer::Wallet(wallet) => wallet.address(),
            Payer::Bundler(_) => Address([0; 32]),
        }
    }

    fn row(&self, root: Hash) -> Result<PostingRow, PostError> {
        self.shared
            .store
            .read()?
            .posting(&root, self.shared.anchored_on())?
            .ok_or(PostError::Missing("the posting"))
    }

    /// A posting with its bundle.
    fn bundle(&self, root: Hash) -> Result<(PostingRow, Bytes), PostError> {
        let row = self.row(root)?;
        let bytes = self.shared.store.read()?.blob(&row.bundle)?;
        Ok((row, bytes.ok_or(PostError::Missing("the bundle of a posting"))?))
    }

    /// Makes one bundle of batches, and stores it.
    async fn build(self: &Arc<Self>, parts: Vec<Hash>) -> Result<(Hash, u64), PostError> {
        let (worker, of) = (Arc::clone(self), parts.clone());
        let batch = joined(spawn_blocking(move || worker.gather(&of)).await).ok_or(PostError::Cut)??;
        let (root, bytes) = (batch.data_root(), batch.bytes().clone());
        let length = bytes.len() as u64;
        if self.shared.store.read()?.posting(&root, self.shared.anchored_on())?.is_some() {
            // What was signed and paid of it stays as it is.
            self.shared.store.write(vec![Write::Blob(bytes)]).await?;
            return Ok((root, length));
        }
        let row = PostingRow {
            weave: self.shared.anchored_on().to_owned(),
            parts,
            bundle: weft_storage::blob_name(&bytes),
            items: u32::try_from(batch.items().len()).unwrap_or(u32::MAX),
            bytes: bytes.len() as u64,
            winston: 0,
            signed: 0,
            receipt: Bytes::new(),
            state: PostingState::Built,
        };
        self.shared.store.write(vec![Write::Blob(bytes), Write::Posting { data_root: root, row }]).await?;
        Ok((root, length))
    }

    /// Forgets a posting that is on disk and cannot be made again, and gives its batches back.
    async fn let_go(&self, root: Hash, parts: &[Hash]) -> Result<(), PostError> {
        let weave = self.shared.anchored_on().to_owned();
        if let Some(row) = self.shared.store.read()?.posting(&root, &weave)? {
            let mut writes = vec![Write::DropPosting { data_root: root, weave }];
            writes.extend((row.parts.len() > 1).then_some(Write::DropBlob(row.bundle)));
            self.shared.store.write(writes).await?;
        }
        self.shared.board.forget(parts);
        Ok(())
    }

    fn gather(&self, parts: &[Hash]) -> Result<Batch, PostError> {
        let reader = self.shared.store.read()?;
        let (mut items, mut have, mut only) = (Vec::new(), BTreeSet::new(), None);
        for part in parts {
            let row = reader.batch(part)?.ok_or(PostError::Missing("a batch"))?;
            let bytes = reader.blob(&row.bundle)?.ok_or(PostError::Missing("the bundle of a batch"))?;
            let batch = Batch::parse(bytes)?;
            items.extend(batch.items().iter().filter(|item| have.insert(item.id())).cloned());
            only = Some(batch);
        }
        match only {
            Some(batch) if parts.len() == 1 => Ok(batch),
            _ => Ok(Batch::of_items(items)?),
        }
    }

    /// Signs a posting. What was signed and what was spent are durable together, before anybody hears of it.
    async fn sign(self: &Arc<Self>, root: Hash, terms: Terms) -> Result<Id, PostError> {
        let worker = Arc::clone(self);
        let Terms { reward, anchor, expires, spent } = terms;
        let signed = spawn_blocking(move || worker.signature(root, reward, anchor.as_deref()));
        let (row, id, header) = joined(signed.await).ok_or(PostError::Cut)??;
        let state = PostingState::Signed { id, header, reward, expires };
        let row = PostingRow {
            winston: row.winston.saturating_add(reward),
            signed: row.signed.saturating_add(1),
            state,
            ..row
        };
        let value = Bytes::copy_from_slice(&spent.to_bytes());
        let spent = Write::Setting { name: SPENT_SETTING.to_owned(), value };
        self.shared.store.write(vec![Write::Posting { data_root: root, row }, spent]).await?;
        self.shared.metrics.postings.add("signed");
        self.shared.metrics.anchor_winston.inc_by(reward);
        Ok(id)
    }

    /// What is signed of a posting: its id, and what is posted beside the data.
    fn signature(
        &self,
        root: Hash,
        reward: u64,
        anchor: Option<&str>,
    ) -> Result<(PostingRow, Id, Bytes), PostError> {
        let (row, data) = self.bundle(root)?;
        let (id, header) = match &self.payer {
            Payer::Wallet(wallet) => {
                let anchor = anchor.and_then(|name| URL_SAFE_NO_PAD.decode(name).ok());
                let tags = BUNDLE_TAGS.iter().map(|(name, value)| L1Tag::new(*name, *value)).collect();
                let last_tx = anchor.ok_or(PostError::Missing("the block that a transaction names"))?.into();
                let draft = L1Draft { reward: reward.into(), last_tx, tags, data, ..L1Draft::default() };
                let tx = wallet.sign(draft)?;
                (tx.id(), Bytes::from(tx.to_header_json()))
            }
            Payer::Bundler(_) => {
                let tags = BUNDLE_TAGS.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
                let draft = Draft { target: None, anchor: None, tags, data: data.clone() };
                let item = draft.sign(&self.shared.signer)?;
                let header = item.raw().slice(..item.raw().len() - data.len());
                (item.id(), header)
            }
        };
        if header.len() > HEADER_BYTES_MAX {
            return Err(PostError::Missing("room for the transaction without its data"));
        }
        Ok((row, id, header))
    }

    /// Posts what was signed.
    async fn post(&self, root: Hash, to: &[usize]) -> Result<Vec<Took>, PostError> {
        let (row, data) = self.bundle(root)?;
        let PostingState::Signed { header, expires, .. } = &row.state else {
            return Err(PostError::Missing("what was signed of a posting"));
        };
        // What a wallet signed goes to gateways and an item to a bundler, whoever pays by now.
        let took = match (&self.payer, expires) {
            (_, Some(_)) => self.post_tx(root, header, data, to).await?,
            (Payer::Wallet(_), None) => vec![Took::NotNow],
            (Payer::Bundler(bundler), None) => {
                let item = Bytes::from([header.as_ref(), data.as_ref()].concat());
                let (took, receipt) = bundler.upload(item).await;
                // Signed by the bundler: what it can be held to.
                if let Some(receipt) = receipt.filter(|receipt| receipt.len() <= HEADER_BYTES_MAX) {
                    let row = PostingRow { receipt, ..row };
                    self.shared.store.write(vec![Write::Posting { data_root: root, row }]).await?;
                }
                vec![took]
            }
        };
        let is_taken = took.contains(&Took::All);
        self.shared.metrics.postings.add(if is_taken { "posted" } else { "refused" });
        Ok(took)
    }

    async fn post_tx(
        &self,
        root: Hash,
        header: &Bytes,
        data: Bytes,
        to: &[usize],
    ) -> Result<Vec<Took>, PostError> {
        let header = header.clone();
        let prepared = spawn_blocking(move || {
            let tx = L1Tx::parse_json(&header)?.verify()?;
            Ok::<_, PostError>(if data.len() <= CHUNK_BYTES_MAX {
                (tx.to_json_with(&data), data, Vec::new())
            } else {
                let proofs = chunks(&data);
                (tx.to_header_json(), data, proofs)
            })
        });
        let (json, data, proofs) = joined(prepared.await).ok_or(PostError::Cut)??;
        let in_chunks = || (!proofs.is_empty()).then_some((&root, &data, &proofs[..]));
        let gateways = to.iter().filter_map(|at| self.gateways.get(*at));
        Ok(join_all(gateways.map(|gateway| gateway.post(json.clone(), in_chunks()))).await)
    }

    async fn ask(&self, root: Hash, tx: &Id) -> Result<(Vec<Told>, Vec<Option<u64>>), PostError> {
        // It is a bundler's by what was signed: who pays may have changed since.
        let is_item = matches!(self.row(root)?.state, PostingState::Signed { expires: None, .. });
        let each = self.gateways.iter().map(|gateway| async move {
            match gateway.height().await {
                Some(height) if is_item => (gateway.told_of_item(tx).await, Some(height)),
                Some(height) => (gateway.told(tx).await, Some(height)),
                // Nothing is believed of one that does not say which weave it speaks of.
                None => (Told::Silent, None),
            }
        });
        Ok(join_all(each).await.into_iter().unzip())
    }

    /// Whether a gateway gives the bytes back. A few are asked beside each other, so that a slow one holds up nothing.
    async fn read(&self, root: Hash, tx: &Id) -> Result<bool, PostError> {
        let bytes = self.row(root)?.bytes;
        let asked: Vec<_> = self.gateways.iter().map(|gateway| gateway.holds(tx, root, bytes)).collect();
        let mut answers = futures::stream::iter(asked).buffer_unordered(READS_MAX);
        while let Some(holds) = answers.next().await {
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stores a posting as final. The weave has the bundle now: the copy made for the way there can go, but for one
    /// that is a batch's own, which the anchor reads once more and then drops.
    async fn settle(&self, root: Hash, height: u64, block: String) -> Result<(), PostError> {
        let row = self.row(root)?;
        let PostingState::Signed { id, reward, .. } = row.state else {
            return Err(PostError::Missing("what was signed of a posting"));
        };
        let mut writes = Vec::new();
        if row.parts.len() > 1 {
            writes.push(Write::DropBlob(row.bundle));
        }
        for module in self.modules(&row).await? {
            let name = held_setting(&row.weave, &module);
            writes.push(Write::Setting { name, value: Bytes::copy_from_slice(&root.0) });
        }
        let parts = row.parts.clone();
        let row = PostingRow { state: PostingState::Final { id, reward, height, block }, ..row };
        writes.push(Write::Posting { data_root: root, row });
        self.shared.store.write(writes).await?;
        self.shared.metrics.postings.add("final");
        self.shared.board.forget(&parts);
        Ok(())
    }

    /// The modules that a posting brought, with the first slots of processes of theirs. One that came to this disk
    /// after its batch was made is not among them.
    async fn modules(&self, row: &PostingRow) -> Result<BTreeSet<Id>, PostError> {
        let reader = self.shared.store.read()?;
        let mut modules = BTreeSet::new();
        for part in &row.parts {
            let first = reader.batch(part)?.filter(|row| row.from_slot == 0);
            let process = first.map(|row| reader.process(&row.process)).transpose()?.flatten();
            modules.extend(process.map(|process| process.module));
        }
        let name = row.bundle;
        let brought = spawn_blocking(move || {
            let bundle = reader.blob(&name).ok().flatten().and_then(|bytes| Bundle::parse(bytes).ok());
            bundle.map(|bundle| bundle.entries().map(|(id, _)| id).collect::<BTreeSet<_>>())
        });
        let brought = joined(brought.await).flatten().unwrap_or_default();
        modules.retain(|module| brought.contains(module));
        Ok(modules)
    }
}

fn failed(number: u64, what: &str, error: &PostError) -> Done {
    tracing::warn!(%error, "a posting was not {what}; it is tried again");
    Input::Failed { number }.into()
}
