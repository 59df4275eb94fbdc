//! The drive through which a guest reads items of the weave. The host answers at once, so the guest
//! is never unwound as it is in the reference.

use std::sync::Arc;

use super::args::Args;
use super::{Guest, Stop};
use crate::weave::Opened;

/// Bytes of a path that is looked at; a longer one names nothing.
const PATH_BYTES_MAX: usize = 4_096;
/// Gas of looking for an item on the disk: some microseconds.
const LOOK_GAS: u64 = 10_000_000;
/// How many bytes' worth of copying a byte of an item costs, which is read, checked by its hash and copied
/// twice.
const READ_FACTOR: u64 = 50;
/// Where items lie.
const DATA: &str = "/data/";

/// `weavedrive_open(path, mode) -> descriptor`, 0 when there is nothing.
pub(crate) fn open(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let path = guest.text(args.word(0)?, PATH_BYTES_MAX)?;
    guest.charge(path.len() as u64)?;
    let Some(id) = path.strip_prefix(DATA) else { return Ok(0) };
    let Some(data) = item(guest, id)? else { return Ok(0) };
    Ok(guest.cells().files.open_item(data).max(0))
}

/// The data of an item; none if the message may not read it. Looking for it is paid for before, and what
/// the host reads, hashes and copies after: all of it, whatever the guest takes.
fn item(guest: &mut Guest<'_>, id: &str) -> Result<Option<Arc<[u8]>>, Stop> {
    guest.charge_gas(LOOK_GAS)?;
    let weave = Arc::clone(&guest.0.data().weave);
    match weave.open(id) {
        Opened::NotFound => Ok(None),
        Opened::NotHere(why) => Err(Stop::ItemNotHere { id: id.to_owned(), why }),
        Opened::Item(data) => {
            guest.charge((data.len() as u64).saturating_mul(READ_FACTOR))?;
            Ok(Some(data))
        }
    }
}

/// `read_item(id, length, out, room) -> bytes of the item`, as many of them at `out` as there is room for; -1
/// if the message may not read it.
pub(crate) fn read_item(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    const NOTHING: i64 = -1;
    let (id, length, out, room) = (args.word(0)?, args.word(1)?, args.word(2)?, args.word(3)?);
    guest.charge(length)?;
    let id = guest.bytes(id, length)?;
    if id.len() > PATH_BYTES_MAX {
        return Ok(NOTHING);
    }
    let Ok(id) = std::str::from_utf8(id).map(str::to_owned) else { return Ok(NOTHING) };
    let Some(data) = item(guest, &id)? else { return Ok(NOTHING) };
    let taken = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
    guest.write(out, data.get(..taken).unwrap_or_default())?;
    Ok(data.len() as i64)
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
