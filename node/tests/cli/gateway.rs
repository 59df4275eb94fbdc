//! The gateway under clients that mean no good: everything is bounded, refused in JSON, and others do not
//! notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::full::is_full;
use super::node::Node;

/// Longer than any answer takes.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// More connections than a gateway has open at once; the full count is what the limits are made for.
const MANY: usize = 600;
const MANY_FULL: usize = 10_000;

/// A node with a gateway, and where that is.
pub(super) fn start() -> (Node, String) {
    let node = Node::start_with(&["--gateway", "0"]);
    let address = gateway_of(&node);
    (node, address)
}

fn gateway_of(node: &Node) -> String {
    node.ready["gateway"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned()
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

pub(super) fn post(address: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let (status, answer) = send(address, &head, body);
    (status, serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: no JSON: {answer}")))
}

pub(super) fn assert_lives(address: &str) {
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

/// Whatever today's clients read of a process, by slots too, they are told at a node that has nothing of it.
#[test]
fn a_node_without_the_log_answers_clients_as_the_one_that_has_it() {
    const HOST: &str = "Host: localhost\r\n";
    let (node, here) = start();
    let process = node.counter();
    let sent = node.json(&["send", &process, "--action", "Increment", "--wait"]);
    let message = sent["id"].as_str().unwrap();
    let other = node.start_beside(&["--gateway", "0"]);
    let there = gateway_of(&other);
    for path in [
        format!("/result/1?process-id={process}"),
        format!("/result/{message}?process-id={process}"),
        format!("/results/{process}?sort=DESC&limit=2"),
        format!("/{process}?process-id={process}&from-nonce=0"),
        format!("/{process}?from=0&limit=1"),
        format!("/{message}?process-id={process}"),
        format!("/{process}/latest"),
        format!("/processes/{process}"),
        format!("/{process}~process@1.0/slot/current"),
        format!("/{process}~process@1.0/compute/results=1"),
    ] {
        let own = get(&here, &path, HOST);
        assert_eq!(own.0, 200, "{path}: {}", own.1);
        assert_eq!(get(&there, &path, HOST), own, "{path}");
    }
    let dry_run = json!({ "Owner": "x", "Tags": [{ "name": "Action", "value": "Increment" }] }).to_string();
    let path = format!("/dry-run?process-id={process}");
    let own = post(&here, &path, dry_run.as_bytes());
    assert_eq!((own.0, own.1["Output"].as_str()), (200, Some("2")));
    assert_eq!(post(&there, &path, dry_run.as_bytes()), own);
    // Memories and what goes on are told by whoever follows the process, and an error says how.
    for path in [format!("/state/{process}"), format!("/events/{process}")] {
        let (status, told) = get(&there, &path, HOST);
        assert!(status == 404 && told.to_string().contains("`weft host "), "{path}: {status} {told}");
    }
    assert_eq!(other.json(&["processes"]), json!([]));
    other.stop();
    node.stop();
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
fn what_is_no_request_is_refused_in_json() {
    let (_node, address) = start();
    let fields: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let cases = [
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        ("garbage\r\n\r\n".to_owned(), 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(300_000)), 431),
    ];
    for (head, expected) in cases {
        let (status, told) = send(&address, &head, b"");
        let told: Value =
            serde_json::from_str(&told).unwrap_or_else(|_| panic!("{head:.40}: no JSON: {told}"));
        assert!(status == expected && told["error"].is_string(), "{head:.40}: {status} {told}");
    }
    // A request before it on the same connection is answered as ever.
    let (_, answers) = send(&address, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\ngarbage\r\n\r\n", b"");
    assert!(answers.contains("HTTP/1.1 400 Bad Request") && answers.contains("{\"error\":"), "{answers}");
    assert_lives(&address);
}

#[test]
fn bodies_that_never_come_hold_up_nobody() {
    let (_node, address) = start();
    // Together they announce several times what bodies may take.
    let announced: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = connect(&address);
            let begun = "x".repeat(if number % 2 == 0 { 0 } else { 1_000 });
            let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n";
            stream.write_all(format!("{head}{begun}").as_bytes()).unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    for bytes in [10, 1_000_000] {
        let (status, told) = post(&address, "/", &vec![b'x'; bytes]);
        assert_eq!(status, 400, "{told}");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(announced);
    assert_lives(&address);
}

#[test]
fn a_proxy_shows_the_gateway_under_its_own_address() {
    let node = Node::start_with(&["--gateway", "0", "--gateway-url", "https://node.example"]);
    let address = node.ready["gateway"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let own = "Host: node.example\r\nOrigin: https://node.example\r\n";
    assert_eq!(get(&address, "/", own).0, 200);
    let (status, told) = get(&address, "/", "Host: node.example\r\nOrigin: https://evil.example\r\n");
    assert_eq!(status, 403, "{told}");
    let query = "/graphql?query=%7Btransactions(tags:%5B%7Bname:%22Type%22,values:%5B%22Scheduler-Location%22%5D\
                 %7D%5D)%7Bedges%7Bnode%7Btags%7Bname%20value%7D%7D%7D%7D%7D";
    let url = |fields: &str| {
        let (_, told) = get(&address, query, fields);
        let tags = told["data"]["transactions"]["edges"][0]["node"]["tags"].as_array().cloned();
        let tags = tags.unwrap_or_else(|| panic!("{told}"));
        let url = tags.iter().find(|tag| tag["name"] == "Url").unwrap();
        url["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(url("Host: node.example\r\n"), "https://node.example");
    assert_eq!(url("Host: 127.0.0.1:1\r\nX-Forwarded-Proto: https\r\n"), "https://node.example");
    assert_eq!(url("Host: localhost:1\r\n"), "http://localhost:1");
}

/// How many connections this process can have open beside everything else, if it may have so many.
fn open_at_once(wanted: usize) -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is one that both calls may read and write.
    let allowed = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        }
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    };
    // The other tests of this program have some as well.
    wanted.min(allowed.saturating_sub(2_000)).max(MANY)
}

#[test]
fn idle_and_slow_connections_only_push_out_each_other() {
    let (_node, address) = start();
    let many = if is_full() { MANY_FULL } else { MANY };
    let at_once = open_at_once(many);
    // A client that was answered and is idle between two questions, as those that poll are.
    let mut client = connect(&address);
    let ask = |client: &mut TcpStream| {
        client.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = [0; 15];
        client.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        // Its answer has no body: what follows is the rest of the head.
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            rest.push(byte[0]);
        }
    };
    ask(&mut client);
    let mut open = std::collections::VecDeque::new();
    for number in 0..many {
        let mut stream = connect(&address);
        let begun: &[u8] = match number % 3 {
            0 => b"",
            // The beginning of a request that never ends, and one whose body never comes.
            1 => b"GET / HTTP/1.1\r\nHost: local",
            _ => b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
        };
        let _ = stream.write_all(begun);
        open.push_back(stream);
        if open.len() > at_once {
            open.pop_front();
        }
        if number % 100 == 99 {
            assert_lives(&address);
        }
    }
    assert_lives(&address);
    // It was idle for longer than all of them.
    ask(&mut client);
}
