use weft_protocol::postage::POSTAGE_BITS_MAX;

use super::*;

type Pools8 = Pools<u8, u32>;

const PROCESS: Id = Id([9; 32]);
/// The neighbour of most tests.
const FROM: u8 = 1;

fn item(number: u32) -> Id {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Id(id)
}

fn claim(number: u32, signer: u8, bits: u32) -> Claim {
    Claim { process: PROCESS, item: item(number), signer: Address([signer; 32]), bits }
}

fn said(claim: Claim, is_known: bool) -> Said<u32> {
    Said { claim, is_known, is_mine: false, age_ms: 0, body: claim.bits }
}

fn stranger(pools: &mut Pools8, number: u32, bits: u32, now: u64) -> Heard {
    pools.hear(said(claim(number, 200, bits), false), Now(now))
}

fn known(pools: &mut Pools8, number: u32, signer: u8) -> Heard {
    pools.hear(said(claim(number, signer, 18), true), Now(0))
}

fn run(pools: &mut Pools8, input: Input, now: u64) -> Vec<(Id, u32)> {
    let mut effects = Effects::new();
    pools.handle(input, Now(now), &mut effects);
    effects.drain().map(|Effect::Offer { item, body, .. }| (item, body)).collect()
}

fn numbers(pools: &Pools8) -> Vec<u32> {
    let number = |waiting: Waiting<u32>| u32::from_be_bytes([0, 1, 2, 3].map(|at| waiting.item.0[at]));
    pools.waiting(&PROCESS, Now(0)).into_iter().map(number).collect()
}

const FULL: Heard = Heard::Dropped(Why::Full);
const OLD: Heard = Heard::Dropped(Why::Old);
const OVER: Heard = Heard::Dropped(Why::Over);

#[test]
fn a_full_half_drops_what_paid_least_and_raising_gets_in() {
    let mut pools = Pools8::new();
    for number in 0..32 {
        assert_eq!(stranger(&mut pools, number, 18 + number % 2, 0), Heard::Kept);
    }
    assert_eq!(stranger(&mut pools, 40, 18, 0), FULL);
    assert_eq!(stranger(&mut pools, 40, 19, 0), Heard::Kept);
    assert!(!numbers(&pools).contains(&30), "the newest of the least went");
    assert_eq!(pools.held_of(&PROCESS), 32);
    // What went comes again for more alone.
    assert_eq!(stranger(&mut pools, 30, 18, 0), OLD);
    assert_eq!(stranger(&mut pools, 30, 20, 0), Heard::Kept);
    // In the end all that pay little are out, and one that pays most is in.
    for number in 100..400 {
        stranger(&mut pools, number, 22, 0);
    }
    assert_eq!(stranger(&mut pools, 500, 22, 0), FULL);
    assert_eq!(stranger(&mut pools, 500, POSTAGE_BITS_MAX, 0), Heard::Kept);
    assert_eq!((numbers(&pools)[0], pools.held()), (500, 32));
}

#[test]
fn half_the_places_are_for_signers_with_a_slot_two_each_and_none_takes_all() {
    let mut pools = Pools8::new();
    // Strangers leave that half alone.
    for number in 0..100 {
        stranger(&mut pools, number, 20, 0);
    }
    assert_eq!(pools.held(), 32);
    for number in 0..32 {
        assert_eq!(known(&mut pools, 1_000 + number, (number / 2) as u8), Heard::Kept);
    }
    assert_eq!(pools.held(), AT_PROCESS_MAX);
    // A third of one signer needs postage, as anybody does.
    assert_eq!(known(&mut pools, 2_000, 0), FULL);
    // One that has none there takes the newest place of those with most.
    assert_eq!(known(&mut pools, 2_001, 50), Heard::Kept);
    assert!(!numbers(&pools).contains(&1_031));
    assert_eq!(known(&mut pools, 2_002, 50), FULL, "as many as the others have");
    for signer in 51..90 {
        known(&mut pools, 3_000 + u32::from(signer), signer);
    }
    assert_eq!(pools.held(), AT_PROCESS_MAX);
    let holders: BTreeSet<Address> = pools.waiting(&PROCESS, Now(0)).iter().map(|held| held.signer).collect();
    assert_eq!(holders.len(), 1 + KNOWN_MAX, "strangers, and one of each");
}

