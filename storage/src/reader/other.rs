//! Reading blobs, batches, what waits for one, and settings.

use bytes::Bytes;
use weft_protocol::{Address, Hash, Id};

use super::Reader;
use super::outcome::{AttestationKey, FIRST, LAST, NamedEvidence};
use crate::error::StoreError;
use crate::key::{self, Parts};
use crate::limits::NAME_BYTES_MAX;
use crate::rows::{AnchoredRow, BatchRow, EvidenceRow, Nothing, PostingRow, Raw};
use crate::tables::Table;

impl Reader {
    /// The bytes of this BLAKE3 hash.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn blob(&self, name: &Hash) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get::<Raw>(Table::Blobs, &name.0)?.map(|raw| raw.0))
    }

    /// A batch by the data root of its bundle.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn batch(&self, data_root: &Hash) -> Result<Option<BatchRow>, StoreError> {
        self.get(Table::Batches, &data_root.0)
    }

    /// All batches, by data root, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn batches(&self, limit: usize) -> Result<Vec<(Hash, BatchRow)>, StoreError> {
        self.rows(Table::Batches, &[], &[0xff; 32], limit, |key| Parts(key).hash())
    }

    /// The batches after the one with this data root, by data root, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn batches_after(
        &self,
        after: Option<&Hash>,
        limit: usize,
    ) -> Result<Vec<(Hash, BatchRow)>, StoreError> {
        // The key after a root is the root and a zero byte.
        let from = after.map_or_else(Vec::new, |root| [&root.0[..], &[0]].concat());
        self.rows(Table::Batches, &from, &[0xff; 32], limit, |key| Parts(key).hash())
    }

    /// The batches that no block holds yet, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn batches_open(&self, limit: usize) -> Result<Vec<(Hash, BatchRow)>, StoreError> {
        let open =
            self.rows::<Nothing, _>(Table::BatchesOpen, &[], &[0xff; 32], limit, |key| Parts(key).hash())?;
        let mut batches = Vec::with_capacity(open.len());
        for (data_root, Nothing) in open {
            if let Some(row) = self.batch(&data_root)? {
                batches.push((data_root, row));
            }
        }
        Ok(batches)
    }

    /// A posting to a weave, by the data root of its bundle.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn posting(&self, data_root: &Hash, weave: &str) -> Result<Option<PostingRow>, StoreError> {
        self.get(Table::Postings, &key::on_weave(data_root, weave))
    }

    /// All postings to all weaves, by data root, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn postings(&self, limit: usize) -> Result<Vec<(Hash, PostingRow)>, StoreError> {
        self.rows(Table::Postings, &[], &[0xff; 64], limit, |key| Parts(key).hash())
    }

    /// The postings to a weave that are not final, at most `limit`. Those to others are passed over, at most
    /// as one scan reads.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn postings_open(&self, weave: &str, limit: usize) -> Result<Vec<(Hash, PostingRow)>, StoreError> {
        let open = self.rows::<Nothing, _>(Table::PostingsOpen, &[], &[0xff; 64], usize::MAX, |key| {
            Parts(key).hash().map(|root| (root, key::on_weave(&root, weave) == key))
        })?;
        let of_weave = open.into_iter().filter(|((_, is_of_weave), _)| *is_of_weave).take(limit);
        let mut postings = Vec::new();
        for ((data_root, _), Nothing) in of_weave {
            postings.extend(self.posting(&data_root, weave)?.map(|row| (data_root, row)));
        }
        Ok(postings)
    }

    /// The posting to a weave that a batch is in.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn posting_of(&self, batch: &Hash, weave: &str) -> Result<Option<Hash>, StoreError> {
        self.get(Table::Posted, &key::on_weave(batch, weave))
    }

    /// How far a weave holds a log.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn anchored(&self, process: &Id, weave: &str) -> Result<Option<AnchoredRow>, StoreError> {
        self.get(Table::Anchored, &key::weave(process, weave))
    }

    /// Attestations of a process that this node is to anchor and that are in no confirmed batch, from the one after
    /// `after` on, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn attestations_unanchored(
        &self,
        process: &Id,
        after: Option<AttestationKey>,
        limit: usize,
    ) -> Result<Vec<AttestationKey>, StoreError> {
        let (position, attestor) = after.unwrap_or((FIRST, Address([0; 32])));
        let mut from = key::attestation(process, position, &attestor.0);
        // The key after `from` is `from` and a zero byte.
        from.extend(after.map(|_| 0));
        let to = key::attestation(process, LAST, &[0xff; 32]);
        let rows = self.rows::<Nothing, _>(Table::AttestationsUnanchored, &from, &to, limit, |key| {
            let mut parts = Parts(key);
            parts.id()?;
            Some((parts.position()?, Address(parts.hash()?.0)))
        })?;
        Ok(rows.into_iter().map(|(key, Nothing)| key).collect())
    }

    /// Evidence that is in no confirmed batch, about this process or about any, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn evidence_unanchored(
        &self,
        process: Option<&Id>,
        limit: usize,
    ) -> Result<Vec<NamedEvidence>, StoreError> {
        let (from, to) = match process {
            Some(process) => (key::pair(process, &[0; 32]), key::pair(process, &[0xff; 32])),
            None => (Vec::new(), vec![0xff; 64]),
        };
        let rows = self.rows::<Nothing, _>(Table::EvidenceUnanchored, &from, &to, limit, |key| {
            let mut parts = Parts(key);
            Some((parts.id()?, parts.hash()?))
        })?;
        Ok(rows.into_iter().map(|(key, Nothing)| key).collect())
    }

    /// One piece of evidence about a process.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn evidence_named(&self, process: &Id, name: &Hash) -> Result<Option<EvidenceRow>, StoreError> {
        self.get(Table::Evidence, &key::pair(process, &name.0))
    }

    /// A setting.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn setting(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get::<Raw>(Table::Settings, name.as_bytes())?.map(|raw| raw.0))
    }

    /// The names of the settings that start with `prefix`, at most 100,000.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn setting_names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let to = [prefix.as_bytes(), &[0xff; NAME_BYTES_MAX]].concat();
        let rows = self.rows::<Raw, _>(Table::Settings, prefix.as_bytes(), &to, usize::MAX, |key| {
            std::str::from_utf8(key).ok().map(str::to_owned)
        })?;
        Ok(rows.into_iter().map(|(name, _)| name).collect())
    }
}
