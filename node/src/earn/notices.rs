//! What a ledger says of claims: as its log stands and is evaluated here, or as others showed it (`elsewhere`). Nobody
//! carries it, for keys have no log.

use weft_protocol::outcome::{OutboxEntry, Running};
use weft_protocol::{Address, DataItem, Id, Position, Tag, tag};
use weft_storage::{OutcomeRow, Reader, StoreError};

use super::machine::Said;

/// Positions that are read in one go.
pub const POSITIONS_MAX: usize = 256;
/// What a ledger answers to claims, and to answers to challenges.
const ANSWERS: [&str; 4] = ["Claim-Response", "Claim-Error", "Answer-Response", "Answer-Error"];
/// Results that are read beside them at once, in bytes.
const READ_BYTES: usize = 8 * 1024 * 1024;

/// What is told of a claim of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The source.
    pub source: Id,
    /// Its window.
    pub window: u64,
    /// What.
    pub said: Said,
}

/// A claim that a ledger opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Whose.
    pub messenger: Address,
    /// On which source.
    pub source: Id,
    /// For which window.
    pub window: u64,
    /// The message that made it.
    pub item: Id,
    /// Until when it can be challenged at least, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// What a ledger answered to a challenge of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenged {
    /// Whose claim.
    pub messenger: Address,
    /// On which source.
    pub source: Id,
    /// For which window.
    pub window: u64,
    /// Which leaf.
    pub leaf: u32,
    /// The message that challenged it.
    pub item: Id,
    /// Why it was refused, if it was, and whether another would be too.
    pub refused: Option<(String, bool)>,
}

/// What is told of claims of others, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfOthers {
    /// One was opened.
    Opened(Opened),
    /// The answer to a challenge of this node.
    Challenged(Challenged),
}

/// A stretch of a ledger's log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What is told to this node, in order.
    pub notices: Vec<Notice>,
    /// Claims that were opened by others, and what this node's challenges came to, in order.
    pub of_others: Vec<(Position, OfOthers)>,
    /// Where to read on; none where there is no more.
    pub next: Option<Position>,
    /// Whether what stands there next does not follow: what was said between is not on this disk.
    pub has_gap: bool,
}

/// What a ledger says to a node that does not evaluate it, of the entries of one outbox; `asked` knows the messages that it
/// answers to.
pub(super) fn told<'a>(
    me: Address,
    entries: impl IntoIterator<Item = &'a OutboxEntry>,
    asked: impl Fn(&Id) -> Option<Asked>,
) -> Vec<Notice> {
    let to_me = entries.into_iter().filter(|entry| entry.target == Some(Id(me.0)));
    let notices = to_me.filter_map(|entry| {
        let asked = answered(entry, me).and_then(|item| asked(&item));
        notice(asked.as_ref().filter(|asked| asked.by == me), &entry.tags)
    });
    notices.collect()
}

/// The message that an entry to a node answers to, where what the entry says is about that one.
pub(super) fn answered(entry: &OutboxEntry, me: Address) -> Option<Id> {
    let is_answer = tag::first(&entry.tags, "Action").is_some_and(|action| ANSWERS.contains(&action));
    // A message that nobody carried is the root of all that it leads to.
    entry.root.filter(|_| is_answer && entry.target == Some(Id(me.0)))
}

/// Whether O is this at a position whose row this is, where it was `before` ahead of it. It is not where a process goes on from
/// a checkpoint of others: nothing of what was said up to there is here.
pub(super) fn follows(before: Running, row: &OutcomeRow) -> bool {
    before.then(&row.outcome).0 == row.running
}

