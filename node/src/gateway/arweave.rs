//! What today's clients ask of the weave's gateway beside GraphQL: items, their data, heights.
//!
//! The heights are those of the weave `clock`, by which processes here count; blocks have an id that is
//! made of their height, and nothing in them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weft_protocol::limits::CLOCK_BLOCK_MS;
use weft_protocol::{Hash, Id};

use super::desk::{Desk, ItemTurn};
use super::find::{Place, seconds_of};
use super::lookup::Found;
use super::problem::{self, Problem, with_type};

/// How long a turn to give an item is waited for.
const ITEM_TURN_WAIT: Duration = Duration::from_secs(10);
/// When who got none is told to come back, in milliseconds.
const ITEM_TURN_RETRY_MS: u64 = 2_000;
/// Where the height stands in the name of a block.
const HEIGHT_FROM: usize = 24;

/// The height of the weave `clock` now.
pub(super) fn height_now(desk: &Desk) -> u64 {
    desk.shared.clock.now().0 / CLOCK_BLOCK_MS
}

/// The name of a block of it, which ends in its height, so that a block can be found by it.
pub(super) fn block_id(height: u64) -> String {
    let mut name = Sha256::new();
    name.update(b"weft/clock-block/1");
    name.update(height.to_be_bytes());
    let mut name: [u8; 32] = name.finalize().into();
    name[HEIGHT_FROM..].copy_from_slice(&height.to_be_bytes());
    Hash(name).to_string()
}

/// The height of the block of this name; none if no block has it.
pub(super) fn height_of(name: &str) -> Option<u64> {
    let bytes = name.parse::<Id>().ok()?.0;
    let height = u64::from_be_bytes(bytes[HEIGHT_FROM..].try_into().ok()?);
    (block_id(height) == name).then_some(height)
}

fn block(height: u64) -> Value {
    json!({
        "height": height,
        "indep_hash": block_id(height),
        "previous_block": height.checked_sub(1).map(block_id).unwrap_or_default(),
        "timestamp": seconds_of(height),
        "txs": [],
    })
}

impl Desk {
    /// The data of an item as it is. It comes from anybody, so a browser gives it no part of this place.
    pub(super) async fn data(&self, id: Id) -> Result<Response, Problem> {
        let (Found { item, .. }, turn) = self.found(id).await?;
        let kind = item.tag("Content-Type").and_then(|kind| HeaderValue::from_str(kind).ok());
        let mut response = with_type(StatusCode::OK, "application/octet-stream", Body::from(item.data()));
        let headers = response.headers_mut();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, kind);
        }
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        response.extensions_mut().insert(turn);
        Ok(response)
    }

    /// An item in the form of a transaction.
    pub(super) async fn tx(&self, id: Id) -> Result<Response, Problem> {
        let (Found { item, .. }, _turn) = self.found(id).await?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let tags = item.tags().iter();
        let tags = tags
            .map(|tag| json!({ "name": encode(tag.name.as_bytes()), "value": encode(tag.value.as_bytes()) }));
        let answer = json!({
            "format": 2,
            "id": id,
            "last_tx": item.anchor().map(|anchor| encode(anchor)).unwrap_or_default(),
            "owner": encode(item.owner_key()),
            "owner_address": item.owner(),
            "tags": tags.collect::<Vec<_>>(),
            "target": item.target().map(|target| target.to_string()).unwrap_or_default(),
            "quantity": "0",
            "reward": "0",
            "data": "",
            "data_size": item.data().len().to_string(),
            "data_root": "",
            "signature": encode(item.signature()),
        });
        Ok(problem::json(StatusCode::OK, &answer))
    }

    /// In which block it stands, if it has a slot here.
    pub(super) async fn tx_status(&self, id: Id) -> Result<Response, Problem> {
        let (Found { place, .. }, _turn) = self.found(id).await?;
        let Some(Place { height, .. }) = place else {
            return Ok(problem::json(StatusCode::ACCEPTED, &json!({ "status": "Pending" })));
        };
        let answer = json!({
            "block_height": height,
            "block_indep_hash": block_id(height),
            "number_of_confirmations": height_now(self).saturating_sub(height),
        });
        Ok(problem::json(StatusCode::OK, &answer))
    }

    /// Its data in base64url.
    pub(super) async fn tx_data(&self, id: Id) -> Result<Response, Problem> {
        let (Found { item, .. }, turn) = self.found(id).await?;
        let text = URL_SAFE_NO_PAD.encode(item.data());
        let mut response = with_type(StatusCode::OK, "text/plain; charset=utf-8", Body::from(text));
        response.extensions_mut().insert(turn);
        Ok(response)
    }

    /// The state of the weave.
    pub(super) async fn info(&self) -> Response {
        let height = height_now(self);
        let peers = self.shared.net.peers().await.map_or(0, |peers| peers.len());
        let answer = json!({
            "network": format!("weft.{}", self.shared.config.network),
            "version": 5,
            "release": 0,
            "height": height,
            "current": block_id(height),
            "blocks": height + 1,
            "peers": peers,
            "queue_length": 0,
            "node_state_latency": 0,
        });
        problem::json(StatusCode::OK, &answer)
    }

    /// Its height.
    pub(super) fn height(&self) -> Response {
        let height = height_now(self).to_string();
        with_type(StatusCode::OK, "text/plain; charset=utf-8", Body::from(height))
    }

    /// A block of it, the newest if none is named.
    pub(super) fn block(&self, height: Option<u64>) -> Result<Response, Problem> {
        let now = height_now(self);
        let height = height.unwrap_or(now);
        if height > now {
            return Err(Problem::unknown(format!("block {height} is not there yet: the height is {now}")));
        }
        Ok(problem::json(StatusCode::OK, &block(height)))
    }

    /// An item, and the turn to give it: items are megabytes. Whoever waits for peers holds up nobody.
    async fn found(&self, id: Id) -> Result<(Found, ItemTurn), Problem> {
        let turn = self.item_turn().await?;
        if let Some(found) = self.item_here(id).await? {
            return Ok((found, turn));
        }
        drop(turn);
        let found = self.item_elsewhere(id).await?;
        let found =
            found.ok_or_else(|| Problem::unknown(format!("item {id} was not found, here or at a peer")))?;
        Ok((found, self.item_turn().await?))
    }

    async fn item_turn(&self) -> Result<ItemTurn, Problem> {
        let turn = tokio::time::timeout(ITEM_TURN_WAIT, Arc::clone(&self.items).acquire_owned()).await;
        let full = |_| Problem::busy("too many items are given at once", ITEM_TURN_RETRY_MS);
        turn.map_err(full)?.map(Arc::new).map_err(Problem::fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_by_its_name() {
        for height in [0, 1, 14_900_000, u64::MAX] {
            assert_eq!(height_of(&block_id(height)), Some(height));
        }
        let mut other = block_id(7);
        other.replace_range(..1, if other.starts_with('A') { "B" } else { "A" });
        for wrong in [other.as_str(), "", "x", &"A".repeat(43)] {
            assert_eq!(height_of(wrong), None, "{wrong}");
        }
    }
}
