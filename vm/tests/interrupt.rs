//! Messages that are ended from another thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;

use weft_vm::{Engine, EngineConfig, Evaluation, Format, HostFault, Instance, Limits, Outcome, Trap, guests};

/// More gas than a test lasts.
const ENDLESS: Limits = Limits { gas: 9_000_000_000_000, memory_bytes: 1 << 24 };
const SHORT: Limits = Limits { gas: 10_000_000, ..ENDLESS };

fn engine(interruptible: bool) -> Engine {
    Engine::new(EngineConfig { interruptible, ..EngineConfig::default() }).unwrap()
}

fn counter(engine: &Engine, limits: Limits) -> Instance {
    engine.compile(guests::COUNTER, Format::Plain).unwrap().instantiate(limits).unwrap()
}

fn act(instance: &mut Instance, action: &str) -> Result<Evaluation, HostFault> {
    let message = format!(r#"{{"Tags":[{{"name":"Action","value":"{action}"}}]}}"#);
    instance.evaluate(message.as_bytes(), b"{}")
}

#[test]
fn an_endless_message_ends_when_it_is_told_to_and_others_go_on() {
    let engine = engine(true);
    let interrupts = [engine.interrupt(), engine.interrupt()];
    let [first, second] = interrupts.clone();
    thread::scope(|scope| {
        let endless = interrupts.each_ref().map(|interrupt| {
            let mut instance = counter(&engine, ENDLESS);
            instance.heed(interrupt);
            scope.spawn(move || act(&mut instance, "Loop"))
        });
        // Before it began or while it runs: it must end either way.
        first.end();
        let [one, two] = endless;
        while !one.is_finished() {
            first.end();
            thread::yield_now();
        }
        let ended = one.join().unwrap();
        assert!(matches!(ended, Err(HostFault::Interrupted)), "{ended:?}");
        assert!(!two.is_finished());
        while !two.is_finished() {
            second.end();
            thread::yield_now();
        }
        let ended = two.join().unwrap();
        assert!(matches!(ended, Err(HostFault::Interrupted)), "{ended:?}");
    });
    // What has ended stays ended, and who heeds nothing is not bothered.
    let mut late = counter(&engine, ENDLESS);
    late.heed(&first);
    assert!(matches!(act(&mut late, "Increment"), Err(HostFault::Interrupted)));
    let mut other = counter(&engine, SHORT);
    assert_eq!(act(&mut other, "Loop").unwrap().outcome, Outcome::Trapped(Trap::OutOfGas));
}

#[test]
fn code_that_can_be_interrupted_comes_to_the_same() {
    let mut instances = [false, true].map(|interruptible| counter(&engine(interruptible), SHORT));
    for action in ["Increment", "Fail", "Relay", "Loop", "Increment", "Nothing"] {
        let [plain, watched] = instances.each_mut().map(|instance| {
            let evaluation = act(instance, action).unwrap();
            match evaluation.outcome {
                Outcome::Returned(_) => instance.keep().unwrap(),
                Outcome::Trapped(_) => instance.roll_back().unwrap(),
            }
            (evaluation, instance.memory_image().unwrap().root())
        });
        assert_eq!(plain, watched, "{action}");
    }
}
