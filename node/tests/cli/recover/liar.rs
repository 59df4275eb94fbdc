//! A gateway between a node and its weave that lies.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use serde_json::{Value, json};
use weft_protocol::attestation::Statement;
use weft_protocol::bundle::{Bundle, Frame};
use weft_protocol::crypto::Signer;
use weft_protocol::l1::chunk::data_root;
use weft_protocol::process::RULES;
use weft_protocol::{Draft, Hash, Id, Network, Position, Tag, wire};

/// How long it waits for anything.
const WAIT: Duration = Duration::from_secs(60);

/// What it does to what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// A byte of each bundle's last item is another one.
    WrongByte,
    /// All assignments are signed by somebody else, with the same tags.
    Forged,
    /// Items keep their signatures, and so their ids, and say something else.
    SameIdOtherData,
    /// Bundles are cut off.
    Cut,
    /// Bundles are no bundles.
    Noise,
    /// Bundles have items of strangers in front and behind.
    Strangers,
    /// Lists name a bundle where nothing of it is.
    WrongBundle,
    /// Lists have no end and name what is nowhere.
    Endless,
    /// Answers to queries are as long as they want to be.
    Huge,
    /// Bundles never come.
    HugeBundle,
    /// Nothing is JSON.
    NoJson,
    /// Every question fails.
    Broken,
    /// Items are listed without their bundles, as some gateways do.
    Unbundled,
}

impl Lie {
    pub(super) const ALL: [Self; 13] = [
        Self::WrongByte,
        Self::Forged,
        Self::SameIdOtherData,
        Self::Cut,
        Self::Noise,
        Self::Strangers,
        Self::WrongBundle,
        Self::Endless,
        Self::Huge,
        Self::HugeBundle,
        Self::NoJson,
        Self::Broken,
        Self::Unbundled,
    ];

    /// Whether everything can be had all the same.
    pub(super) const fn is_harmless(self) -> bool {
        matches!(self, Self::Strangers | Self::Unbundled | Self::WrongBundle)
    }

    /// Words of what is said of it.
    pub(super) const fn named(self) -> Option<&'static str> {
        match self {
            Self::Unbundled => None,
            Self::WrongByte | Self::SameIdOtherData => Some("signature"),
            Self::Forged => Some("where it is said to be"),
            Self::Strangers => Some("neither those of its name"),
            Self::Cut | Self::Noise => Some("is not a bundle"),
            Self::WrongBundle | Self::Endless => Some("does not have"),
            Self::Huge | Self::HugeBundle => Some("the most that are read"),
            Self::NoJson => Some("its answer to a query"),
            Self::Broken => Some("500"),
        }
    }
}

/// A gateway that asks another one and lies; it ends with the value.
pub struct Liar {
    pub address: String,
    ends: Arc<AtomicBool>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // The listener looks again.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

impl Liar {
    pub(super) fn before(upstream: &str, lie: Lie) -> Self {
        Self::start(upstream, move |path, status, body| tell(lie, path, status, body))
    }

    /// One that has all but these bundles.
    pub(super) fn without(upstream: &str, bundles: Vec<String>) -> Self {
        Self::start(upstream, move |path, status, body| {
            match bundles.iter().any(|bundle| path.ends_with(&format!("/{bundle}"))) {
                true => Told::Answer(404, b"Not Found.".to_vec()),
                false if path == "/graphql" => Told::Answer(status, unlisted(&body, &bundles)),
                false => Told::Answer(status, body),
            }
        })
    }

    /// One that lists slot 0 of this process where it has nothing to list.
    pub(super) fn naming(upstream: &str, process: &str) -> Self {
        let tags = [("Data-Protocol", "ao"), ("Type", "Assignment"), ("Process", process), ("Nonce", "0")];
        let tags = tags.map(|(name, value)| json!({ "name": name, "value": value }));
        let edge = json!({ "node": { "id": Id([3; 32]), "tags": tags } });
        Self::start(upstream, move |path, status, body| {
            let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            let edges = answer.pointer_mut("/data/transactions/edges").and_then(Value::as_array_mut);
            match edges.filter(|edges| path == "/graphql" && edges.is_empty()) {
                Some(edges) => edges.push(edge.clone()),
                None => return Told::Answer(status, body),
            }
            Told::Answer(status, answer.to_string().into_bytes())
        })
    }

