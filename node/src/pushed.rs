//! Where a push stands in the log of its target: on the disk here, or in the word of the target's scheduler, which
//! signed it.

use bytes::Bytes;
use weft_net::Peer;
use weft_protocol::assignment::Assignment;
use weft_protocol::header::Header;
use weft_protocol::process::Process;
use weft_protocol::push::{ORIGIN_PROOF, Source};
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Address, DataItem, Hash, Id, Tag, Verified, seen, tag, wire};
use weft_storage::{Reader, StoreError};

use crate::remote::{self, RemoteError};
use crate::shared::Shared;

/// A push with its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The slot of the target's log.
    pub slot: u64,
    /// Its assignment.
    pub assignment: Id,
    /// The assignment's timestamp.
    pub timestamp: u64,
    /// Who carried it.
    pub carrier: Address,
}

/// The raw assignment and the header of a push that has a slot in a log here; none also where only the log is here and
/// not what was seen in it.
///
/// # Errors
/// The disk.
pub fn read(
    reader: &Reader,
    process: Id,
    push: &Hash,
) -> Result<Option<(Bytes, Verified<Header>)>, StoreError> {
    let Some(position) = reader.seen(&process, &seen::push_key(push))? else { return Ok(None) };
    let Some(row) = reader.slot(&process, position.slot)? else { return Ok(None) };
    let item = reader.item(&row.item)?.and_then(|raw| DataItem::verify_bytes(raw).ok());
    Ok(item.map(|item| (row.assignment, Verified::<Header>::of(&item))))
}

/// Whether these are the tags of the push of an entry, whoever carried it.
pub fn is_of(place: &Source, tags: &[Tag]) -> bool {
    let proof = tag::first(tags, ORIGIN_PROOF).and_then(|proof| proof.parse().ok());
    proof.is_some_and(|proof| {
        let wanted = place.tags("Message", "", None, proof);
        let tail: Vec<Tag> = wanted.into_iter().skip_while(|tag| tag.name != "From-Epoch").collect();
        tags.ends_with(&tail) && tag::first(tags, "From-Process") == Some(place.process.to_string().as_str())
    })
}

/// The push of an entry as a peer shows it, verified: signed by the target's
/// scheduler. None where the peer knows of none, which is its word alone.
///
/// # Errors
/// When it is not asked, or shows something else.
pub async fn ask(
    shared: &Shared,
    peer: Peer,
    target: &Process,
    place: Source,
) -> Result<Option<Pushed>, RemoteError> {
    let push_id = wire::bytes(place.push_id(shared.network));
    let ask = wire::PushedRequest { process: wire::bytes(target.id()), push_id };
    let answer = match remote::ask(shared, peer, Ask::Pushed(ask)).await {
        Ok(Answer::Pushed(answer)) => answer,
        Ok(_) => return Err(RemoteError::Mismatch { peer }),
        Err(error) if error.is_absence() => return Ok(None),
        Err(error) => return Err(error),
    };
    let target = (target.id(), target.scheduler());
    let checked = tokio::task::spawn_blocking(move || {
        let header = Header::parse(&answer.item).ok()?.verify().ok()?;
        check(answer.assignment, &header, target, &place)
    });
    checked.await.ok().flatten().map(Some).ok_or(RemoteError::Mismatch { peer })
}

/// What a raw assignment and a header say, if they are of a push of this entry in the log of this target and its
/// scheduler.
pub fn check(
    assignment: Bytes,
    header: &Verified<Header>,
    (target, scheduler): (Id, Address),
    place: &Source,
) -> Option<Pushed> {
    let signed = DataItem::verify_bytes(assignment).ok()?;
    let said = Assignment::from_item(&signed).ok()?;
    let is_push = signed.owner() == scheduler
        && said.process == target
        && said.message == Some(header.id())
        && header.target() == Some(target)
        && is_of(place, header.tags());
    let (slot, assignment, timestamp) = (said.slot, said.id, said.time.timestamp);
    is_push.then(|| Pushed { slot, assignment, timestamp, carrier: header.owner() })
}
