//! `strftime` as emscripten's JavaScript does it: patterns are replaced one after the other over
//! the whole text, so its oddities (`%%c` becomes the pattern of `%c`) are kept.

use super::Stop;
use super::calendar::{Broken, civil, days_from_civil};

/// What `strftime` reads beside the broken-down time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zone {
    pub(crate) offset_seconds: i64,
    pub(crate) name: String,
}

const SHORTHANDS: [(&str, &str); 28] = [
    ("%c", "%a %b %d %H:%M:%S %Y"),
    ("%D", "%m/%d/%y"),
    ("%F", "%Y-%m-%d"),
    ("%h", "%b"),
    ("%r", "%I:%M:%S %p"),
    ("%R", "%H:%M"),
    ("%T", "%H:%M:%S"),
    ("%x", "%m/%d/%y"),
    ("%X", "%H:%M:%S"),
    ("%Ec", "%c"),
    ("%EC", "%C"),
    ("%Ex", "%m/%d/%y"),
    ("%EX", "%H:%M:%S"),
    ("%Ey", "%y"),
    ("%EY", "%Y"),
    ("%Od", "%d"),
    ("%Oe", "%e"),
    ("%OH", "%H"),
    ("%OI", "%I"),
    ("%Om", "%m"),
    ("%OM", "%M"),
    ("%OS", "%S"),
    ("%Ou", "%u"),
    ("%OU", "%U"),
    ("%OV", "%V"),
    ("%Ow", "%w"),
    ("%OW", "%W"),
    ("%Oy", "%y"),
];

/// The conversions in the reference's order.
const CONVERSIONS: &[u8] = b"aAbBCdegGHIjmMnpStuUVwWyYzZ";

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The text of a time. Fails where the reference's code would throw.
pub(crate) fn format(pattern: &str, time: &Broken, zone: &Zone) -> Result<String, Stop> {
    let mut text = pattern.to_owned();
    for (short, long) in SHORTHANDS {
        text = text.replace(short, long);
    }
    text = text.replace("%%", "\0\0");
    for conversion in CONVERSIONS {
        let letter = char::from(*conversion);
        let rule = format!("%{letter}");
        if text.contains(&rule) {
            text = text.replace(&rule, &convert(letter, time, zone)?);
        }
    }
    Ok(text.replace("\0\0", "%"))
}

fn convert(letter: char, time: &Broken, zone: &Zone) -> Result<String, Stop> {
    let year = i64::from(time.year) + 1900;
    Ok(match letter {
        'a' => name(&WEEKDAYS, time.wday)?.chars().take(3).collect(),
        'A' => name(&WEEKDAYS, time.wday)?.to_owned(),
        'b' => name(&MONTHS, time.mon)?.chars().take(3).collect(),
        'B' => name(&MONTHS, time.mon)?.to_owned(),
        'C' => padded(year / 100, 2, '0'),
        'd' => padded(time.mday.into(), 2, '0'),
        'e' => padded(time.mday.into(), 2, ' '),
        'g' => week_year(time).to_string().chars().skip(2).collect(),
        'G' => week_year(time).to_string(),
        'H' => padded(time.hour.into(), 2, '0'),
        'I' => padded(twelve(time.hour), 2, '0'),
        'j' => padded(day_of_year(time), 3, '0'),
        'm' => padded(i64::from(time.mon) + 1, 2, '0'),
        'M' => padded(time.min.into(), 2, '0'),
        'n' => "\n".to_owned(),
        'p' => if (0..12).contains(&time.hour) { "AM" } else { "PM" }.to_owned(),
        'S' => padded(time.sec.into(), 2, '0'),
        't' => "\t".to_owned(),
        'u' => if time.wday == 0 { 7 } else { time.wday }.to_string(),
        'U' => padded((i64::from(time.yday) + 7 - i64::from(time.wday)).div_euclid(7), 2, '0'),
        'V' => padded(iso_week(time), 2, '0'),
        'w' => time.wday.to_string(),
        'W' => {
            let days = i64::from(time.yday) + 7 - (i64::from(time.wday) + 6) % 7;
            padded(days.div_euclid(7), 2, '0')
        }
        'y' => year.to_string().chars().skip(2).collect(),
        'Y' => year.to_string(),
        'z' => offset(zone.offset_seconds),
        _ => zone.name.clone(),
    })
}

