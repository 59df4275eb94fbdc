//! What goes to a weave, and what that costs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::Value;
use weft_protocol::Hash;
use weft_protocol::placed::Place;
use weft_storage::limits::BATCH_BYTES_MAX;
use weft_storage::{PostingRow, PostingState};

use super::super::api::{
    AnchorInfo, AnchorRequest, Estimate, Failure, FailureCode, GatewayInfo, PlaceInfo, PostingInfo,
};
use super::{Answers, disk, fail};
use crate::anchor::post::machine::View;
use crate::anchor::post::quorum::reached;
use crate::anchor::post::spending::with_margin;
use crate::anchor::post::{Client, Info};
use crate::anchor::{Rest, Waiting, Weight, waiting, weigh};
use crate::config::Role;
use crate::shared::SharedRef;

/// Postings that are looked through, and final ones that are shown.
const POSTINGS_MAX: usize = 100_000;
const FINAL_SHOWN_MAX: usize = 100;
/// Logs whose waiting slots are bundled for an estimate.
const ESTIMATED_MAX: usize = 64;
/// How long a flush may take to make batches, and how often it looks.
const FLUSH_WAIT: Duration = Duration::from_secs(60);
const FLUSH_LOOK: Duration = Duration::from_millis(100);
/// Bytes of the count of a bundle.
const COUNT_BYTES: u64 = 32;

impl Answers {
    pub(super) async fn anchor(&self, request: AnchorRequest) -> Result<Value, Failure> {
        let json = |value| serde_json::to_value(value).map_err(fault);
        match request {
            AnchorRequest::Status => json(self.anchor_status().await?),
            AnchorRequest::Heard { process } => {
                let places = self.shared.placements.of(&process).into_iter();
                let info = |Place { weave, bundle, from, to, height, .. }| PlaceInfo {
                    weave,
                    bundle,
                    from,
                    to,
                    block: height,
                };
                serde_json::to_value(places.map(info).collect::<Vec<_>>()).map_err(fault)
            }
            AnchorRequest::Estimate => serde_json::to_value(self.estimate().await?).map_err(fault),
            AnchorRequest::Flush => {
                self.flushed().await?;
                json(self.anchor_status().await?)
            }
        }
    }

    /// Has batches made and posted until none of the slots that waited when it began waits for one.
    async fn flushed(&self) -> Result<(), Failure> {
        if !self.shared.config.roles.contains(&Role::Anchor) {
            let text =
                "this node makes no batches: it does not have the role `anchor` (`roles` in weft.toml)";
            return Err(fail(FailureCode::Refused, text));
        }
        let until = tokio::time::Instant::now() + FLUSH_WAIT;
        let before = self.waits().await?.logs;
        loop {
            // What is handed over later is to be posted now too.
            self.shared.board.flush();
            let now = self.waits().await?;
            let is_left = |one: &Waiting| {
                now.logs.iter().any(|left| left.process == one.process && left.from <= one.to)
            };
            if now.unposted == 0 && !before.iter().any(is_left) {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                let text = "not every batch was made in time; `weft anchor status` shows how far they are";
                return Err(fail(FailureCode::TimedOut, text));
            }
            tokio::time::sleep(FLUSH_LOOK).await;
        }
    }

    /// What waits for a batch, or is in no final block.
    pub(super) async fn waits(&self) -> Result<Rest, Failure> {
        let shared = SharedRef::clone(&self.shared);
        let waits = tokio::task::spawn_blocking(move || waiting(&shared));
        waits.await.map_err(fault)?.map_err(disk)
    }

    fn clients(&self) -> Result<Vec<Client>, Failure> {
        let anchor = &self.shared.config.anchor;
        anchor.gateways.iter().map(|address| Client::new(address, anchor).map_err(fault)).collect()
    }

    async fn anchor_status(&self) -> Result<AnchorInfo, Failure> {
        let waits = self.waits().await?;
        let anchor = &self.shared.config.anchor;
        let wallet = self.shared.board.wallet();
        let clients = self.clients()?;
        let told = join_all(clients.iter().map(|client| async move {
            let balance = match &wallet {
                Some(wallet) => client.balance(wallet).await,
                None => None,
            };
            (client.info().await, balance)
        }));
        let told = told.await;
        let balance = reached(told.iter().filter_map(|(_, balance)| *balance), anchor.quorum());
        let gateway = |(client, (info, _)): (&Client, &(Option<Info>, _))| GatewayInfo {
            address: client.name().to_owned(),
            network: info.as_ref().map(|info| info.network.clone()),
            height: info.as_ref().map(|info| info.height),
        };
        let (views, spent) = self.shared.board.shown();
        let rows = self.read()?.postings(POSTINGS_MAX).map_err(disk)?;
        let all: u64 = rows.iter().map(|(_, row)| row.winston).fold(0, u64::saturating_add);
        Ok(AnchorInfo {
            backend: anchor.backend.name().to_owned(),
            weave: self.shared.anchored_on().to_owned(),
            waiting_slots: waits.logs.iter().map(|one| one.to + 1 - one.from).sum(),
            open_batches: waits.open,
            wallet,
            balance,
            spent_today: spent.as_of(self.shared.clock.now()).winston,
            day_limit: anchor.day_limit,
            spent: all,
            gateways: clients.iter().zip(&told).map(gateway).collect(),
            postings: shown(rows, &views),
        })
    }

