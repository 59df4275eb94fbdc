//! Pushes that one messenger carries: real nodes on loopback. One schedules two processes, it and another compute the first,
//! of whose attestors two must agree, and the messenger is an OS process of its own that computes nothing: it asks for
//! what is sent, has it proven by two attestors, makes and signs item and proof, hands them to the target's scheduler, checks the
//! receipt and stores it. What its whole process takes of the processor is counted, everything else is not.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use weft_node::config::{Config, Role};
use weft_node::control::api::{CarryRequest, Request};
use weft_node::control::client::Client;
use weft_node::keyring::NodeKey;
use weft_protocol::Id;
use weft_protocol::crypto::Signer;
use weft_tests::embedded::block_on;
use weft_tests::lone::{Kind, key, sign};

use super::node::{Node, config};
use super::{CHILD, row};

const WAIT: Duration = Duration::from_secs(60);
/// How long nothing may move before the bench says so.
const STALL: Duration = Duration::from_secs(60);
/// How often it is looked how far all is.
const LOOK: Duration = Duration::from_millis(100);
/// Messages handed in at once.
const AT_ONCE: usize = 32;
/// Ticks of the processor's time that Linux counts to a second, for every program.
const TICKS_PER_S: f64 = 100.0;
/// Seeds of the nodes; the scheduler's key is that of `lone`.
const SCHEDULER: u8 = 1;
const OTHER: u8 = 2;
const MESSENGER: u8 = 3;

/// What the messenger's OS process does until nobody holds its input any more.
pub fn messenger(folder: &str, peer: &str) {
    block_on(async {
        let config =
            Config { bootstrap: vec![peer.to_owned()], ..config(Path::new(folder), &[Role::Messenger]) };
        let stop = CancellationToken::new();
        let key = NodeKey { signer: Signer::from_seed(&[MESSENGER; 32]), peer_secret: [MESSENGER; 32] };
        let running = tokio::spawn(weft_node::embed(config, key, stop.clone(), |_, _| {}));
        let ended =
            tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        ended.await.unwrap().unwrap();
        stop.cancel();
        running.await.unwrap().unwrap();
    });
}

pub fn measure(pushes: usize) {
    block_on(async {
        let stage = Stage::open().await;
        let (wall, cpu) = stage.carry(pushes).await;
        let (of_wall, of_cpu) = (pushes as f64 / wall.as_secs_f64(), pushes as f64 / cpu.as_secs_f64());
        let beside = format!(
            "{:.2} ms of the processor each, all that its OS process did; {pushes} pushes, quorum 2 of 2, \
             {of_wall:.0} a second while all nodes shared this machine",
            cpu.as_secs_f64() * 1e3 / pushes as f64
        );
        row("a messenger: pushes in a second of one core", &format!("{of_cpu:.0}"), &beside);
        stage.close().await;
    });
}

/// Asks a node by its control socket until it answers as it should.
async fn insist(folder: &Path, request: &Request, is_so: impl Fn(&Value) -> bool) {
    let (began, mut look, mut last) = (Instant::now(), tokio::time::interval(LOOK), String::new());
    while began.elapsed() < WAIT {
        look.tick().await;
        match ask(folder, request).await {
            Ok(answer) if is_so(&answer) => return,
            Ok(answer) => last = answer.to_string(),
            Err(error) => last = error,
        }
    }
    panic!("{request:?}: {last}");
}

async fn ask(folder: &Path, request: &Request) -> Result<Value, String> {
    let mut client = Client::connect(folder).await.map_err(|error| error.to_string())?;
    client.call(request, WAIT).await.map_err(|error| error.to_string())
}

struct Stage {
    scheduler: Node,
    other: Node,
    messenger: Child,
    folder: TempDir,
    source: Id,
    target: Id,
}

