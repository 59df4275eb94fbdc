use super::*;

const TX: Id = Id([1; 32]);
const BATCH: Hash = Hash([2; 32]);

struct Run(Poster);

impl Run {
    fn new(pays: Pays) -> Self {
        let policy =
            Policy { gateways: 3, quorum: 2, confirmations: 20, ask_ms: 1_000, gather_ms: 500, pays };
        Self(Poster::new(policy, Spent::default()))
    }

    fn handle(&mut self, input: Input, ms: u64) -> Vec<Effect> {
        let mut effects = Effects::new();
        self.0.handle(input, Now(ms), &mut effects);
        effects.drain().collect()
    }

    fn quotes(&mut self, price: u64, ms: u64) -> Vec<Effect> {
        let quote = Some(Quote { price, balance: 1_000, height: 100 });
        self.handle(Input::Quoted { number: 0, quotes: vec![quote, quote, None] }, ms)
    }

    /// A posting that is signed and was posted at 2,000 ms.
    fn posted() -> Self {
        let mut run = Self::new(wallet(1_000));
        run.handle(Input::Waits { batch: BATCH, bytes: 9, items: 1 }, 0);
        let build = Effect::Build { number: 0, parts: vec![BATCH] };
        assert_eq!(run.handle(Input::Tick, 499), []);
        assert_eq!(run.handle(Input::Tick, 500), [build]);
        let quote = Effect::Quote { number: 0, bytes: 12 };
        assert_eq!(run.handle(Input::Built { number: 0, bytes: 12 }, 600), [quote]);
        assert_eq!(run.quotes(101, 700), [Effect::Block { number: 0, height: 98 }]);
        let blocks = vec![Some("a".to_owned()), None, Some("a".to_owned())];
        let spent = Spent { day: 0, winston: 112 };
        let terms = Terms { reward: 112, anchor: Some("a".into()), expires: Some(148), spent };
        let sign = Effect::Sign { number: 0, terms };
        assert_eq!(run.handle(Input::Blocks { number: 0, blocks }, 800), [sign]);
        assert_eq!(run.0.spent(), Spent::default(), "not before the disk says so");
        let post = Effect::Post { number: 0, to: vec![0, 1, 2] };
        assert_eq!(run.handle(Input::Signed { number: 0, tx: TX }, 900), [post]);
        assert_eq!(run.0.spent(), spent);
        let took = vec![Took::All, Took::NotNow, Took::Refused];
        assert_eq!(run.handle(Input::Posted { number: 0, took }, 2_000), []);
        run
    }

    fn told(&mut self, told: [Told; 3], height: u64, ms: u64) -> Vec<Effect> {
        assert_eq!(self.handle(Input::Tick, ms), [Effect::Ask { number: 0, tx: TX }]);
        let heights = vec![Some(height); 3];
        self.handle(Input::Told { number: 0, told: told.to_vec(), heights }, ms)
    }

    fn trouble(&self) -> Option<Trouble> {
        self.0.views().next().and_then(|view| view.trouble)
    }
}

const fn wallet(day_limit: u64) -> Pays {
    Pays::Wallet { margin_percent: 10, day_limit }
}

fn mined(confirmations: u64) -> Told {
    Told::Mined { height: 110, block: "b".into(), confirmations }
}

#[test]
fn a_posting_goes_from_batches_to_a_final_block() {
    let mut run = Run::posted();
    assert_eq!(run.handle(Input::Tick, 2_999), []);
    assert_eq!(run.told([Told::Pending, Told::Pending, Told::Silent], 101, 3_000), []);
    assert_eq!(run.told([mined(19), mined(19), Told::Unknown], 128, 4_000), []);
    assert_eq!(run.0.views().next().and_then(|view| view.mined), Some((110, 19)));
    let read = Effect::Read { number: 0, tx: TX };
    assert_eq!(run.told([mined(20), mined(20), Told::Unknown], 129, 5_000), [read]);
    let settle = Effect::Settle { number: 0, height: 110, block: "b".into() };
    assert_eq!(run.handle(Input::Read { number: 0, holds: true }, 5_100), [settle]);
    assert!(run.0.knows(&BATCH));
    assert_eq!(run.handle(Input::Settled { number: 0 }, 5_200), []);
    assert!(!run.0.knows(&BATCH) && run.0.views().next().is_none());
}

