//! Requests and responses on a stream: a varint length, then one canonical protobuf message.
//!
//! Runs in the tasks of connections, never in the network task. Reading allocates no more than
//! was sent, and large bodies share a budget, of which each connection has a share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use prost::Message;
use prost::encoding::encode_varint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use weft_protocol::wire::{
    self, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, WireError, WireMessage, decode_canonical,
};

use crate::limits::{
    ANSWER_PIECE_BYTES, ANSWER_SHARE_SURE_KIB, ANSWERS_WRITTEN_MAX, BODY_BUDGET_KIB, BODY_SMALL_BYTES,
    REQUEST_SHARE_KIB, RESPONSE_SHARE_KIB,
};

/// A message as it came from a stream or as it goes out.
#[derive(Debug)]
pub(crate) struct Body<M> {
    /// The message, or why its bytes are refused.
    pub(crate) message: Result<M, WireError>,
    /// The share of the memory for large bodies.
    pub(crate) budget: Option<Taken>,
}

/// Memory taken for a large body, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    _of_connection: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
    /// How far the body is on its way, if it is an answer.
    pub(crate) way: Arc<Way>,
}

impl Taken {
    fn of(connection: OwnedSemaphorePermit, all: OwnedSemaphorePermit) -> Self {
        Self { _of_connection: connection, _of_all: all, way: Arc::default() }
    }
}

/// How far an answer is on its way.
#[derive(Debug, Default)]
pub(crate) struct Way {
    bytes: AtomicU64,
    cut: CancellationToken,
}

impl Way {
    /// Bytes that its peer took.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends it: the rest is not written.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

/// Why there is no memory for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The peer has as much on its way as it may have now.
    OfItsOwn,
    /// The peer has little, and others have all there is.
    OfAll,
}

/// What large bodies of one direction may take: of one connection or peer, and of all.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    connection: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Budget {
    /// That of all, of which nobody has a share yet.
    pub(crate) fn of_all() -> Self {
        Self { connection: Arc::new(Semaphore::new(0)), all: Arc::new(Semaphore::new(BODY_BUDGET_KIB)) }
    }

    /// The share of a new connection or peer, of so many KiB.
    pub(crate) fn share(&self, kib: usize) -> Self {
        Self { connection: Arc::new(Semaphore::new(kib)), all: Arc::clone(&self.all) }
    }

    /// What is taken of all, in bytes.
    pub(crate) fn taken_bytes(&self) -> u64 {
        (BODY_BUDGET_KIB.saturating_sub(self.all.available_permits()) * 1024) as u64
    }

    /// Whether anything is taken of a share of so many KiB.
    pub(crate) fn is_in_use(&self, share_kib: usize) -> bool {
        self.connection.available_permits() < share_kib
    }

    /// Takes memory for so many bytes out of a share of so many KiB, if it is there now. Beyond what is sure
    /// it is there only while half of all is free: a few that read nothing leave room for the others.
    pub(crate) fn try_take(&self, bytes: usize, share_kib: usize) -> Result<Taken, NoRoom> {
        let kib = bytes.div_ceil(1024);
        let taken_kib = share_kib.saturating_sub(self.connection.available_permits());
        let is_sure = taken_kib + kib <= ANSWER_SHARE_SURE_KIB;
        if !is_sure && self.all.available_permits() < BODY_BUDGET_KIB / 2 {
            return Err(NoRoom::OfItsOwn);
        }
        let kib = u32::try_from(kib).map_err(|_| NoRoom::OfItsOwn)?;
        let connection = Arc::clone(&self.connection).try_acquire_many_owned(kib);
        let connection = connection.map_err(|_| NoRoom::OfItsOwn)?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(kib).map_err(|_| NoRoom::OfAll)?;
        Ok(Taken::of(connection, all))
    }

    /// Waits for memory: first for that of the connection, so that what waits there holds up
    /// nobody else.
    async fn take(&self, kib: u32) -> io::Result<Taken> {
        let connection = Arc::clone(&self.connection).acquire_many_owned(kib).await.map_err(invalid)?;
        let all = Arc::clone(&self.all).acquire_many_owned(kib).await.map_err(invalid)?;
        Ok(Taken::of(connection, all))
    }
}

