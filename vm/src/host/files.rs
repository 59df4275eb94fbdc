//! The files a guest sees: the three standard descriptors of a terminal that nobody reads, an empty
//! tree, and the items that its drive opened. Numbers are those of emscripten's MEMFS; `fd_*`
//! answer positive, system calls negative.

use std::sync::Arc;

use super::args::Args;
use super::{Guest, Stop};
use crate::format::Format;

pub(crate) const EBADF: i64 = 8;
const EINVAL: i64 = 28;
const EMFILE: i64 = 33;
const ENODEV: i64 = 43;
pub(crate) const ENOENT: i64 = 44;
const ENOTTY: i64 = 59;
const ERANGE: i64 = 68;
const ESPIPE: i64 = 70;
/// `command` has no shell to run it.
pub(crate) const ENOSYS: i64 = 52;
/// What `isatty` asks.
const TIOCGWINSZ: i32 = 21_523;
const TCGETS: i32 = 21_505;
const EACCES: i64 = 2;
const EIO: i64 = 29;
/// The type of a terminal.
const CHARACTER_DEVICE: u8 = 2;
/// The bits of a descriptor's flags that say how it was opened, and two of their values.
const ACCESS_MODE: i32 = 0x0020_0003;
const WRITE_ONLY: i32 = 1;
const READ_WRITE: i32 = 2;
/// A request that the terminal would have to answer itself, and does not.
const NO_REQUEST: i32 = 21_531;
const DESCRIPTORS_MAX: usize = 64;
/// Buffers of one `fd_read` or `fd_write`, as POSIX bounds them.
const BUFFERS_MAX: u64 = 1024;
const CURRENT_FOLDER: &[u8] = b"/\0";

/// An open descriptor.
#[derive(Debug, Clone)]
struct Open {
    /// What it was opened with, as `fcntl` tells and changes it.
    flags: i32,
    /// None for the terminal.
    item: Option<Item>,
}

/// An item of the weave that is being read.
#[derive(Debug, Clone)]
struct Item {
    data: Arc<[u8]>,
    /// Where the next read begins; may lie behind the end.
    position: u64,
    /// Nothing was read yet.
    fresh: bool,
}

/// Open descriptors.
#[derive(Debug)]
pub(crate) struct Descriptors(Vec<Option<Open>>);

impl Default for Descriptors {
    fn default() -> Self {
        // stdin is read only (0), stdout and stderr are write only (1).
        Self([0, 1, 1].map(|flags| Some(Open { flags, item: None })).into())
    }
}

impl Descriptors {
    fn get(&mut self, fd: i32) -> Option<&mut Open> {
        self.0.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    fn is_open(&mut self, fd: i32) -> bool {
        self.get(fd).is_some()
    }

    pub(crate) fn close(&mut self, fd: i32) -> bool {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get_mut(fd));
        slot.is_some_and(|slot| slot.take().is_some())
    }

    /// Opens an item for reading; negative when there is no room.
    pub(crate) fn open_item(&mut self, data: Arc<[u8]>) -> i64 {
        self.open_from(0, Open { flags: 0, item: Some(Item { data, position: 0, fresh: true }) })
    }

    /// The next bytes of an item, at most `count`; none if the descriptor is not one. `rewinds`
    /// lets the first read begin at the start, wherever the position was moved.
    pub(crate) fn read_item(&mut self, fd: i32, count: u64, rewinds: bool) -> Option<ItemPart> {
        let item = self.get(fd)?.item.as_mut()?;
        if std::mem::take(&mut item.fresh) && rewinds {
            item.position = 0;
        }
        let all = item.data.len() as u64;
        let start = item.position.min(all);
        let length = count.min(all - start);
        item.position = item.position.saturating_add(length);
        // Both are at most the item's length.
        Some(ItemPart { data: Arc::clone(&item.data), range: start as usize..(start + length) as usize })
    }

    /// Opens a copy at the first free number from `least` on.
    fn open_from(&mut self, least: i32, open: Open) -> i64 {
        let Ok(mut fd) = usize::try_from(least) else { return -EINVAL };
        while self.0.get(fd).is_some_and(Option::is_some) {
            fd += 1;
        }
        self.open_at(fd, open)
    }

    fn open_at(&mut self, fd: usize, open: Open) -> i64 {
        if fd >= DESCRIPTORS_MAX {
            return -EMFILE;
        }
        if self.0.len() <= fd {
            self.0.resize(fd + 1, None);
        }
        if let Some(slot) = self.0.get_mut(fd) {
            *slot = Some(open);
        }
        fd as i64
    }
}

/// Bytes of an item that a read gave.
#[derive(Debug)]
pub(crate) struct ItemPart {
    data: Arc<[u8]>,
    range: std::ops::Range<usize>,
}

impl ItemPart {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.data.get(self.range.clone()).unwrap_or_default()
    }
}

pub(crate) fn fd_close(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    Ok(if guest.cells().files.close(args.i32(0)?) { 0 } else { EBADF })
}