impl Stage {
    async fn open() -> Self {
        let scheduler = Node::start_as([SCHEDULER; 32], &[Role::Scheduler, Role::Compute], &[]).await;
        let other = Node::start_as([OTHER; 32], &[Role::Compute], &[&scheduler]).await;
        let put = Request::PutModule { item: STANDARD.encode(Kind::COUNTER.module().raw()) };
        for node in [&scheduler, &other] {
            insist(node.folder.path(), &put, |_| true).await;
        }
        let (first, module) = (key().address().to_string(), Kind::COUNTER.module().id().to_string());
        assert_eq!(first, scheduler.ready.address.to_string(), "whose key signs the items");
        let (both, alone) = (format!("{first},{}", other.ready.address), first.clone());
        let spawn = async |name: &str, compute: &str, quorum: &str| {
            let tags = [
                ("Data-Protocol", "ao"),
                ("Variant", "ao.TN.1"),
                ("Type", "Process"),
                ("Module", &*module),
                ("Scheduler", &*first),
                ("Compute", compute),
                ("Compute-Quorum", quorum),
                ("Name", name),
            ];
            let item = sign(None, &tags, b"");
            scheduler.submit(item.raw()).await;
            item.id()
        };
        let source = spawn("source", &both, "2").await;
        let target = spawn("target", &alone, "1").await;
        let host = Request::Host { process: source, compute: true, messenger: false, evaluate: None };
        insist(other.folder.path(), &host, |_| true).await;

        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CHILD).arg(folder.path()).arg(&scheduler.ready.listen[0]).stdin(Stdio::piped());
        let messenger = command.spawn().unwrap();
        let carry = Request::Carry(CarryRequest::Begin { process: source, all: true });
        insist(folder.path(), &carry, |_| true).await;
        let stage = Self { scheduler, other, messenger, folder, source, target };
        // Modules are compiled and connections are open before anything is counted.
        stage.push(0..AT_ONCE).await;
        stage.wait(AT_ONCE).await;
        stage
    }

    /// Has the source send one message for each of these.
    async fn push(&self, numbers: std::ops::Range<usize>) {
        let target = self.target.to_string();
        let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Relay"), ("To", &*target)];
        let items: Vec<Bytes> = numbers
            .map(|number| sign(Some(self.source), &tags, &number.to_be_bytes()).raw().clone())
            .collect();
        for some in items.chunks(AT_ONCE) {
            futures::future::join_all(some.iter().map(|item| self.scheduler.submit(item))).await;
        }
    }

    /// Waits until so many pushes have their slot and the messenger has stored the receipt of each.
    async fn wait(&self, pushes: usize) {
        let head = Request::Process { process: self.target, state_root: false };
        let (mut look, mut moved, mut last) = (tokio::time::interval(LOOK), Instant::now(), 0);
        while last < pushes as u64 {
            look.tick().await;
            let found = ask(self.scheduler.folder.path(), &head).await.unwrap();
            let found = found["head"].as_u64().unwrap_or(0);
            if found > last {
                (last, moved) = (found, Instant::now());
            }
            assert!(moved.elapsed() < STALL, "{last} of {pushes} pushes have a slot, and no more came");
        }
        let left = Request::Carry(CarryRequest::Outbox { process: self.source, limit: 1 });
        insist(self.folder.path(), &left, |left| left["entries"].as_array().is_some_and(Vec::is_empty)).await;
    }

    /// How long so many pushes took, and what the messenger took of the processor for them.
    async fn carry(&self, pushes: usize) -> (Duration, Duration) {
        let (began, before) = (Instant::now(), self.processor());
        self.push(AT_ONCE..AT_ONCE + pushes).await;
        self.wait(AT_ONCE + pushes).await;
        (began.elapsed(), self.processor() - before)
    }

    /// The time of the processor that the messenger took so far, all its threads together, in itself and in the system.
    fn processor(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.messenger.id())).unwrap();
        // The name, in brackets, may have spaces; the 12th and 13th fields after it are the two times.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_secs_f64(ticks as f64 / TICKS_PER_S)
    }

    async fn close(mut self) {
        drop(self.messenger.stdin.take());
        assert!(self.messenger.wait().unwrap().success());
        self.other.stop().await;
        self.scheduler.stop().await;
    }
}