#[test]
fn more_postage_keeps_the_place_and_less_goes_no_further() {
    let mut pools = Pools8::new();
    assert_eq!(stranger(&mut pools, 1, 20, 0), Heard::Kept);
    assert_eq!(stranger(&mut pools, 1, 20, 1), OLD);
    assert_eq!(stranger(&mut pools, 1, 18, 1), OLD);
    assert_eq!(stranger(&mut pools, 1, 22, HELD_MS / 2), Heard::Kept);
    assert_eq!(
        pools.waiting(&PROCESS, Now(HELD_MS)),
        [Waiting { item: item(1), signer: Address([200; 32]), bits: 22, age_ms: HELD_MS / 2, body: 22 }]
    );
    // It is held for its time from then on, and then known for longer.
    run(&mut pools, Input::Tick, HELD_MS + HELD_MS / 2 - 1);
    assert_eq!(pools.held(), 1);
    run(&mut pools, Input::Tick, HELD_MS + HELD_MS / 2);
    assert_eq!(pools.held(), 0);
    assert_eq!(stranger(&mut pools, 1, 22, HELD_MS * 3), OLD, "nobody has it carried twice for what it paid");
    assert_eq!(stranger(&mut pools, 1, 24, HELD_MS * 3), Heard::Kept);
}

#[test]
fn what_has_its_slot_leaves_and_never_comes_again() {
    let mut pools = Pools8::new();
    stranger(&mut pools, 1, 18, 0);
    run(&mut pools, Input::Assigned { process: PROCESS, item: item(1) }, 0);
    assert_eq!((pools.held(), pools.processes().count()), (0, 0));
    assert_eq!(stranger(&mut pools, 1, POSTAGE_BITS_MAX, 1), OVER);
    run(&mut pools, Input::Tick, LEFT_MS);
    assert_eq!(stranger(&mut pools, 1, 18, LEFT_MS), Heard::Kept);
}

#[test]
fn what_others_held_for_its_time_is_not_begun_anew() {
    let mut pools = Pools8::new();
    let old = |number, age_ms| Said { age_ms, ..said(claim(number, 200, 18), false) };
    assert_eq!(pools.hear(old(1, HELD_MS), Now(HELD_MS)), OLD);
    assert_eq!(pools.hear(old(2, HELD_MS - 1), Now(HELD_MS)), Heard::Kept);
    run(&mut pools, Input::Tick, HELD_MS + 1);
    assert_eq!(pools.held(), 0);
}

#[test]
fn the_scheduler_is_offered_what_paid_most_first_few_at_a_time_and_again_if_it_cannot() {
    let mut pools = Pools8::new();
    for number in 0..20 {
        let mine = Said { is_mine: true, ..said(claim(number, 200, 18 + number), false) };
        assert_eq!(pools.hear(mine, Now(0)), Heard::Kept);
    }
    stranger(&mut pools, 50, 30, 0);
    let first: Vec<u32> = run(&mut pools, Input::Tick, 0).into_iter().map(|(_, bits)| bits).collect();
    assert_eq!(first, (30..38).rev().collect::<Vec<_>>(), "and none of what others schedule");
    assert_eq!(run(&mut pools, Input::Tick, 0), []);
    let offered = |number, is_settled| Input::Offered { process: PROCESS, item: item(number), is_settled };
    run(&mut pools, offered(19, true), 0);
    assert_eq!(run(&mut pools, Input::Tick, 0), [(item(11), 29)]);
    run(&mut pools, offered(18, false), 0);
    assert_eq!(run(&mut pools, Input::Tick, 0), [(item(10), 28)]);
    run(&mut pools, offered(17, true), OFFER_AGAIN_MS);
    assert_eq!(run(&mut pools, Input::Tick, OFFER_AGAIN_MS), [(item(18), 36)]);
    assert_eq!(stranger(&mut pools, 19, 40, 0), OVER);
    // What left meanwhile blocks nobody's turn.
    run(&mut pools, Input::Drop(PROCESS), 1);
    assert_eq!(pools.held(), 0);
    for number in 10..19 {
        run(&mut pools, offered(number, false), 1);
    }
    assert_eq!(pools.offers, 0);
}

