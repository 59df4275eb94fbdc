//! Figures of a run, metrics of its peers, and what is expected of both.

use std::collections::BTreeMap;

use super::file::{Expect, Over};
use super::hops;
use super::problem::meant;
use crate::check::Open;

/// The figures of a run, by name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// All figures that there can be, with what they are.
pub(crate) const FIGURES: [(&str, &str); 61] = [
    ("up-ms", "from the first start until the mesh was healthy"),
    ("load-ms", "time that clients worked"),
    ("settle-ms", "from the last reply until every computer had everything"),
    ("items", "messages that clients signed"),
    ("tries", "times that a client asked a node for a slot"),
    ("replies", "slots that clients were told"),
    ("replies-a-second", "of these, per second of load"),
    ("reply-p50-ms", "from a first try until the reply, for half of the messages"),
    ("reply-p99-ms", "the same, for 99 of a hundred"),
    ("slots", "slots in all logs under load at the end"),
    ("pushes", "messages from process to process that have a slot"),
    ("pushes-evaluated", "of these, those that were evaluated exactly once"),
    (
        "hop-p50-ms",
        "from the slot that sends to the slot in the target, carried by whoever was first in rank, for half; not where processes pay",
    ),
    ("hop-p99-ms", "the same, for 99 of a hundred"),
    (
        "hop-alive-p50-ms",
        "the same, for half, only of pushes whose first was up all the while and that waited behind none whose first was not",
    ),
    ("hop-alive-p99-ms", "the same, for 99 of a hundred"),
    (
        "hop-told-p50-ms",
        "of this: until its messenger knew what was sent, for half, by the messengers' metrics",
    ),
    ("hop-turn-p50-ms", "until its attestors had signed and those before it had their answers, the same"),
    ("hop-proof-p50-ms", "until its proof was made, the same"),
    ("hop-slot-p50-ms", "until the target's scheduler had answered, the same"),
    ("takeovers", "pushes that were not carried by whoever was first in rank; not where processes pay"),
    ("takeover-p99-ms", "from slot to slot of these, for 99 of a hundred"),
    (
        "reordered",
        "pushes of one process to another that one messenger, no rogue, handed over after a later one",
    ),
    ("overtaken", "pushes that came after a later one, whoever carried them: no order is promised there"),
    ("kills", "peers killed with kill -9"),
    ("restarts", "peers that stopped cleanly and came back"),
    ("wipes", "disks emptied"),
    ("joins", "peers that came later"),
    (
        "connections-across",
        "connections between the parts of a cut network once it was healed, for the cut that left fewest",
    ),
    (
        "heal-ms",
        "from the moment a cut network was whole until all peers had every slot, for the cut that took longest",
    ),
    ("answers-across", "slots that schedulers in other parts told to peers while the network was cut"),
    ("lies", "false attestations told"),
    ("convictions", "times that a peer said that a replay had proved an attestor wrong"),
    ("second-slots", "slots that a scheduler's key signed a second time"),
    ("evidence", "peers that hold evidence of them"),
    ("offers-not-kept", "offers that peers heard from messengers who never carry"),
    ("forgeries", "messages that no process sent, to which a scheduler answered"),
    ("forgeries-taken", "forged messages that a scheduler gave a slot"),
    ("names-made-up", "made-up messengers whose offers peers heard"),
    ("thrown", "requests of a flooder that were answered, and announcements that peers heard"),
    ("delayed", "pushes that a messenger handed over after the turns of all others"),
    ("delayed-taken", "of these, those that had no slot until then"),
    ("delayed-first", "pushes that were this messenger's to carry first, by the offers in logs"),
    ("delayed-paid", "pushes for which it is due pay, by the logs"),
    ("swapped", "pushes that a messenger brought behind later ones of the same process to the same other"),
    ("alterations", "pushes that a messenger changed, and that a scheduler judged"),
    ("alterations-taken", "of these, those that a scheduler gave a slot"),
    ("wraps", "pushes of other messengers that it handed over in its own name"),
    ("wraps-taken", "of these, those that a scheduler gave another slot"),
    ("claims-paid", "claims of a messenger for what it carried in its turn, that the ledger paid"),
    ("double-claims", "claims for the same again that the ledger answered"),
    ("double-claims-taken", "of these, those that it took"),
    ("claims-challenged", "claims for pushes that others carried, that were challenged"),
    ("bonds-lost", "bonds that were lost for them"),
    (
        "paid-beyond-due",
        "pushes that the ledger paid beyond those that a messenger who claims twice is due pay for, where peers claim none",
    ),
    (
        "taken-over",
        "pushes that peers carried and are due pay for, whose first by the offers in logs did not carry",
    ),
    (
        "before-turn",
        "of 500 pushes that peers carried, spread evenly over all: those that came before the carrier's turn by the offers in logs",
    ),
    (
        "after-turn-p99-ms",
        "of the same 500, from the turn of a peer that takes over to the slot in the target, for 99 of a hundred",
    ),
    ("audit-unknown", "pushes of which an audit of the logs finds no slot"),
    ("money-missing", "what came into the ledger less all that it accounts for"),
    ("resident-most-mib", "memory of the largest peer at the end"),
];

