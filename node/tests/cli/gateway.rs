//! The gateway under clients that mean no good: everything is bounded, refused in JSON, and others do not
//! notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::Node;

/// Longer than any answer takes.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// More connections than a gateway has open at once; the full count is what the limits are made for.
const MANY: usize = 600;
const MANY_FULL: usize = 10_000;

/// A node with a gateway, and where that is.
fn start() -> (Node, String) {
    let node = Node::start_with(&["--gateway", "0"]);
    let address = node.ready["gateway"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    (node, address)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
    stream
}

/// Status and body of what is answered to these bytes, after which the connection is closed.
fn send(address: &str, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = connect(address);
    stream.write_all(head.as_bytes()).unwrap();
    // It may be refused before all of it is sent.
    let _ = stream.write_all(body);
    read_answer(&mut stream)
}

fn read_answer(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count) = stream.read(&mut piece) {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..count]);
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn get(address: &str, path: &str, fields: &str) -> (u16, Value) {
    let head = format!("GET {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    let (status, body) = send(address, &head, b"");
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: no JSON: {body}")))
}

fn post(address: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let (status, answer) = send(address, &head, body);
    (status, serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: no JSON: {answer}")))
}

fn assert_lives(address: &str) {
    let (status, root) = get(address, "/", "Host: localhost\r\n");
    assert_eq!(status, 200, "{root}");
    assert_eq!(root["network"], "local");
}

#[test]
fn the_gateway_says_who_is_here_and_what_it_refuses() {
    let (node, address) = start();
    let (_, root) = get(&address, "/", "Host: localhost\r\n");
    assert_eq!(root["address"], node.ready["address"]);
    // A name that somebody made to point here, and a page of somebody else.
    let (status, told) = get(&address, "/", "Host: evil.example\r\n");
    assert!(status == 421 && told["error"].as_str().unwrap().contains("gateway_hosts"), "{told}");
    let (status, told) = get(&address, "/", "Host: localhost\r\nOrigin: https://evil.example\r\n");
    assert!(status == 403 && told["error"].as_str().unwrap().contains("gateway_cors"), "{told}");
    for path in ["/../../etc/passwd", "/%2e%2e%2fetc/passwd", "/raw/..", "/tx/%00", "/result", "/~x@1.0/y"] {
        let (status, told) = get(&address, path, "Host: localhost\r\n");
        assert!(matches!(status, 400 | 404) && told["error"].is_string(), "{path}: {status} {told}");
    }
    let long = format!("/raw/{}", "a".repeat(30_000));
    assert_eq!(get(&address, &long, "Host: localhost\r\n").0, 400);
    assert_lives(&address);
}

#[test]
fn bodies_and_queries_that_are_too_large_are_refused() {
    let (_node, address) = start();
    let (status, told) = post(&address, "/", &vec![b'x'; 100 * 1024 * 1024]);
    assert!(status == 413 && told["error"].as_str().unwrap().contains("limit"), "{status} {told}");
    let (status, told) = post(&address, "/dry-run?process-id=x", b"{}");
    assert!(status == 400 && told["error"].as_str().unwrap().contains("process-id"), "{status} {told}");
    // In pieces, of which nobody says how many there will be.
    let mut stream = connect(&address);
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    let piece = [b"100000\r\n".as_slice(), &[b'x'; 0x10_0000], b"\r\n"].concat();
    for _ in 0..12 {
        stream.write_all(&piece).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).0, 413);
    let deep = format!("{}{}", "{a".repeat(2_000), "}".repeat(2_000));
    let wide = format!("{{{}}}", "a:transactions(first:1000){edges{node{id}}} ".repeat(150));
    let itself = "{__schema{types{fields{type{fields{name}}}}}}".to_owned();
    let spread = "{...f} fragment f on Query {block{id}}".to_owned();
    for query in [deep, wide, spread, itself.clone()] {
        let began = Instant::now();
        let (status, told) = post(&address, "/graphql", json!({ "query": query }).to_string().as_bytes());
        let is_refused = status == 400 || told["errors"].is_array();
        assert!(is_refused && (query == itself || status == 400), "{query:.60}: {status} {told}");
        assert!(began.elapsed() < Duration::from_secs(10), "{query:.60}");
    }
    // As many edges as its fields leave room for: a page has less of them the more it shows of each.
    let aliases: String = (0..90).map(|at| format!("t{at}:tags{{name value}} ")).collect();
    let query = format!("{{transactions(first:1000){{pageInfo{{hasNextPage}} edges{{node{{{aliases}}}}}}}}}");
    let (status, told) = post(&address, "/graphql", json!({ "query": query }).to_string().as_bytes());
    let edges = told["data"]["transactions"]["edges"].as_array().unwrap_or_else(|| panic!("{status} {told}"));
    assert!(!edges.is_empty() && told.to_string().len() < 4 * 1024 * 1024);
    let searches = format!(
        "{{{}}}",
        (0..8).map(|at| format!("a{at}:transactions{{edges{{cursor}}}} ")).collect::<String>()
    );
    let (_, told) = post(&address, "/graphql", json!({ "query": searches }).to_string().as_bytes());
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("may search"), "{told}");
    assert_lives(&address);
}

#[test]
fn idle_and_slow_connections_only_push_out_each_other() {
    let (_node, address) = start();
    let many = if std::env::var("WEFT_FULL").as_deref() == Ok("1") { MANY_FULL } else { MANY };
    // As many at a time as this process may have open.
    let mut open = std::collections::VecDeque::new();
    for number in 0..many {
        let mut stream = connect(&address);
        if number % 2 == 1 {
            // The beginning of a request that never ends.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: local");
        }
        open.push_back(stream);
        if open.len() > MANY {
            open.pop_front();
        }
        if number % 100 == 99 {
            assert_lives(&address);
        }
    }
    assert_lives(&address);
}
