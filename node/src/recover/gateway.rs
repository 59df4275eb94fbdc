//! A gateway of a weave over HTTP. What comes from one is bytes of a stranger: every answer has a limit of
//! bytes and of time, and nothing in it is believed here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use weft_protocol::Id;
use weft_protocol::l1::block::{BLOCK_JSON_BYTES_MAX, BlockData};
use weft_protocol::l1::{L1_JSON_BYTES_MAX, Word};
use weft_protocol::limits::MODULE_ITEM_BYTES_MAX;
use weft_storage::limits::{BATCH_BYTES_MAX, BLOCK_NAME_BYTES_MAX};

use super::redirect::Reach;

/// How long connecting may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long an answer may take to begin, and each piece of it.
const PIECE_WAIT: Duration = Duration::from_secs(15);
/// How long a whole answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// And a second more for each of so many bytes that came.
const BYTES_A_SECOND: u64 = 128 * 1024;
/// Bytes of an answer to a query: a hundred items with the most tags that items have.
const QUERY_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of what is said of a transaction's place.
const STATUS_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an answer with a chunk: its bytes and two paths, as text.
const CHUNK_ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes that are made ready for an answer which says how long it is.
const READY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Tries of one question.
const TRIES_MAX: usize = 3;
/// The wait before the second try; doubled before the third.
const RETRY_WAIT: Duration = Duration::from_millis(300);
/// Characters of an address.
const URL_CHARS_MAX: usize = 512;
/// Characters of what a gateway or a library says that are repeated.
const SHOWN_CHARS_MAX: usize = 200;

/// Why a gateway gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The address is none.
    #[error(
        "`{0}` is not a gateway address; it must start with https:// or http://, such as https://arweave.net"
    )]
    Address(String),
    /// No answer, or it broke off.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The answer took too long.
    #[error("its answer to {0} did not come in time")]
    Slow(&'static str),
    /// The answer is longer than any true one.
    #[error("its answer to {what} has more than {max} bytes, the most that are read")]
    TooLarge {
        /// To what.
        what: &'static str,
        /// The limit.
        max: usize,
        /// It said so before it sent any of it.
        told: bool,
    },
    /// It says that there is no such thing.
    #[error("it does not have {0}")]
    Unknown(&'static str),
    /// It says no.
    #[error("it answers {status} to {what}")]
    Status {
        /// To what.
        what: &'static str,
        /// The status.
        status: u16,
    },
    /// The answer is no answer to that.
    #[error("its answer to {what} makes no sense: {why}")]
    Malformed {
        /// To what.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl GatewayError {
    /// Whether asking again may help.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status { status, .. } => {
                *status >= 500 || *status == StatusCode::TOO_MANY_REQUESTS.as_u16()
            }
            _ => false,
        }
    }

    /// Whether the gateway is there and has said that it does not have it.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Whether it has no answer to such a question, now or later.
    pub(crate) const fn is_refused(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::Status { status, .. } => *status < 500 && *status != StatusCode::TOO_MANY_REQUESTS.as_u16(),
            _ => false,
        }
    }

    fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed { what, why: shown(&why.to_string()) }
    }
}

/// Where a transaction is, by the word of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Blocks from its own to the newest, both included.
    pub confirmations: u64,
    /// The name of its block.
    pub block: Option<String>,
}

/// What is read of a gateway's word on a transaction.
#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    number_of_confirmations: Word,
    #[serde(default)]
    block_indep_hash: Word,
}

/// What is read of its word on where the data of one is.
#[derive(Debug, Deserialize)]
struct Offset {
    #[serde(default)]
    offset: Word,
}

/// What is read of a chunk.
#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    tx_path: Word,
}

/// A gateway.
#[derive(Debug)]
pub struct Gateway {
    client: Client,
    base: Url,
    /// Questions that were asked.
    pub requests: u64,
    /// Bytes that came.
    pub bytes: u64,
}

