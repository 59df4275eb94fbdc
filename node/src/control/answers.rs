//! What the node answers to each request of the control socket.

mod anchor;
mod audit;
mod carry;
mod disk;
mod dry;
mod duties;
mod earnings;
mod live;
mod market;
mod modules;
mod net;
mod pages;
mod read;
mod result;
mod slots;
mod state;
mod submit;
mod top;
mod turns;
mod verify;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio_util::sync::CancellationToken;
use weft_protocol::evidence::describe;
use weft_protocol::owner::owner_text;
use weft_protocol::state::StateSummary;
use weft_protocol::{Address, DataItem, Hash, Id};
use weft_storage::{EvidenceRow, OutboxState, Reader, StoreError};

use super::api::{EvidenceInfo, Failure, FailureCode, ItemInfo, ProcessDetail, ProcessInfo, Request, Status};
use super::server::{HungUp, Out, hung_up};
use crate::anchor as batches;
use crate::compute::ComputeHandle;
use crate::config::Backend;
use crate::directory::Known;
use crate::dry_run::DryRuns;
use crate::follower::FollowerHandle;
use crate::messenger::MessengerHandle;
use crate::metrics::{self, Counter, Level};
use crate::replays::Replays;
use crate::room;
use crate::shared::SharedRef;
use crate::submit::Submitter;
use duties::duties;
pub(crate) use duties::not_hosted;
pub(crate) use submit::no_slot;
pub(crate) use turns::ForPeer;
use turns::{Turns, blocking};

/// Slots in one answer.
const SLOTS_MAX: u32 = 1_000;
/// Entries of an outbox that are counted for one answer, of those that wait and of all, and about how many bytes of them.
const OUTBOX_COUNTED_MAX: usize = 10_000;
const OUTBOX_COUNTED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pieces of evidence in one answer.
const EVIDENCE_SHOWN_MAX: usize = 64;
/// Bytes of an item's data shown as text.
const DATA_SHOWN_MAX: usize = 64 * 1024;

/// Answers the requests of clients.
#[derive(Debug, Clone)]
pub struct Answers {
    shared: SharedRef,
    submitter: Submitter,
    follower: FollowerHandle,
    compute: Option<ComputeHandle>,
    messenger: Option<MessengerHandle>,
    dry_runs: Option<DryRuns>,
    pub(crate) replays: Replays,
    turns: Turns,
    stop: CancellationToken,
}

fn fail(code: FailureCode, text: impl Into<String>) -> Failure {
    Failure::new(code, text)
}

fn disk(error: StoreError) -> Failure {
    let code = if matches!(error, StoreError::Full { .. }) { FailureCode::Full } else { FailureCode::Fault };
    fail(code, format!("storage: {error}"))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        disk(error)
    }
}

impl Answers {
    /// Answers from these parts of the node; `stop` stops it.
    pub fn new(
        shared: SharedRef,
        (submitter, follower): (Submitter, FollowerHandle),
        compute: Option<ComputeHandle>,
        messenger: Option<MessengerHandle>,
        stop: CancellationToken,
    ) -> Self {
        let dry_runs = compute.clone().map(|compute| DryRuns::new(SharedRef::clone(&shared), compute));
        let replays = Replays::new(SharedRef::clone(&shared), compute.clone());
        let turns = Turns::new(&shared.metrics);
        Self { shared, submitter, follower, compute, messenger, dry_runs, replays, turns, stop }
    }

    /// Has a limit of the control socket watched.
    pub(super) fn watch_level(&self, level: Level) {
        self.shared.metrics.watch(level);
    }

