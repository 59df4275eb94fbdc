//! A whole node inside this program, for the benches that need some.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_node::config::{Config, Role};
use weft_node::control::api::Request;
use weft_node::control::client::Client;
use weft_node::keyring::NodeKey;
use weft_node::submit::Submitter;
use weft_node::{NodeError, Ready};
use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Id, Tag};
use weft_tests::embedded::submit;
use weft_tests::lone::Kind;

/// Reached only by what never happens.
const LONG: Duration = Duration::from_secs(120);
/// Processes handed in at once.
const AT_ONCE: usize = 100;

pub struct Node {
    pub ready: Ready,
    signer: Signer,
    submitter: Submitter,
    pub folder: TempDir,
    stop: CancellationToken,
    running: JoinHandle<Result<(), NodeError>>,
}

/// A node of the benches' network, on a free port.
pub fn config(folder: &Path, roles: &[Role]) -> Config {
    Config {
        network: "weft-bench".into(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        roles: roles.iter().copied().collect(),
        ..Config::new(folder)
    }
}

impl Node {
    /// A node of its own folder that does everything and knows these from its start.
    pub async fn start(number: u64, known: &[&Self]) -> Self {
        let mut peer_secret = [1; 32];
        peer_secret[..8].copy_from_slice(&number.to_be_bytes());
        Self::start_as(peer_secret, &Role::ALL, known).await
    }

    /// The same, with this key and these roles.
    pub async fn start_as(peer_secret: [u8; 32], roles: &[Role], known: &[&Self]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = known.iter().map(|other| other.ready.listen[0].clone()).collect();
        let config = Config { bootstrap, ..config(folder.path(), roles) };
        let signer = Signer::from_seed(&peer_secret);
        let stop = CancellationToken::new();
        let (tell, started) = tokio::sync::oneshot::channel();
        let key = NodeKey { signer: signer.clone(), peer_secret };
        let running = tokio::spawn(weft_node::embed(config, key, stop.clone(), |ready, submitter| {
            assert!(tell.send((ready.clone(), submitter)).is_ok());
        }));
        let (ready, submitter) = started.await.unwrap();
        Self { ready, signer, submitter, folder, stop, running }
    }

    pub async fn ask<T: DeserializeOwned>(&self, request: &Request) -> T {
        let mut client = Client::connect(self.folder.path()).await.unwrap();
        client.call(request, LONG).await.unwrap()
    }

    /// Takes up a process of another node, slot 0 verified.
    pub async fn take_up(&self, process: Id) {
        let host = Request::Host { process, compute: false, messenger: false, evaluate: None };
        self.ask::<Value>(&host).await;
    }

    /// So many processes that this node schedules.
    pub async fn processes(&self, count: usize) -> Vec<Id> {
        let module = STANDARD.encode(Kind::COUNTER.module().raw());
        self.ask::<Value>(&Request::PutModule { item: module }).await;
        let (module, scheduler) =
            (Kind::COUNTER.module().id().to_string(), self.signer.address().to_string());
        let item = |number: usize| {
            let number = number.to_string();
            let tags = [
                ("Data-Protocol", "ao"),
                ("Type", "Process"),
                ("Module", &*module),
                ("Scheduler", &*scheduler),
                ("Name", &*number),
            ];
            let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
            Draft { tags, ..Draft::default() }.sign(&self.signer).unwrap()
        };
        let items: Vec<_> = (0..count).map(item).collect();
        for some in items.chunks(AT_ONCE) {
            futures::future::join_all(some.iter().map(|item| self.submit(item.raw()))).await;
        }
        items.iter().map(|item| item.id()).collect()
    }

    /// Hands an item in, as often as the scheduler asks for it.
    pub async fn submit(&self, raw: &Bytes) {
        submit(&self.submitter, raw).await;
    }

    pub async fn stop(self) {
        drop(self.submitter);
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}
