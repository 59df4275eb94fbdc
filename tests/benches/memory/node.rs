//! A node inside this program, and a folder of one with many processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weft_node::config::{Config, Role};
use weft_node::control::api::{Request, ResultInfo, ResultOf};
use weft_node::control::client::Client;
use weft_node::keyring::NodeKey;
use weft_node::submit::{SubmitError, Submitter};
use weft_protocol::Id;
use weft_tests::lone::{Kind, key, sign};

const WAIT: Duration = Duration::from_secs(60);
/// Items handed in at once.
const AT_ONCE: usize = 200;

/// A node inside this program.
pub struct Node {
    folder: PathBuf,
    submitter: Submitter,
    client: Client,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), weft_node::NodeError>>,
}

impl Node {
    pub async fn start(folder: &Path) -> Self {
        let config = Config {
            network: "weft-bench".into(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            roles: [Role::Scheduler, Role::Compute].into(),
            // Nothing leaves memory for its bytes.
            memory_budget_bytes: 1 << 40,
            ..Config::new(folder)
        };
        let stop = CancellationToken::new();
        let (ready, started) = tokio::sync::oneshot::channel();
        let key = NodeKey { signer: key(), peer_secret: [1; 32] };
        let running = tokio::spawn(weft_node::embed(config, key, stop.clone(), |_, submitter| {
            assert!(ready.send(submitter).is_ok());
        }));
        let submitter = started.await.unwrap();
        let client = Client::connect(folder).await.unwrap();
        Self { folder: folder.to_owned(), submitter, client, stop, running }
    }

    /// Waits until a slot is evaluated.
    pub async fn result(&mut self, process: Id, slot: u64) {
        let wait_ms = u64::try_from(WAIT.as_millis()).unwrap();
        let request = Request::Result { process, of: ResultOf::Slot(slot), wait_ms };
        let result: ResultInfo = self.client.call(&request, 2 * WAIT).await.unwrap();
        assert_eq!(result.code, 0, "{}", result.result);
    }

    /// A message, until its outcome is durable.
    pub async fn ask(&mut self, process: Id, slot: u64) -> Duration {
        let item = message(process, slot);
        let started = Instant::now();
        self.submitter.submit(item, Bytes::new()).await.unwrap();
        self.result(process, slot).await;
        started.elapsed()
    }

    /// How many processes are instances in memory.
    pub async fn instances(&mut self) -> f64 {
        let text: String = self.client.call(&Request::Metrics, WAIT).await.unwrap();
        let name = "weft_budget_used{role=\"compute\",budget=\"instances\"} ";
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }

    /// Hands in items, many at once.
    pub async fn submit_all(&mut self, items: &[Bytes]) {
        for items in items.chunks(AT_ONCE) {
            futures::future::join_all(items.iter().map(|raw| submit(&self.submitter, raw))).await;
        }
        // One that was silent for so long may have been hung up on.
        self.client = Client::connect(&self.folder).await.unwrap();
    }

    pub async fn stop(self) {
        drop(self.submitter);
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// The message that is to get this slot.
pub fn message(process: Id, slot: u64) -> Bytes {
    let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Increment")];
    sign(Some(process), &tags, &slot.to_be_bytes()).raw().clone()
}

/// The process of this number.
pub fn process_item(module: &str, number: usize) -> (Id, Bytes) {
    let (address, number) = (key().address().to_string(), number.to_string());
    let tags = [
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Variant", "ao.TN.1"),
        ("Module", module),
        ("Scheduler", &*address),
        ("Name", &*number),
    ];
    let item = sign(None, &tags, b"");
    (item.id(), item.raw().clone())
}

pub fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work);
}

/// Makes a node's folder with so many processes, slot 0 of each evaluated.
pub fn fill(folder: &Path, count: usize) {
    block_on(async {
        let mut node = Node::start(folder).await;
        let module = Kind::COUNTER.module();
        let put = Request::PutModule { item: STANDARD.encode(module.raw()) };
        node.client.call::<Value>(&put, WAIT).await.unwrap();
        let module = module.id().to_string();
        let items: Vec<(Id, Bytes)> = (0..count).map(|number| process_item(&module, number)).collect();
        let raw: Vec<Bytes> = items.iter().map(|(_, raw)| raw.clone()).collect();
        node.submit_all(&raw).await;
        for (process, _) in &items {
            node.result(*process, 0).await;
        }
        node.stop().await;
    });
}

async fn submit(submitter: &Submitter, raw: &Bytes) {
    loop {
        match submitter.submit(raw.clone(), Bytes::new()).await {
            Ok(_) => return,
            // tidy-allow(sleep): as long as the scheduler says
            Err(SubmitError::Busy(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Err(error) => panic!("{error}"),
        }
    }
}