#[test]
fn over_all_processes_there_is_a_bound_and_paying_more_gets_in_there_too() {
    let mut pools = Pools8::new();
    let of = |process: u32, number: u32, bits: u32| {
        let claim = Claim { process: item(process), ..claim(process * 100 + number, 200, bits) };
        said(claim, false)
    };
    for process in 0..200 {
        for number in 0..40 {
            pools.hear(of(process, number, 18 + process % 2), Now(0));
        }
    }
    assert_eq!(pools.held(), HELD_MAX);
    assert_eq!(pools.hear(of(500, 1, 18), Now(0)), FULL);
    assert_eq!(pools.hear(of(500, 1, 19), Now(0)), Heard::Kept);
    assert_eq!(pools.hear(of(500, 2, 30), Now(0)), Heard::Kept);
    assert_eq!(pools.held(), HELD_MAX);
    // Signers with a slot come before postage, up to a half.
    for process in 1_000..1_200 {
        for number in 0..40 {
            let said = of(process, number, 18);
            let claim = Claim { signer: Address([number as u8; 32]), ..said.claim };
            pools.hear(Said { claim, is_known: true, ..said }, Now(0));
        }
    }
    assert_eq!((pools.held(), pools.known), (HELD_MAX, HELD_KNOWN_MAX));
    let counted: usize = pools.pools.values().map(BTreeMap::len).sum();
    assert_eq!(counted, HELD_MAX);
}

#[test]
fn few_signatures_are_looked_at_and_those_that_pay_more_come_before_others() {
    let mut pools = Pools8::new();
    let looks = |pools: &mut Pools8, from, bits, now| {
        (0..10_000).take_while(|_| pools.look(from, bits, Now(now)).is_ok()).count()
    };
    // One neighbour has its pace; what pays least leaves half to the others.
    assert_eq!(looks(&mut pools, FROM, 18, 0), 128);
    assert_eq!(looks(&mut pools, 2, 18, 0), 0);
    assert_eq!(looks(&mut pools, 3, 20, 0), 64);
    assert_eq!(looks(&mut pools, 4, 22, 0), 32);
    assert!(pools.look(5, POSTAGE_BITS_MAX, Now(0)).is_ok());
    // In a second so many more, and never more than at first.
    assert_eq!(looks(&mut pools, 6, POSTAGE_BITS_MAX, 1_000), 31 + 32 - 8);
    assert_eq!(looks(&mut pools, 7, POSTAGE_BITS_MAX, 1_000_000), 248);
}

#[test]
fn what_left_is_bounded() {
    let mut pools = Pools8::new();
    for number in 0..LEFT_MAX as u32 + 50 {
        let now = u64::from(number);
        stranger(&mut pools, number, 18, now);
        run(&mut pools, Input::Assigned { process: PROCESS, item: item(number) }, now);
    }
    assert_eq!(pools.left.len(), LEFT_MAX);
    assert_eq!(stranger(&mut pools, 0, 18, 20_000), Heard::Kept, "the oldest are forgotten");
    assert_eq!(stranger(&mut pools, 60, 18, 20_000), OVER);
}

/// A peer that says a message is almost over had it dropped before the scheduler that is here was offered it.
#[test]
fn a_scheduler_believes_nobody_about_the_age_of_a_message() {
    let mut pools: Pools<u8, u32> = Pools::new();
    let late = Said { is_mine: true, age_ms: HELD_MS - 1, ..said(claim(1, 200, 18), false) };
    assert_eq!(pools.hear(late, Now(HELD_MS)), Heard::Kept);
    let mut effects = Effects::new();
    pools.handle(Input::Tick, Now(HELD_MS + 1), &mut effects);
    assert_eq!(effects.drain().count(), 1, "it is offered");
}