    /// One whose bundles also hold what the key of this seed never said: another outcome of a slot.
    pub(super) fn attesting(upstream: &str, process: &str, seed: [u8; 32], slot: u64) -> Self {
        let (process, network): (Id, _) = (process.parse().unwrap(), Network::of_name("local"));
        let signer = Signer::from_seed(&seed);
        let statement = Statement {
            network,
            process,
            position: Position::slot(slot),
            assignment: Id([1; 32]),
            running: Hash([2; 32]),
            state_root: Hash::ZERO,
            rules: RULES,
        };
        let attestation = statement.sign(&signer).unwrap().to_wire();
        let message = wire::AttestationsResponse { attestations: vec![attestation] };
        let tags = vec![
            Tag::new("Type", "Weft-Attestations"),
            Tag::new("Process", process.to_string()),
            Tag::new("Network", network.to_string()),
        ];
        let draft = Draft { tags, data: message.encode_to_vec().into(), ..Draft::default() };
        let item = draft.sign(&Signer::from_seed(&[9; 32])).unwrap();
        let extra = (item.id(), item.raw().to_vec());
        Self::start(upstream, move |path, status, body| {
            let bundle = path.starts_with("/raw/").then(|| Bundle::parse(body.clone()).ok()).flatten();
            let Some(bundle) = bundle else { return Told::Answer(status, body) };
            let own = bundle.entries().map(|(id, range)| (id, bundle.raw()[range].to_vec()));
            Told::Answer(status, rebuilt(&own.chain([extra.clone()]).collect::<Vec<_>>()))
        })
    }

    /// One that says something else in this field of every answer under this path.
    pub(super) fn saying(
        upstream: &str,
        under: &'static str,
        field: &'static str,
        false_word: Value,
    ) -> Self {
        Self::start(upstream, move |path, status, body| {
            let answer =
                path.starts_with(under).then(|| serde_json::from_slice::<Value>(&body).ok()).flatten();
            let Some(mut answer) = answer else { return Told::Answer(status, body) };
            answer[field] = false_word.clone();
            Told::Answer(status, answer.to_string().into_bytes())
        })
    }

    /// One that lists everything in bundles of its own, which have the same items in another order and are in no block.
    pub fn elsewhere(upstream: &str) -> Self {
        let (own, from) = (Mutex::new(BTreeMap::new()), upstream.trim_start_matches("http://").to_owned());
        Self::start(upstream, move |path, status, body| {
            let mut own = own.lock().unwrap();
            if path == "/graphql" {
                let moved = |node: &mut Value| {
                    let Some(bundle) = node["bundledIn"]["id"].as_str().map(str::to_owned) else { return };
                    let mut server = TcpStream::connect(&from).unwrap();
                    write!(server, "GET /raw/{bundle} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n")
                        .unwrap();
                    let bundle = Bundle::parse(message(&mut server).unwrap().1).unwrap();
                    let items = bundle.entries().map(|(id, range)| (id, bundle.raw()[range].to_vec()));
                    let other = rebuilt(&items.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>());
                    let name = data_root(&other).unwrap().to_string();
                    node["bundledIn"]["id"] = json!(name);
                    own.insert(name, other);
                };
                return Told::Answer(status, each_node(&body, moved));
            }
            match path.strip_prefix("/raw/").and_then(|name| own.get(name)) {
                Some(bundle) => Told::Answer(200, bundle.clone()),
                None => Told::Answer(status, body),
            }
        })
    }

    fn start(upstream: &str, lie: impl Fn(&str, u16, Vec<u8>) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let ends = Arc::new(AtomicBool::new(false));
        let (ended, upstream) = (Arc::clone(&ends), upstream.trim_start_matches("http://").to_owned());
        let lie = Arc::new(lie);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (upstream, lie) = (upstream.clone(), Arc::clone(&lie));
                // One that breaks off is the other side's end.
                std::thread::spawn(move || serve(stream.ok()?, &upstream, &*lie));
            }
        });
        Self { address, ends }
    }
}

