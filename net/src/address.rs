//! Addresses of peers: which can be listened on and dialled, and how far away they are.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Why a text is not an address that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no multiaddress.
    #[error("{0}")]
    Syntax(String),
    /// It is not one to listen on.
    #[error("only an IP address with a TCP port, perhaps with /ws, or /udp/PORT/quic-v1 can be listened on")]
    Listen,
    /// It is not one to dial.
    #[error(
        "only an IP address or DNS name with a TCP port, perhaps with /ws, or /udp/PORT/quic-v1 can be dialled"
    )]
    Dial,
    /// It does not name its peer.
    #[error("it does not say which peer is there")]
    Peer,
}

/// Checks an address to listen on, such as `/ip4/0.0.0.0/tcp/4904`.
///
/// # Errors
/// What is wrong with it.
pub fn check_listen(text: &str) -> Result<(), AddressError> {
    listen(text).map(|_| ())
}

/// Checks an address of a peer to dial, such as `/dns4/peer.example/tcp/4904/p2p/12D3KooW...`.
///
/// # Errors
/// What is wrong with it.
pub fn check_peer(text: &str) -> Result<(), AddressError> {
    with_peer(text).map(|_| ())
}

fn parse(text: &str) -> Result<Multiaddr, AddressError> {
    // The parser of numbers would take a sign.
    if text.contains("/+") {
        return Err(AddressError::Syntax("a number has no sign".into()));
    }
    text.parse().map_err(|error: libp2p::multiaddr::Error| AddressError::Syntax(error.to_string()))
}

/// An address to listen on.
pub(crate) fn listen(text: &str) -> Result<Multiaddr, AddressError> {
    let address = parse(text)?;
    let parts: Vec<_> = address.iter().collect();
    let is_right = match &parts[..] {
        [Protocol::Memory(_)] => true,
        [ip, rest @ ..] => is_ip(ip) && is_socket(rest),
        [] => false,
    };
    if is_right { Ok(address) } else { Err(AddressError::Listen) }
}

/// An address that can be dialled, perhaps with its peer, perhaps through a relay.
pub(crate) fn dial(text: &str) -> Result<Multiaddr, AddressError> {
    let address = parse(text)?;
    let parts: Vec<_> = address.iter().collect();
    let direct = match &parts[..] {
        [relay @ .., Protocol::P2p(_), Protocol::P2pCircuit, Protocol::P2p(_)] => relay,
        [direct @ .., Protocol::P2p(_)] => direct,
        direct => direct,
    };
    let is_named = matches!(parts.last(), Some(Protocol::P2p(_)));
    let is_right = match direct {
        [Protocol::Memory(_)] => true,
        // What lies behind the name may be several peers.
        [Protocol::Dnsaddr(_)] => is_named,
        [Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_), rest @ ..] => is_socket(rest),
        [ip, rest @ ..] => is_ip(ip) && is_socket(rest),
        [] => false,
    };
    if is_right { Ok(address) } else { Err(AddressError::Dial) }
}

/// Splits an address that names its peer.
pub(crate) fn with_peer(text: &str) -> Result<(PeerId, Multiaddr), AddressError> {
    let mut address = dial(text)?;
    match address.pop() {
        Some(Protocol::P2p(peer)) => Ok((peer, address)),
        _ => Err(AddressError::Peer),
    }
}

fn is_ip(part: &Protocol<'_>) -> bool {
    matches!(part, Protocol::Ip4(_) | Protocol::Ip6(_))
}

/// What may follow an IP address or a name.
fn is_socket(parts: &[Protocol<'_>]) -> bool {
    match parts {
        [Protocol::Tcp(_)] | [Protocol::Udp(_), Protocol::QuicV1] => true,
        [Protocol::Tcp(_), Protocol::Ws(path) | Protocol::Wss(path)] => path == "/",
        [Protocol::Tcp(_), Protocol::Tls, Protocol::Ws(path)] => path == "/",
        _ => false,
    }
}

/// From how far away an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// From the same machine, or the same program.
    Machine,
    /// From the same local network.
    Local,
    /// From everywhere.
    Global,
}

