//! Dates as JavaScript's `Date` has them, in UTC: what emscripten's time functions are made of.
//! <https://howardhinnant.github.io/date_algorithms.html> has the two conversions.

const DAY_SECONDS: i64 = 86_400;
/// Seconds on either side of 1970 that a JavaScript `Date` can hold.
const SECONDS_MAX: i64 = 8_640_000_000_000;

/// C's `struct tm`: seconds, minutes, hours, day of month, month from 0, years since 1900, day of
/// week from Sunday, day of year from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Broken {
    pub(crate) sec: i32,
    pub(crate) min: i32,
    pub(crate) hour: i32,
    pub(crate) mday: i32,
    pub(crate) mon: i32,
    pub(crate) year: i32,
    pub(crate) wday: i32,
    pub(crate) yday: i32,
}

/// Takes a time apart. Times that a `Date` cannot hold give zeros, as storing its NaNs does.
pub(crate) fn from_seconds(seconds: i64) -> Broken {
    if !(-SECONDS_MAX..=SECONDS_MAX).contains(&seconds) {
        return Broken::default();
    }
    let (days, rest) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = civil(days);
    Broken {
        sec: (rest % 60) as i32,
        min: (rest / 60 % 60) as i32,
        hour: (rest / 3600) as i32,
        mday: day as i32,
        mon: month as i32 - 1,
        year: (year - 1900) as i32,
        wday: (days + 4).rem_euclid(7) as i32,
        yday: (days - days_from_civil(year, 1, 1)) as i32,
    }
}

/// Puts a time together; the fields may be out of their ranges. `None` outside of a `Date`.
pub(crate) fn to_seconds(time: &Broken) -> Option<i64> {
    let mut year = i64::from(time.year) + 1900;
    if (0..=99).contains(&year) {
        // The constructor of `Date` reads years of two digits as 19xx.
        year += 1900;
    }
    let months = year * 12 + i64::from(time.mon);
    let days =
        days_from_civil(months.div_euclid(12), months.rem_euclid(12) + 1, 1) + i64::from(time.mday) - 1;
    let seconds =
        days * DAY_SECONDS + i64::from(time.hour) * 3600 + i64::from(time.min) * 60 + i64::from(time.sec);
    (-SECONDS_MAX..=SECONDS_MAX).contains(&seconds).then_some(seconds)
}

/// Days since 1970 of a date; the month counts from 1.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month from 1, and day of a number of days since 1970.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn known_dates() {
        let time = from_seconds(951_827_696); // 2000-02-29 12:34:56, a Tuesday.
        assert_eq!((time.year, time.mon, time.mday), (100, 1, 29));
        assert_eq!((time.hour, time.min, time.sec), (12, 34, 56));
        assert_eq!((time.wday, time.yday), (2, 59));
        assert_eq!(from_seconds(-1).year, 69);
        assert_eq!(from_seconds(i64::MIN), Broken::default());
    }

    #[test]
    fn there_and_back() {
        for seconds in (-70_000_000_000..70_000_000_000).step_by(123_456_789) {
            let time = from_seconds(seconds);
            if !(0..=99).contains(&(time.year + 1900)) {
                assert_eq!(to_seconds(&time), Some(seconds));
            }
        }
    }

    #[test]
    fn fields_out_of_range_carry_over() {
        let time = Broken { year: 100, mon: 12, mday: 32, hour: 24, min: 60, sec: 60, ..Broken::default() };
        let normal = from_seconds(to_seconds(&time).unwrap());
        assert_eq!((normal.year, normal.mon, normal.mday), (101, 1, 2));
        assert_eq!((normal.hour, normal.min, normal.sec), (1, 1, 0));
        let extreme = Broken { year: i32::MAX, mon: i32::MAX, ..Broken::default() };
        assert_eq!(to_seconds(&extreme), None);
    }
}