/// Reads what a ledger said from a position on; where O `before` it is given, only what follows from that without a gap.
///
/// # Errors
/// The disk.
pub fn read(
    reader: &Reader,
    ledger: &Id,
    me: Address,
    (from, mut before): (Position, Option<Running>),
) -> Result<Heard, StoreError> {
    let mut heard = Heard::default();
    for (position, row) in reader.outcomes_up(ledger, from, POSITIONS_MAX, READ_BYTES)? {
        if before.is_some_and(|before| !follows(before, &row)) {
            heard.has_gap = true;
            break;
        }
        before = before.map(|_| Running(row.running));
        heard.next = Some(Position { tick: position.tick.saturating_add(1), ..position });
        if row.outbox_count == 0 {
            continue;
        }
        let asked = asked(reader, &row)?;
        for (_, row) in reader.outbox(ledger, position)? {
            let Ok(entry) = OutboxEntry::from_bytes(&row.entry) else { continue };
            let others = asked.as_ref().filter(|asked| asked.by != me);
            let made = others.and_then(|asked| opened(asked, &entry));
            heard.of_others.extend(made.map(|made| (position, OfOthers::Opened(made))));
            if entry.target == Some(Id(me.0)) {
                let own = asked.as_ref().filter(|asked| asked.by == me);
                heard.notices.extend(notice(own, &entry.tags));
                let challenged = own.and_then(|own| challenged(own, &entry.tags));
                heard.of_others.extend(challenged.map(|told| (position, OfOthers::Challenged(told))));
            }
        }
    }
    Ok(heard)
}

/// The message that was evaluated.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Who signed it.
    pub by: Address,
    /// Its item.
    pub item: Id,
    /// Its tags.
    pub tags: Vec<Tag>,
}

fn asked(reader: &Reader, row: &OutcomeRow) -> Result<Option<Asked>, StoreError> {
    let Some(id) = row.item else { return Ok(None) };
    let Some(raw) = reader.item(&id)? else { return Ok(None) };
    // It was verified before it came to disk.
    let parsed = DataItem::parse(raw).ok();
    let asked = parsed.map(|item| {
        let item = item.claims();
        Asked { by: item.owner(), item: id, tags: item.tags().to_vec() }
    });
    Ok(asked)
}