enum Told {
    Answer(u16, Vec<u8>),
    /// Without an end, and without saying how long it is.
    Endless,
}

/// Answers one request, and hangs up.
fn serve(mut client: TcpStream, upstream: &str, lie: &dyn Fn(&str, u16, Vec<u8>) -> Told) -> Option<()> {
    client.set_read_timeout(Some(WAIT)).ok()?;
    let (head, body) = message(&mut client)?;
    let path = head.split(' ').nth(1)?.to_owned();
    let mut server = TcpStream::connect(upstream).ok()?;
    server.set_read_timeout(Some(WAIT)).ok()?;
    let method = head.split(' ').next()?;
    let kind = "Content-Type: application/json";
    let length = body.len();
    write!(server, "{method} {path} HTTP/1.1\r\nHost: {upstream}\r\n{kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").ok()?;
    server.write_all(&body).ok()?;
    let (head, answer) = message(&mut server)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    match lie(&path, status, answer) {
        Told::Answer(status, answer) => {
            let length = answer.len();
            write!(client, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
                .ok()?;
            client.write_all(&answer).ok()
        }
        Told::Endless => {
            write!(client, "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n").ok()?;
            // Until the other side has had enough.
            while client.write_all(&[b'['; 64 * 1024]).is_ok() {}
            None
        }
    }
}

/// The head and the body of a message.
fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut all, mut piece) = (Vec::new(), [0; 64 * 1024]);
    let end = loop {
        if let Some(at) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            count => all.extend_from_slice(&piece[..count]),
        }
    };
    let head = String::from_utf8(all[..end].to_vec()).ok()?;
    let lower = head.to_ascii_lowercase();
    let length =
        lower.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    let length: usize = length.unwrap_or_default();
    while all.len() < end + length {
        match stream.read(&mut piece).ok()? {
            0 => return None,
            count => all.extend_from_slice(&piece[..count]),
        }
    }
    Some((head, all[end..].to_vec()))
}

fn tell(lie: Lie, path: &str, status: u16, body: Vec<u8>) -> Told {
    let is_query = path == "/graphql";
    let bundle = path.starts_with("/raw/").then(|| Bundle::parse(body.clone()).ok()).flatten();
    let answer = |body| Told::Answer(status, body);
    match (lie, bundle) {
        (Lie::Broken, _) => Told::Answer(500, b"{}".to_vec()),
        (Lie::Huge, _) if is_query => Told::Endless,
        (Lie::NoJson, _) if is_query => answer(b"<html>".to_vec()),
        (Lie::Endless, _) if is_query => answer(endless(&body)),
        (Lie::WrongBundle, _) if is_query => answer(moved(&body)),
        (Lie::Unbundled, _) if is_query => answer(unbundled(&body)),
        (Lie::HugeBundle, Some(_)) => Told::Endless,
        (Lie::Cut, Some(_)) => answer(body[..body.len() - 1].to_vec()),
        (Lie::Noise, Some(_)) => answer(vec![0xff; body.len()]),
        (Lie::WrongByte, Some(bundle)) => {
            // Of the last item that has bytes of its own in the middle: its data, or its tags.
            let (_, range) = bundle.entries().max_by_key(|(_, range)| range.start).unwrap();
            let mut body = body;
            body[range.end - 1] ^= 1;
            for (_, range) in bundle.entries() {
                body[range.end - 2] ^= 1;
            }
            answer(body)
        }
        (Lie::SameIdOtherData, Some(bundle)) => answer(changed(&bundle, body)),
        (Lie::Forged, Some(bundle)) => answer(forged(&bundle)),
        (Lie::Strangers, Some(bundle)) => answer(among_strangers(&bundle)),
        _ => answer(body),
    }
}

