//! What an open-loop bench came to: histograms, a table, JSON and a plot.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use plotters::prelude::*;
use serde::Serialize;

use super::open::{Assigned, Run};
use crate::args::Bench;
use crate::error::TestnetError;
use crate::out::Out;
use crate::screen::Screen;

/// The longest latency that is told apart from longer ones, in microseconds.
const LONGEST_US: u64 = 600_000_000;
/// Digits that are told apart.
const DIGITS: u8 = 3;
/// The plot.
const SIZE: (u32, u32) = (900, 520);
/// The end of the plot's axis of percentiles, which counts nines.
const NINES: f64 = 4.0;
/// Points of a curve.
const STEPS: u32 = 400;
/// The least that the plot shows: its axis has no 0.
const LEAST_MS: f64 = 0.1;

/// What an open-loop bench came to.
#[derive(Debug, Serialize)]
pub(super) struct OpenReport {
    nodes: usize,
    processes: usize,
    computed_by: usize,
    rate: f64,
    seed: u64,
    bytes: usize,
    pushes_percent: u8,
    arrivals: usize,
    assigned: usize,
    failed: BTreeMap<String, usize>,
    per_second: f64,
    pub(super) latencies: Vec<Quantiles>,
    #[serde(skip)]
    curves: Vec<(&'static str, Histogram<u64>)>,
}

/// How long it took until something.
#[derive(Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) until: &'static str,
    pub(super) messages: u64,
    /// Messages of which this was never seen.
    pub(super) missing: u64,
    pub(super) p50_us: u64,
    pub(super) p90_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

/// When something was the case for a message, if it ever was.
type When<'a> = dyn Fn(&Assigned) -> Option<Duration> + 'a;

impl OpenReport {
    pub(super) fn of(run: &Run, bench: &Bench, nodes: usize, arrivals: usize) -> Result<Self, TestnetError> {
        let seen = &run.seen;
        let outcomes = |one: &Assigned| seen.outcomes.get(&(one.process, one.slot));
        let everywhere = |one: &Assigned| {
            let of = outcomes(one)?;
            if of.len() < run.computed_by { None } else { of.iter().max().copied() }
        };
        let pushed = |one: &Assigned| seen.slots.get(run.pushes.get(&(one.process, one.slot))?).copied();
        let kinds: [(&'static str, bool, &When<'_>); 4] = [
            ("assigned", false, &|one| Some(one.at)),
            ("computed", false, &|one| outcomes(one)?.iter().min().copied()),
            ("computed everywhere", false, &everywhere),
            ("pushed", true, &pushed),
        ];
        let mut latencies = Vec::new();
        let mut curves = Vec::new();
        for (until, of_pushes, when) in kinds {
            let wanted: Vec<&Assigned> = run.assigned.iter().filter(|one| one.pushes || !of_pushes).collect();
            let mut histogram = histogram()?;
            for one in &wanted {
                if let Some(at) = when(one) {
                    histogram.saturating_record(micros(at.saturating_sub(one.due)));
                }
            }
            latencies.push(Quantiles::of(until, &histogram, wanted.len() as u64));
            curves.push((until, histogram));
        }
        Ok(Self {
            nodes,
            processes: bench.processes,
            computed_by: run.computed_by,
            rate: bench.rate.unwrap_or_default(),
            seed: bench.seed,
            bytes: bench.bytes,
            pushes_percent: bench.pushes,
            arrivals,
            assigned: run.assigned.len(),
            failed: run.failed.clone(),
            per_second: run.assigned.len() as f64 / run.load.as_secs_f64().max(f64::MIN_POSITIVE),
            latencies,
            curves,
        })
    }

    /// Whether every message got its slot, and all that followed was seen.
    pub(super) fn is_whole(&self) -> bool {
        self.assigned == self.arrivals && self.latencies.iter().all(|of| of.missing == 0)
    }

    /// Shows it to a person.
    pub(super) fn show(&self, screen: Screen) {
        let rows = self.latencies.iter().map(Quantiles::row);
        let head = ["UNTIL", "MESSAGES", "MISSING", "P50 MS", "P90 MS", "P99 MS", "P99.9 MS", "MAX MS"];
        screen.table(head, rows);
        let Self { arrivals, assigned, per_second, rate, nodes, processes, computed_by, .. } = self;
        screen.line(&format!(
            "{arrivals} messages, {rate:.0} a second, {assigned} assigned, {per_second:.0} a second; {nodes} nodes, \
             {processes} processes, each computed by {computed_by}"
        ));
        for (why, times) in &self.failed {
            screen.line(&format!("{times} failed: {why}"));
        }
    }

