//! A gateway that has these items, for tests of what asks one; it gives their data as the test says, or bundles of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use weft_protocol::{DataItem, Id, Verified};

/// Items of a page.
const PAGE: usize = 100;

/// What is given as the data of an item.
type Gives = dyn Fn(&Verified<DataItem>) -> Vec<u8> + Send + Sync;

/// A bundle under its name, and the items that are said to be in it.
pub(crate) type Bundled = (Id, Vec<Verified<DataItem>>, Vec<u8>);

/// What it has.
struct Has {
    /// It answers GraphQL.
    lists: bool,
    items: Vec<Verified<DataItem>>,
    bundles: Vec<Bundled>,
    gives: Box<Gives>,
}

/// Its address. It ends with the runtime of the test.
pub(crate) async fn gateway(
    items: Vec<Verified<DataItem>>,
    gives: impl Fn(&Verified<DataItem>) -> Vec<u8> + Send + Sync + 'static,
) -> String {
    begin(Has { lists: true, items, bundles: Vec::new(), gives: Box::new(gives) }).await
}

/// The address of one that has its items in bundles; `asked` hears which of them is asked for.
pub(crate) async fn bundled(bundles: Vec<Bundled>, asked: impl Fn(Id) + Send + Sync + 'static) -> String {
    begin_with(Arc::new(bundles_of(bundles, true)), Arc::new(asked)).await
}

/// The address of one that has bundles under their names and lists nothing.
pub(crate) async fn without_lists(bundles: Vec<Bundled>) -> String {
    begin(bundles_of(bundles, false)).await
}

fn bundles_of(bundles: Vec<Bundled>, lists: bool) -> Has {
    let items = bundles.iter().flat_map(|(_, items, _)| items.clone()).collect();
    Has { lists, items, bundles, gives: Box::new(|item| item.data().to_vec()) }
}

async fn begin(has: Has) -> String {
    begin_with(Arc::new(has), Arc::new(|_| {})).await
}

async fn begin_with(has: Arc<Has>, asked: Arc<dyn Fn(Id) + Send + Sync>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&has), Arc::clone(&asked)));
        }
    });
    address
}

/// Answers one request, and hangs up.
async fn serve(mut stream: TcpStream, has: Arc<Has>, asked: Arc<dyn Fn(Id) + Send + Sync>) -> Option<()> {
    let (path, body) = request(&mut stream).await?;
    let answer = match path.strip_prefix("/raw/") {
        Some(id) => {
            let id: Id = id.parse().ok()?;
            let bundle = has.bundles.iter().find(|(name, ..)| *name == id);
            bundle.iter().for_each(|_| asked(id));
            let data = || has.items.iter().find(|item| item.id() == id).map(|item| (has.gives)(item));
            bundle.map(|(.., bytes)| bytes.clone()).or_else(data)
        }
        None if path == "/graphql" && has.lists => Some(listed(&has, &serde_json::from_slice(&body).ok()?)),
        None => None,
    };
    let (status, body) = answer.map_or((404, Vec::new()), |body| (200, body));
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&body).await.ok()
}

async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let end = loop {
        if let Some(at) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        (stream.read_buf(&mut all).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(all[..end].to_vec()).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    while all.len() < end + length.unwrap_or(0) {
        (stream.read_buf(&mut all).await.ok()? > 0).then_some(())?;
    }
    // Ids have capitals.
    let path = String::from_utf8(all[..end].to_vec()).ok()?.split(' ').nth(1)?.to_owned();
    Some((path, all.split_off(end)))
}

/// The items that the question names, or whose `Type` and slots it names, in its order, from its cursor on.
fn listed(has: &Has, question: &Value) -> Vec<u8> {
    let query = question["query"].as_str().unwrap_or_default();
    let (ids, slots) = (&question["variables"]["i"], &question["variables"]["n"]);
    let names =
        |list: &Value, text: &str| list.as_array().is_some_and(|all| all.iter().any(|one| one == text));
    let is_asked = |item: &&Verified<DataItem>| {
        let is_type = item.tag("Type").is_some_and(|kind| query.contains(&format!("\"{kind}\"")));
        let is_slot = slots.is_null() || item.tag("Nonce").is_some_and(|slot| names(slots, slot));
        names(ids, &item.id().to_string()) || (ids.is_null() && is_type && is_slot)
    };
    let mut found: Vec<&Verified<DataItem>> = has.items.iter().filter(is_asked).collect();
    if query.contains("HEIGHT_DESC") {
        found.reverse();
    }
    let after = question["variables"]["a"].as_str().and_then(|after| after.parse::<usize>().ok());
    let from = after.map_or(0, |after| after + 1);
    let page = found.iter().enumerate().skip(from).take(PAGE);
    let edges: Vec<Value> =
        page.map(|(at, item)| json!({ "cursor": at.to_string(), "node": node(item, has) })).collect();
    let more = from + edges.len() < found.len();
    let page = json!({ "pageInfo": { "hasNextPage": more }, "edges": edges });
    json!({ "data": { "transactions": page } }).to_string().into_bytes()
}

fn node(item: &DataItem, has: &Has) -> Value {
    let bundle = has.bundles.iter().find(|(_, items, _)| items.iter().any(|one| one.id() == item.id()));
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let tags: Vec<Value> =
        item.tags().iter().map(|tag| json!({ "name": tag.name, "value": tag.value })).collect();
    json!({
        "id": item.id(),
        "anchor": item.anchor().map(|anchor| encode(anchor)),
        // Of what is in a bundle the bundle alone has it, as some gateways do.
        "signature": bundle.is_none().then(|| encode(item.signature())),
        "recipient": item.target(),
        "owner": { "key": encode(item.owner_key()) },
        "tags": tags,
        "data": { "size": item.data().len().to_string() },
        "bundledIn": bundle.map(|(id, ..)| json!({ "id": id })),
    })
}
