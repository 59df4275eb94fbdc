//! The embedded weave over HTTP, in the form of a node of Arweave with its gateway: what lies in its blocks
//! and nothing else. It has an address of its own (`weave_listen`), as the gateway's paths of the same names
//! speak of the weave `clock`, by which processes here count.
//!
//! A batch stands where Arweave has a transaction. No wallet signed it, so its id is the root of its bytes, it
//! has neither owner nor signature, and its format is 0, which none of Arweave's is: nobody takes it for one of
//! theirs, and everybody can check that the bytes under an id are its bytes. Its blocks have no proofs of work
//! and no padding between transactions; `tx_root`, `tx_path` and `data_path` are Arweave's. Bytes of the weave
//! are counted from 1, as there. A weave holds what its own node anchors, and what others post where its operator
//! says so (`weave_accepts`, `accept.rs`): then the nodes of a test network share one.

mod accept;
mod graphql;
mod route;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use weft_protocol::bundle::BUNDLE_TAGS;
use weft_protocol::l1::L1_JSON_BYTES_MAX;
use weft_protocol::l1::chunk::{ChunkProof, prove_chunks};
use weft_protocol::{DataItem, Hash, Id};
use weft_storage::anchor::{AnchorError, AnchorStatus, Block, LocalWeave, Placed};

use super::body::{AnswerShare, Bodies};
use super::guard::Guard;
use super::guarded::answered;
use super::params::Params;
use super::problem::{self, Problem, with_type};
use super::server::Answering;
use crate::anchor::{BlockWaits, EMPTY_BLOCKS_MAX};
use crate::config::Config;
use crate::metrics::Level;
use crate::shared::Shared;
use accept::Uploads;
use route::{Ask, BlockName};

/// How long any request may take, its wait for a turn included.
const REQUEST_WAIT: Duration = Duration::from_secs(120);
/// Requests that read the weave at once: each may hold a whole batch, 64 MiB.
const READS_MAX: usize = 4;
/// How long one more waits.
const TURN_WAIT: Duration = Duration::from_secs(20);
/// When who got no turn is told to come back, in milliseconds.
const TURN_RETRY_MS: u64 = 1_000;
/// Batches whose chunks are proven already: whoever asks for one chunk asks for the next.
const PROVEN_MAX: usize = 4;
/// Milliseconds in a second: blocks say seconds.
const SECOND_MS: u64 = 1_000;

/// The chunks of a batch with their proofs.
type Proven = Arc<Vec<ChunkProof>>;

/// Answers HTTP clients from the embedded weave.
#[derive(Clone)]
pub(crate) struct WeaveDesk(Arc<Inner>);

struct Inner {
    weave: LocalWeave,
    network: String,
    guard: Guard,
    bodies: Bodies,
    schema: graphql::Schema,
    turns: Arc<Semaphore>,
    /// Where it is said that somebody waits for blocks.
    waits: BlockWaits,
    /// What is on its way here, where others may post.
    uploads: Option<Uploads>,
    /// The newest last.
    proven: Mutex<Vec<(Hash, Proven)>>,
}

impl std::fmt::Debug for WeaveDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeaveDesk").field("weave", &self.0.weave).finish_non_exhaustive()
    }
}

impl Answering for WeaveDesk {
    async fn answer(&self, request: Request<Body>) -> (Response, AnswerShare) {
        let (parts, body) = request.into_parts();
        answered(&self.0.guard, &parts, REQUEST_WAIT, self.shared_out(&parts, body)).await
    }
}

/// Somebody who waits for an answer, until this is dropped: his time is over, or he went away.
#[derive(Debug, Default)]
struct Waiter(Arc<AtomicBool>);

/// Whether he still does.
#[derive(Debug, Clone)]
struct Waits(Arc<AtomicBool>);