#[test]
fn the_same_transaction_is_posted_again_where_it_is_unknown() {
    let mut run = Run::posted();
    assert_eq!(run.told([Told::Pending, Told::Unknown, Told::Unknown], 101, 3_000), []);
    assert_eq!(run.handle(Input::Tick, 3_999), []);
    assert_eq!(run.handle(Input::Tick, 4_000), [Effect::Post { number: 0, to: vec![1, 2] }]);
    assert_eq!(run.handle(Input::Posted { number: 0, took: vec![Took::NotNow; 2] }, 4_100), []);
    assert_eq!(run.trouble(), Some(Trouble::Refused));
    // A block that was replaced takes it back to where it was.
    assert_eq!(run.told([mined(3), mined(3), mined(3)], 112, 6_100), []);
    assert_eq!(run.told([Told::Unknown, Told::Unknown, Told::Unknown], 113, 7_100), []);
    assert_eq!(run.handle(Input::Tick, 8_100), [Effect::Post { number: 0, to: vec![0, 1, 2] }]);
}

#[test]
fn another_is_signed_only_when_no_block_can_hold_the_first() {
    let mut run = Run::posted();
    let (unknown, silent) = ([Told::Unknown, Told::Pending, Told::Silent], Told::Silent);
    // Good until 148; a block there is final at 168.
    assert_eq!(run.told(unknown.clone(), 167, 3_000), []);
    assert_eq!(run.trouble(), None);
    // One gateway alone says nothing.
    assert_eq!(run.told([Told::Unknown, silent.clone(), silent.clone()], 168, 5_000), []);
    // And one that lags far behind says nothing of blocks that it never saw.
    assert_eq!(run.handle(Input::Tick, 12_000), [Effect::Ask { number: 0, tx: TX }]);
    let (told, heights) =
        (vec![Told::Unknown, Told::Unknown, mined(30)], vec![Some(100), Some(168), Some(168)]);
    assert_eq!(run.handle(Input::Told { number: 0, told, heights }, 12_000), []);
    let quote = Effect::Quote { number: 0, bytes: 12 };
    assert_eq!(run.told([Told::Unknown, Told::Unknown, mined(30)], 168, 40_000), [quote]);
    assert_eq!(run.trouble(), Some(Trouble::Lapsed));
    // What was signed before counts in the day.
    assert_eq!(run.quotes(900, 40_100), []);
    assert_eq!(run.trouble(), Some(Trouble::Limit { spent: 112, needs: 990, limit: 1_000 }));
}

#[test]
fn nothing_is_signed_without_gateways_money_or_one_chain() {
    let ready = |pays| {
        let mut run = Run::new(pays);
        run.handle(Input::Held(Held { parts: vec![BATCH], bytes: 12, signed: None }), 0);
        run
    };
    let mut run = ready(wallet(10_000));
    assert_eq!(run.quotes(1_000, 0), []);
    assert_eq!(run.trouble(), Some(Trouble::Balance { has: 1_000, needs: 1_100 }));
    let one = Some(Quote { price: 1, balance: 1_000, height: 9 });
    let mut run = ready(wallet(10_000));
    assert_eq!(run.handle(Input::Quoted { number: 0, quotes: vec![one, None, None] }, 0), []);
    assert_eq!(run.trouble(), Some(Trouble::Gateways));
    let mut run = ready(wallet(10_000));
    run.quotes(1, 0);
    let blocks = ["a", "b", "c"].map(|name| Some(name.to_owned())).to_vec();
    assert_eq!(run.handle(Input::Blocks { number: 0, blocks }, 0), []);
    assert_eq!(run.trouble(), Some(Trouble::Forked));
    // It rests, and asks again from the start.
    assert_eq!(run.handle(Input::Tick, 999), []);
    assert_eq!(run.handle(Input::Tick, 1_000), [Effect::Quote { number: 0, bytes: 12 }]);
    // A new day is waited for, and no longer.
    let mut run = ready(wallet(100));
    let end = 24 * 3_600_000;
    run.quotes(101, end - 10);
    assert_eq!(run.handle(Input::Tick, end - 1), []);
    assert_eq!(run.handle(Input::Tick, end), [Effect::Quote { number: 0, bytes: 12 }]);
}

#[test]
fn one_is_signed_at_a_time() {
    let mut run = Run::new(wallet(1_000));
    for part in 3..5 {
        run.handle(Input::Held(Held { parts: vec![Hash([part; 32])], bytes: 12, signed: None }), 0);
    }
    assert_eq!(run.handle(Input::Tick, 10), [], "the second waits for the first");
    assert_eq!(run.handle(Input::Failed { number: 0 }, 20), []);
    assert_eq!(run.trouble(), Some(Trouble::Fault));
    assert_eq!(run.handle(Input::Tick, 30), [Effect::Quote { number: 1, bytes: 12 }]);
}

