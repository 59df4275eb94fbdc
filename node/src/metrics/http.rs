//! The page that Prometheus reads: `GET /metrics`, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::NodeError;
use crate::shared::{Shared, SharedRef};

/// Connections served at once; one more is hung up on. A scraper needs one.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may last: one request, one answer.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a request's header that are read.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Fields that it may have.
const FIELDS_MAX: usize = 64;
/// The pause after the system gave no connection: it is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// A listener for scrapers.
#[derive(Debug)]
pub(crate) struct MetricsServer(TcpListener);

impl MetricsServer {
    /// Listens at this address.
    ///
    /// # Errors
    /// [`NodeError::Metrics`].
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, NodeError> {
        let listener = TcpListener::bind(address).await;
        listener.map(Self).map_err(|error| NodeError::Metrics { address, why: error.to_string() })
    }

    /// Where it listens, also if any free port was asked for.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Answers scrapers until the node stops.
    pub(crate) async fn run(self, shared: SharedRef, stop: CancellationToken) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.0.accept() => accepted,
            };
            while tasks.try_join_next().is_some() {}
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a reader of metrics was not let in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                shared.metrics.full("metrics", "connections").inc();
                continue;
            };
            let shared = SharedRef::clone(&shared);
            tasks.spawn(async move {
                // One that stays too long is hung up on.
                let _ = tokio::time::timeout(CONNECTION_WAIT, serve(stream, &shared)).await;
                drop(permit);
            });
        }
        tasks.shutdown().await;
    }
}

/// Answers one request. Whoever sends nothing in time, or what is no request, gets no answer or
/// a short one; there is nobody to tell when the answer is not taken.
async fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut header = Vec::new();
    let asked = loop {
        match target(&header) {
            Ok(Some(asked)) => break Ok(asked),
            Ok(None) if header.len() < HEADER_BYTES_MAX => {}
            Ok(None) | Err(_) => break Err(()),
        }
        match stream.read_buf(&mut header).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    };
    let (status, kind, body) = answer(shared, asked.as_deref()).await;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
    let _ = stream.shutdown().await;
}

/// Method and path of a request, once its header is whole.
fn target(header: &[u8]) -> Result<Option<String>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    if request.parse(header)?.is_partial() {
        return Ok(None);
    }
    let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    Ok(Some(format!("{method} {path}")))
}

async fn answer(shared: &Shared, asked: Result<&str, &()>) -> (&'static str, &'static str, String) {
    match asked {
        Ok("GET /metrics") => match super::text(shared).await {
            Ok(text) => ("200 OK", OPEN_METRICS, text),
            Err(error) => ("500 Internal Server Error", PLAIN, format!("{error}\n")),
        },
        Ok(asked) if asked.ends_with(" /metrics") => {
            ("405 Method Not Allowed", PLAIN, "only GET is answered\n".to_owned())
        }
        Ok(_) => ("404 Not Found", PLAIN, "only /metrics is here\n".to_owned()),
        Err(()) => ("400 Bad Request", PLAIN, "this is not an HTTP/1 request\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_header_is_read_once_it_is_whole() {
        let header = b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..header.len() {
            assert_eq!(target(&header[..end]), Ok(None), "{end}");
        }
        assert_eq!(target(header).unwrap().as_deref(), Some("GET /metrics"));
        assert!(target(b"\x16\x03\x01\x02").is_err());
        let many = "A: b\r\n".repeat(FIELDS_MAX + 1);
        assert!(target(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).is_err());
    }
}
