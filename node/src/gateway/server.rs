//! Connections of HTTP clients: each is served one request at a time, and costs no more than the limits
//! below, whatever it sends or leaves unsaid.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Due, overdue};
use super::body::AnswerShare;
use super::connections::{Admission, Connections, Name};
use super::refusal::{ToldInJson, UnderWay};
use crate::error::NodeError;
use crate::metrics::{Counter, Level};
use crate::shared::SharedRef;

/// Connections open at once, and so requests answered at once: those of some hundred pages, each of
/// which waits for results. One more takes the place of one that is idle, or is hung up on.
const CONNECTIONS_MAX: usize = 512;
/// How long a client may take until the head of a request is there, from connecting or from its last
/// answer: longer than clients keep idle connections.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// How long a piece of an answer may wait to be taken.
const TAKE_WAIT: Duration = Duration::from_secs(60);
/// Bytes of the head of a request: addresses with many parameters, and what browsers add.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of it.
const FIELDS_MAX: usize = 100;
/// The pause after the system gave no connection: it is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whoever answers what clients of a server ask.
pub(crate) trait Answering: Clone + Send + Sync + 'static {
    /// Answers one request. The share goes with the answer until that is taken.
    fn answer(&self, request: Request<Body>) -> impl Future<Output = (Response, AnswerShare)> + Send;
}

/// A listener for HTTP clients.
#[derive(Debug)]
pub(crate) struct GatewayServer {
    /// What it is called where things are counted.
    role: &'static str,
    listener: TcpListener,
}

/// The open connections, each with what ends it.
#[derive(Debug)]
struct Open {
    table: Connections,
    ends: BTreeMap<Name, CancellationToken>,
}

type OpenRef = Arc<Mutex<Open>>;

fn lock(open: &OpenRef) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GatewayServer {
    /// Listens at this address, which the key of a setting gave.
    ///
    /// # Errors
    /// [`NodeError::Gateway`].
    pub(crate) async fn open(
        role: &'static str,
        address: SocketAddr,
        key: &'static str,
    ) -> Result<Self, NodeError> {
        let listener = TcpListener::bind(address).await;
        let failed =
            |error: std::io::Error| NodeError::Gateway { role, address, why: error.to_string(), key };
        Ok(Self { role, listener: listener.map_err(failed)? })
    }

    /// Where it listens, also if any free port was asked for.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves clients until the node stops.
    pub(crate) async fn run(self, desk: impl Answering, shared: SharedRef, stop: CancellationToken) {
        let table = Connections::new(CONNECTIONS_MAX);
        let open: OpenRef = Arc::new(Mutex::new(Open { table, ends: BTreeMap::new() }));
        watch(&shared, self.role, &open);
        let turned_away = shared.metrics.full(self.role, "connections");
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
                    tracing::warn!(of = self.role, %error, "a client was not let in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are small and whole: they must not wait for more to come.
            let _ = stream.set_nodelay(true);
            if let Some((name, end)) = admit(&open, &turned_away) {
                tasks.spawn(serve(stream, desk.clone(), Arc::clone(&open), name, end));
            }
        }
        tasks.shutdown().await;
    }
}

fn watch(shared: &SharedRef, role: &'static str, open: &OpenRef) {
    let weak = Arc::downgrade(open);
    shared.metrics.watch(Level::budget(role, "connections", move || {
        let open = weak.upgrade()?;
        let taken = lock(&open).table.len();
        Some((taken as u64, CONNECTIONS_MAX as u64))
    }));
}

/// Finds a place for a new connection.
fn admit(open: &OpenRef, turned_away: &Counter) -> Option<(Name, CancellationToken)> {
    let mut open = lock(open);
    match open.table.admit() {
        Admission::Let { name, instead_of } => {
            if let Some(ended) = instead_of.and_then(|other| open.ends.remove(&other)) {
                turned_away.inc();
                ended.cancel();
            }
            let end = CancellationToken::new();
            open.ends.insert(name, end.clone());
            Some((name, end))
        }
        Admission::Full => {
            turned_away.inc();
            None
        }
    }
}

/// Serves one connection until either side ends it.
async fn serve(stream: TcpStream, desk: impl Answering, open: OpenRef, name: Name, end: CancellationToken) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(TAKE_WAIT));
    let (due, falls_due) = watch::channel(None);
    let due: Due = Arc::new(due);
    let under_way = UnderWay::default();
    let told = under_way.clone();
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (desk, open, due) = (desk.clone(), Arc::clone(&open), Arc::clone(&due));
        let under_way = under_way.clone();
        async move {
            let working = (Working { open: Arc::clone(&open), name }, under_way.begin());
            let request = request.map(|body| Body::new(Arriving::new(body, open, name)));
            let (response, share) = desk.answer(request).await;
            Ok::<_, Infallible>(Answer::of(response, (working, share), due, Instant::now()))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(FIELDS_MAX);
    let stream = ToldInJson::new(Box::pin(stream), told);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = end.cancelled() => {}
        () = overdue(falls_due) => tracing::debug!("a client of the gateway took an answer too slowly"),
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "a client of the gateway was hung up on");
        },
    }
    let mut open = lock(&open);
    open.table.closed(name);
    open.ends.remove(&name);
}

/// The body of a request. Only once all of it is there its connection is at work.
struct Arriving<B> {
    body: B,
    open: OpenRef,
    name: Name,
}

impl<B: hyper::body::Body> Arriving<B> {
    fn new(body: B, open: OpenRef, name: Name) -> Self {
        let arriving = Self { body, open, name };
        arriving.look();
        arriving
    }

    fn look(&self) {
        if self.body.is_end_stream() {
            lock(&self.open).table.began(self.name);
        }
    }
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for Arriving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.look();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request under way, until its answer is taken.
struct Working {
    open: OpenRef,
    name: Name,
}

impl Drop for Working {
    fn drop(&mut self) {
        lock(&self.open).table.ended(self.name);
    }
}