    /// Draws all latencies by percentile.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn plot(&self, out: Out) -> Result<(), TestnetError> {
        let text = self.svg().map_err(|why| TestnetError::File {
            path: out.path().into(),
            source: std::io::Error::other(why.to_string()),
        })?;
        out.write(text.as_bytes())
    }

    fn svg(&self) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            let most = self.curves.iter().map(|(_, curve)| curve.max()).max().unwrap_or_default();
            let top = (ms(most) * 1.2).max(1.0);
            let title = format!("{:.0} messages a second, {} nodes", self.rate, self.nodes);
            let mut chart = ChartBuilder::on(&area)
                .caption(title, ("sans-serif", 18))
                .margin(12)
                .x_label_area_size(36)
                .y_label_area_size(64)
                .build_cartesian_2d(0.0..NINES, (LEAST_MS..top).log_scale())?;
            chart
                .configure_mesh()
                .x_desc("percentile")
                .y_desc("ms")
                .x_labels(5)
                .x_label_formatter(&|nines| percentile_label(*nines))
                .draw()?;
            for (number, (name, curve)) in self.curves.iter().enumerate() {
                let colour = Palette99::pick(number).to_rgba();
                let line = chart.draw_series(LineSeries::new(points(curve), colour.stroke_width(2)))?;
                line.label(*name).legend(move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            }
            chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
            area.present()?;
        }
        Ok(text)
    }
}

/// A curve: how long it took, by the nines of the percentile.
fn points(curve: &Histogram<u64>) -> Vec<(f64, f64)> {
    let nines = (0..=STEPS).map(|step| f64::from(step) * NINES / f64::from(STEPS));
    let at = |nines: f64| ms(curve.value_at_quantile(1.0 - 10_f64.powf(-nines))).max(LEAST_MS);
    nines.map(|nines| (nines, at(nines))).collect()
}

/// 0 nines is the least, 2 are 99 of a hundred.
fn percentile_label(nines: f64) -> String {
    format!("{:.4}", 100.0 * (1.0 - 10_f64.powf(-nines)))
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

fn histogram() -> Result<Histogram<u64>, TestnetError> {
    Histogram::new_with_max(LONGEST_US, DIGITS)
        .map_err(|error| TestnetError::Load { what: error.to_string() })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

impl Quantiles {
    fn of(until: &'static str, histogram: &Histogram<u64>, wanted: u64) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            until,
            messages: histogram.len(),
            missing: wanted - histogram.len().min(wanted),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
        }
    }

    pub(super) fn row(&self) -> [String; 8] {
        let ms = |us| format!("{:.2}", ms(us));
        [
            self.until.to_owned(),
            self.messages.to_string(),
            self.missing.to_string(),
            ms(self.p50_us),
            ms(self.p90_us),
            ms(self.p99_us),
            ms(self.p999_us),
            ms(self.max_us),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Id;

    use super::super::open::Seen;
    use super::*;

    fn bench() -> Bench {
        Bench { rate: Some(10.0), ..Bench::for_tests() }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two messages, due at 100 and 200 ms; the second has the first's process push to another, and
    /// one of two computers never shows it.
    fn run() -> Run {
        let (a, b) = (Id([1; 32]), Id([2; 32]));
        let one = |slot, due, at, pushes| Assigned { process: a, slot, due: ms(due), at: ms(at), pushes };
        let mut seen = Seen::default();
        seen.outcomes.insert((a, 1), vec![ms(130), ms(150)]);
        seen.outcomes.insert((a, 2), vec![ms(260)]);
        seen.slots.insert((b, 7), ms(300));
        Run {
            assigned: vec![one(1, 100, 110, false), one(2, 200, 220, true)],
            failed: BTreeMap::new(),
            seen,
            pushes: BTreeMap::from([((a, 2), (b, 7))]),
            computed_by: 2,
            load: ms(1000),
        }
    }

    #[test]
    fn latencies_count_from_when_a_message_was_due() {
        let report = OpenReport::of(&run(), &bench(), 2, 2).unwrap();
        let of = |at: usize| {
            let it = &report.latencies[at];
            (it.until, it.messages, it.missing, it.max_us / 1000)
        };
        assert_eq!(of(0), ("assigned", 2, 0, 20));
        assert_eq!(of(1), ("computed", 2, 0, 60));
        assert_eq!(of(2), ("computed everywhere", 1, 1, 50));
        assert_eq!(of(3), ("pushed", 1, 0, 100));
        assert!((report.per_second - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_plot_is_an_svg_with_every_curve() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plot.svg");
        OpenReport::of(&run(), &bench(), 2, 2).unwrap().plot(Out::open(&path).unwrap()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("<svg") && text.contains("computed everywhere") && text.contains("99.9"));
        assert_eq!([0.0, 1.0, 2.0, 3.0].map(percentile_label), ["0", "90", "99", "99.9"]);
    }
}
