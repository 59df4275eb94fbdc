//! Requests and answers.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use weft_net::{NetConfig, NetEvent, Peer, Reply, ReplyError, RequestError};
use weft_protocol::wire::{self, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, refusal::Code, request, response};

use crate::support::{LONG, Node, config, until, within};

fn submit(bytes: usize) -> wire::Request {
    let item = Bytes::from(vec![1; bytes]);
    wire::Request { body: Some(request::Body::Submit(wire::SubmitRequest { item, proof: Bytes::new() })) }
}

fn piece(bytes: usize) -> wire::Response {
    let piece = Bytes::from(vec![2; bytes]);
    wire::Response { body: Some(response::Body::Blob(wire::BlobResponse { total: 9, piece })) }
}

fn refusal(response: wire::Response) -> wire::Refusal {
    match response.body {
        Some(response::Body::Refusal(refusal)) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn next_request(node: &mut Node) -> (wire::Request, Reply) {
    node.next("a request", |event| match event {
        NetEvent::Request { request, reply, .. } => Some((request, reply)),
        _ => None,
    })
    .await
}

async fn pair(server: NetConfig) -> (Node, Node) {
    let server = Node::start(server).await;
    let client = Node::joining(2, &server).await;
    (server, client)
}

#[tokio::test]
async fn the_largest_request_and_response_pass_and_larger_ones_are_named() {
    let (mut server, client) = pair(config(1)).await;
    let large = submit(REQUEST_BYTES_MAX - 20);
    let (answer, ()) = tokio::join!(client.net.request(server.peer(), large.clone()), async {
        let (request, reply) = next_request(&mut server).await;
        assert!(request == large);
        reply.send(piece(RESPONSE_BYTES_MAX - 20)).unwrap();
    });
    assert!(answer.unwrap() == piece(RESPONSE_BYTES_MAX - 20));

    let larger = client.net.request(server.peer(), submit(REQUEST_BYTES_MAX)).await;
    assert!(matches!(larger, Err(RequestError::TooLarge { limit: REQUEST_BYTES_MAX, .. })));

    let (answer, ()) = tokio::join!(client.net.request(server.peer(), submit(1)), async {
        let (_, reply) = next_request(&mut server).await;
        let error = reply.send(piece(RESPONSE_BYTES_MAX)).unwrap_err();
        assert!(matches!(error, ReplyError::TooLarge { .. }));
    });
    assert_eq!(refusal(answer.unwrap()).code(), Code::Fault);
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_a_dropped_reply_is_a_fault() {
    let (mut server, client) = pair(config(1)).await;
    let unknown = wire::Refusal { code: Code::Unknown.into(), text: "no such process".into(), retry_ms: 0 };
    let refused = wire::Response { body: Some(response::Body::Refusal(unknown.clone())) };
    let (answer, ()) = tokio::join!(client.net.request(server.peer(), submit(1)), async {
        next_request(&mut server).await.1.send(refused).unwrap();
    });
    assert_eq!(refusal(answer.unwrap()), unknown);
    let (answer, ()) = tokio::join!(client.net.request(server.peer(), submit(1)), async {
        drop(next_request(&mut server).await);
    });
    assert_eq!(refusal(answer.unwrap()).code(), Code::Fault);
}

#[tokio::test]
async fn a_full_event_queue_answers_busy_with_a_time_to_come_back() {
    let mut small = config(1);
    small.limits.events = 2;
    let (mut server, client) = pair(small).await;
    let (net, peer) = (client.net.clone(), server.peer());
    // Nobody reads the server's events: two requests (or notices) fit, the others are refused.
    let asked = tokio::spawn(async move {
        futures::future::join_all((0..10).map(|_| net.request(peer, submit(1)))).await
    });
    until("refusals", || async { (server.net.metrics().requests_busy >= 8).then_some(()) }).await;
    while let Ok(event) = server.events.try_recv() {
        if let NetEvent::Request { reply, .. } = event {
            reply.send(piece(1)).unwrap();
        }
    }
    let asked = within("answers", asked).await.unwrap();
    let busy: Vec<_> = asked
        .into_iter()
        .map(Result::unwrap)
        .filter_map(|answer| match answer.body {
            Some(response::Body::Refusal(refusal)) => Some(refusal),
            _ => None,
        })
        .collect();
    assert!(busy.len() >= 8, "{} were busy", busy.len());
    assert!(busy.iter().all(|refusal| refusal.code() == Code::Busy && refusal.retry_ms > 0));
}

#[tokio::test]
async fn a_peer_that_does_not_answer_or_is_not_there_is_reported() {
    let mut hasty = config(2);
    hasty.limits.request_timeout = Duration::from_millis(500);
    let mut server = Node::plain(1).await;
    hasty.bootstrap = vec![server.address()];
    let client = Node::start(hasty).await;
    within("a peer", client.net.wait_ready(1)).await.unwrap();
    assert_eq!(client.net.request(server.peer(), submit(1)).await, Err(RequestError::Timeout));
    let (_, reply) = next_request(&mut server).await;
    let gone = server.net.clone();
    gone.shutdown().await;
    drop(reply);
    let stranger = Node::plain(3).await.peer();
    assert_eq!(client.net.request(stranger, submit(1)).await, Err(RequestError::Unreachable));
    client.net.shutdown().await;
    assert!(matches!(client.net.request(stranger, submit(1)).await, Err(RequestError::Stopped(_))));
}

const REQUESTS_MAX: usize = 1024;

/// A node that dials a stranger who takes the connection and says nothing: requests to it wait until that is over.
struct Dialling {
    server: Node,
    client: Node,
    stranger: Peer,
    dialled: Option<TcpStream>,
}

impl Dialling {
    async fn begin() -> Self {
        let server = Node::plain(1).await;
        let mut patient = config(2);
        (patient.bootstrap, patient.limits.opening_timeout) = (vec![server.address()], LONG);
        let client = Node::start(patient).await;
        within("a peer", client.net.wait_ready(1)).await.unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stranger = Node::plain(3).await.peer();
        let at = format!("/ip4/127.0.0.1/tcp/{}/p2p/{stranger}", silent.local_addr().unwrap().port());
        let net = client.net.clone();
        tokio::spawn(async move { net.dial(&at).await });
        let (dialled, _) = within("the dial", silent.accept()).await.unwrap();
        Self { server, client, stranger, dialled: Some(dialled) }
    }

    /// So many callers ask the stranger, and go away.
    async fn ask_and_go(&self) {
        let (net, stranger) = (self.client.net.clone(), self.stranger);
        let asked = tokio::spawn(async move {
            futures::future::join_all((0..REQUESTS_MAX).map(|_| net.request(stranger, submit(1)))).await
        });
        until("as many as there may be", || async {
            let levels = self.client.net.levels();
            levels.iter().any(|at| at.name == "requests_outbound" && at.used == at.limit).then_some(())
        })
        .await;
        let refused = self.client.net.request(self.server.peer(), submit(1)).await;
        assert!(matches!(refused, Err(RequestError::TooMany { .. })), "{refused:?}");
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        until("that they are gone", || async {
            let levels = self.client.net.levels();
            levels.iter().any(|at| at.name == "requests_outbound" && at.used == 0).then_some(())
        })
        .await;
    }

    async fn server_is_asked(&mut self) {
        let (answer, ()) = tokio::join!(self.client.net.request(self.server.peer(), submit(1)), async {
            next_request(&mut self.server).await.1.send(piece(1)).unwrap();
        });
        assert!(answer.unwrap() == piece(1));
    }
}

#[tokio::test]
async fn requests_that_nobody_waits_for_any_more_keep_nobody_else_from_asking() {
    let mut dialling = Dialling::begin().await;
    dialling.ask_and_go().await;
    dialling.server_is_asked().await;
}

/// The library keeps them until the dial is over.
#[tokio::test]
async fn requests_that_nobody_waits_for_any_more_are_kept_and_those_are_few() {
    let mut dialling = Dialling::begin().await;
    for _ in 0..4 {
        dialling.ask_and_go().await;
    }
    let refused = dialling.client.net.request(dialling.server.peer(), submit(1)).await;
    assert_eq!(refused, Err(RequestError::TooMany { limit: 4 * REQUESTS_MAX }));
    drop(dialling.dialled.take());
    until("the end of the dial", || async {
        let metrics = dialling.client.net.metrics();
        (metrics.requests_failed >= 4 * REQUESTS_MAX as u64).then_some(())
    })
    .await;
    dialling.server_is_asked().await;
}

#[tokio::test]
async fn large_requests_that_nobody_waits_for_any_more_are_fewer() {
    let dialling = Dialling::begin().await;
    let large = submit(REQUEST_BYTES_MAX - 20);
    until("as many bytes as may be", || async {
        let asked = dialling.client.net.request(dialling.stranger, large.clone());
        match tokio::time::timeout(Duration::from_millis(20), asked).await {
            Err(_) => None,
            Ok(refused) => {
                assert!(matches!(refused, Err(RequestError::TooMuch { .. })), "{refused:?}");
                Some(())
            }
        }
    })
    .await;
    assert_eq!(dialling.client.net.metrics().requests_sent, 256 * 1024 * 1024 / REQUEST_BYTES_MAX as u64);
}