#[test]
fn what_was_signed_in_an_earlier_life_is_posted_again_as_it_is() {
    let mut run = Run::new(wallet(1_000));
    let held = Held { parts: vec![BATCH], bytes: 12, signed: Some((TX, Some(148))) };
    assert_eq!(run.handle(Input::Held(held), 0), [Effect::Post { number: 0, to: vec![0, 1, 2] }]);
    assert_eq!(run.handle(Input::Waits { batch: BATCH, bytes: 9, items: 1 }, 1), []);
    assert_eq!(run.0.waiting(), 0, "a batch is in one posting");
}

#[test]
fn bytes_that_do_not_come_back_are_posted_again() {
    let mut run = Run::posted();
    run.told([mined(20), mined(20), mined(20)], 129, 3_000);
    assert_eq!(run.handle(Input::Read { number: 0, holds: false }, 3_100), []);
    assert_eq!(run.trouble(), Some(Trouble::Unseeded));
    assert_eq!(run.handle(Input::Tick, 4_100), [Effect::Post { number: 0, to: vec![0, 1, 2] }]);
}

/// Its operator turned from a bundler to a wallet.
#[test]
fn what_a_bundler_was_given_is_asked_for_before_a_wallet_pays() {
    let held = || Input::Held(Held { parts: vec![BATCH], bytes: 12, signed: Some((TX, None)) });
    let ask = || [Effect::Ask { number: 0, tx: TX }];
    let mut run = Run::new(wallet(1_000));
    assert_eq!(run.handle(held(), 0), ask(), "it is no transaction that could be posted");
    // Too few say anything, then it is in a block that is not deep enough: nothing is signed.
    let heights = || vec![Some(100); 3];
    let told = |told: [Told; 3]| Input::Told { number: 0, told: told.to_vec(), heights: heights() };
    assert_eq!(run.handle(told([Told::Unknown, Told::Silent, Told::Silent]), 10), []);
    assert_eq!(run.handle(Input::Tick, 2_000), ask());
    assert_eq!(run.handle(told([mined(3), mined(3), Told::Unknown]), 2_010), []);
    assert_eq!(run.handle(Input::Tick, 4_000), ask());
    let quote = Effect::Quote { number: 0, bytes: 12 };
    assert_eq!(run.handle(told([Told::Unknown, Told::Unknown, Told::Silent]), 4_010), [quote]);
    assert_eq!(run.trouble(), Some(Trouble::Undelivered));
    // And what it did bring is final.
    let mut run = Run::new(wallet(1_000));
    run.handle(held(), 0);
    let read = Effect::Read { number: 0, tx: TX };
    assert_eq!(run.handle(told([mined(20), mined(20), Told::Unknown]), 10), [read]);
}

#[test]
fn a_batch_that_cannot_be_read_holds_up_no_other() {
    let mut run = Run::new(wallet(1_000));
    let part = |at: u8| Hash([at; 32]);
    for at in 1..=4 {
        run.handle(Input::Waits { batch: part(at), bytes: 5, items: 1 }, 0);
    }
    // The third is damaged.
    let (mut ms, mut built, mut given) = (500, Vec::new(), Vec::new());
    while given.is_empty() && ms < 1_000_000 {
        let mut effects = run.handle(Input::Tick, ms);
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Build { number, parts } if parts.contains(&part(3)) => {
                    effects.extend(run.handle(Input::Failed { number }, ms));
                }
                Effect::Build { number, parts } => {
                    built.extend(parts);
                    effects.extend(run.handle(Input::Built { number, bytes: 12 }, ms));
                }
                Effect::LetGo { parts, .. } => given.extend(parts),
                other => assert!(matches!(other, Effect::Quote { .. }), "{other:?}"),
            }
        }
        ms += 500;
    }
    built.sort_unstable();
    assert_eq!((built, given), (vec![part(1), part(2), part(4)], vec![part(3)]));
    assert!(!run.0.knows(&part(3)), "it may be handed over again");
}

#[test]
fn a_bundler_is_handed_the_same_item_however_often() {
    let mut run = Run::new(Pays::Bundler);
    run.handle(Input::Held(Held { parts: vec![BATCH], bytes: 12, signed: None }), 0);
    assert_eq!(run.handle(Input::Signed { number: 0, tx: TX }, 1), [Effect::Post { number: 0, to: vec![0] }]);
    run.handle(Input::Posted { number: 0, took: vec![Took::All] }, 2);
    // It never lapses.
    assert_eq!(run.told([Told::Unknown, Told::Unknown, Told::Unknown], 1_000_000, 1_002), []);
    assert_eq!(run.handle(Input::Tick, 2_002), [Effect::Post { number: 0, to: vec![0] }]);
}

