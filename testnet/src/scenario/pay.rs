//! Hard mode: the ledger that pays for what the processes under load send, and what it and the logs say in the end of who
//! carried what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use weft_node::builtin;
use weft_node::control::api::{
    AuditInfo, DryRunInfo, MarketRequest, PushName, RankInfo, Request, SlotInfo, WindowAudit,
};
use weft_node::control::client::ANSWER_WAIT;
use weft_node::dry_run::DryRunBody;
use weft_protocol::market::{BOND_UNIT, PushTerms, RANKS_PAID, TURN_MS, WINDOW_SLOTS, window_of};
use weft_protocol::push::Source;
use weft_protocol::{Address, Id, Network, Tag};

use super::file::Scenario;
use super::measure::{Figures, percentile};
use super::rogue::Rogue;
use crate::check::Open;
use crate::crash::evidence::Final;
use crate::town::{Actor, Cast, Town, Trouble};

/// The node that schedules the ledger and alone computes it. It audits, if its settings say so: of several that do, one
/// may be told that another was first.
const LEDGER_NODE: usize = 0;
/// Slots of the ledger in which a claim can be challenged, and seconds: nobody lets slots pass but who waits for them.
const CHALLENGE_SLOTS: u64 = 16;
const CHALLENGE_SECONDS: u64 = 1;
/// What each process has to pay from, the auditor for deposits, and twice what a rogue stakes: in the smallest unit.
pub(super) const PURSE: u64 = BOND_UNIT;
/// How long one audit may take: others may be under way on a busy machine.
const AUDIT_WAIT: Duration = Duration::from_secs(120);
/// Pushes whose ranks are asked for, of all that peers carried: each is a question to a node.
const RANKED_MAX: usize = 500;
/// Questions of these at once.
const AT_ONCE: usize = 8;

/// Pairs as tags.
pub(super) fn tags<const N: usize>(pairs: [(&str, String); N]) -> Vec<Tag> {
    pairs.map(|(name, value)| Tag::new(name, value)).into()
}

/// The ledger of a scenario in hard mode, which mints what its owner, the user, asks for.
///
/// # Errors
/// Why there is none.
pub(super) async fn found(
    town: &Town<'_>,
    scenario: &Scenario,
    open: &mut Open,
) -> Result<Option<Actor>, Trouble> {
    if scenario.processes.get_ref().pays == 0 {
        return Ok(None);
    }
    let Some(module) = builtin::id_of(builtin::LEDGER) else {
        open.broke("no ledger comes with this build");
        return Ok(None);
    };
    let network = Network::of_name(&town.fleet.node(LEDGER_NODE).ready().network);
    let tags = tags([
        ("Network", network.to_string()),
        ("Challenge-Slots", CHALLENGE_SLOTS.to_string()),
        ("Challenge-Seconds", CHALLENGE_SECONDS.to_string()),
    ]);
    let computing = [LEDGER_NODE];
    let cast = Cast {
        name: "ledger",
        module,
        scheduler: LEDGER_NODE,
        attestors: &[],
        quorum: 1,
        computing: &computing,
        tags: &tags,
    };
    Ok(Some(town.spawn(cast, open).await?))
}

/// The tags of a process that pays at this ledger.
pub(super) fn terms(ledger: &Actor, scenario: &Scenario) -> Vec<Tag> {
    let price_max = scenario.processes.get_ref().pays;
    PushTerms { ledger: ledger.id, price_max, kib_max: 0 }.tags()
}

/// Gives each process something to pay from, and the auditor something for deposits.
///
/// # Errors
/// That nobody takes it.
pub(super) async fn fund(
    town: &Town<'_>,
    ledger: &Actor,
    actors: &[Actor],
    open: &mut Open,
) -> Result<(), Trouble> {
    mint(town, ledger, town.user.address(), PURSE * actors.len() as u64, open).await?;
    for actor in actors {
        let of = tags([("Source", actor.id.to_string()), ("Quantity", PURSE.to_string())]);
        told(town, ledger, "Escrow", of, open).await?;
    }
    mint(town, ledger, town.fleet.node(LEDGER_NODE).ready().address, PURSE, open).await
}

/// Makes money for somebody.
///
/// # Errors
/// That the ledger's node takes no message.
pub(super) async fn mint(
    town: &Town<'_>,
    ledger: &Actor,
    to: Address,
    amount: u64,
    open: &mut Open,
) -> Result<(), Trouble> {
    let of = tags([("Recipient", to.to_string()), ("Quantity", amount.to_string())]);
    told(town, ledger, "Mint", of, open).await
}

