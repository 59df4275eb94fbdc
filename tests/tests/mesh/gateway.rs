//! A small gateway of a weave on loopback: transactions of the base layer, items in bundles, and lies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weft_protocol::bundle::Bundle;
use weft_protocol::l1::L1Tx;
use weft_protocol::{DataItem, Id, Verified};

/// Bytes of a question.
const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// How long a question may take to come.
const QUESTION_WAIT: Duration = Duration::from_secs(30);

/// What a gateway does to what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// The last byte of all data, and of all bundles, is another one.
    WrongByte,
    /// Another transaction stands under each id.
    WrongTransaction,
    /// Transactions are there and their data is not.
    NoData,
}

#[derive(Debug)]
struct Shelf {
    /// What nodes print of transactions, their data, and how many blocks confirm them.
    transactions: BTreeMap<String, (Value, Vec<u8>, u64)>,
    /// The bundle of each item, and the bundles.
    items: BTreeMap<String, Id>,
    bundles: BTreeMap<String, Vec<u8>>,
    lie: Lie,
    /// Paths that were asked for.
    asked: Vec<String>,
}

/// A gateway; it ends with the value.
#[derive(Debug)]
pub struct Gateway {
    pub address: String,
    shelf: Arc<Mutex<Shelf>>,
    listening: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Gateway {
    pub async fn open(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Shelf {
            transactions: BTreeMap::new(),
            items: BTreeMap::new(),
            bundles: BTreeMap::new(),
            lie,
            asked: Vec::new(),
        };
        let shelf = Arc::new(Mutex::new(shelf));
        let shared = Arc::clone(&shelf);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = tokio::time::timeout(QUESTION_WAIT, serve(stream, &shared)).await;
                drop(served);
            }
        });
        Self { address, shelf, listening }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap()
    }

    /// Has a transaction from now on, this deep. Its data is given apart, as that of large ones is.
    pub fn mine(&self, tx: &L1Tx, confirmations: u64) {
        let mut json: Value = serde_json::from_str(&tx.to_json()).unwrap();
        json["data"] = json!("");
        let entry = (json, tx.data().to_vec(), confirmations);
        self.shelf().transactions.insert(tx.id().to_string(), entry);
    }

    /// Has an item from now on, in a bundle.
    pub fn bundle(&self, item: &Verified<DataItem>) {
        let bundle = Bundle::build(std::slice::from_ref(item)).raw().to_vec();
        let id = Id([item.id().0[0]; 32]);
        let mut shelf = self.shelf();
        shelf.items.insert(item.id().to_string(), id);
        shelf.bundles.insert(id.to_string(), bundle);
    }

    /// Whether somebody asked for the data under this id.
    pub fn gave(&self, id: Id) -> bool {
        self.shelf().asked.iter().any(|path| *path == format!("/raw/{id}"))
    }
}

async fn serve(mut stream: TcpStream, shelf: &Mutex<Shelf>) {
    let Some((path, body)) = question(&mut stream).await else { return };
    let (status, answer) = shelf.lock().unwrap().answer(&path, &body);
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
    let _ = stream.write_all(&[head.as_bytes(), &answer].concat()).await;
}

/// The path that is asked for, and what was sent with it.
async fn question(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if all.len() >= end + 4 + length.unwrap_or(0) {
                let path = String::from_utf8_lossy(&all[..end]).split(' ').nth(1)?.to_owned();
                return Some((path, all[end + 4..].to_vec()));
            }
        }
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 || all.len() > QUESTION_BYTES_MAX {
            return None;
        }
        all.extend_from_slice(&piece[..count]);
    }
}

impl Shelf {
    fn answer(&mut self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.asked.push(path.to_owned());
        let found = match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
            ["tx", id] => self.transaction(id),
            ["tx", id, "status"] => self.transactions.get(id).map(|(_, _, confirmations)| {
                json!({ "block_height": 1, "number_of_confirmations": confirmations })
                    .to_string()
                    .into_bytes()
            }),
            ["raw", id] => self.data(id),
            ["graphql"] => Some(self.list(body)),
            _ => None,
        };
        found.map_or_else(|| (404, b"Not Found".to_vec()), |answer| (200, answer))
    }

    fn transaction(&self, id: &str) -> Option<Vec<u8>> {
        self.transactions.get(id)?;
        let is_it = |other: &&String| (other.as_str() == id) == (self.lie != Lie::WrongTransaction);
        let shown = self.transactions.keys().find(is_it)?;
        Some(self.transactions[shown].0.to_string().into_bytes())
    }

    fn data(&self, id: &str) -> Option<Vec<u8>> {
        let of_transaction = self.transactions.get(id).map(|(_, data, _)| data);
        let mut data = of_transaction.or_else(|| self.bundles.get(id))?.clone();
        match self.lie {
            Lie::NoData => return None,
            Lie::WrongByte => *data.last_mut()? ^= 1,
            Lie::None | Lie::WrongTransaction => {}
        }
        Some(data)
    }

    fn list(&self, body: &[u8]) -> Vec<u8> {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = asked["variables"]["i"][0].as_str().unwrap_or_default();
        let edge = |bundle: &Id| {
            let node =
                json!({ "id": id, "tags": [], "block": { "height": 1 }, "bundledIn": { "id": bundle } });
            json!({ "node": node })
        };
        let edges: Vec<Value> = self.items.get(id).map(edge).into_iter().collect();
        json!({ "data": { "transactions": { "edges": edges } } }).to_string().into_bytes()
    }
}
