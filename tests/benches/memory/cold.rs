//! Processes that are rows of a node's directory.

use std::path::Path;
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

use super::{child, resident};

/// Cold processes that are sent a message, or all if there are fewer.
const WOKEN: usize = 100;
const WAIT: Duration = Duration::from_secs(60);
/// Items handed in at once.
const SPAWNED_AT_ONCE: usize = 200;

/// A node with 1 process, and one with so many.
pub fn compare(count: usize) {
    let [one, many] = [1, count].map(|count| {
        let folder = tempfile::tempdir().unwrap();
        let (path, count) = (folder.path().to_str().unwrap(), count.to_string());
        child(&["fill", path, &count]);
        child(&["cold", path, &count])
    });
    let each = |at: usize| (many[at] - one[at]) / (count as f64 - 1.0).max(1.0);
    println!(
        "node of {count} cold processes: {:.0} bytes of memory each beside {:.0} MiB of the node with one, {:.0} \
         bytes on disk each; up in {:.0} ms (with one {:.0} ms); first answer from a cold one p50 {:.1} ms, \
         at most {:.1} ms; then from memory p50 {:.1} ms; {:.0} KiB of memory for each that answered",
        each(0),
        one[0] / 1024.0 / 1024.0,
        each(1),
        many[2],
        one[2],
        many[3],
        many[4],
        many[5],
        many[6] / 1024.0,
    );
}

/// A node inside this program.
struct Node {
    submitter: Submitter,
    client: Client,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), weft_node::NodeError>>,
}

impl Node {
    async fn start(folder: &Path) -> Self {
        let config = Config {
            network: "weft-bench".into(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            roles: [Role::Scheduler, Role::Compute].into(),
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
        Self { submitter, client, stop, running }
    }

    async fn result(&mut self, process: Id, slot: u64) {
        let wait_ms = u64::try_from(WAIT.as_millis()).unwrap();
        let request = Request::Result { process, of: ResultOf::Slot(slot), wait_ms };
        let result: ResultInfo = self.client.call(&request, 2 * WAIT).await.unwrap();
        assert_eq!(result.code, 0, "{}", result.result);
    }

    /// A message, until its outcome is durable.
    async fn ask(&mut self, process: Id, slot: u64) -> Duration {
        let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Increment")];
        let item = sign(Some(process), &tags, &slot.to_be_bytes());
        let started = Instant::now();
        self.submitter.submit(item.raw().clone(), Bytes::new()).await.unwrap();
        self.result(process, slot).await;
        started.elapsed()
    }

    async fn stop(self) {
        drop(self.submitter);
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn process_item(module: &str, number: usize) -> (Id, Bytes) {
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

fn block_on(work: impl Future<Output = ()>) {
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
        for items in items.chunks(SPAWNED_AT_ONCE) {
            let spawns = items.iter().map(|(_, raw)| submit(&node.submitter, raw));
            futures::future::join_all(spawns).await;
        }
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

/// Prints memory, bytes on disk, milliseconds until it is up, to a first answer (half, all), to
/// another one, and memory of each that answered.
pub fn measure(folder: &Path, count: usize) {
    block_on(async {
        let module = Kind::COUNTER.module().id().to_string();
        let started = Instant::now();
        let mut node = Node::start(folder).await;
        let up = started.elapsed();
        // Its newest outcome is on disk: an answer says that the roles have taken up their work.
        let last = process_item(&module, count - 1).0;
        node.result(last, 0).await;
        let cold = resident();
        let disk = std::fs::metadata(folder.join("store.redb")).unwrap().len();
        let woken: Vec<Id> = (0..count.min(WOKEN))
            .map(|number| process_item(&module, number * count / count.min(WOKEN)).0)
            .collect();
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for process in &woken {
            first.push(node.ask(*process, 1).await);
        }
        let warm = resident();
        for process in &woken {
            again.push(node.ask(*process, 2).await);
        }
        node.stop().await;
        first.sort_unstable();
        again.sort_unstable();
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        println!(
            "{cold} {disk} {} {} {} {} {}",
            ms(up),
            ms(first[first.len() / 2]),
            ms(first[first.len() - 1]),
            ms(again[again.len() / 2]),
            warm.saturating_sub(cold) / woken.len() as u64,
        );
    });
}