impl<M> From<M> for Body<M> {
    fn from(message: M) -> Self {
        Self { message: Ok(message), budget: None }
    }
}

#[derive(Debug)]
pub(crate) struct Codec {
    requests: Budget,
    responses: Budget,
    /// Large answers take turns on a connection.
    turns: Arc<Semaphore>,
    /// The behaviour's own, which reads nothing: its clones are those of connections.
    is_root: bool,
}

impl Codec {
    pub(crate) fn new() -> Self {
        let turns = Arc::new(Semaphore::new(ANSWERS_WRITTEN_MAX));
        Self { requests: Budget::of_all(), responses: Budget::of_all(), turns, is_root: true }
    }
}

/// The library clones the behaviour's codec once for each connection, and that one for each stream
/// of it. So a clone of the root has shares of its own, and its clones have the same.
impl Clone for Codec {
    fn clone(&self) -> Self {
        let Self { requests, responses, turns, is_root } = self;
        if !is_root {
            let (requests, responses, turns) = (requests.clone(), responses.clone(), Arc::clone(turns));
            return Self { requests, responses, turns, is_root: false };
        }
        Self {
            requests: requests.share(REQUEST_SHARE_KIB),
            responses: responses.share(RESPONSE_SHARE_KIB),
            turns: Arc::new(Semaphore::new(ANSWERS_WRITTEN_MAX)),
            is_root: false,
        }
    }
}

impl libp2p::request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Body<wire::Request>;
    type Response = Body<wire::Response>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Self::Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, REQUEST_BYTES_MAX, &self.requests, |request: &wire::Request| request.body.is_some()).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Self::Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, RESPONSE_BYTES_MAX, &self.responses, |response: &wire::Response| response.body.is_some())
            .await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Self::Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, request, &self.turns).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Self::Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, response, &self.turns).await
    }
}

async fn write<T: AsyncWrite + Unpin + Send, M: Message>(
    io: &mut T,
    body: Body<M>,
    turns: &Semaphore,
) -> io::Result<()> {
    // Its share of the memory is given back when the peer has read it.
    let Body { message, budget } = body;
    let message = message.map_err(invalid)?;
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(length + 10);
    encode_varint(length as u64, &mut bytes);
    message.encode(&mut bytes).map_err(invalid)?;
    // The message may hold the only copy of 10 MiB; it is not needed while the peer reads.
    drop(message);
    match budget {
        Some(taken) => write_large(io, &bytes, &taken.way, turns).await,
        None => {
            io.write_all(&bytes).await?;
            io.flush().await
        }
    }
}

