//! Who may talk to the gateway: pages of other origins only where the operator says so, and nobody by
//! a name that is not this machine's. Pure.
//!
//! A page that a browser shows can reach loopback. Its origin tells it apart; and where its own name was
//! made to point here (DNS rebinding) the name in `Host` does. Addresses in figures cannot be rebound.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use weft_protocol::Id;

use super::problem::Problem;
use crate::config::{Origins, PublicUrl};

/// What a page may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static("content-type, accept, codec-device, x-max-age");
/// What of an answer it may read beside the ordinary.
const EXPOSED: HeaderValue = HeaderValue::from_static("process, slot, retry-after");
/// Seconds that a browser may keep the answer to a preflight.
const PREFLIGHT_SECONDS: u64 = 600;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asker {
    /// A program, or a page of this very gateway.
    Own,
    /// A page of this origin, which may.
    Page(HeaderValue),
}

/// Whom this gateway serves.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    origins: Origins,
    hosts: Vec<String>,
    public: Option<PublicUrl>,
}

/// What proxies add to a request.
const BY_PROXY: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

impl Guard {
    pub(super) const fn new(origins: Origins, hosts: Vec<String>, public: Option<PublicUrl>) -> Self {
        Self { origins, hosts, public }
    }

    /// The address of this gateway as a client that passed here knows it. What a proxy adds is anybody's word:
    /// it says which of two true addresses is told, and nothing else.
    pub(super) fn base(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let is_public = |public: &&PublicUrl| {
            let is_named = host.as_ref().is_some_and(|host| host.host().eq_ignore_ascii_case(&public.host));
            is_named || BY_PROXY.iter().any(|name| headers.contains_key(*name))
        };
        match self.public.as_ref().filter(is_public) {
            Some(public) => public.url.clone(),
            None => format!("http://{}", host.as_ref().map_or("localhost", Authority::as_str)),
        }
    }

    /// Decides about a request.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Result<Asker, Problem> {
        let host = self.host(uri, headers)?;
        let Some(origin) = headers.get(header::ORIGIN) else {
            return self.without_origin(uri.path(), headers);
        };
        let refused = || {
            Problem::new(
                StatusCode::FORBIDDEN,
                "pages of this origin may not use this node; its operator can allow it with `gateway_cors`",
            )
        };
        let text = origin.to_str().map_err(|_| refused())?;
        let is_own = text.strip_prefix("http://").is_some_and(|own| own.eq_ignore_ascii_case(host.as_str()));
        // A proxy that speaks https may name this machine in `Host`, and the page comes from its own address.
        let is_public = self.public.as_ref().is_some_and(|public| public.origin.eq_ignore_ascii_case(text));
        if is_own || is_public {
            return Ok(Asker::Own);
        }
        if self.origins.includes(text) { Ok(Asker::Page(origin.clone())) } else { Err(refused()) }
    }

    /// A page that only loads something (a picture, say) sends no origin, but browsers say so.
    fn without_origin(&self, path: &str, headers: &HeaderMap) -> Result<Asker, Problem> {
        let is = |name: &str, words: &[&str]| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| words.contains(&value))
        };
        let is_foreign = is("sec-fetch-site", &["cross-site", "same-site"]);
        // A link that a person follows is nobody's page, where it only shows an item.
        let is_link = is("sec-fetch-mode", &["navigate"])
            && is("sec-fetch-dest", &["document"])
            && is("sec-fetch-user", &["?1"])
            && is_document(path);
        if is_foreign && !is_link && self.origins != Origins::Any {
            let text =
                "other pages may load nothing from this node; its operator can allow it with `gateway_cors`";
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
        Ok(Asker::Own)
    }

    /// The name by which this gateway was addressed.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return Err(Problem::invalid("expected exactly one `Host` header"));
        };
        let host = Authority::try_from(host.as_bytes())
            .map_err(|_| Problem::invalid("the `Host` header does not name a host"))?;
        // A proxy's form of a request names another one; both must be this machine.
        for name in [Some(&host), uri.authority()].into_iter().flatten() {
            if !self.is_here(name.host()) {
                let text = format!(
                    "this node is not `{}`; use localhost or its address, or have its operator name it in \
                     `gateway_hosts` or `gateway_url`",
                    name.host()
                );
                return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, text));
            }
        }
        Ok(host)
    }

    fn is_here(&self, host: &str) -> bool {
        let plain =
            host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        plain == "localhost"
            || plain.ends_with(".localhost")
            || self.public.as_ref().is_some_and(|public| public.host == plain)
            || plain.parse::<IpAddr>().is_ok()
            || self.hosts.contains(&plain)
    }
}

/// Whether something stands at a path that a person may open: an item, or who is here.
fn is_document(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        [] | ["raw" | "tx", _] => true,
        [id] => id.parse::<Id>().is_ok(),
        _ => false,
    }
}