fn number(tags: &[Tag], name: &str) -> Option<u64> {
    tag::first(tags, name)?.parse().ok()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

fn claim(tags: &[Tag]) -> Option<(Id, u64)> {
    Some((tag::first(tags, "Source")?.parse().ok()?, number(tags, "Window")?))
}

fn opened(asked: &Asked, entry: &OutboxEntry) -> Option<Opened> {
    let is_answer = tag::first(&entry.tags, "Action") == Some("Claim-Response");
    if !is_answer || entry.target != Some(Id(asked.by.0)) {
        return None;
    }
    let (source, window) = claim(&asked.tags)?;
    let until_ms = number(&entry.tags, "Due-Time").unwrap_or(u64::MAX);
    Some(Opened { messenger: asked.by, source, window, item: asked.item, until_ms })
}

fn challenged(asked: &Asked, tags: &[Tag]) -> Option<Challenged> {
    let refused = match tag::first(tags, "Action")? {
        "Challenge-Response" => None,
        "Challenge-Error" => {
            let why = tag::first(tags, "Error").unwrap_or("the ledger does not say why").to_owned();
            Some((why, tag::first(tags, "Final") == Some("true")))
        }
        _ => return None,
    };
    let messenger = tag::first(&asked.tags, "Messenger")?.parse().ok()?;
    let (source, window) = claim(&asked.tags)?;
    let leaf = u32::try_from(number(&asked.tags, "Leaf")?).ok()?;
    Some(Challenged { messenger, source, window, leaf, item: asked.item, refused })
}

/// What an entry to this node tells: an answer is about what was asked, anything else about what it names.
fn notice(asked: Option<&Asked>, tags: &[Tag]) -> Option<Notice> {
    let action = tag::first(tags, "Action")?;
    let of_asked = asked.map(|asked| asked.tags.as_slice());
    let leaf = |tags: &[Tag]| u32::try_from(number(tags, "Leaf")?).ok();
    let due = || Some((number(tags, "Due")?, number(tags, "Due-Time")?));
    let is_answer = action.ends_with("-Response") || action.ends_with("-Error");
    let of = if is_answer { of_asked? } else { tags };
    let is_final = tag::first(tags, "Final") == Some("true");
    let said = match action {
        "Claim-Response" => due().map(|(due, due_ms)| Said::Opened { due, due_ms })?,
        "Claim-Error" => Said::Refused {
            why: tag::first(tags, "Error").unwrap_or("the ledger does not say why").to_owned(),
            taken: tag::first(tags, "Taken").map(numbers).unwrap_or_default(),
            paid: tag::first(tags, "Paid").map(numbers).unwrap_or_default(),
            is_final,
        },
        "Answer-Response" | "Answer-Notice" => Said::Answered(leaf(of)?),
        "Answer-Error" => Said::Unanswered { leaf: leaf(of)?, is_final },
        "Challenge-Notice" => {
            let (due, due_ms) = due()?;
            Said::Challenged { leaf: leaf(tags)?, due, due_ms }
        }
        "Leaf-Struck-Notice" => Said::Struck(leaf(tags)?, number(tags, "Quantity")?),
        "Claim-Notice" => Said::Paid,
        "Claim-Lost-Notice" => Said::Lost,
        _ => return None,
    };
    let (source, window) = claim(of)?;
    Some(Notice { source, window, said })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SOURCE: Id = Id([1; 32]);

    fn tags(action: &str, more: &[(&str, &str)]) -> Vec<Tag> {
        let more = more.iter().map(|(name, value)| Tag::new(*name, *value));
        std::iter::once(Tag::new("Action", action)).chain(more).collect()
    }

    fn named(action: &str, more: &[(&str, &str)]) -> Vec<Tag> {
        let source = SOURCE.to_string();
        tags(action, &[&[("Source", source.as_str()), ("Window", "3")], more].concat())
    }

    #[test]
    fn answers_are_about_what_was_asked_and_notices_about_what_they_name() {
        let asked =
            Asked { by: Address([2; 32]), item: Id([3; 32]), tags: named("Answer", &[("Leaf", "5")]) };
        let said = |asked, tags: &[Tag]| {
            notice(asked, tags).map(|notice| {
                assert_eq!((notice.source, notice.window), (SOURCE, 3));
                notice.said
            })
        };
        let due = [("Due", "7"), ("Due-Time", "9")];
        let opened = tags("Claim-Response", &due);
        assert_eq!(said(Some(&asked), &opened), Some(Said::Opened { due: 7, due_ms: 9 }));
        assert_eq!(said(None, &named("Claim-Response", &due)), None, "nobody asked");
        let taken = tags("Claim-Error", &[("Error", "no"), ("Taken", "4,7,x"), ("Paid", "7")]);
        let why = || "no".to_owned();
        let refused = |taken, paid, is_final| Some(Said::Refused { why: why(), taken, paid, is_final });
        assert_eq!(said(Some(&asked), &taken), refused(vec![4, 7], vec![7], false));
        let closed = tags("Claim-Error", &[("Error", "no"), ("Final", "true")]);
        assert_eq!(said(Some(&asked), &closed), refused(vec![], vec![], true));
        assert_eq!(said(Some(&asked), &tags("Answer-Response", &[])), Some(Said::Answered(5)));
        let unanswered = |is_final| Some(Said::Unanswered { leaf: 5, is_final });
        assert_eq!(said(Some(&asked), &tags("Answer-Error", &[])), unanswered(false));
        assert_eq!(said(Some(&asked), &tags("Answer-Error", &[("Final", "true")])), unanswered(true));
        let by_another = named("Answer-Notice", &[("Leaf", "1")]);
        assert_eq!(said(None, &by_another), Some(Said::Answered(1)), "a stranger's answer is as good");
        let challenged = named("Challenge-Notice", &[&due[..], &[("Leaf", "1")]].concat());
        assert_eq!(said(None, &challenged), Some(Said::Challenged { leaf: 1, due: 7, due_ms: 9 }));
        assert_eq!(said(None, &named("Challenge-Notice", &due)), None, "which leaf?");
        let struck = named("Leaf-Struck-Notice", &[("Leaf", "1"), ("Quantity", "6")]);
        assert_eq!(said(None, &struck), Some(Said::Struck(1, 6)));
        assert_eq!(said(None, &named("Claim-Notice", &[])), Some(Said::Paid));
        assert_eq!(said(None, &named("Claim-Lost-Notice", &[])), Some(Said::Lost));
        assert_eq!(said(None, &named("Credit-Notice", &[])), None);
        assert_eq!(said(None, &tags("Claim-Notice", &[])), None, "of which claim?");
    }

    #[test]
    fn what_others_show_says_the_same_where_it_is_known_what_was_asked() {
        let (me, item) = (Address([2; 32]), Id([3; 32]));
        let entry = |target, tags| OutboxEntry {
            target: Some(Id(target)),
            root: Some(item),
            tags,
            ..OutboxEntry::dropped()
        };
        let due = [("Due", "7"), ("Due-Time", "9")];
        let opened = entry(me.0, tags("Claim-Response", &due));
        let paid = entry(me.0, named("Claim-Notice", &[]));
        let of_another = entry([9; 32], named("Claim-Notice", &[]));
        let all = [opened.clone(), paid.clone(), of_another.clone()];
        let asked = |by| move |of: &Id| Some(Asked { by, item: *of, tags: named("Claim", &[]) });
        let said = |notices: Vec<Notice>| notices.into_iter().map(|notice| notice.said).collect::<Vec<_>>();
        let is_open = Said::Opened { due: 7, due_ms: 9 };
        assert_eq!(said(told(me, &all, asked(me))), [is_open, Said::Paid]);
        assert_eq!(said(told(me, &all, |_| None)), [Said::Paid], "it is not known what was asked");
        assert_eq!(said(told(me, &all, asked(Address([8; 32])))), [Said::Paid], "another asked it");
        assert_eq!(answered(&opened, me), Some(item));
        assert_eq!((answered(&paid, me), answered(&of_another, me)), (None, None));
        assert_eq!(answered(&opened, Address([9; 32])), None);
    }

    #[test]
    fn a_claim_of_another_is_heard_with_the_time_for_challenging_it() {
        let (by, item) = (Address([2; 32]), Id([3; 32]));
        let asked = Asked { by, item, tags: named("Claim", &[]) };
        let entry = |to, more: &[(&str, &str)]| OutboxEntry {
            target: Some(Id(to)),
            tags: tags("Claim-Response", more),
            ..OutboxEntry::dropped()
        };
        let heard = |until_ms| Some(Opened { messenger: by, source: SOURCE, window: 3, item, until_ms });
        assert_eq!(opened(&asked, &entry(by.0, &[("Due", "7"), ("Due-Time", "9")])), heard(9));
        assert_eq!(opened(&asked, &entry(by.0, &[])), heard(u64::MAX), "it does not say so");
        assert_eq!(opened(&asked, &entry([9; 32], &[])), None, "it says that to another");
    }

    #[test]
    fn what_a_challenge_of_this_node_came_to_is_heard() {
        let messenger = Address([9; 32]);
        let tags_of = named("Challenge", &[("Messenger", &messenger.to_string()), ("Leaf", "5")]);
        let asked = Asked { by: Address([2; 32]), item: Id([3; 32]), tags: tags_of };
        let item = Id([3; 32]);
        let heard =
            |refused| Some(Challenged { messenger, source: SOURCE, window: 3, leaf: 5, item, refused });
        assert_eq!(challenged(&asked, &named("Challenge-Response", &[])), heard(None));
        let poor = tags("Challenge-Error", &[("Error", "the balance is 0")]);
        assert_eq!(challenged(&asked, &poor), heard(Some(("the balance is 0".into(), false))));
        let over = tags("Challenge-Error", &[("Error", "no"), ("Final", "true")]);
        assert_eq!(challenged(&asked, &over), heard(Some(("no".into(), true))));
        assert_eq!(challenged(&asked, &named("Challenge-Notice", &[])), None, "a challenge of his own claim");
    }
}
