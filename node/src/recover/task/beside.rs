//! What belongs to a log and is in none of the bundles that were read for its slots: attestations that came later,
//! and evidence.

use std::time::Duration;

use tokio::time::Instant;
use weft_protocol::Address;
use weft_protocol::wire::EVIDENCE_BYTES_MAX;

use super::super::RecoverError;
use super::super::ask::{Listed, Question};
use super::super::reading::Beside;
use super::super::sink::Sink;
use super::{Progress, Run};
use crate::portable::{ATTESTATIONS_TYPE, EVIDENCE_TYPE, Part, PortableError};

/// Pages of attestations that a gateway is asked for: a hundred items with a thousand each.
const ATTESTED_PAGES_MAX: usize = 64;
/// Pages of evidence, from the oldest on and from the newest: anybody may list what is none, and whoever wants
/// to hide some would have to fill both ends, for each item that follows again.
const EVIDENCE_PAGES_MAX: usize = 16;
/// Items that a gateway may list on its pages and not give as they were signed.
const MISSES_MAX: u32 = 8;
/// Bytes of one item with attestations.
const ATTESTATIONS_BYTES_MAX: usize = 1024 * 1024;
/// How long one gateway is read for all of it; what was begun then is ended.
const GATEWAY_WAIT: Duration = Duration::from_secs(600);
/// Bytes that it may take for all of it.
const GATEWAY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What is read of one gateway.
struct Kind {
    name: &'static str,
    item_bytes_max: usize,
    pages_max: usize,
    /// Who signed it; anybody if there are none.
    signers: Vec<Address>,
    newest_first: bool,
}

/// What one gateway has left.
struct Left {
    until: Instant,
    bytes: u64,
}

/// How far the pages of a gateway were read.
#[derive(PartialEq, Eq)]
enum Read {
    All,
    /// There are more than it is asked for.
    NotAll,
}

impl<S: Sink> Run<'_, S> {
    /// Reads it from all gateways: what one forgets another may have, and it is little. `progress` hears again and
    /// again how many slots came, and says whether to go on.
    pub(super) async fn read_beside(&mut self, progress: Progress<'_>) -> Result<(), RecoverError> {
        let signers = self.reading()?.signers();
        for gateway in 0..self.gateways.len() {
            let mut left = Left { until: Instant::now() + GATEWAY_WAIT, bytes: GATEWAY_BYTES_MAX };
            let attested = Kind {
                name: ATTESTATIONS_TYPE,
                item_bytes_max: ATTESTATIONS_BYTES_MAX,
                pages_max: ATTESTED_PAGES_MAX,
                signers: signers.clone(),
                newest_first: false,
            };
            let mut read = self.beside_of(gateway, &attested, &mut left, &mut *progress).await?;
            // A scheduler does not anchor what convicts it: whoever saw it does.
            for newest_first in [false, true] {
                let convicting = Kind {
                    name: EVIDENCE_TYPE,
                    item_bytes_max: EVIDENCE_BYTES_MAX,
                    pages_max: EVIDENCE_PAGES_MAX,
                    signers: Vec::new(),
                    newest_first,
                };
                let convicting = self.beside_of(gateway, &convicting, &mut left, &mut *progress).await?;
                let is_all = convicting == Read::All;
                read = if is_all { read } else { Read::NotAll };
                if is_all {
                    break;
                }
            }
            if read == Read::NotAll
                && let Some(name) = self.gateways.get(gateway).map(|asked| asked.name().to_owned())
            {
                self.note(format!("{name} lists more attestations or evidence than were read"));
            }
        }
        Ok(())
    }

    async fn beside_of(
        &mut self,
        gateway: usize,
        kind: &Kind,
        left: &mut Left,
        progress: Progress<'_>,
    ) -> Result<Read, RecoverError> {
        let (process, mut after, mut misses) = (self.process, None, 0);
        let slots = self.reading()?.next_slot();
        for _ in 0..kind.pages_max {
            if self.search.has_given_up(gateway) {
                return Ok(Read::All);
            }
            let question = Question::Beside {
                process,
                kind: kind.name,
                signers: kind.signers.clone(),
                newest_first: kind.newest_first,
                after: after.take(),
            };
            let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(Read::All) };
            let Some(listed) = asked.query(&question).await else { return Ok(Read::All) };
            after = listed.last().and_then(|last| last.cursor.clone());
            for one in listed {
                if progress(slots, slots).is_break() {
                    return Err(PortableError::Stopped.into());
                }
                if Instant::now() >= left.until || left.bytes == 0 {
                    self.fault(gateway, "it takes too long to give what is beside the slots");
                    return Ok(Read::NotAll);
                }
                if misses >= MISSES_MAX {
                    self.fault(gateway, "it is asked no more for what is beside the slots");
                    return Ok(Read::NotAll);
                }
                misses += u32::from(!self.beside_one(gateway, &one, kind, left).await?);
            }
            if after.is_none() {
                return Ok(Read::All);
            }
        }
        Ok(Read::NotAll)
    }

    /// Reads one item; whether the gateway gave it, if it was asked. Only what was signed under that id is not asked
    /// for again: a gateway that gives something else must not keep others from giving it.
    async fn beside_one(
        &mut self,
        gateway: usize,
        listed: &Listed,
        kind: &Kind,
        left: &mut Left,
    ) -> Result<bool, RecoverError> {
        let id = listed.id;
        // Those of a bundle that was read are taken, whatever name they have.
        let was_read = listed.bundle.is_some_and(|bundle| self.read.contains(&bundle));
        if was_read || self.read.contains(&id) || listed.data_bytes > kind.item_bytes_max as u64 {
            return Ok(true);
        }
        let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(true) };
        let is_here = asked.holder.is_here();
        let data = match asked.holder.small_data(id, kind.item_bytes_max).await {
            Ok(data) => data,
            Err(error) => {
                asked.fault(error);
                return Ok(false);
            }
        };
        left.bytes = left.bytes.saturating_sub(data.len() as u64);
        let (name, of, claims) = (kind.name, data.clone(), listed.clone());
        let (signer, beside) = self
            .away(move |reading| {
                let item = claims.with_data(of);
                (item.map(|item| item.owner()), reading.beside(&data, Some(name)))
            })
            .await?;
        let is_signed = signer.is_some_and(|owner| kind.signers.is_empty() || kind.signers.contains(&owner));
        let is_item = is_here || is_signed;
        if is_item {
            self.read.insert(id);
        }
        match beside {
            // It proves itself, whatever fields a gateway leaves out. Nothing at all proves nothing.
            Ok(Beside::Attestations(all)) => {
                let is_some = !all.is_empty();
                self.storing()?.sink.parts(vec![Part::Attestations(all)]).await?;
                if !is_item && !is_some {
                    self.fault(gateway, format!("item {id}: nothing that was attested is in it"));
                }
                Ok(is_item || is_some)
            }
            Ok(Beside::Evidence(evidence)) => {
                self.convicted(*evidence);
                Ok(true)
            }
            // Anybody may sign such an item, so this is nobody's lie.
            Err(why) => {
                self.fault(gateway, format!("item {id}: {why}"));
                Ok(is_item)
            }
        }
    }
}