impl Waiter {
    fn waits(&self) -> Waits {
        Waits(Arc::clone(&self.0))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Waits {
    fn go_on(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

impl WeaveDesk {
    /// A desk of this node's weave.
    pub(crate) fn new(shared: &Shared) -> Self {
        let Config { gateway_cors, gateway_hosts, network, weave_accepts, .. } = &shared.config;
        let turns = Arc::new(Semaphore::new(READS_MAX));
        shared.metrics.watch(Level::permits("weave", "reads", &turns, READS_MAX));
        Self(Arc::new(Inner {
            weave: shared.weave.clone(),
            network: network.clone(),
            guard: Guard::new(gateway_cors.clone(), gateway_hosts.clone(), None),
            bodies: Bodies::new(&shared.metrics, "weave"),
            schema: graphql::schema(),
            turns,
            waits: shared.board.waits(),
            uploads: weave_accepts.then(Uploads::default),
            proven: Mutex::default(),
        }))
    }

    /// Answers within what answers may take of the memory.
    async fn shared_out(&self, parts: &Parts, body: Body) -> Result<(Response, AnswerShare), Problem> {
        let ask = Ask::of(&parts.method, parts.uri.path())?;
        let mut posted = None;
        let query = match ask {
            Ask::GraphQl => {
                let params = Params::of(&parts.uri)?;
                Some(super::graphql::asked(&self.0.bodies, parts, &params, body).await?)
            }
            Ask::PostTx | Ask::PostChunk => {
                self.uploads()?;
                posted = Some(self.0.bodies.read(body, L1_JSON_BYTES_MAX).await?);
                None
            }
            _ => None,
        };
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.0.turns).acquire_owned()).await;
        let full = |_| Problem::busy("too much of the weave is read at once", TURN_RETRY_MS);
        let turn = turn.map_err(full)?.map_err(Problem::fault)?;
        let desk = self.clone();
        let waiter = Waiter::default();
        let waits = waiter.waits();
        // It has its turn until it has its share, also when nobody waits for it any more.
        let work = move || {
            let response = match (query, posted) {
                (Some(query), _) => Ok(desk.graphql(query, waits)),
                (None, Some(body)) if ask == Ask::PostTx => desk.post_tx(&body.bytes),
                (None, Some(body)) => desk.post_chunk(&body.bytes),
                (None, None) => desk.read(ask),
            };
            (response, turn)
        };
        let (response, turn) = tokio::task::spawn_blocking(work).await.map_err(Problem::fault)?;
        let response = response?;
        drop(waiter);
        let bytes = response.body().size_hint().exact().unwrap_or_default();
        let share = self.0.bodies.share_of_answer(bytes).await?;
        drop(turn);
        Ok((response, share))
    }

    fn read(&self, ask: Ask) -> Result<Response, Problem> {
        match ask {
            Ask::Info => self.info(),
            Ask::Height => Ok(text(self.newest()?.height.to_string())),
            Ask::Anchor => Ok(text(self.newest()?.hash().to_string())),
            Ask::Price(bytes) => Ok(text(self.price(bytes).to_string())),
            // Nobody pays here, so everybody can.
            Ask::Balance => Ok(text(accept::BALANCE.to_string())),
            Ask::Block(name) => self.block(&name),
            Ask::Tx(id) => self.tx(id),
            Ask::Status(id) => self.status(id),
            Ask::Offset(id) => self.offset(id),
            Ask::Data(id) => self.data(id),
            Ask::Chunk(offset) => self.chunk(offset),
            Ask::GraphQl | Ask::PostTx | Ask::PostChunk => Err(Problem::invalid("a body is expected")),
        }
    }

    fn newest(&self) -> Result<Block, Problem> {
        self.0.weave.newest_block().map_err(failed)
    }

    fn info(&self) -> Result<Response, Problem> {
        let newest = self.newest()?;
        Ok(problem::json(
            StatusCode::OK,
            &json!({
                "network": format!("weft.{}", self.0.network),
                "version": 5,
                "release": 0,
                "height": newest.height,
                "current": newest.hash(),
                "blocks": newest.height + 1,
                "peers": 0,
                "queue_length": self.0.weave.pending().map_err(failed)?,
                "node_state_latency": 0,
            }),
        ))
    }

    fn block(&self, name: &BlockName) -> Result<Response, Problem> {
        let weave = &self.0.weave;
        let found = match name {
            BlockName::Newest => Some(self.newest()?),
            BlockName::Height(height) => weave.block(*height).map_err(failed)?,
            BlockName::Hash(hash) => weave.block_by_hash(hash).map_err(failed)?,
        };
        let block = found.ok_or_else(|| Problem::unknown("there is no such block on this weave"))?;
        let bytes: u64 = block.transactions.iter().map(|one| one.bytes).sum();
        let txs: Vec<Hash> = block.transactions.iter().map(|one| one.data_root).collect();
        Ok(problem::json(
            StatusCode::OK,
            &json!({
                "height": block.height,
                "indep_hash": block.hash(),
                "previous_block": block.height.checked_sub(1).map(|_| block.previous.to_string()).unwrap_or_default(),
                "timestamp": block.timestamp_ms / SECOND_MS,
                "tx_root": if txs.is_empty() { String::new() } else { block.transactions_root.to_string() },
                "txs": txs,
                "block_size": bytes.to_string(),
                "weave_size": weave.bytes_at(block.height).unwrap_or_default().to_string(),
            }),
        ))
    }

    /// Where a batch lies, by its own name or that of a transaction which brought it.
    fn placed(&self, id: Id) -> Result<Option<Placed>, Problem> {
        let root = self.0.weave.posted(&id).map_err(failed)?.map_or(Hash(id.0), |row| row.data_root);
        self.0.weave.placed(&root).map_err(failed)
    }

    /// Where a batch is that is in no block: waiting for one, or unknown.
    fn not_placed(&self, id: Id) -> Result<Response, Problem> {
        let waits = self.0.weave.posted(&id).map_err(failed)?.is_some() || self.is_coming(&id);
        match self.0.weave.status_now(&Hash(id.0)).map_err(failed)? {
            AnchorStatus::Unknown if !waits => {
                Err(Problem::unknown(format!("there is no batch {id} on this weave")))
            }
            _ => Ok(with_type(StatusCode::ACCEPTED, TEXT, Body::from("Pending"))),
        }
    }

    fn tx(&self, id: Id) -> Result<Response, Problem> {
        let Some(placed) = self.placed(id)? else { return self.not_placed(id) };
        if let Some(row) = self.0.weave.posted(&id).map_err(failed)? {
            return Ok(with_type(StatusCode::OK, "application/json", Body::from(row.header)));
        }
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let tags: Vec<Value> = BUNDLE_TAGS
            .iter()
            .map(|(name, value)| json!({ "name": encode(name), "value": encode(value) }))
            .collect();
        Ok(problem::json(
            StatusCode::OK,
            &json!({
                "format": 0,
                "id": placed.data_root,
                "last_tx": "",
                "owner": "",
                "tags": tags,
                "target": "",
                "quantity": "0",
                "data": "",
                "data_size": (placed.range.end - placed.range.start).to_string(),
                "data_root": placed.data_root,
                "reward": "0",
                "signature": "",
                "unsigned": "a batch on the weave of one node, named by the root of its bytes; no wallet signed it",
            }),
        ))
    }

    fn status(&self, id: Id) -> Result<Response, Problem> {
        let Some(placed) = self.placed(id)? else {
            let answer = self.not_placed(id);
            if answer.is_err() {
                // It was lost on its way, and is signed again when no block can hold it any more.
                self.0.waits.say();
            }
            return answer;
        };
        if placed.confirmations >= u64::from(EMPTY_BLOCKS_MAX) {
            // Who asks still wants it deeper.
            self.0.waits.say();
        }
        Ok(problem::json(
            StatusCode::OK,
            &json!({
                "block_height": placed.block.height,
                "block_indep_hash": placed.block.hash(),
                "number_of_confirmations": placed.confirmations,
            }),
        ))
    }

    fn offset(&self, id: Id) -> Result<Response, Problem> {
        let unknown = || Problem::unknown(format!("there is no batch {id} in a block of this weave"));
        let placed = self.placed(id)?.ok_or_else(unknown)?;
        let bytes = placed.range.end - placed.range.start;
        // The last byte, counted from 1.
        let answer = json!({ "size": bytes.to_string(), "offset": placed.range.end.to_string() });
        Ok(problem::json(StatusCode::OK, &answer))
    }

    /// The bytes of a batch, or the data of an item. It comes from anybody, so a browser gives it no part of
    /// this place.
    fn data(&self, id: Id) -> Result<Response, Problem> {
        let weave = &self.0.weave;
        let unknown = || Problem::unknown(format!("there is nothing under {id} in a block of this weave"));
        let (kind, data) = if let Some(placed) = self.placed(id)? {
            (None, weave.fetch_now(&placed.data_root).map_err(failed)?.ok_or_else(unknown)?)
        } else {
            let raw = weave.item_now(&id).map_err(failed)?.ok_or_else(unknown)?;
            let item = DataItem::parse(raw).map_err(Problem::fault)?;
            let item = item.claims();
            let kind = item.tag("Content-Type").and_then(|kind| HeaderValue::from_str(kind).ok());
            (kind, item.data())
        };
        let mut response = with_type(StatusCode::OK, "application/octet-stream", Body::from(data));
        let headers = response.headers_mut();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, kind);
        }
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        Ok(response)
    }

