//! Hard mode: the offers in the source's log say whose turn it is, and who carried is due what it asked.

use std::time::Duration;

use weft_node::control::api::{AuditInfo, MarketRequest, OfferInfo, PushName, RankInfo, Request, SlotInfo};
use weft_protocol::market::{PushTerms, TURN_MS, WINDOW_SLOTS, set_slot};
use weft_protocol::{Address, Id};
use weft_testnet::{Actor, AskError, Look, Open, PATIENCE, Trouble, until};

use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};

/// Two schedulers that carry nothing, and two messengers.
const ROLES: [&str; 4] = ["scheduler,compute", "scheduler,compute", "compute,messenger", "compute,messenger"];
const MESSENGERS: [usize; 2] = [2, 3];
/// What each of them asks for a push, and for a KiB.
const PRICES: [(usize, &str); 2] =
    [(2, "price_per_push = 3\nprice_per_kib = 1\n"), (3, "price_per_push = 5\nprice_per_kib = 1\n")];
/// A turn of soft mode, which is none of hard mode's.
const WINDOW_MS: u64 = 50;
/// How long an audit may take on a busy machine.
const AUDIT_WAIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_log_ranks_messengers_and_says_what_each_is_due() -> Result<(), Trouble> {
    let mut rig = Rig::start_with(Guest::Counter, &ROLES, WINDOW_MS, &PRICES).await;
    let tags = PushTerms { ledger: Id([9; 32]), price_max: 10, kib_max: 1 }.tags();
    let a = rig.spawn("a", 0, &[0, 2, 3], &tags).await?;
    let b = rig.spawn("b", 1, &[1], &[]).await?;
    rig.all_offer(&a, &MESSENGERS, 0).await?;
    let at = set_slot(1).unwrap();
    let mut open = Open::new("hard");
    {
        let town = rig.town();
        for _ in 1..at {
            town.send(&a, "Increment", Vec::new(), "").await?;
        }
    }
    scheduler_knows(&rig, &a).await?;

    // What is sent next comes behind the offers, and the first of them carries it.
    let town = rig.town();
    let sent = rig.guest.ask(&town, &a, &b, "first", &mut open).await?;
    open.equal("the slot behind the offers", &WINDOW_SLOTS, &sent);
    let ranks = agreed(&rig, &a, sent).await?;
    let [first, second] = ranks[..] else { panic!("{ranks:?}") };
    let (slot, _) = town.pushed(&a, &b, rig.guest.action(), 1, &mut open).await?;
    open.same("who carried it", &Some(first.to_string()), &slot.carrier);

    // The first of the next one is dead: the second waits a turn of hard mode.
    let next = agreed(&rig, &a, sent + 1).await?;
    let node = |address: &Address| {
        MESSENGERS.into_iter().find(|node| rig.fleet.node(*node).ready().address == *address).unwrap()
    };
    let (dead, backup) = (node(&next[0]), node(&next[1]));
    rig.fleet.kill(dead).await;
    let a = Actor { computing: vec![0, backup], ..a };
    let town = rig.town();
    let sent = rig.guest.ask(&town, &a, &b, "second", &mut open).await?;
    let (slot, carrier) = town.pushed(&a, &b, rig.guest.action(), 2, &mut open).await?;
    open.same("who carried it", &Some(backup), &carrier);
    let asked = town.slots(&a, 0, sent).await?[0].timestamp;
    let waited = slot.timestamp - asked;
    open.that("its wait in milliseconds", "a turn", waited, waited >= TURN_MS);

    // Whoever has the log comes to the same sums, also who was not there.
    town.host_on(&a, 1, false, &mut open).await?;
    town.result(&a, 1, sent).await?;
    for auditor in [0, 1] {
        let request = Request::Market(MarketRequest::Audit { process: a.id, window: Some(1) });
        let audit: AuditInfo = rig.fleet.node(auditor).ask_within("an audit", &request, AUDIT_WAIT).await?;
        let window = &audit.windows[0];
        assert_eq!((window.set_slot, window.offers), (at, 2), "{audit:?}");
        assert_eq!((window.pushes, window.unknown, window.outside), (2, 0, 0), "{audit:?}");
        let due = |address: Address| {
            let row = window.messengers.iter().find(|row| row.messenger == address);
            row.map(|row| (row.paid, row.taken_over, row.due.clone()))
        };
        let price = |address: Address| if node_of(&rig, address) == 2 { 3 + 1 } else { 5 + 1 };
        let backup = rig.fleet.node(backup).ready().address;
        let mut wanted = [(first, 1, 0), (second, 0, 0)];
        let row = wanted.iter_mut().find(|row| row.0 == backup).unwrap();
        (row.1, row.2) = (row.1 + 1, 1);
        for (address, paid, taken_over) in wanted {
            let sum = (paid * price(address)).to_string();
            let found = due(address).unwrap_or((0, 0, "0".into()));
            assert_eq!(found, (paid, taken_over, sum), "{audit:?}");
        }
    }
    assert_holds(open);
    rig.end(&[dead]).await;
    Ok(())
}

fn node_of(rig: &Rig, address: Address) -> usize {
    MESSENGERS.into_iter().find(|node| rig.fleet.node(*node).ready().address == address).unwrap()
}

/// Waits until the scheduler of a process has heard both offers for it.
async fn scheduler_knows(rig: &Rig, a: &Actor) -> Result<(), Trouble> {
    let look = async || {
        let request = Request::Market(MarketRequest::Offers);
        let offers: Vec<OfferInfo> = rig.fleet.node(0).ask("the offers", &request).await?;
        let count = offers.iter().filter(|offer| offer.processes.contains(&a.id)).count();
        let wanted = MESSENGERS.len();
        Ok::<_, AskError>(if count == wanted { Look::There(()) } else { Look::NotYet(format!("{count}")) })
    };
    Ok(until("the scheduler to know both offers".to_owned(), PATIENCE, look).await?)
}

/// The messengers of a push in their order, on which all nodes agree that have the log.
async fn agreed(rig: &Rig, a: &Actor, slot: u64) -> Result<Vec<Address>, Trouble> {
    let mut orders = Vec::new();
    for node in [0, 2, 3] {
        let push = Some(PushName { slot, tick: 0, index: 0 });
        let request = Request::Market(MarketRequest::Rank { process: a.id, push });
        let look = async || {
            let has: Vec<SlotInfo> = rig.town().slots(a, node, WINDOW_SLOTS).await?;
            if has.is_empty() {
                return Ok::<_, AskError>(Look::NotYet("the offers are not there".to_owned()));
            }
            let rank: RankInfo = rig.fleet.node(node).ask("the ranks", &request).await?;
            Ok(Look::There(rank))
        };
        let rank = until(format!("node {node} to rank"), PATIENCE, look).await?;
        assert_eq!((rank.mode.as_str(), rank.window), ("hard", Some(1)), "{rank:?}");
        assert_eq!(rank.ranks[1].turn_ms, TURN_MS);
        orders.push(rank.ranks.iter().map(|row| row.messenger).collect::<Vec<_>>());
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "{orders:?}");
    Ok(orders.swap_remove(0))
}
