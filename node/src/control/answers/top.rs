//! The node at one moment.

use std::collections::BTreeMap;

use weft_protocol::Id;

use super::super::api::{Failure, FailureCode, Level, Top, TopProcess};
use super::{Answers, disk, fail};
use crate::metrics;

/// Processes in one answer: more than anybody looks at.
const PROCESSES_MAX: usize = 1_000;

impl Answers {
    pub(super) async fn top(&self) -> Result<Top, Failure> {
        let status = self.status().await?;
        let at_ms = status.uptime_ms;
        let resident: BTreeMap<Id, u64> = match &self.compute {
            Some(compute) => compute.resident().await.into_iter().collect(),
            None => BTreeMap::new(),
        };
        let answers = self.clone();
        let read = tokio::task::spawn_blocking(move || answers.top_processes(&resident));
        let processes = read.await.map_err(|error| fail(FailureCode::Fault, error.to_string()))??;
        Ok(Top { status, at_ms, resident_bytes: metrics::resident_bytes(), levels: self.levels(), processes })
    }

    fn levels(&self) -> Vec<Level> {
        let own = self.shared.metrics.levels().into_iter();
        let own = own.map(|level| Level {
            role: level.role.to_owned(),
            name: level.name.to_owned(),
            used: level.used,
            limit: level.limit,
        });
        let network = self.shared.net.levels().into_iter().map(|level| Level {
            role: "network".to_owned(),
            name: level.name.to_owned(),
            used: level.used,
            limit: level.limit,
        });
        own.chain(network).collect()
    }

    fn top_processes(&self, resident: &BTreeMap<Id, u64>) -> Result<Vec<TopProcess>, Failure> {
        let reader = self.read()?;
        let others = self.shared.directory.ids(|_| true).into_iter();
        let others = others.filter(|process| !resident.contains_key(process));
        let mut shown = Vec::new();
        for process in resident.keys().copied().chain(others).take(PROCESSES_MAX) {
            let Some(known) = self.shared.directory.get(&process) else { continue };
            let info = self.info(&reader, &known)?;
            let newest = reader.last_outcome(&process).map_err(disk)?;
            let next = newest.as_ref().map_or(0, |(position, _)| position.slot + 1);
            let lag = info.head.filter(|_| known.roles.computes).map(|head| (head + 1).saturating_sub(next));
            let memory_bytes = resident.get(&process).copied();
            shown.push(TopProcess { info, lag, memory_bytes, gas: newest.map(|(_, row)| row.gas) });
        }
        Ok(shown)
    }
}
