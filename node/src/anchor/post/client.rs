//! A gateway or a bundler, as a place to post to. What it says is a stranger's word: answers are short, come in
//! limited time, and count only together with those of others (`quorum`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, redirect};
use serde_json::{Value, json};
use weft_protocol::l1::block::BLOCK_JSON_BYTES_MAX;
use weft_protocol::l1::chunk::{self, ChunkProof};
use weft_protocol::{Address, Hash, Id};
use weft_storage::limits::{BATCH_BYTES_MAX, BLOCK_NAME_BYTES_MAX};

use super::machine::{Quote, Took};
use super::quorum::Told;
use crate::config::Anchoring;

/// How long connecting may take, and each piece of an answer.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const PIECE_WAIT: Duration = Duration::from_secs(30);
/// How long a short question may take in all, and one that carries or brings a bundle.
const SHORT_WAIT: Duration = Duration::from_secs(30);
const LONG_WAIT: Duration = Duration::from_secs(600);
/// Bytes of a short answer.
const SHORT_BYTES_MAX: usize = 64 * 1024;
/// Tries of one chunk, and the wait before the second, which doubles.
const CHUNK_TRIES_MAX: u32 = 5;
const CHUNK_REST: Duration = Duration::from_millis(500);
/// How long all chunks of a transaction may take to one gateway.
const CHUNKS_WAIT: Duration = LONG_WAIT;
/// Characters of what it says that are repeated in the log.
const SHOWN_CHARS_MAX: usize = 200;
/// What a node says of a chunk that it will never take.
const FATAL: [&str; 7] = [
    "invalid_json",
    "chunk_too_big",
    "data_path_too_big",
    "offset_too_big",
    "data_size_too_big",
    "chunk_proof_ratio_not_attractive",
    "invalid_proof",
];

/// One of them.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// The name of the weave: of another one nothing is believed.
    weave: String,
    /// Chunks on their way there at once.
    chunks_at_once: usize,
}

/// What it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The name of its weave.
    pub network: String,
    /// The height of its newest block.
    pub height: u64,
}

impl Client {
    /// A gateway at an address that the configuration took.
    ///
    /// # Errors
    /// There is no client.
    pub fn new(base: &str, anchor: &Anchoring) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("weft/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WAIT)
            .read_timeout(PIECE_WAIT)
            // What is posted goes where the operator said, and nowhere else.
            .redirect(redirect::Policy::none())
            .referer(false)
            .build()?;
        let (weave, chunks_at_once) = (anchor.weave.clone(), anchor.chunks_at_once);
        Ok(Self { http, base: base.to_owned(), weave, chunks_at_once })
    }