/// Has the user ask the ledger for something, and expects that it is done.
async fn told(
    town: &Town<'_>,
    ledger: &Actor,
    action: &str,
    tags: Vec<Tag>,
    open: &mut Open,
) -> Result<(), Trouble> {
    let slot = town.send(ledger, action, tags, "").await?.slot;
    let result = town.result(ledger, LEDGER_NODE, slot).await?.result.to_string();
    let done = result.contains(&format!("{action}-Response"));
    open.that(format!("what the ledger says of {action}"), "a response", &result, done);
    Ok(())
}

/// What the logs of the processes and the ledger say of all that was carried, as the ledger's node has them.
///
/// # Errors
/// That it does not answer.
pub(super) async fn figures(
    town: &Town<'_>,
    ledger: &Actor,
    finals: &[Final],
    rogues: &[(Rogue, Address)],
) -> Result<Figures, Trouble> {
    let mut figures = turns(town, finals, rogues).await?;
    let (mut audited, mut beyond) = (Audited::default(), 0);
    for known in finals {
        let of = tags([("Source", known.process.to_string())]);
        let escrow = ask(town, ledger, "Escrow-Of", of).await?;
        for window in 1..=window_of(known.log().len().saturating_sub(1) as u64) {
            let request =
                Request::Market(MarketRequest::Audit { process: known.process, window: Some(window) });
            let audit: AuditInfo = town.ask(LEDGER_NODE, "an audit", &request, AUDIT_WAIT).await?;
            let before = audited.claimers_paid;
            audit.windows.iter().for_each(|window| audited.add(window, rogues));
            beyond += paid_in(&escrow, window).saturating_sub(audited.claimers_paid - before);
        }
    }
    figures.extend([
        ("delayed-first", audited.delayed_first as f64),
        ("delayed-paid", audited.delayed_paid as f64),
        ("taken-over", audited.taken_over as f64),
        ("audit-unknown", audited.unknown as f64),
        ("paid-beyond-due", beyond as f64),
    ]);
    let audit = ask(town, ledger, "Audit", Vec::new()).await?;
    figures.insert("money-missing", missing(&audit).unwrap_or(f64::INFINITY));
    Ok(figures)
}

/// Sums of audits.
#[derive(Debug, Default)]
struct Audited {
    delayed_first: u64,
    delayed_paid: u64,
    /// Pushes that messengers who claim twice are due pay for.
    claimers_paid: u64,
    taken_over: u64,
    unknown: u64,
}

impl Audited {
    fn add(&mut self, window: &WindowAudit, rogues: &[(Rogue, Address)]) {
        self.unknown += window.unknown;
        for row in &window.messengers {
            match rogues.iter().find(|(_, address)| *address == row.messenger) {
                Some((Rogue::DelayingMessenger, _)) => {
                    self.delayed_first += row.first;
                    self.delayed_paid += row.paid;
                }
                Some((Rogue::DoubleClaimingMessenger, _)) => self.claimers_paid += row.paid,
                Some(_) => {}
                None => self.taken_over += row.taken_over,
            }
        }
    }
}

/// A push that a peer carried.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Carried {
    source: Source,
    by: String,
    /// The timestamps of the two slots, in milliseconds.
    sent: u64,
    came: u64,
    /// When all had come that the process sent to the same target before: a messenger waits for that.
    free: u64,
}

impl Carried {
    /// The rank in whose turn its carrier was to come; none of who was first, and in windows without offers: there each node
    /// goes by those that it knows. Who has no offer for it comes after all that are paid, as those behind them do.
    fn backup_rank(&self, ranks: &RankInfo) -> Option<u64> {
        ranks.window?;
        let rank = ranks.ranks.iter().position(|row| row.messenger.to_string() == self.by);
        let rank = rank.map_or(RANKS_PAID, |rank| rank.min(RANKS_PAID));
        (rank > 0).then_some(rank as u64)
    }

    /// How long after its turn at a rank it came, in milliseconds, but for what it waited for others before it. None if it
    /// came before its turn.
    fn after_turn(&self, rank: u64) -> Option<u64> {
        let turn = self.sent + rank * TURN_MS;
        let late = self.came.checked_sub(turn)?;
        Some(late.min(self.came.saturating_sub(self.free)))
    }
}