/// Every item says something else under its old signature.
fn changed(bundle: &Bundle, mut body: Vec<u8>) -> Vec<u8> {
    for (item, (_, range)) in bundle.items().zip(bundle.entries()) {
        let item = item.unwrap();
        let raw_tags = item.claims().raw_tags();
        let at = bundle.raw()[range.clone()].windows(raw_tags.len().max(1)).position(|some| some == raw_tags);
        if let Some(at) = at.filter(|_| raw_tags.len() > 8) {
            // The first letter of the first tag's value, or of its name.
            body[range.start + at + 2] ^= 1;
        }
    }
    body
}

fn rebuilt(items: &[(Id, Vec<u8>)]) -> Vec<u8> {
    let sizes: Vec<(Id, usize)> = items.iter().map(|(id, raw)| (*id, raw.len())).collect();
    let mut bytes = Frame::of(&sizes).to_bytes();
    items.iter().for_each(|(_, raw)| bytes.extend_from_slice(raw));
    bytes
}

fn forged(bundle: &Bundle) -> Vec<u8> {
    let signer = Signer::from_seed(&[66; 32]);
    let again = |item: &weft_protocol::DataItem| {
        let tags = item.tags().to_vec();
        let draft = Draft { target: item.target(), anchor: item.anchor().copied(), tags, data: item.data() };
        draft.sign(&signer).unwrap()
    };
    let items = bundle.items().map(|item| {
        let item = again(item.unwrap().claims());
        (item.id(), item.raw().to_vec())
    });
    rebuilt(&items.collect::<Vec<_>>())
}

fn among_strangers(bundle: &Bundle) -> Vec<u8> {
    let signer = Signer::from_seed(&[77; 32]);
    let strange = |number: usize| {
        let tags = vec![Tag::new("Type", "Assignment"), Tag::new("Nonce", number.to_string())];
        let item = Draft { tags, ..Draft::default() }.sign(&signer).unwrap();
        (item.id(), item.raw().to_vec())
    };
    let own = bundle.entries().map(|(id, range)| (id, bundle.raw()[range].to_vec()));
    // And one that is no item at all.
    let none = (Id([5; 32]), vec![0xff; 100]);
    let items: Vec<_> = (0..50).map(strange).chain(own).chain([none]).chain((50..60).map(strange)).collect();
    rebuilt(&items)
}

fn each_node(body: &[u8], mut change: impl FnMut(&mut Value)) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    let edges = answer.pointer_mut("/data/transactions/edges").and_then(Value::as_array_mut);
    edges.into_iter().flatten().for_each(|edge| change(&mut edge["node"]));
    answer.to_string().into_bytes()
}

/// Lists nothing of these bundles.
fn unlisted(body: &[u8], bundles: &[String]) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    if let Some(edges) = answer.pointer_mut("/data/transactions/edges").and_then(Value::as_array_mut) {
        edges.retain(|edge| {
            let bundle = edge["node"]["bundledIn"]["id"].as_str().unwrap_or_default();
            !bundles.iter().any(|gone| gone == bundle)
        });
    }
    answer.to_string().into_bytes()
}

fn unbundled(body: &[u8]) -> Vec<u8> {
    each_node(body, |node| node["bundledIn"] = Value::Null)
}

fn moved(body: &[u8]) -> Vec<u8> {
    each_node(body, |node| node["bundledIn"] = json!({ "id": Id([8; 32]) }))
}

/// A hundred of each, none of which is anywhere.
fn endless(body: &[u8]) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    let Some(edges) = answer.pointer_mut("/data/transactions/edges").and_then(Value::as_array_mut) else {
        return body.to_vec();
    };
    let Some(first) = edges.first().cloned() else { return body.to_vec() };
    *edges = (0..100_u8)
        .map(|number| {
            let mut edge = first.clone();
            // A bundle that exists holds something else: the item itself is that bundle's name.
            edge["node"]["signature"] = json!(URL_SAFE_NO_PAD.encode([number; 64]));
            edge["node"]["bundledIn"] = json!({ "id": Id([number; 32]) });
            edge
        })
        .collect();
    answer["data"]["transactions"]["pageInfo"]["hasNextPage"] = json!(true);
    answer.to_string().into_bytes()
}