/// Lets a page read the answer, also one that says no.
pub(super) fn allow(headers: &mut HeaderMap, asker: &Asker) {
    if let Asker::Page(origin) = asker {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// Whether this asks what a page may, and nothing else.
pub(super) fn is_preflight(method: &Method) -> bool {
    *method == Method::OPTIONS
}

/// What a page may.
pub(super) fn answer_preflight(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_SECONDS));
    headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn judge(origins: Origins, given: &[(&'static str, &str)]) -> Result<Asker, u16> {
        let guard = Guard::new(origins, vec!["node.example".into()], None);
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        guard.judge(&Uri::from_static("/"), &headers).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn this_machine_is_addressed_by_its_own_names_only() {
        let names = [
            "localhost:4004",
            "LOCALHOST",
            "app.localhost:1",
            "127.0.0.1:4004",
            "[::1]:4004",
            "192.0.2.7",
            "node.example:80",
        ];
        for name in names {
            assert_eq!(judge(Origins::Off, &[("host", name)]), Ok(Asker::Own), "{name}");
        }
        for name in ["evil.example", "evil.example:4004", "127.0.0.1.evil.example", "localhost.evil.example"]
        {
            assert_eq!(judge(Origins::Any, &[("host", name)]), Err(421), "{name}");
        }
        assert_eq!(judge(Origins::Off, &[]), Err(400));
        assert_eq!(judge(Origins::Off, &[("host", "localhost"), ("host", "evil.example")]), Err(400));
        assert_eq!(judge(Origins::Off, &[("host", "a b")]), Err(400));
        let guard = Guard::new(Origins::Off, Vec::new(), None);
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        let proxied = guard.judge(&Uri::from_static("http://evil.example/info"), &headers);
        assert_eq!(proxied.unwrap_err().status, StatusCode::MISDIRECTED_REQUEST);
    }

    #[test]
    fn pages_of_others_are_let_in_only_where_that_is_said() {
        let from = |origin| [("host", "localhost:4004"), ("origin", origin)];
        let page = |origin: &'static str| Ok(Asker::Page(HeaderValue::from_static(origin)));
        let listed = || Origins::Listed(vec!["http://localhost:3000".into()]);
        assert_eq!(judge(Origins::Off, &from("http://localhost:4004")), Ok(Asker::Own));
        for origin in ["https://evil.example", "http://localhost:3000", "null", "https://localhost:4004"] {
            assert_eq!(judge(Origins::Off, &from(origin)), Err(403), "{origin}");
        }
        assert_eq!(judge(listed(), &from("http://localhost:3000")), page("http://localhost:3000"));
        assert_eq!(judge(listed(), &from("http://localhost:3001")), Err(403));
        assert_eq!(judge(listed(), &from("null")), Err(403));
        assert_eq!(judge(Origins::Any, &from("https://app.example")), page("https://app.example"));
    }

    #[test]
    fn a_proxy_shows_it_under_an_address_of_its_own() {
        let [url, origin] = ["https://node.example/ao", "https://node.example"].map(String::from);
        let public = PublicUrl { url, origin, host: "node.example".into() };
        let guard = Guard::new(Origins::Off, Vec::new(), Some(public));
        let headers = |given: &[(&'static str, &'static str)]| {
            let given =
                given.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            HeaderMap::from_iter(given)
        };
        let judge = |given: &[(&'static str, &'static str)]| {
            guard.judge(&Uri::from_static("/"), &headers(given)).map_err(|problem| problem.status.as_u16())
        };
        // Some proxies keep the name by which they were addressed, and some write the one that they dial.
        for host in ["node.example", "127.0.0.1:4004"] {
            assert_eq!(
                judge(&[("host", host), ("origin", "https://node.example")]),
                Ok(Asker::Own),
                "{host}"
            );
            for origin in
                ["http://evil.example", "http://node.example:81", "https://node.example.evil.example"]
            {
                assert_eq!(judge(&[("host", host), ("origin", origin)]), Err(403), "{host} {origin}");
            }
        }
        assert_eq!(judge(&[("host", "evil.example"), ("origin", "https://node.example")]), Err(421));
        let base = |given: &[(&'static str, &'static str)]| guard.base(&headers(given));
        assert_eq!(base(&[("host", "node.example")]), "https://node.example/ao");
        let dialled = ("host", "127.0.0.1:4004");
        assert_eq!(base(&[dialled, ("x-forwarded-proto", "https")]), "https://node.example/ao");
        assert_eq!(base(&[dialled]), "http://127.0.0.1:4004");
        assert_eq!(base(&[("host", "localhost:4004")]), "http://localhost:4004");
        let alone = Guard::new(Origins::Off, Vec::new(), None);
        let forwarded = headers(&[("host", "localhost:4004"), ("x-forwarded-host", "evil.example")]);
        assert_eq!(alone.base(&forwarded), "http://localhost:4004");
    }

    #[test]
    fn what_a_page_loads_without_saying_who_it_is_is_refused_too() {
        let loads = |mode, dest, user| {
            [
                ("host", "localhost"),
                ("sec-fetch-user", user),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ]
        };
        assert_eq!(judge(Origins::Off, &loads("no-cors", "image", "?1")), Err(403));
        assert_eq!(judge(Origins::Off, &loads("navigate", "iframe", "?1")), Err(403));
        assert_eq!(judge(Origins::Off, &loads("navigate", "document", "?0")), Err(403));
        assert_eq!(judge(Origins::Off, &loads("navigate", "document", "?1")), Ok(Asker::Own));
        assert_eq!(judge(Origins::Any, &loads("no-cors", "image", "?1")), Ok(Asker::Own));
        let item = Id([1; 32]);
        for path in ["/".to_owned(), format!("/raw/{item}"), format!("//tx/{item}"), format!("/{item}")] {
            assert!(is_document(&path), "{path}");
        }
        for path in [format!("/cron/{item}"), format!("/state/{item}"), "/graphql".into(), "/info".into()] {
            assert!(!is_document(&path), "{path}");
        }
        let own = [("host", "localhost"), ("sec-fetch-site", "same-origin")];
        assert_eq!(judge(Origins::Off, &own), Ok(Asker::Own));
    }
}
