//! Talking to a running node over the socket in its data folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::api::{Failure, LINE_BYTES_MAX, Reply, Request, SOCKET_NAME};

/// How long a node may take for an answer that needs no waiting: it reads its own disk.
pub const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// How long a connection may take. The node accepts at once unless it is stuck.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Bytes that the system allows in a socket's path, with the closing zero.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 108;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error("no node is running for data folder {}: start one with `weft up`", data_dir.display())]
    NotRunning {
        /// The folder.
        data_dir: PathBuf,
    },
    /// A node died and left its socket.
    #[error(
        "no node is running for data folder {}: its socket is left over from one that was killed; start a new \
         one with `weft up`", data_dir.display()
    )]
    Stale {
        /// The folder.
        data_dir: PathBuf,
    },
    /// The node is another user's.
    #[error("the node of data folder {} belongs to another user: run this as that user", data_dir.display())]
    Permission {
        /// The folder.
        data_dir: PathBuf,
    },
    /// The system cannot name such a socket.
    #[error(
        "the socket path {} has {} bytes, the system allows {}: use a shorter --data-dir",
        path.display(), path.as_os_str().len(), SOCKET_PATH_BYTES_MAX - 1
    )]
    PathTooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The connection failed in another way.
    #[error("cannot talk to the node at {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The node hung up before it answered.
    #[error("the node closed the connection before it answered: it stopped or was killed; see its log")]
    Lost,
    /// The node did not answer.
    #[error("the node did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// What is asked does not fit in a line.
    #[error("the request has {bytes} bytes; at most {LINE_BYTES_MAX} can be sent to a node")]
    RequestTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A line without an end.
    #[error("the node's answer is larger than {LINE_BYTES_MAX} bytes")]
    AnswerTooLarge,
    /// The node says something we cannot read.
    #[error(
        "the node's answer makes no sense to this version of weft ({reason}): does the node run another version?"
    )]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The node answered that it failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A connection to a node. One request at a time.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    /// Connects to the node of this data folder.
    ///
    /// # Errors
    /// That no node runs there, or why it cannot be reached.
    pub async fn connect(data_dir: &Path) -> Result<Self, ClientError> {
        let path = data_dir.join(SOCKET_NAME);
        if path.as_os_str().len() >= SOCKET_PATH_BYTES_MAX {
            return Err(ClientError::PathTooLong { path });
        }
        let data_dir = data_dir.to_owned();
        let connected = tokio::time::timeout(CONNECT_WAIT, UnixStream::connect(&path)).await;
        let connected = connected.map_err(|_| ClientError::TimedOut { after: CONNECT_WAIT })?;
        let stream = connected.map_err(|source| match source.kind() {
            ErrorKind::NotFound => ClientError::NotRunning { data_dir },
            ErrorKind::ConnectionRefused => ClientError::Stale { data_dir },
            ErrorKind::PermissionDenied => ClientError::Permission { data_dir },
            _ => ClientError::Io { path: path.clone(), source },
        })?;
        let (reader, writer) = stream.into_split();
        Ok(Self { path, reader: BufReader::new(reader), writer })
    }

    /// Asks and reads the answer, which may take `wait` in all.
    ///
    /// # Errors
    /// Why there is no answer, or the failure that is the answer.
    ///
    /// Not cancel safe: after a cancelled call the connection must be dropped.
    pub async fn call<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        wait: Duration,
    ) -> Result<T, ClientError> {
        let answer = async {
            self.send(request).await?;
            loop {
                match self.reply().await? {
                    Reply::Event(_) => {}
                    Reply::Done(value) => return typed(value),
                    Reply::Error(failure) => return Err(failure.into()),
                }
            }
        };
        let answered = tokio::time::timeout(wait, answer).await;
        answered.map_err(|_| ClientError::TimedOut { after: wait })?
    }

    /// Sends a request; read its answer with [`reply`](Self::reply). A node that hangs up says why
    /// before it does, so that is an answer to read and no error here.
    ///
    /// # Errors
    /// When the request is too large or the connection fails.
    pub async fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| ClientError::Malformed { reason: error.to_string() })?;
        if line.len() >= LINE_BYTES_MAX {
            return Err(ClientError::RequestTooLarge { bytes: line.len() });
        }
        line.push(b'\n');
        match self.writer.write_all(&line).await.map_err(|error| self.broken(error)) {
            Ok(()) | Err(ClientError::Lost) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads the next line of the answer, however long that takes.
    ///
    /// # Errors
    /// When the node is gone or its line is not a reply.
    pub async fn reply(&mut self) -> Result<Reply, ClientError> {
        let line = self.line().await?;
        serde_json::from_slice(&line).map_err(|error| ClientError::Malformed { reason: error.to_string() })
    }

    /// Waits until the node has closed the connection.
    pub async fn closed(&mut self) {
        while self.reply().await.is_ok() {}
    }

    async fn line(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::new();
        loop {
            let chunk = match self.reader.fill_buf().await {
                Ok([]) => return Err(ClientError::Lost),
                Ok(chunk) => chunk,
                Err(source) => return Err(self.broken(source)),
            };
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if line.len() + part.len() > LINE_BYTES_MAX {
                return Err(ClientError::AnswerTooLarge);
            }
            line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(line);
            }
        }
    }

    fn broken(&self, source: std::io::Error) -> ClientError {
        match source.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ClientError::Lost,
            _ => ClientError::Io { path: self.path.clone(), source },
        }
    }
}

/// Reads a value of the node as what it should be.
///
/// # Errors
/// [`ClientError::Malformed`].
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ClientError> {
    serde_json::from_value(value).map_err(|error| ClientError::Malformed { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
