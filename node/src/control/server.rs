//! The node's end of the control socket.
//!
//! What a client may cost is limited: its number, the time that a request and the taking of an
//! answer may need, and the memory of large requests. One that keeps to none of it is told why and
//! hung up on; the others do not notice.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::api::{Failure, FailureCode, LINE_BYTES_MAX, Reply, Request, SOCKET_NAME};
use super::client::SOCKET_PATH_BYTES_MAX;
use crate::error::NodeError;
use crate::metrics::Level;

/// Clients served at once; one more is told to come back.
const CLIENTS_MAX: usize = 64;
/// When that one is told to, in milliseconds.
const BUSY_RETRY_MS: u64 = 500;
/// How long a client may take from connecting, or from its last answer, to the end of a request:
/// the largest one takes a second.
const REQUEST_WAIT: Duration = Duration::from_secs(60);
/// How long a line of an answer may wait to be taken: a person may page through it.
const TAKE_WAIT: Duration = Duration::from_secs(600);
/// Requests up to this size are read beside each other; only modules and large items are larger.
const REQUEST_SMALL_BYTES: usize = 1024 * 1024;
/// Larger requests that are read or answered at once; one more waits. Each takes up to
/// [`LINE_BYTES_MAX`], and as much again while it is taken apart.
const REQUESTS_LARGE_MAX: usize = 4;
/// The pause after the system gave no connection: it is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket of a node, removed when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ControlSocket {
    /// Checks that the system can name a socket in this folder, before anything is made there.
    ///
    /// # Errors
    /// [`NodeError::SocketPathTooLong`].
    pub fn check_path(data_dir: &Path) -> Result<(), NodeError> {
        let path = data_dir.join(SOCKET_NAME);
        if path.as_os_str().len() < SOCKET_PATH_BYTES_MAX {
            return Ok(());
        }
        Err(NodeError::SocketPathTooLong { path })
    }

    /// Listens in the data folder. The caller holds the folder's store, so a socket that is
    /// already there was left by a node that died.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(data_dir: &Path) -> Result<Self, NodeError> {
        let path = data_dir.join(SOCKET_NAME);
        let error = |why: std::io::Error| NodeError::Socket {
            path: path.display().to_string(),
            why: why.to_string(),
        };
        match std::fs::remove_file(&path) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(error(why)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(error)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
        Ok(Self { path, listener })
    }

    /// Serves clients until the node stops.
    pub async fn run(self, answers: Answers, stop: CancellationToken) {
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        let large = Arc::new(Semaphore::new(REQUESTS_LARGE_MAX));
        answers.watch_level(Level::permits("control", "clients", &clients, CLIENTS_MAX));
        answers.watch_level(Level::permits("control", "large_requests", &large, REQUESTS_LARGE_MAX));
        let turned_away = answers.full("clients");
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            while tasks.try_join_next().is_some() {}
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a client of the control socket was not let in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&clients).try_acquire_owned() else {
                turned_away.inc();
                turn_away(&stream);
                continue;
            };
            let (answers, large) = (answers.clone(), Arc::clone(&large));
            tasks.spawn(async move {
                serve(stream, &answers, &large).await;
                drop(permit);
            });
        }
        tasks.shutdown().await;
    }
}

