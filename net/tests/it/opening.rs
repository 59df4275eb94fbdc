//! Connections that are never opened: their other ends are there, and say nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use weft_net::{DialError, NetConfig, RequestError};
use weft_protocol::wire::{self, request};

use crate::support::{Node, config, within};

/// Few connections may be opened at a time, and none may take long.
fn narrow(seed: u8, pending: u32) -> NetConfig {
    let mut narrow = config(seed);
    narrow.limits.connections_pending = pending;
    narrow.limits.opening_timeout = Duration::from_secs(2);
    narrow
}

#[tokio::test]
async fn who_takes_a_connection_and_says_nothing_keeps_nobody_from_dialling_others() {
    const PENDING: u32 = 4;
    let (client, server) = (Node::start(narrow(1, PENDING)).await, Node::plain(2).await);
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port());
    let stranger = Node::plain(3).await.peer();
    let named = format!("{at}/p2p/{stranger}");
    let (mut dials, mut held) = (Vec::new(), Vec::new());
    for number in 0..PENDING {
        let (net, at) = (client.net.clone(), if number == 0 { named.clone() } else { at.clone() });
        dials.push(tokio::spawn(async move { net.dial(&at).await }));
        held.push(within("a connection", silent.accept()).await.unwrap());
    }
    // Who asks a peer that is being dialled waits for the end of that.
    let head = request::Body::Head(wire::HeadRequest { processes: Vec::new() });
    let asked = client.net.request(stranger, wire::Request { body: Some(head) });
    assert_eq!(within("an answer", asked).await, Err(RequestError::Unreachable));
    for dial in dials {
        assert!(matches!(within("the end of a dial", dial).await.unwrap(), Err(DialError::Failed { .. })));
    }
    assert_eq!(within("a dial", client.net.dial(&server.address())).await, Ok(server.peer()));
}

#[tokio::test]
async fn who_comes_and_says_nothing_keeps_nobody_else_out() {
    const PENDING: u32 = 4;
    let server = Node::start(narrow(1, PENDING)).await;
    let port: u16 = server.address().split('/').nth(4).unwrap().parse().unwrap();
    let mut held = Vec::new();
    for _ in 0..PENDING {
        held.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap());
    }
    // It is refused at first, and tries again.
    Node::joining(2, &server).await;
    drop(held);
}
