//! Where a node can be reached over HTTP, and by whom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::uri::Authority;
use toml::Value;

use super::Config;
use super::given::{Expected, Given};

/// Origins, or host names, that may be listed.
const LISTED_MAX: usize = 64;
/// Characters of one: a host name has 253, an origin a scheme and a port beside it.
const CHARS_MAX: usize = 270;

const METRICS_EXPECTED: &str = "`off`, or an address and a port such as 127.0.0.1:9464";
const DOOR_EXPECTED: &str =
    "`off`, a port such as 4004 (on 127.0.0.1), or an address and a port such as 127.0.0.1:4004";

const URL_EXPECTED: &str =
    "`off`, or an address that begins with https:// or http://, such as https://node.example";

/// The address under which a proxy shows the gateway to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// All of it, without a slash at the end.
    pub url: String,
    /// Its scheme, host and port, as browsers write them.
    pub origin: String,
    /// Its host alone.
    pub host: String,
}

impl PublicUrl {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").filter(|_| text.len() <= CHARS_MAX)?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = Authority::try_from(authority).ok().filter(|found| !found.as_str().contains('@'))?;
        let is_path = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
        if !matches!(scheme.as_str(), "http" | "https") || !is_path || authority.host().is_empty() {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        let port: Option<u16> = match authority.as_str().strip_prefix(authority.host())? {
            "" => None,
            port => Some(port.strip_prefix(':')?.parse().ok()?),
        };
        // Browsers leave out the port that goes with the scheme.
        let usual = if scheme == "https" { 443 } else { 80 };
        let origin = match port.filter(|port| *port != usual) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        let path = path.trim_end_matches('/');
        let url = if path.is_empty() { origin.clone() } else { format!("{origin}/{path}") };
        Some(Self { url, origin, host })
    }
}

/// Which pages of other origins may use the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// None: whoever opens a page must not have it use this node unasked.
    Off,
    /// These.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl Origins {
    /// Whether a page of this origin may.
    pub fn includes(&self, origin: &str) -> bool {
        match self {
            Self::Off => false,
            Self::Listed(listed) => listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin)),
            Self::Any => true,
        }
    }

    pub(super) fn show(&self) -> Value {
        match self {
            Self::Off => Value::String("off".into()),
            Self::Any => Value::String("any".into()),
            Self::Listed(list) => Value::Array(list.iter().cloned().map(Value::String).collect()),
        }
    }
}

/// `off`, or where to listen.
pub(super) fn show_address(address: Option<SocketAddr>) -> Value {
    Value::String(address.map_or_else(|| "off".into(), |address| address.to_string()))
}

pub(super) fn set_metrics(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.metrics = match given.text() {
        Some("off") => None,
        Some(text) => Some(text.trim().parse().map_err(|_| METRICS_EXPECTED)?),
        None => return Err(METRICS_EXPECTED.into()),
    };
    Ok(())
}

/// A door for HTTP clients.
pub(super) fn set_door(door: &mut Option<SocketAddr>, given: &Given<'_>) -> Result<(), Expected> {
    let port = given.number(0, u64::from(u16::MAX)).ok().and_then(|port| u16::try_from(port).ok());
    *door = match (port, given.text()) {
        (Some(port), _) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        (None, Some("off")) => None,
        (None, Some(text)) => Some(text.trim().parse().map_err(|_| DOOR_EXPECTED)?),
        (None, None) => return Err(DOOR_EXPECTED.into()),
    };
    Ok(())
}

pub(super) fn set_gateway_cors(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let expected = || {
        Expected::from(format!(
            "`off`, `any`, or 1 to {LISTED_MAX} origins such as http://localhost:3000, without a path"
        ))
    };
    config.gateway_cors = match given.text().map(str::trim) {
        Some("off") => Origins::Off,
        Some("any") => Origins::Any,
        _ => Origins::Listed(listed(given, is_origin).filter(|list| !list.is_empty()).ok_or_else(expected)?),
    };
    Ok(())
}

pub(super) fn set_gateway_hosts(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let expected = || format!("a list of at most {LISTED_MAX} host names, without a port");
    config.gateway_hosts = listed(given, is_host).ok_or_else(expected)?;
    Ok(())
}

pub(super) fn set_gateway_url(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.gateway_url = match given.text().map(str::trim) {
        Some("off") => None,
        Some(text) => Some(PublicUrl::parse(text).ok_or(URL_EXPECTED)?),
        None => return Err(URL_EXPECTED.into()),
    };
    Ok(())
}

fn listed(given: &Given<'_>, good: fn(&str) -> bool) -> Option<Vec<String>> {
    let list = given.list().filter(|list| list.len() <= LISTED_MAX)?;
    let good = |text: &&str| text.len() <= CHARS_MAX && good(text);
    list.iter().all(good).then(|| list.into_iter().map(str::to_ascii_lowercase).collect())
}

/// A scheme and a host with or without a port, as browsers write it.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_rest = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    !scheme.is_empty() && is_scheme && !rest.is_empty() && is_rest
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn with(
        set: fn(&mut Config, &Given<'_>) -> Result<(), Expected>,
        text: &str,
    ) -> Result<Config, Expected> {
        let mut config = Config::new("/data");
        set(&mut config, &Given::Text(text)).map(|()| config)
    }

    #[test]
    fn a_port_alone_is_on_loopback() {
        let set = |config: &mut Config, given: &Given<'_>| set_door(&mut config.gateway, given);
        let address = |text| with(set, text).map(|config| config.gateway).ok();
        assert_eq!(address("4004"), Some(Some("127.0.0.1:4004".parse().unwrap())));
        assert_eq!(address("[::1]:80"), Some(Some("[::1]:80".parse().unwrap())));
        assert_eq!(address("off"), Some(None));
        for wrong in ["", "65536", "-1", "localhost:80", "on"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
        let mut config = Config::new("/data");
        set_door(&mut config.gateway, &Given::Toml(&Value::Integer(4004))).ok().unwrap();
        assert_eq!(config.gateway, Some("127.0.0.1:4004".parse().unwrap()));
    }

    #[test]
    fn origins_are_listed_as_browsers_write_them() {
        let cors = |text| with(set_gateway_cors, text).map(|config| config.gateway_cors).ok();
        assert_eq!(cors("off"), Some(Origins::Off));
        assert_eq!(cors("any"), Some(Origins::Any));
        let two = cors("http://Localhost:3000, https://app.example").unwrap();
        assert!(two.includes("http://localhost:3000") && two.includes("https://app.example"));
        assert!(!two.includes("http://localhost:3001") && !two.includes("null"));
        for wrong in ["", "localhost", "http://", "http://x/path", "http://x,*"] {
            assert_eq!(cors(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_public_address_is_told_as_browsers_write_it() {
        let parsed = |text| with(set_gateway_url, text).map(|config| config.gateway_url).ok();
        let of = |text| {
            let PublicUrl { url, origin, host } = parsed(text).unwrap().unwrap();
            [url, origin, host]
        };
        assert_eq!(
            of("https://Node.example/"),
            ["https://node.example", "https://node.example", "node.example"]
        );
        assert_eq!(
            of("https://node.example:443/ao//")[..2],
            ["https://node.example/ao", "https://node.example"]
        );
        assert_eq!(of("http://[::1]:8080")[1..], ["http://[::1]:8080", "[::1]"]);
        assert_eq!(parsed("off"), Some(None));
        let wrong = [
            "",
            "node.example",
            "ftp://x",
            "https://",
            "https://a@b",
            "https://x/?a",
            "https://x:99999",
            "https://x y",
        ];
        for wrong in wrong {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
