//! A messenger that keeps to no turn, beside an honest one and among real nodes: it delays what is its own, carries what is not
//! its own yet, and what was sent later first. Each push has one slot all the same, and it is paid for its turns alone.

use std::time::Duration;

use weft_node::control::api::{AuditInfo, MarketRequest, OfferInfo, PushName, RankInfo, Request};
use weft_protocol::crypto::Signer;
use weft_protocol::market::{PushTerms, TURN_MS, set_slot};
use weft_protocol::{Address, Id};
use weft_testnet::{Actor, AskError, Look, Open, PATIENCE, Trouble, until};

use crate::courier::Courier;
use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};

/// Two schedulers that carry nothing, and an honest messenger.
const ROLES: [&str; 3] = ["scheduler,compute", "scheduler,compute", "compute,messenger"];
const HONEST: usize = 2;
/// The key of the other one, which is no node.
const OTHER: u8 = 95;
/// A turn of soft mode, which is none of hard mode's.
const WINDOW_MS: u64 = 50;
/// Pushes in which each of the two is first at least once, but for one run in thousands.
const TRIES: usize = 14;
/// How long an audit may take on a busy machine.
const AUDIT_WAIT: Duration = Duration::from_secs(120);

/// What two logs say of the one that keeps to no turn, counted as they came to be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    first: u64,
    paid: u64,
    taken_over: u64,
    early: u64,
}

struct Stage {
    rig: Rig,
    a: Actor,
    b: Actor,
    courier: Courier,
    signer: Signer,
    /// Pushes so far.
    pushes: u64,
    counted: Counted,
}

impl Stage {
    /// Two processes, and both offers in the log of the first.
    async fn open() -> Result<Self, Trouble> {
        let rig = Rig::start(Guest::Counter, &ROLES, WINDOW_MS).await;
        let tags = PushTerms { ledger: Id([9; 32]), price_max: 10, kib_max: 1 }.tags();
        let a = rig.spawn("a", 0, &[0, HONEST], &tags).await?;
        let b = rig.spawn("b", 1, &[1], &[]).await?;
        let (courier, signer) =
            (Courier::connect(OTHER, &rig.fleet, &[0, 1, HONEST]).await, Signer::from_seed(&[OTHER; 32]));
        courier.offer(a.id, &signer).await;
        let look = async || {
            let request = Request::Market(MarketRequest::Offers);
            let offers: Vec<OfferInfo> = rig.fleet.node(0).ask("the offers", &request).await?;
            let count = offers.iter().filter(|offer| offer.processes.contains(&a.id)).count();
            Ok::<_, AskError>(if count == 2 { Look::There(()) } else { Look::NotYet(format!("{count}")) })
        };
        until("the scheduler to know both offers".to_owned(), PATIENCE, look).await?;
        // With the first slot behind the offers, so that a push has an evaluated slot before its own.
        for _ in 1..=set_slot(1).unwrap() {
            rig.town().send(&a, "Increment", Vec::new(), "").await?;
        }
        Ok(Self { rig, a, b, courier, signer, pushes: 0, counted: Counted::default() })
    }

    /// Has one message sent to the other process; gives its slot, when that was given, and the rank that the courier has.
    async fn send(&mut self, open: &mut Open) -> Result<(u64, u64, usize), Trouble> {
        let town = self.rig.town();
        let slot = self.rig.guest.ask(&town, &self.a, &self.b, "turn", open).await?;
        let at = town.slots(&self.a, 0, slot).await?[0].timestamp;
        let push = Some(PushName { slot, tick: 0, index: 0 });
        let request = Request::Market(MarketRequest::Rank { process: self.a.id, push });
        let rank: RankInfo = self.rig.fleet.node(0).ask("the ranks", &request).await?;
        let ranks: Vec<Address> = rank.ranks.iter().map(|row| row.messenger).collect();
        open.equal("messengers that are ranked", &2, &ranks.len());
        let rank = ranks.iter().position(|messenger| *messenger == self.signer.address()).unwrap();
        self.pushes += 1;
        self.counted.first += u64::from(rank == 0);
        Ok((slot, at, rank))
    }

