//! The files a guest sees: the three standard descriptors of a terminal that nobody reads, and an
//! empty tree. Numbers are those of emscripten's MEMFS; `fd_*` answer positive, system calls
//! negative.

use super::args::Args;
use super::{Guest, Stop};

pub(crate) const EBADF: i64 = 8;
const EINVAL: i64 = 28;
const EMFILE: i64 = 33;
pub(crate) const ENOENT: i64 = 44;
const ERANGE: i64 = 68;
const ESPIPE: i64 = 70;
/// `command` has no shell to run it.
pub(crate) const ENOSYS: i64 = 52;
/// What `isatty` asks.
const TIOCGWINSZ: i32 = 21_523;
const TCGETS: i32 = 21_505;
const DESCRIPTORS_MAX: usize = 64;
/// Buffers of one `fd_read` or `fd_write`, as POSIX bounds them.
const BUFFERS_MAX: u64 = 1024;
const CURRENT_FOLDER: &[u8] = b"/\0";

/// Open descriptors: each is a terminal with its open flags.
#[derive(Debug)]
pub(crate) struct Descriptors(Vec<Option<i32>>);

impl Default for Descriptors {
    fn default() -> Self {
        // stdin is read only (0), stdout and stderr are write only (1).
        Self(vec![Some(0), Some(1), Some(1)])
    }
}

impl Descriptors {
    fn flags(&self, fd: i32) -> Option<i32> {
        self.0.get(usize::try_from(fd).ok()?).copied().flatten()
    }

    fn close(&mut self, fd: i32) -> bool {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get_mut(fd));
        slot.is_some_and(|slot| slot.take().is_some())
    }

    /// Opens a copy of `flags` at the first free number from `least` on.
    fn open_from(&mut self, least: i32, flags: i32) -> i64 {
        let Ok(mut fd) = usize::try_from(least) else { return -EINVAL };
        while self.0.get(fd).is_some_and(Option::is_some) {
            fd += 1;
        }
        self.open_at(fd, flags)
    }

    fn open_at(&mut self, fd: usize, flags: i32) -> i64 {
        if fd >= DESCRIPTORS_MAX {
            return -EMFILE;
        }
        if self.0.len() <= fd {
            self.0.resize(fd + 1, None);
        }
        if let Some(slot) = self.0.get_mut(fd) {
            *slot = Some(flags);
        }
        fd as i64
    }
}

pub(crate) fn fd_close(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    Ok(if guest.cells().files.close(args.i32(0)?) { 0 } else { EBADF })
}

/// The terminal never has anything to read: end of file.
pub(crate) fn fd_read(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, Stop> {
    if guest.cells().files.flags(args.i32(0)?).is_none() {
        return Ok(EBADF);
    }
    guest.set_word(args.word(3)?, is_64, 0)?;
    Ok(0)
}

/// Takes everything and shows it to nobody.
pub(crate) fn fd_write(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, Stop> {
    if guest.cells().files.flags(args.i32(0)?).is_none() {
        return Ok(EBADF);
    }
    let (buffers, count) = (args.word(1)?, args.word(2)?);
    if count > BUFFERS_MAX {
        return Ok(EINVAL);
    }
    let word = if is_64 { 8 } else { 4 };
    let mut written = 0u64;
    for index in 0..count {
        let at = buffers.saturating_add(index * 2 * word);
        let (address, length) = (guest.word_at(at, is_64)?, guest.word_at(at.saturating_add(word), is_64)?);
        guest.bytes(address, length)?;
        written = written.saturating_add(length);
    }
    guest.charge(written)?;
    guest.set_word(args.word(3)?, is_64, written)?;
    Ok(0)
}

pub(crate) fn fd_seek(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    Ok(if guest.cells().files.flags(args.i32(0)?).is_none() { EBADF } else { ESPIPE })
}

pub(crate) fn fd_sync(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    Ok(if guest.cells().files.flags(args.i32(0)?).is_none() { EBADF } else { 0 })
}

pub(crate) fn fd_fdstat_get(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    if guest.cells().files.flags(args.i32(0)?).is_none() {
        return Ok(EBADF);
    }
    let at = args.word(1)?;
    let character_device = [2u8];
    guest.write(at, &character_device)?;
    guest.write(at.saturating_add(2), &[0; 2])?;
    guest.write(at.saturating_add(8), &[0; 16])?;
    Ok(0)
}

pub(crate) fn fcntl(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, Stop> {
    let (fd, command, rest) = (args.i32(0)?, args.i32(1)?, args.word(2)?);
    let Some(flags) = guest.cells().files.flags(fd) else { return Ok(-EBADF) };
    match command {
        0 => {
            let least = guest.i32_at(rest)?;
            Ok(guest.cells().files.open_from(least, flags))
        }
        1 | 2 | 6 | 7 => Ok(0),
        3 => Ok(i64::from(flags)),
        4 => {
            let more = guest.i32_at(rest)?;
            if let Some(Some(flags)) =
                usize::try_from(fd).ok().and_then(|fd| guest.cells().files.0.get_mut(fd))
            {
                *flags |= more;
            }
            Ok(0)
        }
        5 => {
            let lock = guest.word_at(rest, is_64)?;
            guest.write(lock, &2i16.to_le_bytes())?;
            Ok(0)
        }
        _ => Ok(-EINVAL),
    }
}

pub(crate) fn dup3(guest: &mut Guest<'_>, args: Args<'_>) -> Result<i64, Stop> {
    let (old, new) = (args.i32(0)?, args.i32(1)?);
    let files = &mut guest.cells().files;
    let Some(flags) = files.flags(old) else { return Ok(-EBADF) };
    match usize::try_from(new) {
        Ok(fd) if new != old => Ok(files.open_at(fd, flags)),
        _ => Ok(-EINVAL),
    }
}

/// A terminal of 24 lines and 80 columns with the reference's settings.
pub(crate) fn ioctl(guest: &mut Guest<'_>, args: Args<'_>, is_64: bool) -> Result<i64, Stop> {
    let (fd, request, rest) = (args.i32(0)?, args.i32(1)?, args.word(2)?);
    if guest.cells().files.flags(fd).is_none() {
        return Ok(-EBADF);
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
        _ => Ok(-EINVAL),
    }
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
    Ok(if guest.cells().files.flags(args.i32(0)?).is_none() { -EBADF } else { -EINVAL })
}