fn name<'a>(names: &[&'a str], index: i32) -> Result<&'a str, Stop> {
    let found = usize::try_from(index).ok().and_then(|index| names.get(index));
    found.copied().ok_or(Stop::Abort("strftime of a day or month that does not exist"))
}

fn padded(value: i64, digits: usize, with: char) -> String {
    let text = value.to_string();
    let missing = digits.saturating_sub(text.len());
    (0..missing).map(|_| with).chain(text.chars()).collect()
}

fn twelve(hour: i32) -> i64 {
    match i64::from(hour) {
        0 => 12,
        hour if hour > 12 => hour - 12,
        hour => hour,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn day_of_year(time: &Broken) -> i64 {
    let february = if is_leap(i64::from(time.year) + 1900) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before: i64 = months.iter().take(usize::try_from(time.mon).unwrap_or(0)).sum();
    i64::from(time.mday) + before
}

/// The year to which the ISO week belongs: that of its Thursday.
fn week_year(time: &Broken) -> i64 {
    let day = days_from_civil(i64::from(time.year) + 1900, 1, 1) + i64::from(time.yday.max(0));
    let from_monday = (day + 3).rem_euclid(7);
    civil(day - from_monday + 3).0
}

/// Word for word the reference's arithmetic, which mixes `tm_year` and the year.
fn iso_week(time: &Broken) -> i64 {
    let (year, wday, yday) = (i64::from(time.year), i64::from(time.wday), i64::from(time.yday));
    let mut week = (yday + 7 - (wday + 6) % 7).div_euclid(7);
    if (wday + 371 - yday - 2) % 7 <= 2 {
        week += 1;
    }
    if week == 0 {
        week = 52;
        let december_31 = (wday + 7 - yday - 1) % 7;
        if december_31 == 4 || (december_31 == 5 && is_leap(year % 400 - 1)) {
            week += 1;
        }
    } else if week == 53 {
        let january_1 = (wday + 371 - yday) % 7;
        if january_1 != 4 && (january_1 != 3 || !is_leap(year)) {
            week = 1;
        }
    }
    week
}

/// Minutes as hours and minutes, with the reference's own way of adding them up.
fn offset(seconds: i64) -> String {
    let minutes = seconds.unsigned_abs() as f64 / 60.0;
    let digits = format!("0000{}", minutes / 60.0 * 100.0 + minutes % 60.0);
    let last: String = digits.chars().skip(digits.chars().count().saturating_sub(4)).collect();
    format!("{}{last}", if seconds >= 0 { '+' } else { '-' })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::calendar::from_seconds;
    use super::*;

    fn shown(pattern: &str, seconds: i64) -> String {
        let zone = Zone { offset_seconds: 0, name: "UTC".to_owned() };
        format(pattern, &from_seconds(seconds), &zone).unwrap()
    }

    #[test]
    fn every_conversion() {
        let time = 951_827_696;
        assert_eq!(shown("%Y-%m-%d %H:%M:%S %Z%z", time), "2000-02-29 12:34:56 UTC+0000");
        assert_eq!(shown("%c|%x|%X|%r", time), "Tue Feb 29 12:34:56 2000|02/29/00|12:34:56|12:34:56 PM");
        assert_eq!(shown("%A %B %C %e %I %j %p %u %w %y", time), "Tuesday February 20 29 12 060 PM 2 2 00");
        assert_eq!(shown("%U %V %W %g %G", time), "09 09 09 00 2000");
        assert_eq!(shown("100%% %q%n", time), "100% %q\n");
    }

    #[test]
    fn the_first_week_belongs_to_its_thursday() {
        // 2021-01-03 is a Sunday of 2020's week 53; 2019-12-30 a Monday of 2020's week 1.
        assert_eq!(shown("%G-%V", 1_609_632_000), "2020-53");
        assert_eq!(shown("%G-%V", 1_577_664_000), "2020-01");
    }

    #[test]
    fn a_day_that_does_not_exist_stops_the_guest() {
        let time = Broken { wday: 9, ..Broken::default() };
        assert!(format("%a", &time, &Zone::default()).is_err());
    }
}
