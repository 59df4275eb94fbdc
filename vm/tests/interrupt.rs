//! Messages that are ended from another thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weft_vm::{
    Engine, EngineConfig, Evaluation, Format, HostFault, Instance, Interrupt, Limits, Outcome, Trap, guests,
};

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

/// Tells a message to end until it has, within a minute; what became of it.
fn told_to_end<T>(running: JoinHandle<T>, interrupt: &Interrupt) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !running.is_finished() {
        assert!(Instant::now() < deadline, "it goes on though it was told to end");
        interrupt.end();
        thread::yield_now();
    }
    running.join().unwrap()
}

#[test]
fn an_endless_message_ends_when_it_is_told_to_and_others_go_on() {
    let engine = engine(true);
    let interrupts = [engine.interrupt(), engine.interrupt()];
    let [first, second] = interrupts.clone();
    // No threads of a scope: one that does not end would be waited for.
    let [one, two] = interrupts.each_ref().map(|interrupt| {
        let mut instance = counter(&engine, ENDLESS);
        instance.heed(interrupt);
        thread::spawn(move || act(&mut instance, "Loop"))
    });
    // Before it began or while it runs: it must end either way.
    let ended = told_to_end(one, &first);
    assert!(matches!(ended, Err(HostFault::Interrupted)), "{ended:?}");
    assert!(!two.is_finished());
    let ended = told_to_end(two, &second);
    assert!(matches!(ended, Err(HostFault::Interrupted)), "{ended:?}");
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