/// Why an expectation makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadExpectation {
    #[error("expected of = \"a figure\" or metric = \"a metric\", one of both")]
    OfWhat,
    #[error("expected at-least or at-most")]
    NoBound,
    #[error("no figure is called `{name}`{}", meant.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
    NoFigure { name: String, meant: Option<&'static str> },
    #[error("`{0}` is not counted where processes pay: whose turn it is their logs say there")]
    OfSoftMode(String),
}

impl Expect {
    /// Whether it can be asked; of processes that pay fewer figures are counted.
    pub(super) fn check(&self, pays: bool) -> Result<(), BadExpectation> {
        if self.of.is_some() == self.metric.is_some() {
            return Err(BadExpectation::OfWhat);
        }
        if self.at_least.is_none() && self.at_most.is_none() {
            return Err(BadExpectation::NoBound);
        }
        let names = || FIGURES.iter().map(|(name, _)| *name);
        match &self.of {
            Some(name) if !names().any(|known| known == name) => {
                Err(BadExpectation::NoFigure { name: name.clone(), meant: meant(name, names()) })
            }
            Some(name) if pays && hops::RANKED.contains(&name.as_str()) => {
                Err(BadExpectation::OfSoftMode(name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Judges it by a run.
    pub(super) fn judge(&self, figures: &Figures, metrics: &[Metrics], open: &mut Open) {
        let (what, seen) = match (&self.of, &self.metric) {
            (Some(name), _) => (name.clone(), figures.get(name.as_str()).copied()),
            (None, Some(name)) => {
                let labels: Vec<String> =
                    self.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
                let what = format!("{:?} of {name}{{{}}}", self.over, labels.join(",")).to_lowercase();
                (what, self.value(name, metrics))
            }
            (None, None) => return,
        };
        let bounds = [("at least", self.at_least), ("at most", self.at_most)];
        for (words, bound) in bounds.into_iter().filter_map(|(words, bound)| Some((words, bound?))) {
            let holds =
                seen.is_some_and(|seen| if words == "at least" { seen >= bound } else { seen <= bound });
            let told = seen.map_or_else(|| "nobody knows it".to_owned(), |seen| seen.to_string());
            open.that(what.clone(), format!("{words} {bound}"), told, holds);
        }
    }

    fn value(&self, name: &str, metrics: &[Metrics]) -> Option<f64> {
        let values: Vec<f64> = metrics.iter().filter_map(|of| of.sum(name, &self.labels)).collect();
        match self.over {
            _ if values.is_empty() => None,
            Over::Sum => Some(values.iter().sum()),
            Over::Most => values.into_iter().reduce(f64::max),
            Over::Least => values.into_iter().reduce(f64::min),
        }
    }
}

/// What a peer counts and measures.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads OpenMetrics text. What is no sample is passed over.
    pub(super) fn read(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The samples of a histogram that have this label, by the upper bounds of their buckets.
    pub(super) fn buckets<'a>(
        &'a self,
        name: &'a str,
        (label, value): (&'a str, &'a str),
    ) -> impl Iterator<Item = (f64, f64)> + 'a {
        let is_meant = move |sample: &&Sample| {
            sample.name.strip_suffix("_bucket") == Some(name)
                && sample.labels.get(label).is_some_and(|is| is == value)
        };
        let bound = |sample: &Sample| match sample.labels.get("le")?.as_str() {
            "+Inf" => Some(f64::INFINITY),
            bound => bound.parse().ok(),
        };
        self.0.iter().filter(is_meant).filter_map(move |sample| Some((bound(sample)?, sample.value)))
    }

    /// The sum of the samples of a metric that have these labels. A counter is meant by its name
    /// with and without `_total`. None when there is no such sample.
    fn sum(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<f64> {
        let is_meant = |sample: &&Sample| {
            sample.name.strip_suffix("_total").unwrap_or(&sample.name)
                == name.strip_suffix("_total").unwrap_or(name)
                && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value))
        };
        self.0.iter().filter(is_meant).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, value) = rest.split_once('}')?;
            ((name, labels), value)
        }
        None => {
            let (name, value) = line.split_once(' ')?;
            ((name, ""), value)
        }
    };
    let (name, labels) = head;
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    let labels =
        labels.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect();
    Some(Sample { name: name.to_owned(), labels, value: rest.split_whitespace().next()?.parse().ok()? })
}

