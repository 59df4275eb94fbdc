//! Where the redirects of a gateway may lead. A stranger's gateway could send whoever asks it to a service that only
//! its own machine or network can reach, and learn from the report what is there. So what is not the gateway's own
//! name and port must be on the open Internet, unless the operator named a gateway that is near himself. A name says
//! nothing about its other ports: they may be of whatever it leads to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// Redirects that are followed: gateways give each item a name of its own.
const REDIRECTS_MAX: usize = 3;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// What may be asked on behalf of one gateway.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// The host of the gateway.
    host: String,
    /// Its port, as the address says it or its scheme does.
    port: Option<u16>,
    /// It is on this machine or in this network by its own address.
    is_near: bool,
}

impl Reach {
    /// Of the gateway at an address.
    pub(super) fn of(base: &Url) -> Self {
        let host = host_of(base);
        let is_near = is_local_name(&host) || address_of(&host).is_some_and(is_near);
        Self { host, port: base.port_or_known_default(), is_near }
    }

    /// Whether a place may be asked, as far as its address says where it is.
    fn allows(&self, url: &Url) -> bool {
        let host = host_of(url);
        if self.is_near {
            return true;
        }
        // An address that is not near is of the open Internet, whatever the port.
        if host == self.host && address_of(&host).is_none() {
            let port = url.port_or_known_default();
            // Many that are asked in the clear send on to where they can be asked safely.
            let is_upgrade = url.scheme() == "https" && (self.port, port) == (Some(80), Some(443));
            return port == self.port || is_upgrade;
        }
        !is_local_name(&host) && !address_of(&host).is_some_and(is_near)
    }

    /// Follows a few redirects; what began encrypted stays so.
    pub(super) fn policy(&self) -> Policy {
        let reach = self.clone();
        Policy::custom(move |attempt| {
            let was_safe = attempt.previous().iter().all(|url| url.scheme() == "https");
            let is_safe = attempt.url().scheme() == "https";
            let too_many = attempt.previous().len() > REDIRECTS_MAX;
            if too_many || (was_safe && !is_safe) || !reach.allows(attempt.url()) {
                attempt.stop()
            } else {
                attempt.follow()
            }
        })
    }

    /// Looks names up; those of others must lead to the open Internet.
    pub(super) fn resolver(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    fn keeps(&self, name: &str, address: IpAddr) -> bool {
        self.is_near || name == self.host || !is_near(address)
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, name) = (self.clone(), name.as_str().to_ascii_lowercase());
        Box::pin(async move {
            // The port is that of the question.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept = found.filter(|address| reach.keeps(&name, address.ip())).take(ADDRESSES_MAX);
            let kept: Vec<SocketAddr> = kept.collect();
            if kept.is_empty() {
                return Err(format!("{name} is not an address that may be asked").into());
            }
            Ok::<Addrs, _>(Box::new(kept.into_iter()))
        })
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_ascii_lowercase()
}

fn is_local_name(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host == "localhost" || host.ends_with(".localhost")
}

/// The address that a host is, if it is one. Addresses of version 6 stand in brackets.
fn address_of(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether an address is none of the open Internet.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // What providers translate many customers behind, and what is for tests of networks.
            let is_shared = first == 100 && second & 0xc0 == 64;
            let is_bench = first == 198 && second & 0xfe == 18;
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_multicast()
                || first == 0
                || first >= 240
                || is_shared
                || is_bench
        }
        IpAddr::V6(ip) => {
            // An address of version 4 in what translates it (RFC 6052, 3056).
            let translates = ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] || ip.segments()[0] == 0x2002;
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || translates
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn reach(base: &str) -> Reach {
        Reach::of(&Url::parse(base).unwrap())
    }

    #[test]
    fn a_gateway_elsewhere_leads_nowhere_near() {
        let far = reach("https://gateway.example");
        let allowed = |url: &str| far.allows(&Url::parse(url).unwrap());
        for near in [
            "http://127.0.0.1/x",
            "http://0x7f.1/x",
            "http://2130706433/x",
            "http://localhost:9/x",
            "http://a.localhost./x",
            "http://10.1.2.3/x",
            "http://169.254.169.254/latest",
            "http://[::1]/x",
            "http://[::ffff:192.168.0.1]/x",
            "http://[fd00::1]/x",
            "http://[64:ff9b::7f00:1]/x",
            "http://100.64.0.1/x",
            "http://0.0.0.0/x",
        ] {
            assert!(!allowed(near), "{near}");
        }
        for open in ["https://a.gateway.example/x", "http://8.8.8.8/x", "http://[2606:4700::1]/x"] {
            assert!(allowed(open), "{open}");
        }
        // A name says nothing; what it leads to does.
        let (near, open): (IpAddr, IpAddr) = ([192, 168, 0, 1].into(), [8, 8, 8, 8].into());
        assert!(!far.keeps("a.gateway.example", near) && far.keeps("a.gateway.example", open));
        assert!(far.keeps("gateway.example", near), "its operator named it");
    }

    /// The operator named one port of that name, which may lead to his own network.
    #[test]
    fn a_gateway_elsewhere_leads_to_no_other_port_of_its_name() {
        let allowed = |base: &str, url: &str| reach(base).allows(&Url::parse(url).unwrap());
        for (base, url, may) in [
            ("https://gateway.example", "https://gateway.example/x", true),
            ("https://gateway.example", "https://gateway.example:443/x", true),
            ("https://gateway.example", "https://gateway.example:6379/x", false),
            ("https://gateway.example", "https://GATEWAY.example:22/x", false),
            ("https://gateway.example:8443", "https://gateway.example:8443/x", true),
            ("https://gateway.example:8443", "https://gateway.example/x", false),
            ("http://gateway.example", "https://gateway.example/x", true),
            ("http://gateway.example", "http://gateway.example:443/x", false),
            ("http://gateway.example:1984", "https://gateway.example/x", false),
            ("https://8.8.8.8", "https://8.8.8.8:8443/x", true),
        ] {
            assert_eq!(allowed(base, url), may, "{base} to {url}");
        }
    }

    #[test]
    fn one_that_is_near_may_lead_to_its_like() {
        for base in ["http://127.0.0.1:1984", "http://localhost:3000", "http://192.168.0.7"] {
            let near = reach(base);
            for like in ["http://abc.localhost:9", "http://10.0.0.1:22", "https://arweave.net"] {
                assert!(near.allows(&Url::parse(like).unwrap()), "{base} to {like}");
            }
        }
    }
}