/// Reading from the terminal of the second format fails.
pub(crate) fn fd_read_early(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    match guest.cells().files.get(args.i32(0)?) {
        Some(open) if open.flags & ACCESS_MODE != WRITE_ONLY => {}
        _ => return Ok(EBADF),
    }
    let Some(buffers) = buffers(guest, args, false)? else { return Ok(EINVAL) };
    if buffers.iter().any(|(_, length)| *length > 0) {
        return Ok(EIO);
    }
    guest.set_word(args.word(3)?, false, 0)?;
    Ok(0)
}

/// The terminal never has anything to read: end of file.
pub(crate) fn fd_read(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, Stop> {
    let fd = args.i32(0)?;
    match guest.cells().files.get(fd) {
        Some(open) if open.flags & ACCESS_MODE != WRITE_ONLY => {}
        _ => return Ok(EBADF),
    }
    let Some(buffers) = buffers(guest, args, is_64)? else { return Ok(EINVAL) };
    let mut read = 0u64;
    for (address, length) in buffers {
        let Some(part) = guest.cells().files.read_item(fd, length, false) else { break };
        let bytes = part.bytes();
        guest.charge(bytes.len() as u64)?;
        guest.write(address, bytes)?;
        read += bytes.len() as u64;
        if (bytes.len() as u64) < length {
            break;
        }
    }
    guest.set_word(args.word(3)?, is_64, read)?;
    Ok(0)
}

/// The buffers of an `fd_read` or `fd_write`; none if they are too many. All lie in memory.
fn buffers(guest: &Guest<'_>, args: Args<'_>, is_64: bool) -> Result<Option<Vec<(u64, u64)>>, Stop> {
    let (buffers, count) = (args.word(1)?, args.word(2)?);
    if count > BUFFERS_MAX {
        return Ok(None);
    }
    let word = if is_64 { 8 } else { 4 };
    let read = |index: u64| {
        let at = buffers.saturating_add(index * 2 * word);
        let (address, length) = (guest.word_at(at, is_64)?, guest.word_at(at.saturating_add(word), is_64)?);
        guest.bytes(address, length)?;
        Ok((address, length))
    };
    (0..count).map(read).collect::<Result<_, _>>().map(Some)
}

/// Takes everything and shows it to nobody.
pub(crate) fn fd_write(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, Stop> {
    match guest.cells().files.get(args.i32(0)?) {
        Some(Open { item: None, flags }) if *flags & ACCESS_MODE != 0 => {}
        _ => return Ok(EBADF),
    }
    let Some(buffers) = buffers(guest, args, is_64)? else { return Ok(EINVAL) };
    // The reference looks at its clock for each buffer that is not empty.
    for _ in buffers.iter().filter(|(_, length)| *length > 0) {
        guest.cells().tick();
    }
    let written = buffers.iter().fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
    guest.charge(written)?;
    guest.set_word(args.word(3)?, is_64, written)?;
    Ok(0)
}

/// Only items have a position. A 32-bit guest gives the offset in two halves.
pub(crate) fn fd_seek(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let fd = args.i32(0)?;
    let halves = args.len() == 5;
    let (offset, rest) = (args.i64(1, halves)?, if halves { 3 } else { 2 });
    let whence = args.i32(rest)?;
    let item = match guest.cells().files.get(fd) {
        None => return Ok(EBADF),
        Some(Open { item: None, .. }) => return Ok(ESPIPE),
        Some(Open { item: Some(item), .. }) => item,
    };
    let base = match whence {
        0 => 0,
        1 => item.position,
        2 => item.data.len() as u64,
        _ => return Ok(EINVAL),
    };
    let Some(position) = base.checked_add_signed(offset) else { return Ok(EINVAL) };
    item.position = position;
    guest.write(args.word(rest + 1)?, &position.to_le_bytes())?;
    Ok(0)
}

pub(crate) fn fd_sync(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    Ok(if !guest.cells().files.is_open(args.i32(0)?) { EBADF } else { 0 })
}

pub(crate) fn fd_fdstat_get(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    if !guest.cells().files.is_open(args.i32(0)?) {
        return Ok(EBADF);
    }
    let at = args.word(1)?;
    guest.write(at, &[CHARACTER_DEVICE])?;
    guest.write(at.saturating_add(2), &[0; 2])?;
    guest.write(at.saturating_add(8), &[0; 16])?;
    Ok(0)
}

pub(crate) fn fcntl(guest: &mut Guest<'_>, args: Args<'_>, format: Format) -> Result<i64, Stop> {
    let is_64 = format.is_64();
    // Two generations number the locks otherwise.
    let locks = match format {
        Format::Emscripten3 | Format::Emscripten32 | Format::Metered32 => 12,
        _ => 5,
    };
    let (fd, command, rest) = (args.i32(0)?, args.i32(1)?, args.word(2)?);
    let Some(open) = guest.cells().files.get(fd).cloned() else { return Ok(-EBADF) };
    match command {
        0 => {
            let least = guest.i32_at(rest)?;
            Ok(guest.cells().files.open_from(least, open))
        }
        1 | 2 => Ok(0),
        3 => Ok(i64::from(open.flags)),
        4 => {
            let more = guest.i32_at(rest)?;
            if let Some(open) = guest.cells().files.get(fd) {
                open.flags |= more;
            }
            Ok(0)
        }
        lock if lock == locks => {
            let lock = guest.word_at(rest, is_64)?;
            guest.write(lock, &2i16.to_le_bytes())?;
            Ok(0)
        }
        lock if lock == locks + 1 || lock == locks + 2 => Ok(0),
        _ => Ok(-EINVAL),
    }
}

pub(crate) fn dup3(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let (old, new) = (args.i32(0)?, args.i32(1)?);
    let files = &mut guest.cells().files;
    let Some(open) = files.get(old).cloned() else { return Ok(-EBADF) };
    match usize::try_from(new) {
        Ok(fd) if new != old => Ok(files.open_at(fd, open)),
        _ => Ok(-EINVAL),
    }
}

/// A terminal of 24 lines and 80 columns with the reference's settings.
pub(crate) fn ioctl(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, Stop> {
    let (fd, request, rest) = (args.i32(0)?, args.i32(1)?, args.word(2)?);
    match guest.cells().files.get(fd) {
        None => return Ok(-EBADF),
        Some(Open { item: Some(_), .. }) => return Ok(-ENOTTY),
        Some(Open { item: None, .. }) => {}
    }
    match request {
        TIOCGWINSZ => {
            let at = guest.word_at(rest, is_64)?;
            guest.write(at, &[24, 0, 80, 0])?;
            Ok(0)
        }
        TCGETS => {
            const MODES: [i32; 4] = [25_856, 5, 191, 35_387];
            const CHARACTERS: [u8; 16] = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22];
            let at = guest.word_at(rest, is_64)?;
            for (index, mode) in (0u64..).zip(MODES) {
                guest.write(at.saturating_add(4 * index), &mode.to_le_bytes())?;
            }
            guest.write(at.saturating_add(17), &CHARACTERS)?;
            guest.write(at.saturating_add(33), &[0; 16])?;
            Ok(0)
        }
        21_506..=21_512 | 21_515 | 21_524 => Ok(0),
        21_519 => {
            let at = guest.word_at(rest, is_64)?;
            guest.write(at, &[0; 4])?;
            Ok(0)
        }
        NO_REQUEST => Ok(-ENOTTY),
        _ => Ok(-EINVAL),
    }
}

/// The terminal of the second format, which keeps nothing and stops at what it does not know.
pub(crate) fn ioctl_early(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let (fd, request) = (args.i32(0)?, args.i32(1)?);
    if !guest.cells().files.is_open(fd) {
        return Ok(-EBADF);
    }
    match request {
        TCGETS..=21_512 | TIOCGWINSZ | 21_524 => Ok(0),
        21_519 => {
            let at = guest.word_at(args.word(2)?, false)?;
            guest.write(at, &[0; 4])?;
            Ok(0)
        }
        21_520 => Ok(-EINVAL),
        NO_REQUEST => Ok(-ENOTTY),
        _ => Err(Stop::Abort("a terminal request that is not known")),
    }
}

/// `fd_fdstat_get` of the second format writes the type alone.
pub(crate) fn fd_fdstat_get_early(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    if !guest.cells().files.is_open(args.i32(0)?) {
        return Ok(EBADF);
    }
    guest.write(args.word(1)?, &[CHARACTER_DEVICE])?;
    Ok(0)
}

/// `fd_write` of the first format, whose standard output and error are always there.
pub(crate) fn fd_write_unopened(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let Some(buffers) = buffers(guest, args, false)? else {
        return Err(Stop::Abort("more buffers than are written"));
    };
    let written = buffers.iter().fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
    guest.charge(written)?;
    if written > 0 && !matches!(args.i32(0)?, 1 | 2) {
        return Err(Stop::Abort("written to what is not there"));
    }
    guest.set_word(args.word(3)?, false, written)?;
    Ok(0)
}

/// No file can be mapped: `mmap` asks with the descriptor as its fourth argument in both old formats.
pub(crate) fn mmap(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let (writes, private, fd) = (args.i32(1)? & 2 != 0, args.i32(2)? & 2 != 0, args.i32(3)?);
    let Some(open) = guest.cells().files.get(fd) else { return Ok(-EBADF) };
    let access = open.flags & ACCESS_MODE;
    let refused = (writes && !private && access != READ_WRITE) || access == WRITE_ONLY;
    Ok(if refused { -EACCES } else { -ENODEV })
}

pub(crate) fn getcwd(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    match args.word(1)? {
        0 => Ok(-EINVAL),
        size if size < CURRENT_FOLDER.len() as u64 => Ok(-ERANGE),
        _ => {
            guest.write(args.word(0)?, CURRENT_FOLDER)?;
            Ok(CURRENT_FOLDER.len() as i64)
        }
    }
}

/// System calls on a descriptor that only files have.
pub(crate) fn on_descriptor(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    Ok(if !guest.cells().files.is_open(args.i32(0)?) { -EBADF } else { -EINVAL })
}