    /// The chunk that holds a byte of the weave, counted from 1, with its way to the block.
    fn chunk(&self, offset: u64) -> Result<Response, Problem> {
        let unknown = || Problem::unknown(format!("byte {offset} is not on this weave"));
        let weave = &self.0.weave;
        let byte = offset.checked_sub(1).ok_or_else(unknown)?;
        let placed = weave.placed_at(byte).map_err(failed)?.ok_or_else(unknown)?;
        let of_batch = byte - placed.range.start;
        let proven = self.prove(&placed)?;
        let holds =
            |proof: &&ChunkProof| proof.range.contains(&usize::try_from(of_batch).unwrap_or(usize::MAX));
        let proof = proven.iter().find(holds).ok_or_else(unknown)?;
        let part = proof.range.start as u64..proof.range.end as u64;
        let chunk = weave.bundle_part(&placed.data_root, part).map_err(failed)?.ok_or_else(unknown)?;
        Ok(problem::json(
            StatusCode::OK,
            &json!({
                "chunk": URL_SAFE_NO_PAD.encode(chunk),
                "data_path": URL_SAFE_NO_PAD.encode(&proof.data_path),
                "tx_path": URL_SAFE_NO_PAD.encode(placed.tx_path()),
                "packing": "unpacked",
            }),
        ))
    }

    /// The proofs of a batch's chunks: all of it is hashed for them, once for whoever takes one by one.
    fn prove(&self, placed: &Placed) -> Result<Proven, Problem> {
        let kept = || self.0.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, proven)) = kept().iter().find(|(of, _)| *of == placed.data_root) {
            return Ok(Arc::clone(proven));
        }
        let unknown = || Problem::unknown("the batch is not on this weave any more");
        let bytes = self.0.weave.fetch_now(&placed.data_root).map_err(failed)?.ok_or_else(unknown)?;
        let proven = Arc::new(prove_chunks(&bytes));
        let mut kept = kept();
        kept.push((placed.data_root, Arc::clone(&proven)));
        if kept.len() > PROVEN_MAX {
            kept.remove(0);
        }
        Ok(proven)
    }
}

/// What the answers are that are no JSON.
const TEXT: &str = "text/plain; charset=utf-8";

fn text(text: String) -> Response {
    with_type(StatusCode::OK, TEXT, Body::from(text))
}

fn failed(error: AnchorError) -> Problem {
    match error {
        AnchorError::TooLarge { .. } => Problem::invalid(error.to_string()),
        _ => Problem::fault(error),
    }
}
