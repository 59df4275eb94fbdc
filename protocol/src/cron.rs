//! Cron: messages that follow from the log and the passing of its time alone: RULES.md 6.6.
//!
//! A process asks for them with `Cron-Interval` tags. Between two slots everybody enumerates the
//! same ticks in the same order; nobody sends them.

mod ticks;

pub use ticks::{NextDue, Tick, Ticks, is_due, next_due, ticks};

use crate::limits::CRON_INTERVALS_MAX;
use crate::tag::Tag;
use crate::time::TimePoint;

const INTERVAL: &str = "Cron-Interval";
const TAG_PREFIX: &str = "Cron-Tag-";

/// How often a cron fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Every {
    /// Every so many seconds, counted from the second of slot 0.
    Seconds(u64),
    /// Every so many blocks, counted from the height of slot 0.
    Blocks(u64),
}

/// One `Cron-Interval` with the tags of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// The tag's value as it stands.
    pub interval: String,
    /// What it means.
    pub every: Every,
    /// The `Cron-Tag-*` tags after it, with the prefix removed.
    pub tags: Vec<Tag>,
}

/// The crons of a process at work: what falls due in its log as time passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// At least one.
    pub crons: Vec<Cron>,
    /// The time point of slot 0, from which they count.
    pub origin: TimePoint,
}

impl Schedule {
    /// The schedule of a process with these crons; none if it has none.
    pub fn new(crons: &[Cron], origin: TimePoint) -> Option<Self> {
        (!crons.is_empty()).then(|| Self { crons: crons.to_vec(), origin })
    }
}

/// Why the cron tags of a process are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// Not `<number>-<unit>` with a known unit.
    #[error("the Cron-Interval `{0}` is not `<number>-<unit>` with a unit from millisecond to year or block")]
    Interval(String),
    /// Less than one second or one block.
    #[error("time-based cron cannot be less than 1 second, block-based not less than 1 block: `{0}`")]
    TooShort(String),
    /// A `Cron-Tag-*` before any `Cron-Interval`.
    #[error("Unmatched Cron-Tag: `{0}` stands before any Cron-Interval")]
    Unmatched(String),
    /// Too many intervals.
    #[error("more than {CRON_INTERVALS_MAX} Cron-Interval tags")]
    TooMany,
}

/// Reads the cron tags of a Process item.
///
/// # Errors
/// The first tag that is refused.
pub fn parse(tags: &[Tag]) -> Result<Vec<Cron>, CronError> {
    let mut crons: Vec<Cron> = Vec::new();
    for tag in tags {
        if tag.name == INTERVAL {
            if crons.len() == CRON_INTERVALS_MAX {
                return Err(CronError::TooMany);
            }
            let every = parse_interval(&tag.value)?;
            crons.push(Cron { interval: tag.value.clone(), every, tags: Vec::new() });
        } else if let Some(name) = tag.name.strip_prefix(TAG_PREFIX) {
            let cron = crons.last_mut().ok_or_else(|| CronError::Unmatched(tag.name.clone()))?;
            cron.tags.push(Tag::new(name, tag.value.clone()));
        }
    }
    Ok(crons)
}

fn parse_interval(text: &str) -> Result<Every, CronError> {
    let error = || CronError::Interval(text.chars().take(64).collect());
    let (number, unit) = text.split_once('-').ok_or_else(error)?;
    let (number, unit) = (number.trim_ascii(), unit.trim_ascii().to_ascii_lowercase());
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error());
    }
    let number: u64 = number.parse().map_err(|_| error())?;
    let every = match unit.as_str() {
        "block" | "blocks" => Every::Blocks(number),
        unit => {
            let unit_ms = unit_ms(unit).ok_or_else(error)?;
            Every::Seconds(number.checked_mul(unit_ms).ok_or_else(error)? / 1_000)
        }
    };
    match every {
        Every::Seconds(0) | Every::Blocks(0) => Err(CronError::TooShort(text.to_owned())),
        Every::Seconds(_) | Every::Blocks(_) => Ok(every),
    }
}

/// Milliseconds of a unit: the words of the `ms` package, and months, which it does not know.
fn unit_ms(unit: &str) -> Option<u64> {
    const SECOND: u64 = 1_000;
    const DAY: u64 = 86_400 * SECOND;
    Some(match unit {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600 * SECOND,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "month" | "months" => 30 * DAY,
        "y" | "yr" | "yrs" | "year" | "years" => 365 * DAY + DAY / 4,
        _ => return None,
    })
}