    /// Delays: carries nothing until the honest one did, whose turn comes; what it brings then has a slot already.
    async fn delay(&mut self, open: &mut Open) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            let (sent, at, rank) = self.send(open).await?;
            let look = async || {
                let mut all = self.rig.town().slots(&self.b, self.b.scheduler, 0).await?;
                all.retain(|slot| slot.pushed);
                let count = all.len();
                let last = all.pop().filter(|_| count as u64 == self.pushes);
                Ok::<_, AskError>(last.map_or(Look::NotYet(format!("{count}")), Look::There))
            };
            let taken = until(format!("push {} of the honest one", self.pushes), PATIENCE, look).await?;
            let honest = self.rig.fleet.node(HONEST).ready().address;
            open.same("who carried it", &Some(honest.to_string()), &taken.carrier);
            let turn = if rank == 0 { TURN_MS } else { 0 };
            let waited = taken.timestamp - at;
            open.that("its wait in milliseconds", "its turn", waited, waited >= turn);
            let late = self.courier.collect(&self.a, sent).await.message(&self.signer);
            let late = self.courier.carry(self.b.scheduler, &late).await.unwrap();
            open.same("what the late one is answered", &(taken.slot, true), &(late.slot, late.duplicate));
            if self.counted.first > 0 && self.pushes > self.counted.first {
                return Ok(());
            }
        }
        panic!("in {TRIES} pushes one of two was never first");
    }

    /// Reorders, and snipes where the one who is first is dead: of two messages carries the later one first, at once.
    async fn reorder(&mut self, open: &mut Open) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            let sent = [self.send(open).await?, self.send(open).await?];
            let mut slots = Vec::new();
            for (slot, at, rank) in sent.into_iter().rev() {
                let push = self.courier.collect(&self.a, slot).await.message(&self.signer);
                let taken = self.courier.carry(self.b.scheduler, &push).await.unwrap();
                open.equal("whether it had a slot", &false, &taken.duplicate);
                let found = self.rig.town().slots(&self.b, self.b.scheduler, taken.slot).await?;
                let is_early = found[0].timestamp - at < rank as u64 * TURN_MS;
                self.counted.early += u64::from(is_early);
                self.counted.paid += u64::from(!is_early);
                self.counted.taken_over += u64::from(!is_early && rank > 0);
                slots.push(taken.slot);
            }
            open.that(
                "slots of the later and the earlier",
                "rise",
                format!("{slots:?}"),
                slots[0] < slots[1],
            );
            if self.counted.early > 0 && self.counted.paid > self.counted.taken_over {
                return Ok(());
            }
        }
        panic!("in {TRIES} pairs none was carried too early, or none in its turn: {:?}", self.counted);
    }
}

#[tokio::test]
async fn who_delays_snipes_and_reorders_is_paid_for_its_turns_alone() -> Result<(), Trouble> {
    let (mut stage, mut open) = (Stage::open().await?, Open::new("turns"));
    stage.delay(&mut open).await?;
    stage.rig.fleet.kill(HONEST).await;
    stage.a.computing = vec![0];
    stage.reorder(&mut open).await?;

    // Each stands once and is evaluated once, whoever brought it and in whatever order.
    let Stage { rig, a, b, signer, pushes, counted, .. } = stage;
    let stored = rig.pushes(&a, &b).await?;
    open.equal("pushes in the target's log", &(pushes as usize), &stored.len());
    let town = rig.town();
    town.result(&b, b.scheduler, stored.last().unwrap().slot).await?;
    rig.guest.ran(&town, &b, pushes, &mut open).await?;
    // Whoever reads both logs comes to the same: what was early is paid to nobody.
    let request = Request::Market(MarketRequest::Audit { process: a.id, window: Some(1) });
    let audit: AuditInfo = rig.fleet.node(0).ask_within("an audit", &request, AUDIT_WAIT).await?;
    let window = &audit.windows[0];
    assert_eq!((window.pushes, window.unknown, window.outside), (pushes, 0, 0), "{audit:?}");
    let row = window.messengers.iter().find(|row| row.messenger == signer.address()).unwrap();
    let (first, paid, taken_over, early) = (row.first, row.paid, row.taken_over, row.early);
    assert_eq!(Counted { first, paid, taken_over, early }, counted, "{audit:?}");
    assert_holds(open);
    rig.end(&[HONEST]).await;
    Ok(())
}