/// The value below which so many of a hundred lie, of values in order.
pub(crate) fn percentile(sorted: &[f64], hundredth: usize) -> Option<f64> {
    let at = (sorted.len() * hundredth).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TEXT: &str = "# TYPE weft_pushes counter\n\
        weft_pushes_total{outcome=\"assigned\"} 7\nweft_pushes_total{outcome=\"busy\"} 2\n\
        weft_peers 5\nnonsense\n# EOF\n";

    fn expect(of: Option<&str>, metric: Option<&str>) -> Expect {
        Expect {
            of: of.map(str::to_owned),
            metric: metric.map(str::to_owned),
            labels: BTreeMap::new(),
            over: Over::Sum,
            at_least: Some(8.0),
            at_most: None,
        }
    }

    fn holds(expect: &Expect, metrics: &[Metrics]) -> bool {
        let figures = Figures::from([("kills", 8.0), ("wipes", 7.0)]);
        let mut open = Open::new("expect");
        expect.judge(&figures, metrics, &mut open);
        let step = open.close("");
        assert!(!step.checks.is_empty(), "it expects nothing");
        step.ok
    }

    #[test]
    fn figures_are_held_to_their_bounds() {
        assert!(holds(&expect(Some("kills"), None), &[]));
        assert!(!holds(&expect(Some("wipes"), None), &[]));
        assert!(!holds(&expect(Some("joins"), None), &[]), "what nobody measured holds nothing");
        let most = Expect { at_least: None, at_most: Some(7.0), ..expect(Some("kills"), None) };
        assert!(!holds(&most, &[]));
    }

    #[test]
    fn metrics_are_summed_over_peers_and_labels() {
        let two = || [Metrics::read(TEXT), Metrics::read(TEXT)];
        assert!(holds(&expect(None, Some("weft_pushes")), &two()));
        assert!(holds(&expect(None, Some("weft_pushes_total")), &two()));
        let busy = BTreeMap::from([("outcome".to_owned(), "busy".to_owned())]);
        assert!(!holds(&Expect { labels: busy, ..expect(None, Some("weft_pushes")) }, &two()));
        assert!(!holds(&Expect { over: Over::Most, ..expect(None, Some("weft_peers")) }, &two()));
        assert!(holds(&expect(None, Some("weft_peers")), &two()));
        assert!(!holds(&expect(None, Some("weft_none")), &two()));
    }

    #[test]
    fn what_must_not_happen_is_told_by_each_shipped_scenario() {
        let mut asked = 0;
        for (name, text) in super::super::SHIPPED {
            let scenario = super::super::read(text, std::path::Path::new(name)).unwrap();
            for expect in scenario.expect.iter().map(|expect| expect.get_ref()) {
                let Some(most) = expect.at_most else { continue };
                for (value, is_held) in [(most, true), (most + 1.0, false)] {
                    let known = FIGURES.iter().find(|(name, _)| expect.of.as_deref() == Some(name));
                    let figures = known.map(|(name, _)| (*name, value)).into_iter().collect();
                    let labels: Vec<String> =
                        expect.labels.iter().map(|(label, of)| format!("{label}=\"{of}\"")).collect();
                    let metric = expect.metric.iter();
                    let lines: String =
                        metric.map(|name| format!("{name}{{{}}} {value}\n", labels.join(","))).collect();
                    let mut open = Open::new("expect");
                    expect.judge(&figures, &[Metrics::read(&lines)], &mut open);
                    assert_eq!(open.close("").ok, is_held, "{name}: {expect:?} at {value}");
                    asked += 1;
                }
            }
        }
        assert!(asked > 0);
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let twice = expect(Some("kills"), Some("weft_peers"));
        assert_eq!(twice.check(false), Err(BadExpectation::OfWhat));
        assert_eq!(expect(None, None).check(false), Err(BadExpectation::OfWhat));
        let boundless = Expect { at_least: None, ..expect(Some("kills"), None) };
        assert_eq!(boundless.check(false), Err(BadExpectation::NoBound));
        let typo = expect(Some("kils"), None).check(false).map_err(|error| error.to_string());
        assert_eq!(typo, Err("no figure is called `kils`; did you mean `kills`?".to_owned()));
        let ranked = expect(Some("takeovers"), None);
        assert_eq!(ranked.check(false), Ok(()));
        assert_eq!(ranked.check(true), Err(BadExpectation::OfSoftMode("takeovers".to_owned())));
        assert_eq!(expect(Some("reordered"), None).check(true), Ok(()));
    }

    #[test]
    fn percentiles_are_of_values_in_order() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (Some(100.0), Some(198.0)));
        assert_eq!((percentile(&[3.0], 99), percentile(&[], 50)), (Some(3.0), None));
    }
}
