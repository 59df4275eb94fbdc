//! Dates, as each generation passes them. The zone is UTC.

use crate::format::Format;
use crate::host::args::Args;
use crate::host::calendar::{self, Broken};
use crate::host::strftime::{self, Zone};
use crate::host::{Guest, Stop, call_word};

/// Bytes of a format or a zone name that `strftime` reads.
const PATTERN_BYTES_MAX: usize = 4096;
/// Where `tm_isdst` lies in a `struct tm`.
const IS_DST: u64 = 32;
/// What JavaScript calls UTC: the name of the zone in the first three formats.
const LONG_NAME: &[u8] = b"Coordinated Universal Time\0";

/// `_gmtime_js` and `_localtime_js` of today: the time is passed whole or in two halves.
pub(super) fn gmtime(guest: &mut Guest<'_>, args: Args<'_>, format: Format) -> Result<i64, wasmtime::Error> {
    broken_down(guest, args, format, false)
}

/// See [`gmtime`].
pub(super) fn localtime(
    guest: &mut Guest<'_>,
    args: Args<'_>,
    format: Format,
) -> Result<i64, wasmtime::Error> {
    broken_down(guest, args, format, true)
}

fn broken_down(
    guest: &mut Guest<'_>,
    args: Args<'_>,
    format: Format,
    local: bool,
) -> Result<i64, wasmtime::Error> {
    let halves = args.len() == 3;
    let time = calendar::from_seconds(args.i64(0, halves)?);
    let at = args.word(if halves { 2 } else { 1 })?;
    write_broken(guest, at, &time)?;
    if local {
        write_zone(guest, at, format.is_64())?;
    }
    Ok(0)
}

/// The same of the first two formats: a pointer to the time, of which 32 bits are read.
pub(super) fn gmtime_early(guest: &mut Guest<'_>, args: Args<'_>, _: Format) -> Result<i64, wasmtime::Error> {
    let seconds = i64::from(guest.i32_at(args.word(0)?)?);
    write_broken(guest, args.word(1)?, &calendar::from_seconds(seconds))?;
    Ok(0)
}

/// See [`gmtime_early`].
pub(super) fn localtime_early(
    guest: &mut Guest<'_>,
    args: Args<'_>,
    format: Format,
) -> Result<i64, wasmtime::Error> {
    gmtime_early(guest, args, format)?;
    write_zone(guest, args.word(1)?, false)?;
    Ok(0)
}

/// Not summer time, and no seconds east of UTC.
fn write_zone(guest: &mut Guest<'_>, at: u64, is_64: bool) -> Result<(), Stop> {
    guest.write(at.saturating_add(IS_DST), &[0; 4])?;
    guest.set_word(at.saturating_add(if is_64 { 40 } else { 36 }), is_64, 0)
}

fn write_broken(guest: &mut Guest<'_>, at: u64, time: &Broken) -> Result<(), Stop> {
    let fields = [time.sec, time.min, time.hour, time.mday, time.mon, time.year, time.wday, time.yday];
    for (index, field) in (0u64..).zip(fields) {
        guest.write(at.saturating_add(4 * index), &field.to_le_bytes())?;
    }
    Ok(())
}

fn read_broken(guest: &Guest<'_>, at: u64) -> Result<Broken, Stop> {
    let field = |index: u64| guest.i32_at(at.saturating_add(4 * index));
    Ok(Broken {
        sec: field(0)?,
        min: field(1)?,
        hour: field(2)?,
        mday: field(3)?,
        mon: field(4)?,
        year: field(5)?,
        wday: field(6)?,
        yday: field(7)?,
    })
}

/// `_mktime_js` of today; a 32-bit guest takes the upper half from a cell of its own.
pub(super) fn mktime(guest: &mut Guest<'_>, args: Args<'_>, format: Format) -> Result<i64, wasmtime::Error> {
    let at = args.word(0)?;
    let (_, seconds) = normalise(guest, at)?;
    let value = seconds.unwrap_or(-1);
    if !format.is_64()
        && let Some(set_temp_ret) = guest.handles()?.set_temp_ret
    {
        call_word(&mut guest.0, set_temp_ret, &[(value >> 32) as u64])?;
    }
    Ok(value)
}