/// Tells one client too many to come back. A fresh socket takes a line without waiting.
fn turn_away(stream: &UnixStream) {
    let text =
        format!("the node serves {CLIENTS_MAX} clients, the limit; end one (a `weft watch`?) or try again");
    let failure = Failure::new(FailureCode::Busy, text).retry_in(BUSY_RETRY_MS);
    if let Ok(mut line) = serde_json::to_vec(&Reply::Error(failure)) {
        line.push(b'\n');
        // It may have hung up.
        let _ = stream.try_write(&line);
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may be gone already; a stale one is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, answers: &Answers, large: &Arc<Semaphore>) {
    let (read, write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut out = Out(Sink::Socket(write));
    loop {
        let line = match tokio::time::timeout(REQUEST_WAIT, read_line(&mut lines, large)).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return,
            Ok(Err(failure)) => return dismiss(&mut out, failure).await,
            Err(_) => {
                let text = format!("no whole request came within {} s", REQUEST_WAIT.as_secs());
                return dismiss(&mut out, Failure::new(FailureCode::TimedOut, text)).await;
            }
        };
        let Line { bytes, share } = line;
        let request = serde_json::from_slice::<Request>(&bytes);
        drop(bytes);
        let sent = match request {
            Ok(request) => answers.answer(request, &mut out, &mut lines).await,
            Err(error) => {
                let text = format!(
                    "the request is not understood: {error}; expected one JSON object per line, such as \
                     {{\"do\":\"status\"}}"
                );
                out.end(Err::<(), _>(Failure::new(FailureCode::Invalid, text))).await
            }
        };
        drop(share);
        if sent.is_err() {
            return;
        }
    }
}

/// Hangs up on a client that cannot be followed any further, but tells it why.
async fn dismiss(out: &mut Out, failure: Failure) {
    let _ = out.end(Err::<(), _>(failure)).await;
}

/// A request's line without its end.
struct Line {
    bytes: Vec<u8>,
    /// The share of the memory for large requests.
    share: Option<OwnedSemaphorePermit>,
}

/// Reads one line, none when the client hung up. Grows as bytes come.
async fn read_line(
    lines: &mut (impl AsyncBufRead + Unpin),
    large: &Arc<Semaphore>,
) -> Result<Option<Line>, Failure> {
    let mut line = Line { bytes: Vec::new(), share: None };
    loop {
        let Ok(chunk) = lines.fill_buf().await else { return Ok(None) };
        if chunk.is_empty() {
            return Ok((!line.bytes.is_empty()).then_some(line));
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let length = line.bytes.len() + part.len();
        if length > LINE_BYTES_MAX {
            let text = format!("the request has more than {LINE_BYTES_MAX} bytes, the limit");
            return Err(Failure::new(FailureCode::Invalid, text));
        }
        line.bytes.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        lines.consume(used);
        if length > REQUEST_SMALL_BYTES && line.share.is_none() {
            line.share = Arc::clone(large).acquire_owned().await.ok();
        }
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// Where the answers of one client go.
#[derive(Debug)]
pub struct Out(Sink);

#[derive(Debug)]
enum Sink {
    /// To the control socket.
    Socket(OwnedWriteHalf),
    /// To a part of this node that passes them on.
    Channel(mpsc::Sender<Reply>),
}

/// The client hung up, or takes its answers too slowly.
#[derive(Debug, Clone, Copy)]
pub struct HungUp;

impl Out {
    /// Gives answers to whoever has the other end; so many may wait there.
    pub(crate) fn channel(answers_max: usize) -> (Self, mpsc::Receiver<Reply>) {
        let (sender, receiver) = mpsc::channel(answers_max);
        (Self(Sink::Channel(sender)), receiver)
    }

    /// Sends something on the way.
    ///
    /// # Errors
    /// The client hung up.
    pub async fn event(&mut self, event: impl Serialize + Send) -> Result<(), HungUp> {
        match serde_json::to_value(event) {
            Ok(value) => self.line(Reply::Event(value)).await,
            Err(_) => Ok(()),
        }
    }

    /// Sends the answer.
    ///
    /// # Errors
    /// The client hung up.
    pub async fn end(&mut self, result: Result<impl Serialize + Send, Failure>) -> Result<(), HungUp> {
        let reply = match result.map(serde_json::to_value) {
            Ok(Ok(value)) => Reply::Done(value),
            Ok(Err(error)) => Reply::Error(Failure::new(FailureCode::Fault, error.to_string())),
            Err(failure) => Reply::Error(failure),
        };
        self.line(reply).await
    }

    async fn line(&mut self, reply: Reply) -> Result<(), HungUp> {
        match &mut self.0 {
            Sink::Socket(socket) => {
                let mut line = serde_json::to_vec(&reply).map_err(|_| HungUp)?;
                line.push(b'\n');
                let taken = tokio::time::timeout(TAKE_WAIT, socket.write_all(&line)).await;
                taken.map_err(|_| HungUp)?.map_err(|_| HungUp)
            }
            Sink::Channel(channel) => {
                let taken = tokio::time::timeout(TAKE_WAIT, channel.send(reply)).await;
                taken.map_err(|_| HungUp)?.map_err(|_| HungUp)
            }
        }
    }
}

/// Waits until a client that only listens hangs up.
pub async fn hung_up(lines: &mut (impl AsyncBufRead + Unpin)) {
    let mut rest = [0; 1];
    while !matches!(lines.read(&mut rest).await, Ok(0) | Err(_)) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn line_of(bytes: &[u8], large: &Arc<Semaphore>) -> Result<Option<Line>, Failure> {
        read_line(&mut BufReader::new(bytes), large).await
    }

    #[tokio::test]
    async fn lines_are_read_one_by_one_and_the_last_needs_no_end() {
        let large = Arc::new(Semaphore::new(1));
        let mut lines = BufReader::new(&b"one\n\ntwo"[..]);
        for expected in ["one", "", "two"] {
            assert_eq!(read_line(&mut lines, &large).await.unwrap().unwrap().bytes, expected.as_bytes());
        }
        assert!(read_line(&mut lines, &large).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_large_request_takes_its_share_until_it_is_answered() {
        let large = Arc::new(Semaphore::new(2));
        let small = line_of(&vec![b'x'; REQUEST_SMALL_BYTES], &large).await.unwrap().unwrap();
        assert!(small.share.is_none());
        let line = line_of(&vec![b'x'; REQUEST_SMALL_BYTES + 1], &large).await.unwrap().unwrap();
        assert_eq!(large.available_permits(), 1);
        drop(line);
        assert_eq!(large.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_named() {
        let failure = line_of(&vec![b'x'; LINE_BYTES_MAX + 1], &Arc::new(Semaphore::new(1))).await;
        assert!(failure.is_err_and(|failure| failure.text.contains("more than 100663296 bytes")));
    }
}
