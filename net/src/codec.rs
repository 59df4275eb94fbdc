//! Requests and responses on a stream: a varint length, then one canonical protobuf message.
//!
//! Runs in the tasks of connections, never in the network task. Reading allocates no more than
//! was sent, and large bodies share a budget.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use prost::Message;
use prost::encoding::encode_varint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weft_protocol::wire::{
    self, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, WireError, WireMessage, decode_canonical,
};

use crate::limits::{BODY_BUDGET_KIB, BODY_SMALL_BYTES};

/// A message as it came from a stream or as it goes out.
#[derive(Debug)]
pub(crate) struct Body<M> {
    /// The message, or why its bytes are refused.
    pub(crate) message: Result<M, WireError>,
    /// The share of the memory for large bodies.
    pub(crate) budget: Option<OwnedSemaphorePermit>,
}

impl<M> From<M> for Body<M> {
    fn from(message: M) -> Self {
        Self { message: Ok(message), budget: None }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Codec {
    requests: Arc<Semaphore>,
    responses: Arc<Semaphore>,
}

impl Codec {
    pub(crate) fn new() -> Self {
        let budget = || Arc::new(Semaphore::new(BODY_BUDGET_KIB));
        Self { requests: budget(), responses: budget() }
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
        write(io, request).await
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
        write(io, response).await
    }
}

async fn write<T: AsyncWrite + Unpin + Send, M: Message>(io: &mut T, body: Body<M>) -> io::Result<()> {
    let message = body.message.map_err(invalid)?;
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(length + 10);
    encode_varint(length as u64, &mut bytes);
    message.encode(&mut bytes).map_err(invalid)?;
    // The message may hold the only copy of 10 MiB; it is not needed while the peer reads.
    drop(message);
    io.write_all(&bytes).await?;
    io.flush().await
}

async fn read<T, M>(
    io: &mut T,
    bytes_max: usize,
    budget: &Arc<Semaphore>,
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
        Some(Arc::clone(budget).acquire_many_owned(kib).await.map_err(invalid)?)
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

    use futures::executor::block_on;
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    fn head_request(processes: usize) -> wire::Request {
        let processes = vec![Bytes::from_static(&[7; 32]); processes];
        wire::Request { body: Some(wire::request::Body::Head(wire::HeadRequest { processes })) }
    }

    fn read_request(bytes: &[u8], max: usize) -> io::Result<Body<wire::Request>> {
        let budget = Arc::new(Semaphore::new(BODY_BUDGET_KIB));
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
        block_on(write(&mut stream, Body::from(request.clone()))).unwrap();
        let read = read_request(stream.get_ref(), 1000).unwrap();
        assert_eq!(read.message, Ok(request));
        assert!(read.budget.is_none());
    }

    #[test]
    fn a_large_body_takes_its_share_of_the_budget_until_it_is_dropped() {
        let item = Bytes::from(vec![1; 100 * 1024]);
        let submit = wire::SubmitRequest { item, proof: Bytes::new() };
        let request = wire::Request { body: Some(wire::request::Body::Submit(submit)) };
        let bytes = framed(&request.encode_to_vec());
        let budget = Arc::new(Semaphore::new(BODY_BUDGET_KIB));
        let body: Body<wire::Request> =
            block_on(read(&mut Cursor::new(bytes), REQUEST_BYTES_MAX, &budget, |_| true)).unwrap();
        assert_eq!(budget.available_permits(), BODY_BUDGET_KIB - 101);
        drop(body);
        assert_eq!(budget.available_permits(), BODY_BUDGET_KIB);
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