/// What peers carried of the windows that have offers, and for how long they had to wait for others.
fn carried(finals: &[Final], rogues: &BTreeSet<String>) -> Vec<Carried> {
    let mut lanes: BTreeMap<(Id, Id), Vec<Carried>> = BTreeMap::new();
    for known in finals {
        for (source, slot) in &known.came {
            let there = finals.iter().find(|there| there.process == source.process);
            let Some((sent, here)) =
                there.and_then(|there| slot_of(there, source.position.slot)).zip(slot_of(known, *slot))
            else {
                continue;
            };
            let by = here.carrier.clone().unwrap_or_default();
            let lane = lanes.entry((source.process, known.process)).or_default();
            lane.push(Carried { source: *source, by, sent: sent.timestamp, came: here.timestamp, free: 0 });
        }
    }
    for lane in lanes.values_mut() {
        lane.sort_by_key(|push| (push.source.position, push.source.index));
        let mut free = 0;
        for push in lane {
            push.free = free;
            free = free.max(push.came);
        }
    }
    let of_offers = |push: &Carried| push.source.position.slot >= WINDOW_SLOTS;
    let by_peer = |push: &Carried| !push.by.is_empty() && !rogues.contains(&push.by);
    lanes.into_values().flatten().filter(|push| of_offers(push) && by_peer(push)).collect()
}

/// At most so many of all, spread evenly: over processes, and over the time of each.
fn spread(all: &[Carried], most: usize) -> impl Iterator<Item = &Carried> {
    let count = all.len().min(most);
    (0..count).map(move |at| &all[at * all.len() / count])
}

fn slot_of(known: &Final, slot: u64) -> Option<&SlotInfo> {
    known.log().get(usize::try_from(slot).ok()?)
}

/// When peers carried what was another's first, by the ranks that the logs give them.
async fn turns(town: &Town<'_>, finals: &[Final], rogues: &[(Rogue, Address)]) -> Result<Figures, Trouble> {
    let rogues: BTreeSet<String> = rogues.iter().map(|(_, address)| address.to_string()).collect();
    let carried = carried(finals, &rogues);
    let turn = async |push: &Carried| {
        let Source { process, position, index } = push.source;
        let name = Some(PushName { slot: position.slot, tick: position.tick, index });
        let request = Request::Market(MarketRequest::Rank { process, push: name });
        let ranks: RankInfo = town.ask(LEDGER_NODE, "the ranks of a push", &request, ANSWER_WAIT).await?;
        Ok::<_, Trouble>(push.backup_rank(&ranks).map(|rank| push.after_turn(rank)))
    };
    let asked = spread(&carried, RANKED_MAX).map(turn);
    let of_backups: Vec<Option<Option<u64>>> =
        stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
    let of_backups: Vec<Option<u64>> = of_backups.into_iter().flatten().collect();
    let early = of_backups.iter().filter(|wait| wait.is_none()).count();
    let mut waits: Vec<f64> = of_backups.into_iter().flatten().map(|wait| wait as f64).collect();
    waits.sort_by(f64::total_cmp);
    let mut figures = Figures::from([("before-turn", early as f64)]);
    figures.extend(percentile(&waits, 99).map(|wait| ("after-turn-p99-ms", wait)));
    Ok(figures)
}