#[test]
fn batches_are_gathered_until_one_waited_long_or_there_is_enough() {
    let mut run = Run::new(wallet(1_000));
    let part = |at: u8| Hash([at; 32]);
    let large = BATCH_BYTES_MAX as u64 - 10;
    for (at, bytes) in [(1, 5), (2, 4), (3, large), (4, 3)] {
        run.handle(Input::Waits { batch: part(at), bytes, items: 1 }, u64::from(at));
    }
    let built =
        |number, parts: &[u8]| Effect::Build { number, parts: parts.iter().map(|at| part(*at)).collect() };
    assert_eq!(run.handle(Input::Tick, 10), [built(0, &[1, 2, 3])]);
    assert_eq!(run.handle(Input::Tick, 503), []);
    assert_eq!(run.handle(Input::Flush, 503), [built(1, &[4])]);
    run.handle(Input::Waits { batch: part(5), bytes: 3, items: BATCH_ITEMS_MAX as u64 }, 600);
    run.handle(Input::Waits { batch: part(6), bytes: 3, items: 1 }, 600);
    assert_eq!(run.handle(Input::Tick, 601), [], "a flush is for what waited then");
    assert_eq!(run.handle(Input::Tick, 1_100), [built(2, &[5]), built(3, &[6])]);
}

/// A damaged disk, or a repair that could not save it.
#[test]
fn a_posting_whose_bundle_is_gone_is_made_again_and_given_back_where_it_cannot_be() {
    let parts = vec![BATCH, Hash([3; 32])];
    let held = |signed| Held { parts: parts.clone(), bytes: 12, signed };
    let build = Effect::Build { number: 0, parts: parts.clone() };
    // Does what comes until this is asked for; whatever needs the bundle fails.
    let until = |run: &mut Run, signed, wanted: fn(&Effect) -> bool| {
        let (mut ms, mut effects) = (0, run.handle(Input::Held(held(signed)), 0));
        loop {
            while let Some(effect) = effects.pop() {
                let number = effect.number();
                let answer = match &effect {
                    found if wanted(found) => return (effect, ms),
                    Effect::Ask { .. } => {
                        let (told, heights) = (vec![Told::Unknown; 3], vec![Some(200); 3]);
                        Input::Told { number, told, heights }
                    }
                    Effect::Quote { .. } => {
                        let quote = Some(Quote { price: 10, balance: 1_000, height: 200 });
                        Input::Quoted { number, quotes: vec![quote; 3] }
                    }
                    Effect::Block { .. } => Input::Blocks { number, blocks: vec![Some("a".to_owned()); 3] },
                    _ => Input::Failed { number },
                };
                effects.extend(run.handle(answer, ms));
            }
            ms += 500;
            assert!(ms < 10_000_000, "it is never asked for");
            effects = run.handle(Input::Tick, ms);
        }
    };
    let is_build = |effect: &Effect| matches!(effect, Effect::Build { .. });
    // Good until 148, so at 200 nothing can hold it: another is signed, for which its bytes are needed.
    for signed in [None, Some((TX, Some(148)))] {
        let mut run = Run::new(wallet(1_000));
        let (effect, ms) = until(&mut run, signed, is_build);
        assert_eq!(effect, build);
        let next = run.handle(Input::Built { number: 0, bytes: 12 }, ms);
        assert_eq!(next, [Effect::Quote { number: 0, bytes: 12 }]);
    }
    // One that a block may still hold stays signed.
    let mut run = Run::new(wallet(1_000));
    let (effect, ms) = until(&mut run, Some((TX, Some(300))), is_build);
    assert_eq!(effect, build);
    assert_eq!(run.handle(Input::Built { number: 0, bytes: 12 }, ms), [Effect::Ask { number: 0, tx: TX }]);
    // Its batches are gone as well: they are made anew, all of them, for the posting of some is on disk.
    let mut run = Run::new(wallet(1_000));
    let is_let_go = |effect: &Effect| matches!(effect, Effect::LetGo { .. });
    let (effect, _) = until(&mut run, Some((TX, Some(148))), is_let_go);
    assert_eq!(effect, Effect::LetGo { number: 0, parts: parts.clone() });
    assert!(!run.0.knows(&BATCH) && run.0.views().next().is_none());
}