/// From how far away this address can be reached, as far as it says so itself.
pub(crate) fn scope(address: &Multiaddr) -> Scope {
    match address.iter().next() {
        Some(Protocol::Memory(_)) => Scope::Machine,
        Some(Protocol::Ip4(ip)) => ip_scope(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => ip_scope(IpAddr::V6(ip)),
        _ => Scope::Global,
    }
}

fn ip_scope(ip: IpAddr) -> Scope {
    let (is_own, is_local) = match ip.to_canonical() {
        IpAddr::V4(ip) => {
            // 100.64.0.0/10 is what providers translate many customers behind.
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            (ip.is_loopback(), ip.is_private() || ip.is_link_local() || is_shared)
        }
        IpAddr::V6(ip) => (ip.is_loopback(), ip.is_unique_local() || ip.is_unicast_link_local()),
    };
    match (is_own, is_local) {
        (true, _) => Scope::Machine,
        (_, true) => Scope::Local,
        _ => Scope::Global,
    }
}

/// Whether the connection at this address goes through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The address with `/p2p/` and this peer at its end.
pub(crate) fn naming(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    address.clone().with_p2p(peer).unwrap_or_else(|other| other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn what_can_be_listened_on() {
        for good in [
            "/ip4/127.0.0.1/tcp/0",
            "/ip6/::1/tcp/65535",
            "/ip4/0.0.0.0/tcp/4904/ws",
            "/ip4/0.0.0.0/udp/4904/quic-v1",
            "/memory/1",
        ] {
            assert_eq!(check_listen(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/",
            "127.0.0.1:80",
            "/ip4/127.0.0.1",
            "/ip4/1.2.3/tcp/1",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/1.2.3.4/tcp/65536",
            "/ip4/1.2.3.4/tcp/+1",
            "/ip4/1.2.3.4/tcp/1/",
            "/ip4/1.2.3.4/tcp/1/tcp/2",
            "/dns4/a.example/tcp/1",
            &format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}"),
        ] {
            assert!(check_listen(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_can_be_dialled_names_its_peer() {
        for good in [
            "/ip4/127.0.0.1/tcp/4904",
            "/dns4/peer.example.org/tcp/4904",
            "/dns4/peer.example.org/tcp/443/tls/ws",
            "/dns4/peer.example.org/udp/4904/quic-v1",
            "/dnsaddr/peers.example.org",
            &format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit"),
        ] {
            assert_eq!(check_peer(&format!("{good}/p2p/{PEER}")), Ok(()), "{good}");
            assert!(check_peer(good).is_err(), "{good}");
        }
        for bad in ["", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/1", "/p2p-circuit"] {
            assert!(check_peer(&format!("{bad}/p2p/{PEER}")).is_err(), "{bad}");
        }
        assert!(check_peer("/ip4/127.0.0.1/tcp/1/p2p/12D3KooW0").is_err());
    }

    #[test]
    fn an_address_says_how_far_it_reaches() {
        for (text, expected) in [
            ("/memory/7", Scope::Machine),
            ("/ip4/127.0.0.9/tcp/1", Scope::Machine),
            ("/ip6/::1/tcp/1", Scope::Machine),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Scope::Machine),
            ("/ip4/10.1.2.3/tcp/1", Scope::Local),
            ("/ip4/100.64.0.1/tcp/1", Scope::Local),
            ("/ip6/fe80::1/tcp/1", Scope::Local),
            ("/ip6/fd00::1/tcp/1", Scope::Local),
            ("/ip4/100.128.0.1/tcp/1", Scope::Global),
            ("/ip6/2001:db8::1/tcp/1", Scope::Global),
            ("/dns4/a.example/tcp/1", Scope::Global),
        ] {
            assert_eq!(scope(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
