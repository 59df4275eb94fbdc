//! What belongs to a log and is in none of the bundles that were read for its slots: attestations that came later,
//! and evidence.

use weft_protocol::Address;
use weft_protocol::wire::EVIDENCE_BYTES_MAX;

use super::super::RecoverError;
use super::super::ask::{Listed, Question};
use super::super::reading::Beside;
use super::super::sink::Sink;
use super::Run;
use crate::portable::{ATTESTATIONS_TYPE, EVIDENCE_TYPE, Part};

/// Pages of attestations that a gateway is asked for: a hundred items with a thousand each.
const ATTESTED_PAGES_MAX: usize = 64;
/// Pages of evidence. Anybody may list what is none, so that more would let strangers make it long.
const EVIDENCE_PAGES_MAX: usize = 1;
/// Items that a gateway may list on its pages and not give.
const MISSES_MAX: u32 = 8;
/// Bytes of one item with attestations.
const ATTESTATIONS_BYTES_MAX: usize = 1024 * 1024;

impl<S: Sink> Run<'_, S> {
    /// Reads it from all gateways: what one forgets another may have, and it is little.
    pub(super) async fn read_beside(&mut self) -> Result<(), RecoverError> {
        let signers = self.reading()?.signers();
        for gateway in 0..self.gateways.len() {
            let attested = (ATTESTATIONS_TYPE, ATTESTATIONS_BYTES_MAX, ATTESTED_PAGES_MAX);
            self.beside_of(gateway, attested, &signers).await?;
            // A scheduler does not anchor what convicts it: whoever saw it does.
            let convicting = (EVIDENCE_TYPE, EVIDENCE_BYTES_MAX, EVIDENCE_PAGES_MAX);
            self.beside_of(gateway, convicting, &[]).await?;
        }
        Ok(())
    }

    async fn beside_of(
        &mut self,
        gateway: usize,
        (kind, bytes, pages): (&'static str, usize, usize),
        signers: &[Address],
    ) -> Result<(), RecoverError> {
        let (process, mut after, mut misses) = (self.process, None, 0);
        for _ in 0..pages {
            if self.search.has_given_up(gateway) {
                return Ok(());
            }
            let question = Question::Beside { process, kind, signers: signers.to_vec(), after: after.take() };
            let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(()) };
            let Some(listed) = asked.query(&question).await else { return Ok(()) };
            after = listed.last().and_then(|last| last.cursor.clone());
            for one in listed {
                if misses >= MISSES_MAX {
                    break;
                }
                misses += u32::from(!self.beside_one(gateway, &one, (kind, bytes)).await?);
            }
            if after.is_none() || misses >= MISSES_MAX {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads one item; whether the gateway gave it, if it was asked.
    async fn beside_one(
        &mut self,
        gateway: usize,
        listed: &Listed,
        (kind, most): (&'static str, usize),
    ) -> Result<bool, RecoverError> {
        let id = listed.id;
        // Those of a bundle that was read are taken, whatever name they have.
        let was_read = listed.bundle.is_some_and(|bundle| self.read.contains(&bundle));
        if was_read || !self.read.insert(id) || listed.data_bytes > most as u64 {
            return Ok(true);
        }
        let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(true) };
        let data = match asked.holder.small_data(id, most).await {
            Ok(data) => data,
            Err(error) => {
                asked.fault(error);
                // Another may have it.
                self.read.remove(&id);
                return Ok(false);
            }
        };
        match self.away(move |reading| reading.beside(&data, Some(kind))).await? {
            Ok(Beside::Attestations(all)) => self.sink.parts(vec![Part::Attestations(all)]).await?,
            Ok(Beside::Evidence(evidence)) => self.convicted(*evidence),
            // Anybody may sign such an item, so this is nobody's lie.
            Err(why) => self.fault(gateway, format!("item {id}: {why}")),
        }
        Ok(true)
    }
}
