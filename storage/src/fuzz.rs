//! A door for the fuzz targets of this repository, and for nothing else: rows as they lie on disk,
//! read from any bytes.

use weft_protocol::{Hash, Id, Position};

use crate::anchor::WEAVE_KINDS;
use crate::caution::CautionRow;
use crate::record::{self, Record};
use crate::rows::{
    AnchoredRow, AttestationRow, BatchRow, CarriedRow, CheckpointRow, ClaimRow, EarnedRow, EvidenceRow,
    MetaRow, Nothing, OutboxRow, OutcomeRow, PackedPage, PostingRow, ProcessRow, Raw, SeenKey, SeenMark,
    SlotRow,
};

/// Reads the payload of a row of one kind, and writes what it read; none where it is no such row.
pub type Kind = fn(&[u8]) -> Option<Vec<u8>>;

/// Rows of the store, whatever their table.
const STORE_KINDS: [Kind; 24] = [
    again::<MetaRow>,
    again::<Raw>,
    again::<Nothing>,
    again::<u64>,
    again::<Hash>,
    again::<Id>,
    again::<Position>,
    again::<SeenMark>,
    again::<SeenKey>,
    again::<ProcessRow>,
    again::<SlotRow>,
    again::<OutcomeRow>,
    again::<OutboxRow>,
    again::<CarriedRow>,
    again::<AttestationRow>,
    again::<EvidenceRow>,
    again::<CheckpointRow>,
    page,
    again::<BatchRow>,
    again::<AnchoredRow>,
    again::<PostingRow>,
    again::<EarnedRow>,
    again::<ClaimRow>,
    again::<CautionRow>,
];

/// Every kind of row of the store and of the embedded weave.
pub fn kinds() -> impl ExactSizeIterator<Item = Kind> {
    let all: [Kind; STORE_KINDS.len() + WEAVE_KINDS.len()] =
        std::array::from_fn(|at| match at.checked_sub(STORE_KINDS.len()) {
            Some(at) => WEAVE_KINDS[at],
            None => STORE_KINDS[at],
        });
    all.into_iter()
}

/// Whether a row still passes once a bit of it was changed; `bit` chooses which.
pub fn passes_damaged(payload: &[u8], bit: usize) -> bool {
    let mut stored = record::checked::<Raw>(TABLE, KEY, payload);
    let bit = bit % (8 * stored.len());
    stored[bit / 8] ^= 1 << (bit % 8);
    record::decode::<Raw>(TABLE, KEY, stored.into()).is_ok()
}

const TABLE: &str = "fuzz/1";
const KEY: &[u8] = b"key";

/// Reads a payload under a checksum that fits, and writes it again.
pub(crate) fn again<R: Record>(payload: &[u8]) -> Option<Vec<u8>> {
    let stored = record::checked::<R>(TABLE, KEY, payload);
    let row: R = record::decode(TABLE, KEY, stored.into()).ok()?;
    Some(record::encode(TABLE, KEY, &row).split_off(record::HEADER_BYTES))
}

/// A page, which is also unpacked.
fn page(payload: &[u8]) -> Option<Vec<u8>> {
    let stored = record::checked::<PackedPage>(TABLE, KEY, payload);
    let page: PackedPage = record::decode(TABLE, KEY, stored.into()).ok()?;
    let name = page.hash();
    // Most are no page of that name: then there is none.
    let _ = page.unpack(&name);
    again::<PackedPage>(payload)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    /// How many rows the sources of a folder define.
    fn defined(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let lines = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().filter(|line| line.starts_with("impl Record for ")).count()
        };
        entries.map(|path| if path.is_dir() { defined(&path) } else { lines(&path) }).sum()
    }

    #[test]
    fn every_row_has_its_kind() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_eq!(kinds().len(), defined(&sources));
    }

    #[test]
    fn a_row_comes_back_as_it_was_and_other_bytes_do_not() {
        assert_eq!(again::<u64>(&[1; 8]), Some(vec![1; 8]));
        assert_eq!(again::<u64>(&[1; 7]), None);
        assert_eq!(again::<Raw>(&[0, 0, 0, 1, 9]), Some(vec![0, 0, 0, 1, 9]));
        for bit in 0..8 * (record::HEADER_BYTES + 5) {
            assert!(!passes_damaged(&[0, 0, 0, 1, 9], bit), "{bit}");
        }
        let stored = record::checked::<Raw>(TABLE, KEY, &[0, 0, 0, 1, 9]);
        assert!(record::decode::<Raw>(TABLE, KEY, stored.into()).is_ok());
    }
}
