//! What goes on for a while: watching processes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use weft_protocol::Id;
use weft_storage::Roles;

use super::super::api::{Failure, FailureCode, Progress, WatchEvent, Watched};
use super::super::server::{HungUp, Out, hung_up};
use super::result::result_value;
use super::{Answers, SLOTS_MAX, fail};
use crate::freshness::STALE_MS;
use crate::hosting;
use crate::log;
use crate::news::News;

/// How often a watcher is told anew whether what it sees is fresh.
const FRESHNESS_LOOK: Duration = Duration::from_secs(1);

/// Processes that one client watches at once: each has a row here, and a page of slots is read of each when news
/// was missed.
const WATCHED_MAX: usize = 1_000;

/// Processes that are taken up beside each other to be watched.
const HOSTED_AT_ONCE: usize = 8;

/// What a watcher has seen of a process.
#[derive(Debug)]
struct View {
    /// The slot to show next.
    next: u64,
    /// Whether there may be one.
    is_new: bool,
    /// Whether the watcher was told that nobody confirms where the log ends.
    stale: bool,
}

/// Whom events are told to, and whether they say of which process they are.
struct Watcher<'a> {
    out: &'a mut Out,
    of_many: bool,
}

impl Watcher<'_> {
    async fn tell(&mut self, process: Id, event: WatchEvent) -> Result<(), HungUp> {
        if self.of_many {
            self.out.event(Watched { process, event }).await
        } else {
            self.out.event(event).await
        }
    }
}

impl Answers {
    /// Tells of slots and outcomes as they come, until whoever asked is `gone`.
    pub(crate) async fn watch(
        &self,
        process: Id,
        from: Option<u64>,
        out: &mut Out,
        gone: impl Future<Output = ()>,
    ) -> Result<(), HungUp> {
        self.watch_all(&[process], from, Watcher { out, of_many: false }, gone).await
    }

    pub(super) async fn watch_many(
        &self,
        processes: &[Id],
        from: Option<u64>,
        out: &mut Out,
        gone: impl Future<Output = ()>,
    ) -> Result<(), HungUp> {
        let count = processes.len();
        if !(1..=WATCHED_MAX).contains(&count) {
            let text = format!("{count} processes cannot be watched at once: expected 1 to {WATCHED_MAX}");
            return out.end(Err::<(), _>(fail(FailureCode::Invalid, text))).await;
        }
        self.watch_all(processes, from, Watcher { out, of_many: true }, gone).await
    }

    async fn watch_all(
        &self,
        processes: &[Id],
        from: Option<u64>,
        mut watcher: Watcher<'_>,
        gone: impl Future<Output = ()>,
    ) -> Result<(), HungUp> {
        tokio::pin!(gone);
        let hosted = tokio::select! {
            () = &mut gone => return Err(HungUp),
            () = self.stop.cancelled() => return watcher.out.end(Ok(Value::Null)).await,
            hosted = self.host_all_to_watch(processes) => hosted,
        };
        if let Err(failure) = hosted {
            return watcher.out.end(Err::<(), _>(failure)).await;
        }
        let mut news = self.shared.news.listen();
        let mut views = match self.views(processes, from) {
            Ok(views) => views,
            Err(failure) => return watcher.out.end(Err::<(), _>(failure)).await,
        };
        let mut look = tokio::time::interval(FRESHNESS_LOOK);
        // The first is due at once; a log that was just taken up has its time to be confirmed.
        look.reset_after(Duration::from_millis(STALE_MS));
        loop {
            if let Err(failure) = self.show_new(&mut views, &mut watcher).await? {
                return watcher.out.end(Err::<(), _>(failure)).await;
            }
            let heard = tokio::select! {
                () = &mut gone => return Err(HungUp),
                () = self.stop.cancelled() => return watcher.out.end(Ok(Value::Null)).await,
                heard = news.recv() => heard,
                _ = look.tick() => {
                    for (process, view) in &mut views {
                        if let Some(event) = self.freshness(*process, &mut view.stale) {
                            watcher.tell(*process, event).await?;
                        }
                    }
                    continue;
                }
            };
            match heard {
                // It may not be followed any more.
                Ok(News::Grew { process, .. } | News::Hosted { process }) => {
                    if let Some(view) = views.get_mut(&process) {
                        view.is_new = true;
                    }
                }
                Ok(news) => {
                    if let Some((process, event)) = self.watch_event(|of| views.contains_key(of), &news) {
                        watcher.tell(process, event).await?;
                    }
                }
                Err(RecvError::Lagged(_)) => views.values_mut().for_each(|view| view.is_new = true),
                Err(RecvError::Closed) => return watcher.out.end(Ok(Value::Null)).await,
            }
        }
    }

