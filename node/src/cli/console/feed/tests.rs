//! The feed, with a node that does what the test says.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use weft_protocol::{Hash, Position};

use super::super::super::args::Global;
use super::*;
use crate::control::api::{Failure, FailureCode, SOCKET_NAME};

const LONG: Duration = Duration::from_secs(60);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.unwrap()
}

/// A node that hears what it is asked, and says what it is told to.
struct Node {
    listener: UnixListener,
    folder: tempfile::TempDir,
}

impl Node {
    fn start() -> (Self, Feed) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap();
        let screen = Screen::new(&Global { data_dir: None, json: false, quiet: false });
        let feed = Feed::start(folder.path().to_owned(), Id([1; 32]), screen);
        (Self { listener, folder }, feed)
    }

    /// The next connection, and what it asks.
    async fn asked(&self) -> (BufReader<UnixStream>, Request) {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        within(stream.read_line(&mut line)).await.unwrap();
        (stream, serde_json::from_str(&line).unwrap())
    }
}

async fn say(stream: &mut BufReader<UnixStream>, reply: Reply) {
    let line = serde_json::to_string(&reply).unwrap() + "\n";
    within(stream.write_all(line.as_bytes())).await.unwrap();
}

fn event(event: &WatchEvent) -> Reply {
    Reply::Event(serde_json::to_value(event).unwrap())
}

fn slot(slot: u64) -> Reply {
    event(&WatchEvent::Slot(SlotInfo {
        slot,
        epoch: 0,
        assignment: Id([2; 32]),
        item: Id([slot as u8; 32]),
        timestamp: u64::MAX,
        hash_chain: Hash([3; 32]),
        from: Some("a friend".to_owned()),
        action: Some("Greet".to_owned()),
        pushed: false,
        trust: None,
        carrier: None,
        code: None,
        running: None,
    }))
}

fn done(output: &str) -> Reply {
    let info = ResultInfo {
        process: Id([1; 32]),
        position: Position { epoch: 0, slot: 0, tick: 0 },
        code: 0,
        result: json!({ "Output": { "data": output } }),
        running: Hash([4; 32]),
        gas: 0,
        computed_here: true,
        attested_by: Vec::new(),
    };
    Reply::Done(serde_json::to_value(info).unwrap())
}

async fn told(feed: &mut Feed, text: &str) {
    let told = within(feed.next()).await;
    assert!(told.text.contains(text), "{text}: {told:?}");
}

#[tokio::test]
async fn a_result_that_does_not_come_holds_up_nothing() {
    let (node, mut feed) = Node::start();
    let (mut watching, _) = node.asked().await;
    let mut silent = Vec::new();
    for number in 0..ASKED_MAX as u64 {
        say(&mut watching, slot(number)).await;
        told(&mut feed, &format!("[{number}] from a friend: Greet")).await;
        silent.push(node.asked().await.0);
    }
    say(&mut watching, event(&WatchEvent::Alarm { text: "two signatures".into() })).await;
    told(&mut feed, "ALARM two signatures").await;
    // Of a result that comes at last, so much is shown as anybody reads.
    say(&mut silent[1], done(&"x".repeat(TEXT_BYTES_MAX + 1))).await;
    let shown = within(feed.next()).await;
    assert!(shown.text.starts_with("[1] xx") && shown.text.contains("shows all"), "{shown:?}");
    assert!(shown.slot == Some(1) && shown.text.len() < TEXT_BYTES_MAX + 100);
}

#[tokio::test]
async fn a_node_that_comes_back_is_heard_again_from_where_it_was() {
    let (node, mut feed) = Node::start();
    let (mut watching, request) = node.asked().await;
    assert!(matches!(request, Request::Watch { from: None, .. }), "{request:?}");
    say(&mut watching, slot(7)).await;
    told(&mut feed, "[7] from").await;
    let (mut asking, _) = node.asked().await;
    say(&mut asking, Reply::Error(Failure::new(FailureCode::Refused, "nobody knows"))).await;
    told(&mut feed, "[7] no result is known yet").await;
    drop(watching);
    told(&mut feed, "is not shown until").await;
    // It has no room at first, and that is said once.
    let (mut busy, _) = node.asked().await;
    say(&mut busy, Reply::Error(Failure::new(FailureCode::Busy, "later"))).await;
    let (mut watching, request) = node.asked().await;
    assert!(matches!(request, Request::Watch { from: Some(8), .. }), "{request:?}");
    told(&mut feed, "is shown again").await;
    // What was not known is asked again.
    let (mut asking, _) = node.asked().await;
    say(&mut asking, done("at last")).await;
    told(&mut feed, "[7] at last").await;
    for (stale, text) in [(true, "nobody says any more"), (false, "it is known again")] {
        say(&mut watching, event(&WatchEvent::Freshness { as_of: None, stale })).await;
        told(&mut feed, text).await;
    }
    drop(node.folder);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_not_waited_for() {
    let (node, mut feed) = Node::start();
    let (mut watching, _) = node.asked().await;
    for number in 0..WAITING_MAX as u64 + 10 {
        say(&mut watching, slot(number)).await;
    }
    say(&mut watching, event(&WatchEvent::Alarm { text: "last of all".into() })).await;
    for text in ["more happens than can be shown", "last of all"] {
        let warned = within(feed.alarms.recv()).await.unwrap();
        assert!(warned.text.contains(text), "{warned:?}");
    }
    told(&mut feed, "[0] from").await;
}
