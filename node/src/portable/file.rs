//! Reading a bundle item by item: only its header is in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use weft_protocol::Id;
use weft_protocol::bundle::{BundleError, Frame};

use super::{ITEM_BYTES_MAX, ITEMS_MAX, PortableError, io};

/// A bundle in a file.
pub(super) struct BundleFile {
    file: File,
    path: PathBuf,
    /// Bytes of all.
    pub(super) bytes: u64,
    frame: Frame,
    /// Where each item stands first.
    places: BTreeMap<Id, Range<usize>>,
}

impl BundleFile {
    pub(super) fn open(path: &Path) -> Result<Self, PortableError> {
        let file = File::open(path).map_err(io("open", path))?;
        let bytes = file.metadata().map_err(io("open", path))?.len();
        let total = usize::try_from(bytes).map_err(|_| BundleError::Count)?;
        let mut start = [0; Frame::COUNT_BYTES];
        if total < start.len() {
            return Err(BundleError::Truncated.into());
        }
        file.read_exact_at(&mut start, 0).map_err(io("read", path))?;
        let header_bytes = Frame::header_bytes(&start, total)?;
        if header_bytes / Frame::ENTRY_BYTES > ITEMS_MAX {
            return Err(PortableError::NotAnExport(format!("it has more than {ITEMS_MAX} items")));
        }
        let mut header = vec![0; header_bytes];
        file.read_exact_at(&mut header, 0).map_err(io("read", path))?;
        let frame = Frame::parse(&header, total)?;
        let mut places = BTreeMap::new();
        for (id, range) in frame.entries() {
            places.entry(id).or_insert(range);
        }
        Ok(Self { file, path: path.to_owned(), bytes, frame, places })
    }

    /// How many items the header names.
    pub(super) const fn len(&self) -> usize {
        self.frame.len()
    }

    /// The bytes of the item at this place of the header.
    pub(super) fn nth(&self, index: usize) -> Result<Option<Bytes>, PortableError> {
        let Some((_, range)) = self.frame.entries().nth(index) else { return Ok(None) };
        self.read(range).map(Some)
    }

    /// The bytes that the header puts under this id.
    pub(super) fn item(&self, id: &Id) -> Result<Option<Bytes>, PortableError> {
        self.places.get(id).map(|range| self.read(range.clone())).transpose()
    }

    fn read(&self, range: Range<usize>) -> Result<Bytes, PortableError> {
        if range.len() > ITEM_BYTES_MAX {
            let size = range.len();
            return Err(PortableError::NotAnExport(format!(
                "an item of it has {size} bytes, more than the {ITEM_BYTES_MAX} that any has"
            )));
        }
        let mut bytes = vec![0; range.len()];
        self.file.read_exact_at(&mut bytes, range.start as u64).map_err(io("read", &self.path))?;
        Ok(bytes.into())
    }
}
