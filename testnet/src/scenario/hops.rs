//! What is known of the ways of messages from process to process: how long they took, who carried them, and in which
//! order they came. Nodes are not asked: all of it follows from logs, and the stages from metrics.

use std::collections::{BTreeMap, BTreeSet};

use weft_node::control::api::SlotInfo;
use weft_protocol::market::rank_score;
use weft_protocol::push::Source;
use weft_protocol::{Address, Id, Network, Position};

use super::measure::{Figures, Metrics, percentile};
use crate::crash::evidence::Final;

/// The histogram of the stages of a push, and each of them with its figure.
const STAGE_SECONDS: &str = "weft_push_stage_seconds";
const STAGES: [(&str, &str); 4] = [
    ("told", "hop-told-p50-ms"),
    ("turn", "hop-turn-p50-ms"),
    ("proof", "hop-proof-p50-ms"),
    ("slot", "hop-slot-p50-ms"),
];

/// Figures by the ranks of soft mode: where processes pay, whose turn it is their logs say.
pub(super) const RANKED: [&str; 6] =
    ["hop-p50-ms", "hop-p99-ms", "hop-alive-p50-ms", "hop-alive-p99-ms", "takeovers", "takeover-p99-ms"];

/// A push that came: where it is from, when that was and when it came, in milliseconds.
struct Came {
    place: (Position, u32),
    sent: u64,
    came: u64,
    by_first: bool,
    /// Whether who was to carry it first was away meanwhile.
    first_away: bool,
}

/// The figures of all pushes; `carriers` are those of each process, of which one is first in rank for each push, and `away`
/// says whether one of them was away between two times. What `rogues` carry keeps no order.
pub(super) fn figures(
    network: Network,
    finals: &[Final],
    carriers: &[(Id, Vec<Address>)],
    away: impl Fn(&Address, u64, u64) -> bool,
    rogues: &[Address],
) -> Figures {
    let slots: BTreeMap<Id, &[SlotInfo]> = finals.iter().map(|known| (known.process, known.log())).collect();
    let at = |process: &Id, slot: u64| slots.get(process)?.get(usize::try_from(slot).ok()?);
    let carriers: BTreeMap<&Id, &Vec<Address>> = carriers.iter().map(|(process, of)| (process, of)).collect();
    let first = |source: &Source| {
        let push = source.push_id(network);
        let of = carriers.get(&source.process)?.iter();
        of.max_by_key(|carrier| rank_score(&push, carrier))
    };
    let (mut lanes, mut evaluated) = (BTreeMap::<_, Vec<Came>>::new(), BTreeMap::<Source, u32>::new());
    for known in finals {
        for (source, slot) in &known.came {
            let Some(here) = at(&known.process, *slot) else { continue };
            *evaluated.entry(*source).or_default() += u32::from(here.code == Some(0));
            let Some(there) = at(&source.process, source.position.slot) else { continue };
            let (sent, came, first) = (there.timestamp, here.timestamp, first(source));
            let by_first = here.carrier.is_some() && here.carrier == first.map(Address::to_string);
            let first_away = first.is_some_and(|first| away(first, sent, came));
            let place = (source.position, source.index);
            let lane = lanes.entry((source.process, known.process)).or_default();
            lane.push(Came { place, sent, came, by_first, first_away });
        }
    }
    let (mut hops, mut alive, mut takeovers) = (Vec::new(), Vec::new(), Vec::new());
    for lane in lanes.values_mut() {
        lane.sort_unstable_by_key(|push| push.place);
        // Pushes of one process to another wait for each other: until then those before one had to do with who was away.
        let mut held_up = 0;
        for Came { sent, came, by_first, first_away, .. } in lane.iter() {
            // Each is the clock of a scheduler, and one may be ahead.
            let took = came.saturating_sub(*sent) as f64;
            if *by_first { &mut hops } else { &mut takeovers }.push(took);
            if *first_away || *sent < held_up {
                held_up = held_up.max(*came);
            } else if *by_first {
                alive.push(took);
            }
        }
    }
    let mut figures = Figures::new();
    figures.insert("pushes-evaluated", evaluated.values().filter(|times| **times == 1).count() as f64);
    figures.insert("takeovers", takeovers.len() as f64);
    for (times, names) in [
        (hops, &[(50, "hop-p50-ms"), (99, "hop-p99-ms")][..]),
        (alive, &[(50, "hop-alive-p50-ms"), (99, "hop-alive-p99-ms")][..]),
        (takeovers, &[(99, "takeover-p99-ms")][..]),
    ] {
        let mut times: Vec<f64> = times;
        times.sort_by(f64::total_cmp);
        let of = |(hundredth, name): &(usize, &'static str)| Some((*name, percentile(&times, *hundredth)?));
        figures.extend(names.iter().filter_map(of));
    }
    let rogues: Vec<String> = rogues.iter().map(Address::to_string).collect();
    let by =
        |slot: &SlotInfo| Some(slot.carrier.clone()).filter(|by| !by.iter().any(|by| rogues.contains(by)));
    let orders = finals.iter().map(|known| late(known, by));
    figures.insert("reordered", orders.sum::<usize>() as f64);
    let orders = finals.iter().map(|known| late(known, |_| Some(None)));
    figures.insert("overtaken", orders.sum::<usize>() as f64);
    figures
}

/// Pushes in a log that stand behind a later one of the same source, among those for which `by` is the same; those for
/// which there is none do not count.
fn late(known: &Final, by: impl Fn(&SlotInfo) -> Option<Option<String>>) -> usize {
    let mut came: Vec<&(Source, u64)> = known.came.iter().collect();
    came.sort_unstable_by_key(|(_, slot)| *slot);
    let mut newest = BTreeMap::new();
    let mut late = BTreeSet::new();
    for (source, slot) in came {
        let Some(here) = usize::try_from(*slot).ok().and_then(|slot| known.log().get(slot)) else { continue };
        let place = (source.position, source.index);
        let Some(by) = by(here) else { continue };
        let before = newest.entry((source.process, by)).or_insert(place);
        if place < *before {
            late.insert(*slot);
        }
        *before = place.max(*before);
    }
    late.len()
}

/// What half of the pushes needed for each stage, by what the peers that run in the end measured.
pub(super) fn stages(metrics: &[Metrics]) -> Figures {
    let of = |(stage, figure): (&'static str, &'static str)| {
        let mut buckets = BTreeMap::<u64, (f64, f64)>::new();
        for (bound, count) in metrics.iter().flat_map(|of| of.buckets(STAGE_SECONDS, ("stage", stage))) {
            // Bounds are not negative, so their bits are in their order.
            buckets.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += count;
        }
        let buckets: Vec<(f64, f64)> = buckets.into_values().collect();
        Some((figure, median(&buckets)? * 1000.0))
    };
    STAGES.into_iter().filter_map(of).collect()
}

/// The value below which half of the values lie, where buckets say how many lie below their bounds: as if those of one
/// bucket were spread evenly.
fn median(buckets: &[(f64, f64)]) -> Option<f64> {
    let half = buckets.last().map(|(_, all)| all / 2.0).filter(|half| *half > 0.0)?;
    let at = buckets.iter().position(|(_, below)| *below >= half)?;
    let (low, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (high, below) = buckets[at];
    // Beyond the last bound nothing is known but that.
    if high.is_infinite() { Some(low) } else { Some(low + (high - low) * (half - before) / (below - before)) }
}

#[cfg(test)]
mod tests;