/// Writes when it is its turn, piece by piece, until somebody ends it.
async fn write_large<T: AsyncWrite + Unpin + Send>(
    io: &mut T,
    bytes: &[u8],
    way: &Way,
    turns: &Semaphore,
) -> io::Result<()> {
    let written = async {
        let _turn = turns.acquire().await.map_err(invalid)?;
        for piece in bytes.chunks(ANSWER_PIECE_BYTES) {
            io.write_all(piece).await?;
            way.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        io.flush().await
    };
    tokio::select! {
        biased;
        written = written => written,
        () = way.cut.cancelled() => Err(io::Error::new(io::ErrorKind::OutOfMemory, "its room was needed for others")),
    }
}

async fn read<T, M>(
    io: &mut T,
    bytes_max: usize,
    budget: &Budget,
    has_body: fn(&M) -> bool,
) -> io::Result<Body<M>>
where
    T: AsyncRead + Unpin + Send,
    M: WireMessage,
{
    let length = read_length(io).await?;
    if length > bytes_max as u64 {
        return Err(invalid(format!("a message of {length} bytes; the limit is {bytes_max}")));
    }
    let length = length as usize;
    let budget = if length > BODY_SMALL_BYTES {
        let kib = length.div_ceil(1024) as u32;
        Some(budget.take(kib).await?)
    } else {
        None
    };
    // Grows as bytes come: the length is only a claim.
    let mut bytes = Vec::with_capacity(length.min(BODY_SMALL_BYTES));
    io.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = decode_canonical(&Bytes::from(bytes), bytes_max).and_then(|message| {
        // No bytes at all are canonical, and ask or answer nothing.
        if has_body(&message) { Ok(message) } else { Err(WireError::Field("body")) }
    });
    Ok(Body { message, budget })
}

async fn read_length<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<u64> {
    let mut length = 0;
    // Five groups of seven bits hold more than any limit.
    for group in 0..5 {
        let mut byte = [0];
        io.read_exact(&mut byte).await?;
        length |= u64::from(byte[0] & 0x7f) << (7 * group);
        if byte[0] & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(invalid("a length of more than 5 bytes"))
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::FutureExt as _;
    use futures::executor::block_on;
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;
    use crate::limits::ANSWER_SHARE_KIB;

    fn head_request(processes: usize) -> wire::Request {
        let processes = vec![Bytes::from_static(&[7; 32]); processes];
        wire::Request { body: Some(wire::request::Body::Head(wire::HeadRequest { processes })) }
    }

    fn read_request(bytes: &[u8], max: usize) -> io::Result<Body<wire::Request>> {
        let budget = Codec::new().clone().requests;
        block_on(read(&mut Cursor::new(bytes), max, &budget, |request: &wire::Request| {
            request.body.is_some()
        }))
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_varint(body.len() as u64, &mut bytes);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn what_is_written_reads_back() {
        let request = head_request(3);
        let mut stream = Cursor::new(Vec::new());
        block_on(write(&mut stream, Body::from(request.clone()), &Semaphore::new(1))).unwrap();
        let read = read_request(stream.get_ref(), 1000).unwrap();
        assert_eq!(read.message, Ok(request));
        assert!(read.budget.is_none());
    }

    /// The bytes of a submit of so many KiB.
    fn submit(kib: usize) -> Vec<u8> {
        let item = Bytes::from(vec![1; kib * 1024]);
        let submit = wire::SubmitRequest { item, proof: Bytes::new() };
        framed(&wire::Request { body: Some(wire::request::Body::Submit(submit)) }.encode_to_vec())
    }

    async fn read_on(connection: &Codec, bytes: Vec<u8>) -> Body<wire::Request> {
        read(&mut Cursor::new(bytes), REQUEST_BYTES_MAX, &connection.requests, |_| true).await.unwrap()
    }

    #[test]
    fn a_large_body_takes_its_share_of_the_budget_until_it_is_dropped() {
        let connection = Codec::new().clone();
        let Budget { connection: own, all } = connection.requests.clone();
        let body = block_on(read_on(&connection, submit(100)));
        let left = || (own.available_permits(), all.available_permits());
        assert_eq!(left(), (REQUEST_SHARE_KIB - 101, BODY_BUDGET_KIB - 101));
        drop(body);
        assert_eq!(left(), (REQUEST_SHARE_KIB, BODY_BUDGET_KIB));
    }

    #[test]
    fn a_connection_that_used_its_share_waits_and_the_others_do_not() {
        let root = Codec::new();
        let (greedy, other) = (root.clone(), root.clone());
        let first = block_on(read_on(&greedy, submit(10 * 1024)));
        // Streams of one connection have one share.
        let stream = greedy.clone();
        let mut second = Box::pin(read_on(&stream, submit(10 * 1024)));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(other.requests.all.available_permits(), BODY_BUDGET_KIB - 10 * 1024 - 1);
        assert!(block_on(read_on(&other, submit(10 * 1024))).budget.is_some());
        drop(first);
        assert!(block_on(second).budget.is_some());
    }

    #[test]
    fn those_that_read_nothing_leave_room_for_the_others() {
        const EIGHT_MIB: usize = 8 * 1024 * 1024;
        let all = Budget::of_all();
        let take = |share: &Budget| share.try_take(EIGHT_MIB, ANSWER_SHARE_KIB);
        let greedy: Vec<Vec<Taken>> = (0..8)
            .map(|_| {
                let share = all.share(ANSWER_SHARE_KIB);
                std::iter::from_fn(|| take(&share).ok()).collect()
            })
            .collect();
        let answers: Vec<usize> = greedy.iter().map(Vec::len).collect();
        // Six fit in a share. From half on each has one.
        assert_eq!(answers, [6, 6, 5, 1, 1, 1, 1, 1]);
        let more: Vec<Taken> = std::iter::from_fn(|| take(&all.share(ANSWER_SHARE_KIB)).ok()).collect();
        assert_eq!(more.len(), 10, "all but those is there for the others");
        assert_eq!(take(&all.share(ANSWER_SHARE_KIB)).unwrap_err(), NoRoom::OfAll);
        drop((greedy, more));
        assert_eq!(all.all.available_permits(), BODY_BUDGET_KIB);
        let share = all.share(ANSWER_SHARE_KIB);
        let _answers: Vec<Taken> = std::iter::from_fn(|| take(&share).ok()).collect();
        assert_eq!(take(&share).unwrap_err(), NoRoom::OfItsOwn);
    }

    /// Takes so many bytes, and no more.
    struct Takes(usize);

    impl AsyncWrite for Takes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn large_answers_take_turns_and_their_room_is_free_when_they_are_cut() {
        let (share, turns) = (Budget::of_all().share(ANSWER_SHARE_KIB), Semaphore::new(ANSWERS_WRITTEN_MAX));
        let mut ways = Vec::new();
        let mut written: Vec<_> = (0..=ANSWERS_WRITTEN_MAX)
            .map(|_| {
                let blob = wire::BlobResponse { total: 9, piece: vec![7; 1 << 20].into() };
                let answer = wire::Response { body: Some(wire::response::Body::Blob(blob)) };
                let budget = share.try_take(1 << 20, ANSWER_SHARE_KIB).unwrap();
                ways.push(Arc::clone(&budget.way));
                let body = Body { message: Ok(answer), budget: Some(budget) };
                let turns = &turns;
                Box::pin(async move { write(&mut Takes(3 * ANSWER_PIECE_BYTES / 2), body, turns).await })
            })
            .collect();
        assert!(written.iter_mut().all(|answer| answer.now_or_never().is_none()));
        let taken = |ways: &[Arc<Way>]| ways.iter().map(|way| way.bytes()).collect::<Vec<_>>();
        let piece = ANSWER_PIECE_BYTES as u64;
        assert_eq!(taken(&ways), [piece, piece, 0]);
        ways[0].cut();
        assert!((&mut written[0]).now_or_never().is_some_and(|end| end.is_err()));
        assert!((&mut written[2]).now_or_never().is_none());
        assert_eq!(taken(&ways), [piece, piece, piece]);
        assert_eq!(share.all.available_permits(), BODY_BUDGET_KIB - 2 * 1024);
    }

    #[test]
    fn too_long_cut_short_and_endless_lengths_are_refused() {
        let bytes = framed(&head_request(3).encode_to_vec());
        assert!(read_request(&bytes, 20).unwrap_err().to_string().contains("the limit is 20"));
        assert_eq!(
            read_request(&bytes[..bytes.len() - 1], 1000).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert!(read_request(&[0xff; 12], 1000).is_err());
    }

    #[test]
    fn malformed_bodies_are_named() {
        let refused = |body: &[u8]| read_request(&framed(body), 1 << 20).unwrap().message.unwrap_err();
        assert_eq!(refused(b"\xff\xff\xff\xff\xff\xff"), WireError::Malformed);
        assert_eq!(refused(b""), WireError::Field("body"));
        // A request kind that we do not know.
        assert_eq!(refused(&[0x7a, 0]), WireError::NotCanonical);
        // Many small elements.
        let many = head_request(wire::HEADS_MAX + 1).encode_to_vec();
        assert!(matches!(refused(&many), WireError::TooMany(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_request(&bytes, 100);
        }
    }
}