    /// Counts who found no room in a limit of the control socket.
    pub(super) fn full(&self, queue: &'static str) -> Counter {
        self.shared.metrics.full("control", queue)
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The client hung up.
    pub async fn answer(
        &self,
        request: Request,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        match request {
            Request::Status => out.end(self.status().await).await,
            Request::Peers => out.end(self.peers().await).await,
            Request::Providers { process } => out.end(self.providers(process).await).await,
            Request::Doctor => out.end(self.doctor().await).await,
            Request::Processes => out.end(self.processes().await).await,
            Request::Process { process, state_root } => {
                out.end(self.process(process, state_root).await).await
            }
            Request::Slots { process, from, limit } => out.end(self.slots(process, from, limit).await).await,
            Request::Item { id } => out.end(self.item(id).await).await,
            Request::Host { process, compute, messenger, evaluate } => {
                out.end(self.host(process, compute, messenger, evaluate).await).await
            }
            Request::Unhost { process } => out.end(self.unhost(process).await).await,
            Request::Cron { process, on } => out.end(self.cron(process, on).await).await,
            Request::Carry(request) => out.end(self.carry(request).await).await,
            Request::Pin { process, on } => out.end(self.pin(process, on).await).await,
            Request::PutModule { item } => out.end(self.put_module(&item).await).await,
            Request::Modules => out.end(self.modules().await).await,
            Request::Submit { item } => out.end(self.submit(&item).await).await,
            Request::Pending(request) => out.end(self.pending(request).await).await,
            Request::Assign { process, item, base_layer, exclude } => {
                out.end(self.assign(process, item, base_layer, &exclude).await).await
            }
            Request::Messages { process, span, limit } => {
                out.end(self.messages(process, span, limit).await).await
            }
            Request::Message { process, id } => out.end(self.message(process, id).await).await,
            Request::Result { process, of, wait_ms } => {
                out.end(self.result(process, of, wait_ms).await).await
            }
            Request::Results { process, from, to, limit, sort, crons, now_ms } => {
                let page = pages::Asked { from, to, limit, sort, crons, now_ms };
                out.end(self.results(process, page).await).await
            }
            Request::DryRun { process, message, slot } => {
                out.end(self.dry_run(process, message, slot).await).await
            }
            Request::State { process, slot, memory } => self.state(process, slot, memory, out, lines).await,
            Request::Watch { process, from } => self.watch(process, from, out, hung_up(lines)).await,
            Request::WatchMany { processes, from } => {
                self.watch_many(&processes, from, out, hung_up(lines)).await
            }
            Request::Verify { process } => self.verify(process, out, lines).await,
            Request::VerifyWeave { process, from } => self.verify_weave(process, from, out, lines).await,
            Request::Weave => {
                let weave = batches::info(&self.shared);
                out.end(weave.map_err(|error| fail(FailureCode::Fault, error.to_string()))).await
            }
            Request::Top => out.end(self.top().await).await,
            Request::Metrics => {
                let text = metrics::text(&self.shared).await;
                out.end(text.map_err(|error| fail(FailureCode::Fault, error.to_string()))).await
            }
            Request::Market(request) => out.end(self.market(request).await).await,
            Request::Anchor(request) => out.end(self.anchor(request).await).await,
            Request::Disk(request) => self.through_disk(request, out, lines).await,
            Request::Stop => {
                let sent = out.end(Ok(Value::Bool(true))).await;
                self.stop.cancel();
                sent
            }
        }
    }

    fn read(&self) -> Result<Reader, Failure> {
        self.shared.store.read().map_err(disk)
    }

    fn known(&self, process: &Id) -> Result<Known, Failure> {
        self.shared.directory.get(process).ok_or_else(|| {
            fail(
                FailureCode::Unknown,
                format!("process {process} is not hosted by this node; `weft host {process}` follows it"),
            )
        })
    }

    async fn status(&self) -> Result<Status, Failure> {
        let shared = &self.shared;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: shared.address,
            peer_id: shared.net.peer().to_string(),
            network: shared.config.network.clone(),
            listen: shared.net.listening(),
            roles: shared.config.roles.iter().map(ToString::to_string).collect(),
            peers: shared.net.peers().await.map_or(0, |peers| peers.len()),
            processes: shared.directory.len(),
            weave: match shared.config.anchor.backend {
                Backend::Local => {
                    format!("{} (stored on this machine only)", shared.anchored_on())
                }
                Backend::Arweave | Backend::Bundler => shared.anchored_on().to_owned(),
            },
            recovering: shared.wishes.reading(),
            uptime_ms: u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            pid: std::process::id(),
            room: room::info(shared),
        })
    }

    async fn processes(&self) -> Result<Vec<ProcessInfo>, Failure> {
        // The first time after a start this reads and verifies each of them.
        let answers = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let reader = answers.read()?;
            let directory = &answers.shared.directory;
            // One after the other: their items have more data than there may be memory.
            let known = directory.ids(|_| true).into_iter().filter_map(|process| directory.get(&process));
            known.map(|known| answers.info(&reader, &known)).collect()
        });
        read.await.map_err(|error| fail(FailureCode::Fault, error.to_string()))?
    }

    fn info(&self, reader: &Reader, known: &Known) -> Result<ProcessInfo, Failure> {
        let process = &known.process;
        let id = process.id();
        let head = reader.head(&id).map_err(disk)?.map(|(slot, _)| slot);
        let computed = reader.last_outcome(&id).map_err(disk)?;
        let anchored = reader.anchored(&id, self.shared.anchored_on()).map_err(disk)?.map(|row| row.slot);
        Ok(ProcessInfo {
            process: id,
            name: process.item().tag("Name").map(str::to_owned),
            module: process.module(),
            scheduler: process.scheduler(),
            duties: duties(known.roles),
            head,
            computed: computed.as_ref().map(|(position, _)| *position),
            running: computed.map(|(_, row)| row.running),
            anchored,
            fault: known.fault.clone(),
            waits: known.waits.clone(),
            pending: self.shared.pending.held_of(&id),
        })
    }

    async fn process(&self, process: Id, state_root: bool) -> Result<ProcessDetail, Failure> {
        let summary = match &self.compute {
            Some(compute) if state_root && self.shared.directory.roles(&process).is_some() => {
                compute.summary(process).await
            }
            _ => None,
        };
        let messengers = match &self.messenger {
            Some(messenger) => messenger.carriers(process).await,
            None => Vec::new(),
        };
        let answers = self.clone();
        blocking(move || answers.detail(process, summary, messengers)).await
    }

    fn detail(
        &self,
        process: Id,
        summary: Option<StateSummary>,
        messengers: Vec<Address>,
    ) -> Result<ProcessDetail, Failure> {
        let known = self.known(&process)?;
        let reader = self.read()?;
        let mut info = self.info(&reader, &known)?;
        if let Some(summary) = &summary {
            // What was hashed is told, even if the process has gone on since.
            info.computed = Some(summary.position);
            info.running = Some(summary.running.0);
        }
        let attestors = known.process.attestors();
        let (pending, settled, is_whole) = outbox_counts(&reader, &process).map_err(disk)?;
        Ok(ProcessDetail {
            info,
            owner: known.process.owner().to_owned(),
            tags: known.process.item().tags().to_vec(),
            attestors: attestors.members,
            quorum: attestors.quorum,
            trust: "single scheduler".to_owned(),
            state_root: summary.as_ref().map(StateSummary::root),
            memory_bytes: summary.map(|summary| summary.memory_bytes),
            outbox_pending: pending,
            outbox_settled: settled,
            outbox_more: !is_whole,
            messengers,
            evidence: self.evidence(&reader, &process)?,
        })
    }

    fn evidence(&self, reader: &Reader, process: &Id) -> Result<Vec<EvidenceInfo>, Failure> {
        let rows = reader.evidence(process, EVIDENCE_SHOWN_MAX).map_err(disk)?;
        let info = |(name, row): (Hash, EvidenceRow)| {
            let text = describe(&row.bytes, self.shared.network);
            EvidenceInfo { name, culprit: row.culprit, text, bytes: STANDARD.encode(&row.bytes) }
        };
        Ok(rows.into_iter().map(info).collect())
    }

    async fn item(&self, id: Id) -> Result<ItemInfo, Failure> {
        // Each process here is asked whether it has it.
        let answers = self.clone();
        blocking(move || answers.item_info(id)).await
    }

    fn item_info(&self, id: Id) -> Result<ItemInfo, Failure> {
        let reader = self.read()?;
        let raw = reader.item(&id).map_err(disk)?;
        let raw = raw.ok_or_else(|| fail(FailureCode::Unknown, format!("item {id} is not here")))?;
        let item = DataItem::verify_bytes(raw)
            .map_err(|error| fail(FailureCode::Fault, format!("item {id} is damaged on disk: {error}")))?;
        let data = item.data();
        let shown = data.len() <= DATA_SHOWN_MAX;
        let mut slots = Vec::new();
        for process in self.shared.directory.ids(|_| true) {
            let slot = reader.slot_of_item(&process, &id).map_err(disk)?;
            slots.extend(slot.map(|slot| (process, slot)));
        }
        Ok(ItemInfo {
            id,
            owner: owner_text(&item),
            signature_type: item.signature_type().number(),
            target: item.target(),
            anchor: item.anchor().map(|anchor| String::from_utf8_lossy(anchor).into_owned()),
            tags: item.tags().to_vec(),
            data_bytes: data.len(),
            data: shown.then(|| std::str::from_utf8(&data).ok().map(str::to_owned)).flatten(),
            slots,
        })
    }
}

fn decode(item: &str) -> Result<Bytes, Failure> {
    let raw = STANDARD.decode(item);
    raw.map(Bytes::from)
        .map_err(|error| fail(FailureCode::Invalid, format!("the item is not base64: {error}")))
}

/// Entries that wait and that are settled, and whether all were counted.
fn outbox_counts(reader: &Reader, process: &Id) -> Result<(usize, usize, bool), StoreError> {
    let pending = reader.outbox_pending(process, OUTBOX_COUNTED_MAX)?.len();
    let is_settled = |state: &OutboxState| matches!(state, OutboxState::Settled { .. });
    let most = (OUTBOX_COUNTED_MAX, OUTBOX_COUNTED_BYTES_MAX);
    let (settled, is_whole) = reader.outbox_count(process, is_settled, most)?;
    Ok((pending, settled, is_whole))
}