impl Gateway {
    /// A gateway at an address.
    ///
    /// # Errors
    /// [`GatewayError::Address`].
    pub fn new(address: &str) -> Result<Self, GatewayError> {
        let wrong = || GatewayError::Address(shown(address));
        let short = Some(address).filter(|address| address.len() <= URL_CHARS_MAX).ok_or_else(wrong)?;
        let base = Url::parse(short.trim_end_matches('/')).map_err(|_| wrong())?;
        let is_plain = base.username().is_empty() && base.query().is_none() && base.fragment().is_none();
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() || !is_plain {
            return Err(wrong());
        }
        let reach = Reach::of(&base);
        let client = Client::builder()
            .user_agent(concat!("weft/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WAIT)
            .read_timeout(PIECE_WAIT)
            .redirect(reach.policy())
            .dns_resolver(reach.resolver())
            .referer(false)
            .build()
            .map_err(|error| GatewayError::Unreachable(shown(&error.to_string())))?;
        Ok(Self { client, base, requests: 0, bytes: 0 })
    }

    /// The same one, of which nothing was asked yet.
    pub(super) fn again(&self) -> Self {
        Self { client: self.client.clone(), base: self.base.clone(), requests: 0, bytes: 0 }
    }

    /// Its address, as people wrote it.
    pub fn name(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks a GraphQL query; answers its `data`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn query(&mut self, query: &Value) -> Result<Value, GatewayError> {
        let what = "a query";
        let request = self.client.post(self.url("graphql")).header(CONTENT_TYPE, "application/json");
        let bytes = self.ask(request.body(query.to_string()), what, QUERY_ANSWER_BYTES_MAX).await?;
        let mut answer: Value =
            serde_json::from_slice(&bytes).map_err(|error| GatewayError::malformed(what, error))?;
        if let Some(error) = answer.pointer("/errors/0/message").and_then(Value::as_str) {
            return Err(GatewayError::malformed(what, error));
        }
        Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
    }

    /// The bytes of a bundle.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn bundle(&mut self, id: Id) -> Result<Bytes, GatewayError> {
        self.raw(id, "a bundle", BATCH_BYTES_MAX).await
    }

    /// The data of an item.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn data(&mut self, id: Id) -> Result<Bytes, GatewayError> {
        self.raw(id, "an item's data", MODULE_ITEM_BYTES_MAX).await
    }

    /// The data of an item that has at most so many bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn small_data(&mut self, id: Id, max: usize) -> Result<Bytes, GatewayError> {
        self.raw(id, "an item's data", max).await
    }

    /// The data under an id. Some have it without the word that says that it is meant as it is.
    async fn raw(&mut self, id: Id, what: &'static str, max: usize) -> Result<Bytes, GatewayError> {
        match self.get(&format!("raw/{id}"), what, max).await {
            Err(GatewayError::Unknown(_)) => self.get(&id.to_string(), what, max).await,
            answer => answer,
        }
    }