    async fn estimate(&self) -> Result<Estimate, Failure> {
        let mut waits = self.waits().await?.logs;
        // The longest say most.
        waits.sort_by_key(|one| std::cmp::Reverse(one.to - one.from));
        let left_out = waits.len().saturating_sub(ESTIMATED_MAX) as u64;
        waits.truncate(ESTIMATED_MAX);
        let shared = SharedRef::clone(&self.shared);
        let weights = tokio::task::spawn_blocking(move || {
            waits.into_iter().map(|one| weigh(&shared, one)).collect::<Result<Vec<Weight>, _>>()
        });
        let weights = weights.await.map_err(fault)?.map_err(fault)?;
        let sum = |of: fn(&Weight) -> u64| weights.iter().map(of).sum::<u64>();
        // One bundle has one count.
        let bytes = sum(|one| one.bytes - COUNT_BYTES) + if weights.is_empty() { 0 } else { COUNT_BYTES };
        let slots = sum(|one| one.slots);
        let price = if bytes > 0 { self.price(bytes).await? } else { None };
        let fee = price.map(|price| with_margin(price, self.shared.config.anchor.margin_percent));
        Ok(Estimate {
            slots,
            items: sum(|one| one.items),
            bytes,
            overhead_bytes: bytes.saturating_sub(sum(|one| one.item_bytes)),
            transactions: bytes.div_ceil(BATCH_BYTES_MAX as u64),
            price,
            fee,
            fee_per_slot: fee.map(|fee| fee.div_ceil(slots.max(1))),
            left_out,
        })
    }

    /// What a quorum of gateways asks; none where no wallet pays.
    async fn price(&self, bytes: u64) -> Result<Option<u64>, Failure> {
        let Some(wallet) = self.shared.board.wallet() else { return Ok(None) };
        let clients = self.clients()?;
        let quotes = join_all(clients.iter().map(|client| client.quote(bytes, &wallet))).await;
        let prices = quotes.into_iter().flatten().map(|quote| quote.price);
        let price = reached(prices, self.shared.config.anchor.quorum());
        let text = "too few of `anchor_gateways` say what it costs; `weft anchor status` shows which answer";
        price.map(Some).ok_or_else(|| fail(FailureCode::Busy, text))
    }
}

fn fault(error: impl std::fmt::Display) -> Failure {
    fail(FailureCode::Fault, error.to_string())
}

/// Postings for people: those that are final by height, then those on their way.
fn shown(rows: Vec<(Hash, PostingRow)>, views: &[(Hash, View)]) -> Vec<PostingInfo> {
    let (mut stay, open): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| row.is_final());
    stay.sort_by_key(|(_, row)| match row.state {
        PostingState::Final { height, .. } => height,
        PostingState::Built | PostingState::Signed { .. } => u64::MAX,
    });
    let stay = stay.split_off(stay.len().saturating_sub(FINAL_SHOWN_MAX));
    stay.into_iter().chain(open).map(|(root, row)| info(root, &row, views)).collect()
}

fn info(data_root: Hash, row: &PostingRow, views: &[(Hash, View)]) -> PostingInfo {
    let view = views.iter().find(|(root, _)| *root == data_root).map(|(_, view)| view);
    let mined = view.and_then(|view| view.mined);
    let (state, id, block) = match &row.state {
        PostingState::Built => ("built", None, None),
        PostingState::Signed { id, .. } if mined.is_none() => ("signed", Some(*id), None),
        PostingState::Signed { id, .. } => ("mined", Some(*id), mined.map(|(height, _)| height)),
        PostingState::Final { id, height, .. } => ("final", Some(*id), Some(*height)),
    };
    let receipt = (!row.receipt.is_empty()).then(|| match std::str::from_utf8(&row.receipt) {
        Ok(text) => text.to_owned(),
        Err(_) => URL_SAFE_NO_PAD.encode(&row.receipt),
    });
    PostingInfo {
        data_root,
        state: state.to_owned(),
        id,
        batches: u32::try_from(row.parts.len()).unwrap_or(u32::MAX),
        items: row.items,
        bytes: row.bytes,
        winston: row.winston,
        signed: row.signed,
        block,
        confirmations: mined.map(|(_, confirmations)| confirmations),
        trouble: view.and_then(|view| view.trouble).map(|trouble| trouble.to_string()),
        receipt,
    }
}
