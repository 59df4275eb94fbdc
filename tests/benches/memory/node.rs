//! A node inside this program, a folder of one with many processes, and what they run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weft_node::builtin;
use weft_node::config::{Config, Role};
use weft_node::control::api::{Request, ResultInfo, ResultOf};
use weft_node::control::client::Client;
use weft_node::keyring::NodeKey;
use weft_node::submit::Submitter;
use weft_protocol::Id;
use weft_tests::embedded::{block_on, submit};
use weft_tests::lone::{Kind, key, sign};

const WAIT: Duration = Duration::from_secs(60);
/// Memory for processes of a node that only makes a folder.
const FILL_BYTES: u64 = 1 << 30;
/// What processes of the Lua runtime boot from.
const PROGRAM: &str = r#"
Count = 0
Handlers.add("Increment", "Increment", function(msg)
  Count = Count + 1
  msg.reply({ Data = tostring(Count) })
end)
"#;

/// What processes run: each counts its messages and answers with the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// The built-in counter.
    Counter,
    /// The built-in Lua runtime with [`PROGRAM`].
    Lua,
}

impl Guest {
    pub fn named(name: &str) -> Self {
        match name {
            "counter" => Self::Counter,
            "lua" => Self::Lua,
            other => panic!("no such guest: {other}"),
        }
    }

    /// The process of this number.
    pub fn process(self, number: usize) -> (Id, Bytes) {
        let (address, number) = (key().address().to_string(), number.to_string());
        let module = match self {
            Self::Counter => Kind::COUNTER.module().id(),
            Self::Lua => builtin::id_of(builtin::LUA).unwrap(),
        };
        let module = module.to_string();
        let mut tags = vec![
            ("Data-Protocol", "ao"),
            ("Type", "Process"),
            ("Variant", "ao.TN.1"),
            ("Module", &*module),
            ("Scheduler", &*address),
            ("Name", &*number),
        ];
        let data = match self {
            Self::Counter => "",
            Self::Lua => {
                tags.push(("On-Boot", "Data"));
                PROGRAM
            }
        };
        let item = sign(None, &tags, data.as_bytes());
        (item.id(), item.raw().clone())
    }

    /// What a process answered.
    fn answer(self, result: &Value) -> &Value {
        match self {
            Self::Counter => &result["Output"],
            Self::Lua => &result["Messages"][0]["Data"],
        }
    }
}
/// Items handed in at once.
const AT_ONCE: usize = 200;
/// Processes that are handed in before the node has to be through with them.
const FILL_AT_ONCE: usize = 5_000;

/// A node inside this program.
pub struct Node {
    guest: Guest,
    folder: PathBuf,
    submitter: Submitter,
    client: Client,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), weft_node::NodeError>>,
}

impl Node {
    /// A node whose processes may take so much memory.
    pub async fn start(folder: &Path, guest: Guest, memory_budget_bytes: u64) -> Self {
        let config = Config {
            network: "weft-bench".into(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            roles: [Role::Scheduler, Role::Compute].into(),
            memory_budget_bytes,
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
        Self { guest, folder: folder.to_owned(), submitter, client, stop, running }
    }

    /// Waits until a slot is evaluated: slot 0 is the process, and each message is answered with the count.
    pub async fn result(&mut self, process: Id, slot: u64) {
        let wait_ms = u64::try_from(WAIT.as_millis()).unwrap();
        let request = Request::Result { process, of: ResultOf::Slot(slot), wait_ms };
        let result: ResultInfo = self.client.call(&request, 2 * WAIT).await.unwrap();
        assert_eq!(result.code, 0, "{}", result.result);
        if slot > 0 {
            assert_eq!(*self.guest.answer(&result.result), slot.to_string(), "{}", result.result);
        }
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

/// Makes a node's folder with so many processes, slot 0 of each evaluated.
pub fn fill(folder: &Path, guest: Guest, count: usize) {
    block_on(async {
        let mut node = Node::start(folder, guest, FILL_BYTES).await;
        if guest == Guest::Counter {
            let put = Request::PutModule { item: STANDARD.encode(Kind::COUNTER.module().raw()) };
            node.client.call::<Value>(&put, WAIT).await.unwrap();
        }
        let mut made = 0;
        while made < count {
            let until = count.min(made + FILL_AT_ONCE);
            let (ids, raw): (Vec<Id>, Vec<Bytes>) = (made..until).map(|number| guest.process(number)).unzip();
            node.submit_all(&raw).await;
            for process in ids {
                node.result(process, 0).await;
            }
            made = until;
        }
        node.stop().await;
    });
}
