//! What others post to the embedded weave: signed transactions of format 2 that carry bundles, whole or in chunks. All
//! that a node of Arweave checks is checked (form, signature, root, price, the block it names, each chunk's proof), and
//! what is beside: every item of the bundle. Where a node keeps what has not all come on its disk, it is kept in
//! memory here, within limits: whoever posts does so again after a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use weft_protocol::l1::L1Tx;
use weft_protocol::l1::chunk::{CHUNK_BYTES_MAX, DATA_PATH_BYTES_MAX, verify_chunk};
use weft_protocol::{Hash, Id};
use weft_storage::StoreError;
use weft_storage::anchor::{AnchorError, AnchorStatus, Batch};
use weft_storage::limits::BATCH_BYTES_MAX;

use super::super::problem::{self, Problem, with_type};
use super::{TEXT, WeaveDesk, failed};

/// Data of transactions that has not all come.
const UPLOADS_MAX: usize = 32;
/// Transactions that wait for the same data.
const UPLOAD_TXS_MAX: usize = 8;
/// Bytes that all of them may come to.
const UPLOAD_BYTES_MAX: u64 = 4 * BATCH_BYTES_MAX as u64;
/// How long it may take to come, from the last transaction on that wants it.
const UPLOAD_WAIT: Duration = Duration::from_secs(600);
/// When who finds no room is told to come back, in milliseconds.
const ROOM_RETRY_MS: u64 = 5_000;
/// Blocks for which a transaction is good after the one that it names.
const ANCHOR_BLOCKS: u64 = 50;
/// What storing costs at least, and for each started chunk, in winston: nobody pays it, but whoever posts must have
/// worked out that much.
const PRICE: u64 = 1_000;
/// What every wallet has.
pub(super) const BALANCE: u64 = 1_000_000_000_000_000;

/// Data that is on its way: its root, and its size, which whoever posts a transaction says. One that says a wrong size waits
/// beside those that say the right one, and in vain.
type Data = (Hash, u64);

/// Transactions whose data is on its way.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<BTreeMap<Data, Upload>>);

#[derive(Debug)]
struct Upload {
    /// Ids and headers of all that wait for it.
    txs: Vec<(Id, Bytes)>,
    size: u64,
    since: Instant,
    /// Chunks by their first byte.
    chunks: BTreeMap<u64, Bytes>,
}

impl Upload {
    fn is_whole(&self) -> bool {
        let come: usize = self.chunks.values().map(Bytes::len).sum();
        come as u64 == self.size
    }
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Data, Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a transaction wait for its data, which others may wait for already.
    fn put(&self, (root, size): Data, tx: Id, header: Bytes) -> Result<(), Problem> {
        let mut uploads = self.lock();
        uploads.retain(|_, upload| upload.since.elapsed() < UPLOAD_WAIT);
        let full = || Problem::busy("too much is being posted at once", ROOM_RETRY_MS);
        if let Some(upload) = uploads.get_mut(&(root, size)) {
            if upload.txs.iter().any(|(waits, _)| *waits == tx) {
                return Ok(());
            }
            if upload.txs.len() >= UPLOAD_TXS_MAX {
                return Err(full());
            }
            upload.txs.push((tx, header));
            upload.since = Instant::now();
            return Ok(());
        }
        let all: u64 = uploads.values().map(|upload| upload.size).sum();
        if uploads.len() >= UPLOADS_MAX || all.saturating_add(size) > UPLOAD_BYTES_MAX {
            return Err(full());
        }
        let (txs, since) = (vec![(tx, header)], Instant::now());
        uploads.insert((root, size), Upload { txs, size, since, chunks: BTreeMap::new() });
        Ok(())
    }
}

/// A chunk as it is posted: numbers are text, as nodes of Arweave read no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chunk {
    data_root: String,
    data_size: String,
    data_path: String,
    offset: String,
    chunk: String,
}

impl WeaveDesk {
    /// What is on its way here.
    ///
    /// # Errors
    /// Nothing can be posted.
    pub(super) fn uploads(&self) -> Result<&Uploads, Problem> {
        let text = "nothing can be posted here: this weave holds what its own node anchors (`weave_accepts` is false)";
        self.0.uploads.as_ref().ok_or_else(|| Problem::new(StatusCode::METHOD_NOT_ALLOWED, text))
    }

