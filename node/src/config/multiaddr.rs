//! The shape of the addresses a person may write: TCP over IP or a DNS name. What they mean is
//! the net crate's business; here a typing error is named before a node starts.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What a correct listen address looks like.
pub(super) const LISTEN_EXPECTED: &str = "a multiaddress such as `/ip4/127.0.0.1/tcp/4904`";
/// What a correct bootstrap address looks like.
pub(super) const DIAL_EXPECTED: &str =
    "a multiaddress with a peer id such as `/ip4/192.0.2.7/tcp/4904/p2p/12D3KooW...`";

/// Checks an address to listen on: an IP and a TCP port, no peer id.
pub(super) fn is_listen(text: &str) -> bool {
    let mut parts = text.split('/');
    if parts.next() != Some("") {
        return false;
    }
    let ip = match (parts.next(), parts.next()) {
        (Some("ip4"), Some(ip)) => ip.parse::<Ipv4Addr>().is_ok(),
        (Some("ip6"), Some(ip)) => ip.parse::<Ipv6Addr>().is_ok(),
        _ => false,
    };
    ip && is_port(parts.next(), parts.next()) && parts.next().is_none()
}

/// Checks an address to dial: an IP or a name, a TCP port and the peer id.
pub(super) fn is_dial(text: &str) -> bool {
    let Some((address, peer)) = text.rsplit_once("/p2p/") else { return false };
    is_peer_id(peer) && (is_listen(address) || is_dns(address))
}

fn is_dns(text: &str) -> bool {
    let mut parts = text.split('/');
    let name = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    parts.next() == Some("")
        && matches!(parts.next(), Some("dns" | "dns4" | "dns6"))
        && parts.next().is_some_and(name)
        && is_port(parts.next(), parts.next())
        && parts.next().is_none()
}

fn is_port(protocol: Option<&str>, port: Option<&str>) -> bool {
    protocol == Some("tcp")
        && port
            .is_some_and(|port| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// An ed25519 peer id: 52 characters of base58 that start with `12D3KooW`.
fn is_peer_id(text: &str) -> bool {
    const ED25519_CHARS: usize = 52;
    let base58 = |byte: u8| byte.is_ascii_alphanumeric() && !b"0OIl".contains(&byte);
    text.len() == ED25519_CHARS && text.starts_with("12D3KooW") && text.bytes().all(base58)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn listen_addresses_are_ip_and_port() {
        for good in ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/65535"] {
            assert!(is_listen(good), "{good}");
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
            "/dns4/a.example/tcp/1",
        ] {
            assert!(!is_listen(bad), "{bad}");
        }
    }

    #[test]
    fn dial_addresses_name_the_peer() {
        for good in ["/ip4/127.0.0.1/tcp/4904", "/dns4/peer.example.org/tcp/4904"] {
            assert!(is_dial(&format!("{good}/p2p/{PEER}")), "{good}");
            assert!(!is_dial(good), "{good}");
        }
        assert!(!is_dial(&format!("/p2p/{PEER}")));
        assert!(!is_dial("/ip4/127.0.0.1/tcp/1/p2p/12D3KooW0"));
        assert!(!is_dial(&format!("/dns4//tcp/1/p2p/{PEER}")));
    }
}