    /// The JSON of a transaction.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn transaction(&mut self, id: Id) -> Result<Bytes, GatewayError> {
        self.get(&format!("tx/{id}"), "a transaction", L1_JSON_BYTES_MAX).await
    }

    /// Where a transaction is, by the gateway's word.
    ///
    /// # Errors
    /// Why it does not say so.
    pub async fn place(&mut self, id: Id) -> Result<Place, GatewayError> {
        let what = "a transaction's place";
        let status: Status = self.json(&format!("tx/{id}/status"), what, STATUS_BYTES_MAX).await?;
        let told = status.number_of_confirmations.number();
        let confirmations =
            told.ok_or_else(|| GatewayError::malformed(what, "no number of confirmations"))?;
        let block = Some(status.block_indep_hash.text());
        let is_name = |name: &&str| {
            let is_text = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            is_text && (1..=BLOCK_NAME_BYTES_MAX).contains(&name.len())
        };
        Ok(Place { confirmations, block: block.filter(is_name).map(str::to_owned) })
    }

    /// Which of the weave's bytes is the last of a transaction's data, counted from 1.
    ///
    /// # Errors
    /// Why it does not say so.
    pub async fn last_byte(&mut self, id: Id) -> Result<u64, GatewayError> {
        let what = "where a transaction's data is";
        let place: Offset = self.json(&format!("tx/{id}/offset"), what, STATUS_BYTES_MAX).await?;
        place.offset.number().ok_or_else(|| GatewayError::malformed(what, "no offset"))
    }

    /// The path from the root of its block to the transaction whose data has this byte of the weave, counted from 1.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn tx_path(&mut self, byte: u64) -> Result<Bytes, GatewayError> {
        let what = "a chunk";
        let chunk: Chunk = self.json(&format!("chunk/{byte}"), what, CHUNK_ANSWER_BYTES_MAX).await?;
        let path = Some(chunk.tx_path.text()).filter(|path| !path.is_empty());
        let path = path.and_then(|path| URL_SAFE_NO_PAD.decode(path).ok());
        path.map(Bytes::from).ok_or_else(|| GatewayError::malformed(what, "no path to its transaction"))
    }

    /// What it says of the data of a block.
    ///
    /// # Errors
    /// Why there is nothing.
    pub async fn block(&mut self, name: &str) -> Result<BlockData, GatewayError> {
        let what = "a block";
        let bytes = self.get(&format!("block/hash/{name}"), what, BLOCK_JSON_BYTES_MAX).await?;
        BlockData::parse_json(&bytes).map_err(|error| GatewayError::malformed(what, error))
    }

    /// An answer of which some fields are read: the rest of it is passed over and takes no memory.
    async fn json<T: DeserializeOwned>(
        &mut self,
        path: &str,
        what: &'static str,
        max: usize,
    ) -> Result<T, GatewayError> {
        let bytes = self.get(path, what, max).await?;
        serde_json::from_slice(&bytes).map_err(|error| GatewayError::malformed(what, error))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.name())
    }

    async fn get(&mut self, path: &str, what: &'static str, max: usize) -> Result<Bytes, GatewayError> {
        let request = self.client.get(self.url(path));
        self.ask(request, what, max).await
    }

    /// Asks, a few times where that may help.
    async fn ask(
        &mut self,
        request: RequestBuilder,
        what: &'static str,
        max: usize,
    ) -> Result<Bytes, GatewayError> {
        let tries = AtomicU64::new(0);
        let again = ExponentialBuilder::default().with_min_delay(RETRY_WAIT).with_max_times(TRIES_MAX - 1);
        let once = || {
            tries.fetch_add(1, Ordering::Relaxed);
            let request = request.try_clone();
            async move {
                let request = request
                    .ok_or_else(|| GatewayError::Unreachable("the question cannot be repeated".into()))?;
                read(request, what, max).await
            }
        };
        let answer = once.retry(again).when(GatewayError::is_passing).await;
        self.requests += tries.into_inner();
        let answer = answer?;
        self.bytes += answer.len() as u64;
        Ok(answer)
    }
}

/// Reads one answer, as far as it may be long.
async fn read(request: RequestBuilder, what: &'static str, max: usize) -> Result<Bytes, GatewayError> {
    let failed = |error: reqwest::Error| match error.is_timeout() && !error.is_connect() {
        true => GatewayError::Slow(what),
        false => GatewayError::Unreachable(reason(&error)),
    };
    let began = Instant::now();
    let mut response = request.send().await.map_err(failed)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::ACCEPTED => {
            return Err(GatewayError::Unknown(what));
        }
        status => return Err(GatewayError::Status { what, status: status.as_u16() }),
    }
    let told = response.content_length().unwrap_or_default();
    if told > max as u64 {
        return Err(GatewayError::TooLarge { what, max, told: true });
    }
    let mut bytes = BytesMut::with_capacity(told.min(READY_BYTES_MAX) as usize);
    loop {
        let until = began + ANSWER_WAIT + Duration::from_secs(bytes.len() as u64 / BYTES_A_SECOND);
        let piece = tokio::time::timeout_at(until, response.chunk()).await;
        let Some(piece) = piece.map_err(|_| GatewayError::Slow(what))?.map_err(failed)? else {
            return Ok(bytes.freeze());
        };
        if bytes.len() + piece.len() > max {
            return Err(GatewayError::TooLarge { what, max, told: false });
        }
        bytes.extend_from_slice(&piece);
    }
}

/// What is behind an error, which says itself only what was tried.
fn reason(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    shown(&last.to_string())
}

/// Somebody else's words, no longer than they must be.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_that_of_a_place_and_nothing_more() {
        for (address, name) in [
            ("https://arweave.net", "https://arweave.net"),
            ("http://127.0.0.1:1984/", "http://127.0.0.1:1984"),
            ("https://node.example/weave//", "https://node.example/weave"),
        ] {
            let gateway = Gateway::new(address).unwrap();
            assert_eq!(gateway.name(), name);
            assert_eq!(gateway.url("graphql"), format!("{name}/graphql"));
        }
        let long = format!("https://{}", "a".repeat(URL_CHARS_MAX));
        for wrong in
            ["", "arweave.net", "ftp://x", "file:///etc/passwd", "https://a@b", "https://x/?a=b", &long]
        {
            assert!(matches!(Gateway::new(wrong), Err(GatewayError::Address(_))), "{wrong}");
        }
    }
}