    /// Has the node follow those of these processes that it does not know.
    async fn host_all_to_watch(&self, processes: &[Id]) -> Result<(), Failure> {
        let hosted = futures::stream::iter(processes.to_vec()).map(|process| self.host_to_watch(process));
        hosted.buffer_unordered(HOSTED_AT_ONCE).try_collect().await
    }

    /// Has the node follow a process that it does not know.
    async fn host_to_watch(&self, process: Id) -> Result<(), Failure> {
        if self.shared.directory.get(&process).is_some() {
            return Ok(());
        }
        let wanted = Roles { watches: true, ..Roles::default() };
        let hosted = hosting::host(&self.shared, process, wanted).await;
        hosted.map(|_| ()).map_err(|error| super::not_hosted(&error))
    }

    fn views(&self, processes: &[Id], from: Option<u64>) -> Result<BTreeMap<Id, View>, Failure> {
        let reader = self.read()?;
        let view = |process: &Id| {
            let next = match from {
                Some(from) => from,
                None => reader.head(process)?.map_or(0, |(slot, _)| slot + 1),
            };
            Ok::<_, Failure>((*process, View { next, is_new: true, stale: false }))
        };
        processes.iter().map(view).collect()
    }

    /// Shows what is new of each process. One that cannot be read any more is watched no longer, and the others on,
    /// until none is left.
    async fn show_new(
        &self,
        views: &mut BTreeMap<Id, View>,
        watcher: &mut Watcher<'_>,
    ) -> Result<Result<(), Failure>, HungUp> {
        let mut failed = Vec::new();
        for (process, view) in views.iter_mut().filter(|(_, view)| view.is_new) {
            if let Err(failure) = self.show(*process, view, watcher).await? {
                failed.push((*process, failure));
            }
        }
        for (process, failure) in failed {
            views.remove(&process);
            if views.is_empty() {
                return Ok(Err(failure));
            }
            watcher.tell(process, WatchEvent::Alarm { text: failure.text }).await?;
        }
        Ok(Ok(()))
    }

    /// Shows all slots that were not shown. No news tells of those that were there before, however many pages they
    /// fill.
    async fn show(
        &self,
        process: Id,
        view: &mut View,
        watcher: &mut Watcher<'_>,
    ) -> Result<Result<(), Failure>, HungUp> {
        while view.is_new {
            let slots = match self.slots(process, view.next, SLOTS_MAX).await {
                Ok(slots) => slots,
                Err(failure) => return Ok(Err(failure)),
            };
            view.is_new = slots.len() == SLOTS_MAX as usize;
            for slot in slots {
                view.next = slot.slot + 1;
                watcher.tell(process, WatchEvent::Slot(slot)).await?;
            }
        }
        Ok(Ok(()))
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

    /// What a watcher is told of a piece of news, and of which of its processes.
    fn watch_event(&self, is_watched: impl Fn(&Id) -> bool, news: &News) -> Option<(Id, WatchEvent)> {
        match news {
            News::Computed { process, position, .. } if is_watched(process) => {
                let row = self.shared.store.read().ok()?.outcome(process, *position).ok()??;
                let output = result_value(&row).get("Output").cloned().unwrap_or(Value::Null);
                let (position, code, running) = (*position, row.code, row.running);
                Some((*process, WatchEvent::Outcome { position, code, output, running }))
            }
            News::Attested { process, position, attestor } if is_watched(process) => {
                let reader = self.shared.store.read().ok()?;
                let row = reader.attestation(process, *position, attestor).ok()??;
                let message: weft_protocol::wire::Attestation = prost::Message::decode(row.bytes).ok()?;
                let running = weft_protocol::wire::hash("running", &message.running).ok()?;
                let event = WatchEvent::Attestation { position: *position, attestor: *attestor, running };
                Some((*process, event))
            }
            News::Waits { process, item, signer, bits } if is_watched(process) => {
                let event = WatchEvent::Waits { item: *item, signer: *signer, postage_bits: *bits };
                Some((*process, event))
            }
            News::Alarm { process, text } if is_watched(process) => {
                Some((*process, WatchEvent::Alarm { text: text.clone() }))
            }
            _ => None,
        }
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
