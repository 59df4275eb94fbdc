//! The node's end of the control socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::api::{Failure, FailureCode, LINE_BYTES_MAX, Reply, Request, SOCKET_NAME};
use crate::error::NodeError;

/// Clients served at once; one more waits.
const CLIENTS_MAX: usize = 64;

/// The socket of a node, removed when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ControlSocket {
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
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { break };
            let answers = answers.clone();
            tasks.spawn(async move {
                serve(stream, &answers).await;
                drop(permit);
            });
            while tasks.try_join_next().is_some() {}
        }
        tasks.shutdown().await;
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may be gone already; a stale one is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, answers: &Answers) {
    let (read, write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut out = Out(write);
    loop {
        let request = match read_line(&mut lines).await {
            Ok(Some(line)) => serde_json::from_slice::<Request>(&line),
            Ok(None) => return,
            Err(failure) => {
                // The client cannot be followed any further, but it learns why.
                let _ = out.end(Err::<(), _>(failure)).await;
                return;
            }
        };
        let sent = match request {
            Ok(request) => answers.answer(request, &mut out, &mut lines).await,
            Err(error) => {
                let text = format!("the request is not understood: {error}");
                out.end(Err::<(), _>(Failure { code: FailureCode::Invalid, text })).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// One line without its end, none when the client hung up.
async fn read_line(lines: &mut BufReader<OwnedReadHalf>) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    let mut limited = lines.take(LINE_BYTES_MAX as u64 + 1);
    match limited.read_until(b'\n', &mut line).await {
        Ok(0) | Err(_) => Ok(None),
        Ok(_) if line.len() > LINE_BYTES_MAX => Err(Failure {
            code: FailureCode::Invalid,
            text: format!("a request of more than {LINE_BYTES_MAX} bytes"),
        }),
        Ok(_) => Ok(Some(line)),
    }
}

/// Where the answers of one client go.
#[derive(Debug)]
pub struct Out(OwnedWriteHalf);

/// The client hung up.
#[derive(Debug, Clone, Copy)]
pub struct HungUp;

impl Out {
    /// Sends something on the way.
    ///
    /// # Errors
    /// The client hung up.
    pub async fn event(&mut self, event: impl Serialize + Send) -> Result<(), HungUp> {
        match serde_json::to_value(event) {
            Ok(value) => self.line(&Reply::Event(value)).await,
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
            Ok(Err(error)) => Reply::Error(Failure { code: FailureCode::Fault, text: error.to_string() }),
            Err(failure) => Reply::Error(failure),
        };
        self.line(&reply).await
    }

    async fn line(&mut self, reply: &Reply) -> Result<(), HungUp> {
        let mut line = serde_json::to_vec(reply).map_err(|_| HungUp)?;
        line.push(b'\n');
        self.0.write_all(&line).await.map_err(|_| HungUp)
    }
}

/// Waits until a client that only listens hangs up.
pub async fn hung_up(lines: &mut (impl AsyncBufRead + Unpin)) {
    let mut rest = [0; 1];
    while !matches!(lines.read(&mut rest).await, Ok(0) | Err(_)) {}
}
