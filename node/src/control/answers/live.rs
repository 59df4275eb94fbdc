//! What goes on for a while: watching a process, and replaying it.

use std::time::Duration;

use serde_json::Value;
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use weft_protocol::Id;
use weft_storage::{Reader, Roles};

use super::super::api::{FailureCode, Progress, WatchEvent};
use super::super::server::{HungUp, Out, hung_up};
use super::result::result_value;
use super::state::why;
use super::{Answers, SLOTS_MAX, disk, fail};
use crate::freshness::STALE_MS;
use crate::log;
use crate::news::News;
use crate::replays::{PROGRESS_MAX, hears};
use crate::shared::SharedRef;
use crate::{hosting, replay};

/// How often a watcher is told anew whether what it sees is fresh.
const FRESHNESS_LOOK: Duration = Duration::from_secs(1);

impl Answers {
    pub(super) async fn watch(
        &self,
        process: Id,
        from: Option<u64>,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        if self.shared.directory.get(&process).is_none() {
            let wanted = Roles { watches: true, ..Roles::default() };
            if let Err(error) = hosting::host(&self.shared, process, wanted).await {
                return out.end(Err::<(), _>(super::not_hosted(&error))).await;
            }
        }
        let mut news = self.shared.news.listen();
        let head = |reader: &Reader| reader.head(&process).map_err(disk);
        let mut next = match (from, self.read().and_then(|reader| head(&reader))) {
            (Some(from), _) => from,
            (None, Ok(head)) => head.map_or(0, |(slot, _)| slot + 1),
            (None, Err(failure)) => return out.end(Err::<(), _>(failure)).await,
        };
        let (mut is_new, mut stale) = (true, false);
        let mut look = tokio::time::interval(FRESHNESS_LOOK);
        // The first is due at once; a log that was just taken up has its time to be confirmed.
        look.reset_after(Duration::from_millis(STALE_MS));
        loop {
            // No news tells of those that were there before, however many pages they fill.
            while is_new {
                let slots = match self.slots(process, next, SLOTS_MAX).await {
                    Ok(slots) => slots,
                    Err(failure) => return out.end(Err::<(), _>(failure)).await,
                };
                is_new = slots.len() == SLOTS_MAX as usize;
                for slot in slots {
                    next = slot.slot + 1;
                    out.event(WatchEvent::Slot(slot)).await?;
                }
            }
            let heard = tokio::select! {
                () = hung_up(lines) => return Err(HungUp),
                () = self.stop.cancelled() => return out.end(Ok(Value::Null)).await,
                heard = news.recv() => heard,
                _ = look.tick() => {
                    if let Some(event) = self.freshness(process, &mut stale) {
                        out.event(event).await?;
                    }
                    continue;
                }
            };
            match heard {
                Ok(News::Grew { process: of, .. }) => is_new = of == process,
                Ok(news) => {
                    if let Some(event) = self.watch_event(process, &news) {
                        out.event(event).await?;
                    }
                }
                Err(RecvError::Lagged(_)) => is_new = true,
                Err(RecvError::Closed) => return out.end(Ok(Value::Null)).await,
            }
        }
    }

    /// Says when a log that others write becomes stale, or fresh again.
    fn freshness(&self, process: Id, stale: &mut bool) -> Option<WatchEvent> {
        let known = self.shared.directory.get(&process)?;
        let is_own = known.process.scheduler() == self.shared.address;
        let is_stale = !is_own && self.shared.fresh.is_stale(&process, self.shared.clock.now());
        if std::mem::replace(stale, is_stale) == is_stale {
            return None;
        }
        let reader = self.shared.store.read().ok()?;
        let newest = log::read_link(&reader, &process).ok()?;
        Some(WatchEvent::Freshness { as_of: newest.map(|link| link.time.timestamp), stale: is_stale })
    }

    fn watch_event(&self, process: Id, news: &News) -> Option<WatchEvent> {
        match news {
            News::Computed { process: of, position, .. } if *of == process => {
                let row = self.shared.store.read().ok()?.outcome(&process, *position).ok()??;
                let output = result_value(&row).get("Output").cloned().unwrap_or(Value::Null);
                let (position, code, running) = (*position, row.code, row.running);
                Some(WatchEvent::Outcome { position, code, output, running })
            }
            News::Attested { process: of, position, attestor } if *of == process => {
                let reader = self.shared.store.read().ok()?;
                let row = reader.attestation(&process, *position, attestor).ok()??;
                let message: weft_protocol::wire::Attestation = prost::Message::decode(row.bytes).ok()?;
                let running = weft_protocol::wire::hash("running", &message.running).ok()?;
                Some(WatchEvent::Attestation { position: *position, attestor: *attestor, running })
            }
            News::Alarm { process: of, text } if *of == process => {
                Some(WatchEvent::Alarm { text: text.clone() })
            }
            _ => None,
        }
    }

    pub(super) async fn verify(
        &self,
        process: Id,
        out: &mut Out,
        lines: &mut BufReader<OwnedReadHalf>,
    ) -> Result<(), HungUp> {
        let known = match self.known(&process) {
            Ok(known) => known,
            Err(failure) => return out.end(Err::<(), _>(failure)).await,
        };
        let turn = tokio::select! {
            turn = self.replays.turn() => turn,
            () = hung_up(lines) => return Err(HungUp),
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => return out.end(Err::<(), _>(why(&error))).await,
        };
        let (tell, mut told) = mpsc::channel(PROGRESS_MAX);
        let shared = SharedRef::clone(&self.shared);
        let replay = weft_vm::spawn_guest_thread("weft-verify", move || {
            let _held = turn;
            replay::verify(&shared, &known.process, &mut |progress| hears(&tell, progress))
        });
        let replay = match replay {
            Ok(replay) => replay,
            Err(error) => {
                let failure = fail(FailureCode::Fault, format!("no thread for the replay: {error}"));
                return out.end(Err::<(), _>(failure)).await;
            }
        };
        relay(&mut told, out, lines).await?;
        let joined = tokio::task::spawn_blocking(move || replay.join()).await;
        let report = match joined {
            Ok(Ok(Ok(Some(report)))) => Ok(report),
            Ok(Ok(Err(error))) => Err(fail(FailureCode::Fault, error.to_string())),
            _ => Err(fail(FailureCode::Fault, "the replay failed")),
        };
        out.end(report).await
    }
}

/// Tells the client of work elsewhere until that ends. A client that hangs up ends the work with it:
/// it drops the channel's end.
pub(super) async fn relay(
    told: &mut mpsc::Receiver<Progress>,
    out: &mut Out,
    lines: &mut BufReader<OwnedReadHalf>,
) -> Result<(), HungUp> {
    loop {
        let progress = tokio::select! {
            () = hung_up(lines) => return Err(HungUp),
            progress = told.recv() => progress,
        };
        let Some(progress) = progress else { return Ok(()) };
        out.event(progress).await?;
    }
}