/// `_mktime_js` of the first two formats: 32 bits, and the year is not written.
pub(super) fn mktime_early(guest: &mut Guest<'_>, args: Args<'_>, _: Format) -> Result<i64, wasmtime::Error> {
    let at = args.word(0)?;
    let (year, seconds) = normalise(guest, at)?;
    guest.write(at.saturating_add(20), &year.to_le_bytes())?;
    Ok(seconds.unwrap_or(0))
}

/// Brings the fields of a `struct tm` into their ranges. Gives the year as it stood there, and the
/// seconds since 1970, if a `Date` can hold them.
fn normalise(guest: &mut Guest<'_>, at: u64) -> Result<(i32, Option<i64>), Stop> {
    let given = read_broken(guest, at)?;
    let seconds = calendar::to_seconds(&given);
    if guest.i32_at(at.saturating_add(IS_DST))? < 0 {
        guest.write(at.saturating_add(IS_DST), &[0; 4])?;
    }
    write_broken(guest, at, &seconds.map_or_else(Broken::default, calendar::from_seconds))?;
    Ok((given.year, seconds))
}

/// `_tzset_js(timezone, daylight, standard name, summer name)`.
pub(super) fn tzset(guest: &mut Guest<'_>, args: Args<'_>, format: Format) -> Result<i64, wasmtime::Error> {
    guest.set_word(args.word(0)?, format.is_64(), 0)?;
    guest.write(args.word(1)?, &[0; 4])?;
    let name: &[u8] = match format {
        // As much of the long name as fits.
        Format::Emscripten3 => b"Coordi\0",
        _ => b"UTC\0",
    };
    guest.write(args.word(2)?, name)?;
    guest.write(args.word(3)?, name)?;
    Ok(0)
}

/// `_tzset_js(timezone, daylight, names)` of the first two formats: the host allocates the names in
/// the guest, once. That it did is read from the guest's memory, which outlives the host.
pub(super) fn tzset_early(guest: &mut Guest<'_>, args: Args<'_>, _: Format) -> Result<i64, wasmtime::Error> {
    let names = args.word(2)?;
    if guest.i32_at(names)? != 0 {
        return Ok(0);
    }
    guest.set_word(args.word(0)?, false, 0)?;
    guest.write(args.word(1)?, &[0; 4])?;
    let malloc = guest.handles()?.malloc.ok_or(Stop::Abort("time zones without malloc"))?;
    let winter = call_word(&mut guest.0, malloc, &[LONG_NAME.len() as u64])?;
    let summer = call_word(&mut guest.0, malloc, &[LONG_NAME.len() as u64])?;
    for (slot, name) in [(names, summer), (names.saturating_add(4), winter)] {
        if name != 0 {
            guest.write(name, LONG_NAME)?;
        }
        guest.set_word(slot, false, name)?;
    }
    Ok(0)
}

/// `strftime`, and `strftime_l`, whose locale nobody reads.
pub(super) fn format_time(
    guest: &mut Guest<'_>,
    args: Args<'_>,
    format: Format,
) -> Result<i64, wasmtime::Error> {
    let is_64 = format.is_64();
    let (to, max, at) = (args.word(0)?, args.word(1)?, args.word(3)?);
    let pattern = guest.text(args.word(2)?, PATTERN_BYTES_MAX)?;
    guest.charge(pattern.len() as u64 * 16)?;
    let (offset, name) = if is_64 { (40, 48) } else { (36, 40) };
    let offset_seconds = if is_64 {
        guest.word_at(at.saturating_add(offset), true)? as i64
    } else {
        i64::from(guest.i32_at(at.saturating_add(offset))?)
    };
    let name = match guest.word_at(at.saturating_add(name), is_64)? {
        0 => String::new(),
        address => guest.text(address, PATTERN_BYTES_MAX)?,
    };
    let time = read_broken(guest, at)?;
    let mut text = strftime::format(&pattern, &time, &Zone { offset_seconds, name })?.into_bytes();
    text.push(0);
    if text.len() as u64 > max {
        return Ok(0);
    }
    guest.write(to, &text)?;
    Ok(text.len() as i64 - 1)
}