/// Asks the ledger as its scheduler has it, without a slot.
async fn ask(town: &Town<'_>, ledger: &Actor, action: &str, mut tags: Vec<Tag>) -> Result<String, Trouble> {
    tags.push(Tag::new("Action", action));
    let message = DryRunBody { owner: town.user.address().to_string(), tags, ..DryRunBody::default() };
    let request = Request::DryRun { process: ledger.id, message, slot: None };
    let tried: DryRunInfo = town.ask(LEDGER_NODE, "the ledger", &request, AUDIT_WAIT).await?;
    Ok(tried.result.get("Output").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Pushes of a window that were paid from an escrow.
fn paid_in(escrow: &str, window: u64) -> u64 {
    let escrow: Value = serde_json::from_str(escrow).unwrap_or_default();
    escrow["windows"][window.to_string()]["paid"].as_u64().unwrap_or_default()
}

/// What came into a ledger less all that its audit accounts for.
fn missing(audit: &str) -> Option<f64> {
    let audit: Value = serde_json::from_str(audit).ok()?;
    let of = |name| audit.get(name)?.as_str()?.parse::<i128>().ok();
    let mut left = of("deposited")?;
    for held in ["withdrawn", "balances", "escrows", "bonds", "claims", "deposits"] {
        left -= of(held)?;
    }
    Some(left.abs() as f64)
}

#[cfg(test)]
mod tests {
    use weft_node::control::api::{CarrierRow, RankRow};
    use weft_protocol::{Hash, Position};

    use super::*;

    #[test]
    fn money_that_an_audit_does_not_account_for_is_missing() {
        let audit = |held: u64| {
            format!(
                r#"{{"deposited":"{held}","withdrawn":"1","balances":"2","escrows":"3","bonds":"4","claims":"5","deposits":"6"}}"#
            )
        };
        assert_eq!(
            (missing(&audit(21)), missing(&audit(22)), missing(&audit(20))),
            (Some(0.0), Some(1.0), Some(1.0))
        );
        assert_eq!((missing(""), missing("{}")), (None, None), "what is not told is not there");
    }

    #[test]
    fn who_waits_for_others_is_not_late() {
        let source = Source { process: Id([1; 32]), position: Position::slot(300), index: 0 };
        let at = |came, free| Carried { source, by: "b".to_owned(), sent: 10_000, came, free };
        assert_eq!(at(12_050, 0).after_turn(1), Some(50));
        assert_eq!(at(11_999, 0).after_turn(1), None, "before its turn");
        // The one before it came at 15 seconds, when its own turn had long begun.
        assert_eq!(
            (at(15_020, 15_000).after_turn(1), at(15_020, 11_000).after_turn(1)),
            (Some(20), Some(3_020))
        );
    }

    #[test]
    fn those_that_are_asked_about_are_of_all_processes_and_of_the_whole_run() {
        let push = |process: u8, slot: u64| {
            let source = Source { process: Id([process; 32]), position: Position::slot(slot), index: 0 };
            Carried { source, by: "b".to_owned(), sent: slot, came: slot, free: 0 }
        };
        let all: Vec<Carried> =
            (1..=3).flat_map(|process| (0..700).map(move |slot| push(process, slot))).collect();
        for process in 1..=3 {
            let asked = spread(&all, 500).filter(|push| push.source.process == Id([process; 32]));
            let slots: Vec<u64> = asked.map(|push| push.sent).collect();
            assert!((166..=167).contains(&slots.len()), "{process}: {}", slots.len());
            assert!(slots[0] < 5 && slots.windows(2).all(|pair| pair[1] - pair[0] <= 5), "{slots:?}");
            assert!(slots.last().is_some_and(|last| *last >= 695), "{slots:?}");
        }
        assert!(spread(&all[..499], 500).eq(&all[..499]), "fewer are asked about one by one");
        assert_eq!(spread(&[], 500).count(), 0);
    }

    #[test]
    fn who_has_no_offer_or_is_not_paid_comes_after_all_who_are() {
        let row = |rank: usize| RankRow {
            rank,
            messenger: Address([rank as u8; 32]),
            own: false,
            turn_ms: 0,
            due: None,
            why: String::new(),
        };
        let of = |by: u8, window| {
            let source = Source { process: Id([1; 32]), position: Position::slot(300), index: 0 };
            let push = PushName { slot: 300, tick: 0, index: 0 };
            let ranks = RankInfo {
                process: source.process,
                push,
                push_id: Hash([1; 32]),
                mode: String::new(),
                window,
                seed: None,
                turn_ms: TURN_MS,
                ranks: (0..8).map(row).collect(),
                why: String::new(),
            };
            let by = Address([by; 32]).to_string();
            Carried { source, by, sent: 10_000, came: 19_999, free: 0 }.backup_rank(&ranks)
        };
        assert_eq!([0, 1, 4].map(|by| of(by, Some(1))), [None, Some(1), Some(4)]);
        // The nodes wait as long for these: not longer, and not less.
        assert_eq!([5, 7, 200].map(|by| of(by, Some(1))), [Some(RANKS_PAID as u64); 3]);
        assert_eq!([1, 200].map(|by| of(by, None)), [None; 2], "no log says whose turn it was");
    }

    #[test]
    fn what_was_paid_is_read_by_window() {
        let escrow = r#"{"free":"1","windows":{"1":{"paid":7,"closesEarlier":9},"2":{"paid":8}}}"#;
        assert_eq!([0, 1, 2].map(|window| paid_in(escrow, window)), [0, 7, 8]);
        assert_eq!(paid_in("no escrow", 1), 0);
    }

    #[test]
    fn what_rogues_carried_is_told_apart_from_what_peers_did() {
        let row = |of: u8, first, paid, taken_over, due: &str| CarrierRow {
            messenger: Address([of; 32]),
            first,
            paid,
            taken_over,
            early: 0,
            late: 0,
            due: due.to_owned(),
        };
        let window = WindowAudit {
            window: 1,
            set_slot: 255,
            seed: None,
            offers: 3,
            pushes: 12,
            unknown: 1,
            outside: 0,
            messengers: vec![row(1, 5, 0, 0, "0"), row(2, 4, 3, 1, "30"), row(3, 3, 8, 6, "80")],
            notes: Vec::new(),
        };
        let rogues = [
            (Rogue::DelayingMessenger, Address([1; 32])),
            (Rogue::DoubleClaimingMessenger, Address([2; 32])),
        ];
        let mut audited = Audited::default();
        audited.add(&window, &rogues);
        assert_eq!((audited.delayed_first, audited.delayed_paid), (5, 0));
        assert_eq!((audited.taken_over, audited.unknown, audited.claimers_paid), (6, 1, 3));
    }
}
