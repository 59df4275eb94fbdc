//! The drive through which a guest reads items of the weave. The host answers at once, so the guest
//! is never unwound as it is in the reference.

use super::args::Args;
use super::{Guest, Stop};
use crate::weave::Opened;

/// Bytes of a path that is looked at; a longer one names nothing.
const PATH_BYTES_MAX: usize = 4_096;
/// Where items lie.
const DATA: &str = "/data/";

/// `weavedrive_open(path, mode) -> descriptor`, 0 when there is nothing.
pub(crate) fn open(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let path = guest.text(args.word(0)?, PATH_BYTES_MAX)?;
    guest.charge(path.len() as u64)?;
    let Some(id) = path.strip_prefix(DATA) else { return Ok(0) };
    let weave = std::sync::Arc::clone(&guest.0.data().weave);
    match weave.open(id) {
        Opened::NotFound => Ok(0),
        Opened::NotHere(why) => Err(Stop::ItemNotHere { id: id.to_owned(), why }),
        Opened::Item(data) => {
            // The host reads the whole item now, whatever the guest reads of it later.
            guest.charge(data.len() as u64)?;
            Ok(guest.cells().files.open_item(data).max(0))
        }
    }
}

/// `weavedrive_read(descriptor, to, count) -> bytes read`. The first read of a descriptor begins at
/// the start: Lua's drive seeks to the end before it, for the size.
pub(crate) fn read(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let (fd, to, count) = (args.i32(0)?, args.word(1)?, args.word(2)?);
    let Some(part) = guest.cells().files.read_item(fd, count, true) else { return Ok(0) };
    let bytes = part.bytes();
    guest.charge(bytes.len() as u64)?;
    guest.write(to, bytes)?;
    Ok(bytes.len() as i64)
}

/// `weavedrive_close(descriptor)`.
pub(crate) fn close(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    guest.cells().files.close(args.i32(0)?);
    Ok(0)
}