    /// Whether the data of a transaction is on its way.
    pub(super) fn is_coming(&self, tx: &Id) -> bool {
        self.0.uploads.as_ref().is_some_and(|all| {
            all.lock().values().any(|upload| upload.txs.iter().any(|(waits, _)| waits == tx))
        })
    }

    /// What so many bytes cost: nothing where nobody can post.
    pub(super) fn price(&self, bytes: u64) -> u64 {
        let chunks = bytes.div_ceil(CHUNK_BYTES_MAX as u64);
        self.0.uploads.as_ref().map_or(0, |_| PRICE.saturating_mul(chunks.saturating_add(1)))
    }

    /// Takes a transaction, with its data or before it.
    pub(super) fn post_tx(&self, body: &[u8]) -> Result<Response, Problem> {
        let uploads = self.uploads()?;
        let wrong = |why: String| Problem::invalid(format!("the transaction is refused: {why}"));
        let tx = L1Tx::parse_json(body).map_err(|error| wrong(error.to_string()))?;
        let tx = tx.verify().map_err(|error| wrong(error.to_string()))?;
        let (id, size) = (tx.id(), tx.data_size());
        let known = self.0.weave.posted(&id).map_err(failed)?.is_some();
        if known || self.is_coming(&id) {
            let text = Body::from("Transaction already processed.");
            return Ok(with_type(StatusCode::ALREADY_REPORTED, TEXT, text));
        }
        if !tx.is_bundle() {
            return Err(wrong("this weave holds bundles, and it does not have the tags of one".into()));
        }
        if size > BATCH_BYTES_MAX as u64 {
            return Err(wrong(format!("{size} bytes of data; at most {BATCH_BYTES_MAX} are taken")));
        }
        if tx.reward() < u128::from(self.price(size)) {
            return Err(wrong(format!("its fee is {}, but {} is needed", tx.reward(), self.price(size))));
        }
        self.check_anchor(tx.last_tx())?;
        let root = tx.data_root().ok_or_else(|| wrong("it has no data".into()))?;
        let header = Bytes::from(tx.to_header_json());
        // Before anything of the data is read or verified again.
        let is_known = self.0.weave.accept_known(id, header.clone(), root, size).map_err(not_taken)?;
        if !is_known && tx.data().is_empty() {
            uploads.put((root, size), id, header)?;
        } else if !is_known {
            self.take(vec![(id, header)], tx.data().clone())?;
        }
        Ok(with_type(StatusCode::OK, TEXT, Body::from("OK")))
    }

    /// Takes a chunk; with the last one the bundle is there.
    pub(super) fn post_chunk(&self, body: &[u8]) -> Result<Response, Problem> {
        let uploads = self.uploads()?;
        // By the words of a node: whoever posts tells by them what is to be tried again.
        let wrong = |what: &str| Problem::invalid(what);
        let chunk: Chunk = serde_json::from_slice(body).map_err(|_| wrong("invalid_json"))?;
        let root: Hash = chunk.data_root.parse().map_err(|_| wrong("invalid_json"))?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong("invalid_json"));
        let (size, offset) = (number(&chunk.data_size)?, number(&chunk.offset)?);
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong("invalid_json"));
        let (path, bytes) = (decode(&chunk.data_path)?, decode(&chunk.chunk)?);
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(wrong("chunk_too_big"));
        }
        if path.len() > DATA_PATH_BYTES_MAX {
            return Err(wrong("data_path_too_big"));
        }
        let range = verify_chunk(&root, size, offset, &path, &bytes).map_err(|_| wrong("invalid_proof"))?;
        let whole = {
            let mut all = uploads.lock();
            match all.get_mut(&(root, size)) {
                Some(upload) => {
                    upload.chunks.insert(range.start, bytes.into());
                    if upload.is_whole() { all.remove(&(root, size)) } else { None }
                }
                None if self.0.weave.status_now(&root).map_err(failed)? != AnchorStatus::Unknown => None,
                None => return Err(wrong("data_root_not_found")),
            }
        };
        if let Some(upload) = whole {
            let data: Vec<u8> = upload.chunks.values().flatten().copied().collect();
            self.take(upload.txs, data.into())?;
        }
        Ok(problem::json(StatusCode::OK, &serde_json::json!({})))
    }

    /// Whether it names one of the newest blocks.
    fn check_anchor(&self, last_tx: &[u8]) -> Result<(), Problem> {
        let newest = self.newest()?.height;
        let named = Hash::try_from(last_tx).ok();
        let block =
            named.map(|hash| self.0.weave.block_by_hash(&hash)).transpose().map_err(failed)?.flatten();
        if block.is_some_and(|block| newest < block.height.saturating_add(ANCHOR_BLOCKS)) {
            return Ok(());
        }
        let text = format!("the transaction is refused: it names none of the newest {ANCHOR_BLOCKS} blocks");
        Err(Problem::invalid(text))
    }

    /// Has a bundle wait for a block; each of its items is verified, once for all transactions that brought it.
    fn take(&self, txs: Vec<(Id, Bytes)>, data: Bytes) -> Result<(), Problem> {
        let batch = Batch::parse(data).map_err(|error| refused(&error))?;
        let taken = txs.into_iter().map(|(tx, header)| self.0.weave.accept(tx, header, &batch));
        // Each is taken for itself: what is wrong with one keeps out no other.
        taken.fold(Ok(()), Result::and).map_err(not_taken)
    }
}