    /// Its address.
    pub fn name(&self) -> &str {
        &self.base
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// Who it is, whatever its weave.
    pub async fn info(&self) -> Option<Info> {
        let info: Value = serde_json::from_slice(&self.get("info", SHORT_BYTES_MAX).await?).ok()?;
        let network = info.get("network")?.as_str()?.chars().take(SHOWN_CHARS_MAX).collect();
        Some(Info { network, height: info.get("height")?.as_u64()? })
    }

    /// The height of its newest block; none of another weave.
    pub async fn height(&self) -> Option<u64> {
        let info = self.info().await?;
        if info.network != self.weave {
            tracing::warn!(
                gateway = self.base,
                weave = info.network,
                "a gateway of another weave is not believed"
            );
            return None;
        }
        Some(info.height)
    }

    /// What a wallet has, in winston.
    pub async fn balance(&self, wallet: &Address) -> Option<u64> {
        number(&self.get(&format!("wallet/{wallet}/balance"), SHORT_BYTES_MAX).await?)
    }

    /// What storing so many bytes takes.
    pub async fn quote(&self, bytes: u64, wallet: &Address) -> Option<Quote> {
        let height = self.height().await?;
        let price = number(&self.get(&format!("price/{bytes}"), SHORT_BYTES_MAX).await?)?;
        Some(Quote { price, balance: self.balance(wallet).await?, height })
    }

    /// The name of the block at a height.
    pub async fn block(&self, height: u64) -> Option<String> {
        let block = self.get(&format!("block/height/{height}"), BLOCK_JSON_BYTES_MAX).await?;
        let block: Value = serde_json::from_slice(&block).ok()?;
        name(block.get("indep_hash")?)
    }

    /// What it says of a transaction.
    pub async fn told(&self, tx: &Id) -> Told {
        let Some((status, body)) = self.ask_get(&format!("tx/{tx}/status"), SHORT_BYTES_MAX).await else {
            return Told::Silent;
        };
        match status {
            // Some say with 200 what nodes say with 202.
            202 => Told::Pending,
            200 if body.starts_with(b"Pending") => Told::Pending,
            200 => place(&body).unwrap_or(Told::Silent),
            404 => Told::Unknown,
            _ => Told::Silent,
        }
    }

    /// What its index says of an item of which it is not known in which transaction it came.
    pub async fn told_of_item(&self, item: &Id) -> Told {
        const QUERY: &str = "query($id:ID!){transaction(id:$id){id block{height id}}}";
        let Some(height) = self.height().await else { return Told::Silent };
        let query = json!({ "query": QUERY, "variables": { "id": item } }).to_string();
        let request =
            self.http.post(self.url("graphql")).header(CONTENT_TYPE, "application/json").body(query);
        let Some((200, body)) = ask(request, SHORT_BYTES_MAX, SHORT_WAIT).await else { return Told::Silent };
        let Ok(answer) = serde_json::from_slice::<Value>(&body) else { return Told::Silent };
        match answer.pointer("/data/transaction") {
            Some(Value::Null) => Told::Unknown,
            Some(found) => {
                let block = found.get("block").filter(|block| !block.is_null());
                let Some(block) = block else { return Told::Pending };
                let at = block.get("height").and_then(Value::as_u64).filter(|at| *at <= height);
                match at.zip(block.get("id").and_then(name)) {
                    Some((at, block)) => {
                        Told::Mined { height: at, block, confirmations: (height - at).saturating_add(1) }
                    }
                    None => Told::Silent,
                }
            }
            None => Told::Silent,
        }
    }

    /// Posts a transaction: whole, or without its data, which then goes in chunks.
    pub async fn post(&self, json: String, chunks: Option<(&Hash, &Bytes, &[ChunkProof])>) -> Took {
        let request = self.http.post(self.url("tx")).header(CONTENT_TYPE, "application/json").body(json);
        let took = match ask(request, SHORT_BYTES_MAX, LONG_WAIT).await {
            Some((200 | 202 | 208, _)) => Took::All,
            Some((status, body)) => self.refused("a transaction", status, &body),
            None => Took::NotNow,
        };
        let (Took::All, Some((root, data, proofs))) = (took, chunks) else { return took };
        let each: Vec<_> = proofs.iter().map(|proof| self.post_chunk(root, data, proof)).collect();
        let mut each = futures::stream::iter(each).buffer_unordered(self.chunks_at_once);
        let all = async {
            // Where one was tried in vain, the others would be too; what is missing is posted again later.
            while let Some(took) = each.next().await {
                if took != Took::All {
                    return took;
                }
            }
            Took::All
        };
        tokio::time::timeout(CHUNKS_WAIT, all).await.unwrap_or(Took::NotNow)
    }

    async fn post_chunk(&self, root: &Hash, data: &Bytes, proof: &ChunkProof) -> Took {
        let json = chunk_json(root, data, proof);
        let json = json.to_string();
        for tries in 0..CHUNK_TRIES_MAX {
            if tries > 0 {
                tokio::time::sleep(CHUNK_REST * 2_u32.pow(tries - 1)).await;
            }
            let request = self.http.post(self.url("chunk")).header(CONTENT_TYPE, "application/json");
            match ask(request.body(json.clone()), SHORT_BYTES_MAX, SHORT_WAIT).await {
                Some((200 | 208, _)) => return Took::All,
                Some((400, body)) if is_fatal(&body) => return self.refused("a chunk", 400, &body),
                Some(_) | None => {}
            }
        }
        Took::NotNow
    }

    /// Hands an item to a bundler. What it promises comes back where it says so.
    pub async fn upload(&self, item: Bytes) -> (Took, Option<Bytes>) {
        let request = self.http.post(self.url("v1/tx")).header(CONTENT_TYPE, "application/octet-stream");
        match ask(request.body(item), SHORT_BYTES_MAX, LONG_WAIT).await {
            Some((200, receipt)) => (Took::All, Some(receipt)),
            // It has it already.
            Some((202, _)) => (Took::All, None),
            Some((status, body)) => (self.refused("an item", status, &body), None),
            None => (Took::NotNow, None),
        }
    }

    /// Whether it gives the data back that a transaction or an item brought: bytes of this root.
    pub async fn holds(&self, id: &Id, root: Hash, bytes: u64) -> bool {
        for path in [format!("raw/{id}"), id.to_string()] {
            let request = self.http.get(self.url(&path));
            let Some((200, data)) = ask(request, BATCH_BYTES_MAX, LONG_WAIT).await else { continue };
            if data.len() as u64 != bytes {
                continue;
            }
            let hashed = tokio::task::spawn_blocking(move || chunk::data_root(&data) == Some(root)).await;
            if hashed.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    fn refused(&self, what: &str, status: u16, body: &[u8]) -> Took {
        let said = String::from_utf8_lossy(body);
        let said: String = said.chars().take(SHOWN_CHARS_MAX).collect();
        let is_passing = matches!(status, 404 | 408 | 425 | 429) || status >= 500;
        tracing::warn!(gateway = self.base, status, said, "{what} was not taken");
        if is_passing { Took::NotNow } else { Took::Refused }
    }

    async fn get(&self, path: &str, max: usize) -> Option<Bytes> {
        match self.ask_get(path, max).await {
            Some((200, body)) => Some(body),
            _ => None,
        }
    }

    async fn ask_get(&self, path: &str, max: usize) -> Option<(u16, Bytes)> {
        ask(self.http.get(self.url(path)), max, SHORT_WAIT).await
    }
}

/// A chunk as it is posted. Nodes read numbers as text alone.
pub fn chunk_json(root: &Hash, data: &[u8], proof: &ChunkProof) -> Value {
    let chunk = data.get(proof.range.clone()).unwrap_or_default();
    json!({
        "data_root": root,
        "data_size": data.len().to_string(),
        "data_path": URL_SAFE_NO_PAD.encode(&proof.data_path),
        "offset": proof.range.end.saturating_sub(1).to_string(),
        "chunk": URL_SAFE_NO_PAD.encode(chunk),
    })
}

/// Asks once; nothing where no whole answer comes in time, or a longer one than any true one.
async fn ask(request: RequestBuilder, max: usize, wait: Duration) -> Option<(u16, Bytes)> {
    let whole = async {
        let mut response = request.send().await.ok()?;
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.ok()? {
            if body.len() + piece.len() > max {
                return None;
            }
            body.extend_from_slice(&piece);
        }
        Some((response.status().as_u16(), body.freeze()))
    };
    tokio::time::timeout(wait, whole).await.ok()?
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The name of a block: base64url of no more bytes than any has.
fn name(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| (1..=BLOCK_NAME_BYTES_MAX).contains(&text.len()))?;
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_name.then(|| text.to_owned())
}

/// What a status says of its block.
fn place(body: &[u8]) -> Option<Told> {
    let status: Value = serde_json::from_slice(body).ok()?;
    Some(Told::Mined {
        height: status.get("block_height")?.as_u64()?,
        block: name(status.get("block_indep_hash")?)?,
        confirmations: status.get("number_of_confirmations")?.as_u64()?,
    })
}

/// Whether a node will never take this chunk.
fn is_fatal(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<Value>(body).ok();
    let error = error.as_ref().and_then(|body| body.get("error")?.as_str());
    error.is_some_and(|error| FATAL.contains(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_whole_or_not_at_all() {
        let told =
            place(br#"{"block_height":7,"block_indep_hash":"a-_9","number_of_confirmations":3,"x":1}"#);
        assert_eq!(told, Some(Told::Mined { height: 7, block: "a-_9".into(), confirmations: 3 }));
        for wrong in [
            &br#"{"block_height":-7,"block_indep_hash":"a","number_of_confirmations":3}"#[..],
            br#"{"block_height":7,"block_indep_hash":"a b","number_of_confirmations":3}"#,
            br#"{"block_height":7,"block_indep_hash":"a"}"#,
            br#"{"block_height":7,"block_indep_hash":"","number_of_confirmations":3}"#,
            b"Accepted",
        ] {
            assert_eq!(place(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
        let long = format!(
            r#"{{"block_height":7,"block_indep_hash":"{}","number_of_confirmations":3}}"#,
            "a".repeat(65)
        );
        assert_eq!(place(long.as_bytes()), None);
    }

    #[test]
    fn what_is_tried_again_is_what_may_be_taken_later() {
        assert!(is_fatal(br#"{"error":"invalid_proof"}"#));
        for passing in
            [&br#"{"error":"data_root_not_found"}"#[..], br#"{"error":"exceeds_disk_pool_size_limit"}"#, b""]
        {
            assert!(!is_fatal(passing));
        }
        assert_eq!([number(b"12\n"), number(b"-1"), number(b"1e3")], [Some(12), None, None]);
    }
}
