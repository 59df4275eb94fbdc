//! Requests and responses on a stream: a varint length, then one canonical protobuf message.
//!
//! Runs in the tasks of connections, never in the network task. Reading allocates a piece, then no more than twice what has
//! come, and never more than was announced; large bodies share a budget, of which each connection has a share.

mod budget;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use prost::Message;
use prost::encoding::encode_varint;
use tokio::sync::Semaphore;
use weft_protocol::wire::{
    self, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, WireError, WireMessage, decode_canonical,
};

pub(crate) use budget::{Budget, NoRoom, Taken, Way};

use crate::limits::{
    ANSWER_PIECE_BYTES, ANSWERS_WRITTEN_MAX, BODY_LANE_WAIT, BODY_SMALL_BYTES, REQUEST_SHARE_KIB,
    RESPONSE_SHARE_KIB,
};

/// A message as it came from a stream or as it goes out.
#[derive(Debug)]
pub(crate) struct Body<M> {
    /// The message, or why its bytes are refused.
    pub(crate) message: Result<M, WireError>,
    /// The share of the memory for large bodies.
    pub(crate) budget: Option<Taken>,
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
            way.add(piece.len() as u64);
        }
        io.flush().await
    };
    tokio::select! {
        biased;
        written = written => written,
        () = way.is_cut() => Err(io::Error::new(io::ErrorKind::OutOfMemory, "its room was needed for others")),
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
    let mut taken = if length > BODY_SMALL_BYTES { Some(budget.begin(length).await?) } else { None };
    let bytes = read_body(io, length, budget, &mut taken).await?;
    let message = decode_canonical(&Bytes::from(bytes), bytes_max).and_then(|message| {
        // No bytes at all are canonical, and ask or answer nothing.
        if has_body(&message) { Ok(message) } else { Err(WireError::Field("body")) }
    });
    Ok(Body { message, budget: taken })
}

/// Grows as bytes come, and so does what it takes of all: the length is only a claim.
async fn read_body<T: AsyncRead + Unpin + Send>(
    io: &mut T,
    length: usize,
    budget: &Budget,
    taken: &mut Option<Taken>,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let begin = bytes.len();
        let end = length.min(begin + BODY_SMALL_BYTES);
        if let Some(taken) = taken
            && begin > 0
        {
            budget.grow(taken, end).await?;
        }
        // Twice what has come at most, and never more than is to come: a vector left to itself ends at twice the length.
        let room = length.min(end.max(2 * begin));
        if bytes.capacity() < end {
            bytes.reserve_exact(room - begin);
        }
        bytes.resize(end, 0);
        let reading = io.read_exact(&mut bytes[begin..]);
        match taken {
            Some(taken) if taken.is_last() => tokio::time::timeout(BODY_LANE_WAIT, reading).await??,
            _ => reading.await?,
        }
    }
    Ok(bytes)
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
    use crate::limits::{ANSWER_SHARE_KIB, BODY_BUDGET_KIB, BODY_LANES};

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
        let Budget { connection: own, all, .. } = connection.requests.clone();
        let body = block_on(read_on(&connection, submit(100)));
        let left = || (own.available_permits(), all.available_permits());
        assert_eq!(left(), (REQUEST_SHARE_KIB - 101, BODY_BUDGET_KIB - 101));
        drop(body);
        assert_eq!(left(), (REQUEST_SHARE_KIB, BODY_BUDGET_KIB));
    }

    #[test]
    fn a_body_has_no_more_memory_than_it_has_bytes() {
        let budget = Codec::new().clone().requests;
        for length in [1, BODY_SMALL_BYTES, BODY_SMALL_BYTES + 1, 5 * BODY_SMALL_BYTES + 7, 1024 * 1024] {
            let mut taken = Some(block_on(budget.begin(length)).unwrap());
            let mut stream = Cursor::new(vec![7; length]);
            let bytes = block_on(read_body(&mut stream, length, &budget, &mut taken)).unwrap();
            assert_eq!((bytes.capacity(), bytes), (length, vec![7; length]));
        }
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

    /// Gives what it has, and then nothing for ever.
    struct Stalls(Cursor<Vec<u8>>);

    impl AsyncRead for Stalls {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            match Pin::new(&mut self.0).poll_read(context, bytes) {
                Poll::Ready(Ok(0)) => Poll::Pending,
                other => other,
            }
        }
    }

    /// Reads a submit of so many KiB of which so many bytes come.
    async fn stalled(connection: &Codec, kib: usize, come: usize) -> io::Result<Body<wire::Request>> {
        let mut bytes = submit(kib);
        bytes.truncate(come);
        read(&mut Stalls(Cursor::new(bytes)), REQUEST_BYTES_MAX, &connection.requests, |_| true).await
    }

    #[test]
    fn who_announces_much_takes_no_more_of_all_than_it_sends() {
        let root = Codec::new();
        let mute: Vec<Codec> = (0..32).map(|_| root.clone()).collect();
        let mut bodies: Vec<_> =
            mute.iter().map(|connection| Box::pin(stalled(connection, 10 * 1024, 4))).collect();
        assert!(bodies.iter_mut().all(|body| body.now_or_never().is_none()));
        assert_eq!(root.requests.all.available_permits(), BODY_BUDGET_KIB);
        // Three pieces and the one that is waited for.
        let slow = root.clone();
        let mut body = Box::pin(stalled(&slow, 10 * 1024, 3 * BODY_SMALL_BYTES + 4));
        assert!((&mut body).now_or_never().is_none());
        assert_eq!(root.requests.all.available_permits(), BODY_BUDGET_KIB - 4 * 64);
        assert!(block_on(read_on(&root.clone(), submit(10 * 1024))).budget.is_some());
        drop(body);
        assert_eq!(root.requests.all.available_permits(), BODY_BUDGET_KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_is_taken_what_goes_on_is_read_to_its_end_and_what_stalls_is_dropped() {
        let root = Codec::new();
        let all = Arc::clone(&root.requests.all);
        let _full = all.try_acquire_many_owned(BODY_BUDGET_KIB as u32).unwrap();
        // More than there are lanes; each of these is in the place of one for as long as a piece may take.
        let connections: Vec<Codec> = (0..2 * BODY_LANES).map(|_| root.clone()).collect();
        let ends = connections.iter().map(|connection| stalled(connection, 1024, 2 * BODY_SMALL_BYTES));
        let other = root.clone();
        let (ends, whole) =
            futures::future::join(futures::future::join_all(ends), read_on(&other, submit(10 * 1024))).await;
        let ends: Vec<_> = ends.into_iter().map(|end| end.unwrap_err().kind()).collect();
        assert_eq!(ends, [io::ErrorKind::TimedOut; 2 * BODY_LANES]);
        assert!(whole.message.is_ok());
        // Streams of one connection are in one lane, so that others have the rest.
        let lanes = &root.requests.lanes;
        assert_eq!(lanes.available_permits(), BODY_LANES - 1);
        drop(whole);
        let mut streams: Vec<_> =
            (0..4).map(|_| Box::pin(stalled(&other, 1024, 2 * BODY_SMALL_BYTES))).collect();
        assert!(streams.iter_mut().all(|body| body.now_or_never().is_none()));
        assert_eq!(lanes.available_permits(), BODY_LANES - 1);
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