fn refused(error: &AnchorError) -> Problem {
    Problem::invalid(format!("the transaction is refused: {error}"))
}

/// Why the weave did not take what was verified.
fn not_taken(error: AnchorError) -> Problem {
    match error {
        AnchorError::Store(StoreError::Full { .. }) | AnchorError::TooLarge { .. } => {
            Problem::busy(error.to_string(), ROOM_RETRY_MS)
        }
        AnchorError::EnoughTransactions { .. } => refused(&error),
        other => Problem::fault(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use weft_protocol::bundle::BUNDLE_TAGS;
    use weft_protocol::crypto::Signer;
    use weft_protocol::l1::chunk::{ChunkProof, prove_chunks};
    use weft_protocol::l1::{L1Draft, L1Tag};
    use weft_protocol::{Draft, Verified};
    use weft_storage::limits::BATCH_TRANSACTIONS_MAX;

    use super::*;
    use crate::shared::testing::in_memory;

    const WALLET: &str = include_str!("../../../../tests/vectors/wallet.json");

    /// What is wrong with a transaction.
    type Change = fn(&mut L1Draft);

    struct Door {
        desk: WeaveDesk,
        signer: Signer,
    }

    impl Door {
        fn new(accepts: bool) -> Self {
            let mut shared = in_memory(Signer::from_seed(&[3; 32]));
            Arc::get_mut(&mut shared).unwrap().config.weave_accepts = accepts;
            Self { desk: WeaveDesk::new(&shared), signer: Signer::from_jwk(WALLET).unwrap() }
        }

        /// A transaction that everything is right with.
        fn draft(&self, data: &Bytes) -> L1Draft {
            let tags = BUNDLE_TAGS.iter().map(|(name, value)| L1Tag::new(*name, *value)).collect();
            let last_tx = Bytes::copy_from_slice(&self.desk.newest().unwrap().hash().0);
            let reward = self.desk.price(data.len() as u64).into();
            L1Draft { reward, last_tx, tags, data: data.clone(), ..L1Draft::default() }
        }

        fn sign(&self, draft: L1Draft) -> Verified<L1Tx> {
            draft.sign(&self.signer).unwrap()
        }

        fn post(&self, json: &str) -> (u16, String) {
            told(self.desk.post_tx(json.as_bytes()))
        }

        fn chunk(
            &self,
            change: impl FnOnce(&mut serde_json::Value),
            data: &Bytes,
            at: &ChunkProof,
        ) -> (u16, String) {
            let mut json = serde_json::json!({
                "data_root": weft_protocol::l1::chunk::data_root(data).unwrap(),
                "data_size": data.len().to_string(),
                "data_path": URL_SAFE_NO_PAD.encode(&at.data_path),
                "offset": (at.range.end - 1).to_string(),
                "chunk": URL_SAFE_NO_PAD.encode(&data[at.range.clone()]),
            });
            change(&mut json);
            told(self.desk.post_chunk(json.to_string().as_bytes()))
        }
    }

    fn told(answer: Result<Response, Problem>) -> (u16, String) {
        match answer {
            Ok(response) => (response.status().as_u16(), String::new()),
            Err(problem) => (problem.status.as_u16(), problem.text),
        }
    }

    fn bundle(items: u8, bytes: usize) -> Bytes {
        let item = |at: u8| {
            let data = vec![at; bytes].into();
            Draft { data, ..Draft::default() }.sign(&Signer::from_seed(&[at; 32])).unwrap()
        };
        Batch::of_items((1..=items).map(item).collect()).unwrap().bytes().clone()
    }

    #[tokio::test]
    async fn a_transaction_is_taken_when_everything_is_right_with_it() {
        let door = Door::new(true);
        let data = bundle(2, 100);
        let good = door.sign(door.draft(&data));
        let wrong: [(Change, &str); 5] = [
            (|draft| draft.reward -= 1, "but 2000 is needed"),
            (|draft| draft.last_tx = Bytes::from(vec![9; 32]), "none of the newest 50 blocks"),
            (|draft| draft.last_tx = Bytes::new(), "none of the newest 50 blocks"),
            (|draft| drop(draft.tags.pop()), "does not have the tags of one"),
            (|draft| draft.data = "no bundle".into(), "not a valid bundle"),
        ];
        for (change, part) in wrong {
            let mut draft = door.draft(&data);
            change(&mut draft);
            let (status, text) = door.post(&door.sign(draft).to_json());
            assert!(status == 400 && text.contains(part), "{status} {text}");
        }
        let mut forged = data.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let (status, text) = door.post(&door.sign(door.draft(&forged.into())).to_json());
        assert!(status == 400 && text.contains("not a valid bundle"), "{text}");
        let tampered = good.to_json().replace("\"reward\":\"2000\"", "\"reward\":\"3000\"");
        assert!(door.post(&tampered).1.contains("signature"), "{}", door.post(&tampered).1);
        assert_eq!(door.post("{}").0, 400);
        assert_eq!(door.desk.0.weave.pending().unwrap(), 0, "nothing of it is kept");

        assert_eq!(door.post(&good.to_json()), (200, String::new()));
        assert_eq!(door.post(&good.to_json()).0, 208);
        assert_eq!(door.desk.status(good.id()).unwrap().status(), 202);
        door.desk.0.weave.mine(5).unwrap();
        assert_eq!(door.desk.status(good.id()).unwrap().status(), 200);
        assert_eq!(door.desk.0.weave.fetch_now(&good.data_root().unwrap()).unwrap(), Some(data.clone()));
        // An anchor grows old.
        let late = door.sign(door.draft(&data));
        for _ in 0..ANCHOR_BLOCKS {
            door.desk.0.weave.mine(6).unwrap();
        }
        assert!(door.post(&late.to_json()).1.contains("newest 50 blocks"));
    }

    #[tokio::test]
    async fn chunks_are_taken_with_their_proofs_in_any_order() {
        let door = Door::new(true);
        let data = bundle(4, 150_000);
        let tx = door.sign(door.draft(&data));
        let proofs = prove_chunks(&data);
        assert!(proofs.len() > 2);
        let post = |at: usize| door.chunk(|_| (), &data, &proofs[at]);
        assert_eq!(post(0), (400, "data_root_not_found".into()));
        assert_eq!(door.post(&tx.to_header_json()).0, 200);
        assert_eq!(door.post(&tx.to_header_json()).0, 208);
        assert_eq!(door.desk.status(tx.id()).unwrap().status(), 202);
        for (field, value, word) in [
            ("offset", serde_json::json!(5), "invalid_json"),
            ("data_size", serde_json::json!(data.len()), "invalid_json"),
            ("data_size", serde_json::json!("5"), "invalid_proof"),
            ("chunk", serde_json::json!("AAAA"), "invalid_proof"),
            ("data_path", serde_json::json!("AAAA"), "invalid_proof"),
            ("chunk", serde_json::json!("A".repeat(400_000)), "chunk_too_big"),
            ("beside", serde_json::json!("x"), "invalid_json"),
        ] {
            assert_eq!(
                door.chunk(|json| json[field] = value, &data, &proofs[1]),
                (400, word.into()),
                "{field}"
            );
        }
        for at in (0..proofs.len()).rev() {
            assert_eq!(post(at).0, 200);
            assert_eq!(post(at).0, 200, "once more is no harm");
        }
        assert_eq!(door.desk.0.weave.pending().unwrap(), 1);
        // Another transaction for the same bytes needs them no second time.
        let draft = door.draft(&data);
        let again = door.sign(L1Draft { reward: draft.reward + 1, ..draft });
        assert_eq!(door.post(&again.to_header_json()).0, 200);
        assert_eq!(door.desk.0.weave.pending().unwrap(), 1);
        door.desk.0.weave.mine(5).unwrap();
        for id in [tx.id(), again.id()] {
            assert_eq!(door.desk.status(id).unwrap().status(), 200);
        }
    }

    #[tokio::test]
    async fn all_that_wait_for_the_same_data_have_it_whatever_another_says_of_its_size() {
        let door = Door::new(true);
        let data = bundle(4, 150_000);
        let draft = door.draft(&data);
        let first = door.sign(draft.clone());
        let second = door.sign(L1Draft { reward: draft.reward + 1, ..draft.clone() });
        // Somebody who holds nothing of it said that it is larger.
        let root = first.data_root().unwrap();
        let stranger = Id([9; 32]);
        let uploads = door.desk.uploads().unwrap();
        uploads.put((root, data.len() as u64 + 1), stranger, Bytes::new()).unwrap();
        for tx in [&first, &second] {
            assert_eq!(door.post(&tx.to_header_json()), (200, String::new()));
            assert_eq!(door.post(&tx.to_header_json()).0, 208);
            assert_eq!(door.desk.status(tx.id()).unwrap().status(), 202);
        }
        for proof in prove_chunks(&data) {
            assert_eq!(door.chunk(|_| (), &data, &proof), (200, String::new()));
        }
        door.desk.0.weave.mine(5).unwrap();
        for tx in [&first, &second] {
            assert_eq!(door.desk.status(tx.id()).unwrap().status(), 200);
        }
        assert!(door.desk.is_coming(&stranger));
    }

    #[tokio::test]
    async fn transactions_for_a_known_bundle_are_weighed_and_counted() {
        let door = Door::new(true);
        let data = bundle(2, 100);
        let batch = Batch::parse(data.clone()).unwrap();
        let weave = &door.desk.0.weave;
        weave.accept(Id([0; 32]), "header".into(), &batch).unwrap();
        let tx = door.sign(door.draft(&data));
        weave.set_room(1, u64::MAX);
        for json in [tx.to_json(), tx.to_header_json()] {
            assert_eq!(door.post(&json).0, 503, "there is no room");
        }
        weave.set_room(u64::MAX, u64::MAX);
        for other in 1..BATCH_TRANSACTIONS_MAX {
            weave.accept(Id([other as u8; 32]), "header".into(), &batch).unwrap();
        }
        for json in [tx.to_json(), tx.to_header_json()] {
            let (status, text) = door.post(&json);
            assert!(status == 400 && text.contains("no more are kept"), "{status} {text}");
        }
        assert_eq!((weave.posted(&tx.id()).unwrap(), weave.pending().unwrap()), (None, 1));
    }

    #[tokio::test]
    async fn what_is_on_its_way_is_bounded_and_a_closed_door_takes_nothing() {
        let door = Door::new(true);
        let uploads = door.desk.uploads().unwrap();
        let put = |root: u8, size, tx| uploads.put((Hash([root; 32]), size), Id([tx; 32]), Bytes::new());
        for at in 0..UPLOADS_MAX {
            put(at as u8, 1, 0).unwrap();
            assert_eq!(put(0xff, UPLOAD_BYTES_MAX, 0).unwrap_err().status, 503);
        }
        // So are those that wait for the same data.
        assert!((1..UPLOAD_TXS_MAX).all(|tx| put(0, 1, tx as u8).is_ok()));
        assert_eq!(put(0, 1, 0xff).unwrap_err().status, 503);
        let tx = door.sign(door.draft(&bundle(2, 200_000)));
        assert_eq!(door.post(&tx.to_header_json()).0, 503);
        let closed = Door::new(false);
        assert_eq!(closed.post(&tx.to_json()).0, 405);
        assert_eq!(closed.desk.price(1), 0);
    }
}
