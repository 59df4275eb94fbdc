//! One run: asks gateways, has what comes verified, and hands it to the node.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weft_protocol::evidence::Evidence;
use weft_protocol::l1::{L1Tx, chunk};
use weft_protocol::{Effects, Hash, Id, Machine as _};

use super::ask::{self, Listed, SLOTS_ASKED};
use super::asked::Asked;
use super::gateway::{Gateway, GatewayError};
use super::machine::{Effect, Input, Search, Source, Want};
use super::reading::{Group, Has, Reading};
use super::{GATEWAYS_MAX, GatewayReport, Missing, ModuleState, RecoverError, RecoverReport};
use crate::follower::FollowerHandle;
use crate::log;
use crate::portable::{Apply, PortableError};
use crate::shared::SharedRef;

/// Other things that could not be proven, told one by one.
const UNPROVEN_SHOWN_MAX: usize = 64;

/// Hears how many of how many slots are here, and says whether to go on.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) -> ControlFlow<()> + Send);

/// Reads a process from gateways into this node.
///
/// # Errors
/// Why nothing of it came, or what this node does not take. Slots that nobody gives are no error: the report
/// names them.
pub async fn recover(
    shared: &SharedRef,
    follower: &FollowerHandle,
    process: Id,
    from: &[String],
    progress: Progress<'_>,
) -> Result<RecoverReport, RecoverError> {
    let mut addresses: Vec<&String> = Vec::new();
    for address in from {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() || addresses.len() > GATEWAYS_MAX {
        return Err(RecoverError::Gateways(addresses.len()));
    }
    let gateways = addresses.into_iter().map(|address| Gateway::new(address).map(Asked::of));
    let gateways = gateways.collect::<Result<Vec<_>, _>>()?;
    let apply = Apply { shared, follower, process, known: None, had: 0, attestations: 0, module: false };
    let mut run = Run {
        shared,
        process,
        search: Search::new(gateways.len()),
        gateways,
        effects: Effects::new(),
        reading: Some(Reading::new(process, shared.terms.clone())),
        apply,
        listed: Vec::new(),
        bundles: 0,
        bundles_proven: 0,
        least_confirmations: None,
        unproven: Vec::new(),
        began: Instant::now(),
    };
    run.begin()?;
    run.read_all(progress).await?;
    run.report().await
}

struct Run<'a> {
    shared: &'a SharedRef,
    process: Id,
    search: Search,
    gateways: Vec<Asked>,
    effects: Effects<Effect>,
    /// Away while a thread verifies.
    reading: Option<Reading>,
    apply: Apply<'a>,
    /// What the gateway that is asked listed.
    listed: Vec<Listed>,
    bundles: u64,
    bundles_proven: u64,
    least_confirmations: Option<u64>,
    unproven: Vec<String>,
    began: Instant,
}

impl Run<'_> {
    /// Goes on from what is here of the process.
    fn begin(&mut self) -> Result<(), RecoverError> {
        let Some(known) = self.shared.directory.get(&self.process) else { return Ok(()) };
        let reader = self.shared.store.read().map_err(PortableError::from)?;
        let process = self.process;
        let link = log::read_link(&reader, &process).map_err(PortableError::from)?;
        let Some(link) = link else { return Ok(()) };
        let cautious = reader.caution_of(&process).map_err(PortableError::from)?.is_some();
        if known.process.scheduler() == self.shared.address && !cautious {
            return Err(PortableError::Own { process }.into());
        }
        self.apply.had = link.slot + 1;
        self.apply.known = Some(Arc::clone(&known.process));
        let refused = |why| RecoverError::Refused { process, why };
        self.reading()?.go_on_from(known.process, link).map_err(refused)
    }

    fn reading(&mut self) -> Result<&mut Reading, RecoverError> {
        self.reading.as_mut().ok_or(RecoverError::Portable(PortableError::Stopped))
    }

    /// Verifies away from the tasks.
    async fn away<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reading) -> T + Send + 'static,
    ) -> Result<T, RecoverError> {
        let stopped = || RecoverError::Portable(PortableError::Stopped);
        let mut reading = self.reading.take().ok_or_else(stopped)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut reading);
            (reading, done)
        });
        let (reading, done) = done.await.map_err(|_| stopped())?;
        self.reading = Some(reading);
        Ok(done)
    }

    /// Takes slot after slot, until one is missing.
    async fn read_all(&mut self, progress: Progress<'_>) -> Result<(), RecoverError> {
        let process = self.process;
        if self.reading()?.scheduler().is_none() {
            let met = match self.bring(Want::Item(process)).await? {
                true => self.reading()?.meet(),
                false => None,
            };
            let unknown = || RecoverError::Unknown { process, why: self.all_faults() };
            met.ok_or_else(unknown)?.map_err(|why| RecoverError::Refused { process, why })?;
        }
        let total = self.ask_newest().await?;
        loop {
            let group = self.away(Reading::group).await?;
            let (wants, refused) = self.take(group).await?;
            let next = self.reading()?.next_slot();
            if progress(next, total.max(next)).is_break() {
                return Err(PortableError::Stopped.into());
            }
            if let Some(why) = refused {
                if next == 0 {
                    return Err(RecoverError::Refused { process, why });
                }
                self.note(why);
                break;
            }
            if let Some(want) = wants
                && !self.bring(want).await?
            {
                break;
            }
        }
        if self.reading()?.next_slot() == 0 {
            return Err(RecoverError::Unknown { process, why: self.all_faults() });
        }
        self.find_module().await
    }

    /// Takes a group into the node.
    async fn take(&mut self, group: Group) -> Result<(Option<Want>, Option<String>), RecoverError> {
        let Group { parts, givers, lies, rivals, wants, refused } = group;
        for gateway in givers {
            if let Some(asked) = self.gateways.get_mut(gateway) {
                asked.slots += 1;
            }
        }
        for (gateway, why) in lies {
            self.fault(gateway, why);
            self.handle(Input::Lacked { gateway, lie: true });
        }
        for (ours, other) in rivals {
            self.note(format!(
                "the scheduler signed two assignments of one slot: {} and {}",
                ours.id(),
                other.id()
            ));
            if let Some(evidence) = Evidence::of_assignments(&ours, &other, self.shared.network) {
                self.shared.witness.found(self.process, evidence);
            }
        }
        for part in parts {
            self.apply.part(part).await?;
        }
        let link = self.reading()?.link;
        self.apply.settle(link).await?;
        Ok((wants, refused))
    }

    async fn find_module(&mut self) -> Result<(), RecoverError> {
        let Some(module) = self.reading()?.wants_module() else { return Ok(()) };
        let reader = self.shared.store.read().map_err(PortableError::from)?;
        if reader.item(&module).map_err(PortableError::from)?.is_some() {
            self.reading()?.has_module_here();
        } else if self.bring(Want::Item(module)).await? {
            let group = self.away(Reading::group).await?;
            self.take(group).await?;
        }
        Ok(())
    }

    /// Has the pool hold a thing; whether anybody gave it.
    async fn bring(&mut self, want: Want) -> Result<bool, RecoverError> {
        self.handle(Input::Want(want));
        loop {
            let effects: Vec<Effect> = self.effects.drain().collect();
            if effects.is_empty() {
                return Ok(false);
            }
            for effect in effects {
                match effect {
                    Effect::Found => return Ok(true),
                    Effect::Nobody { .. } => return Ok(false),
                    Effect::GiveUp { .. } => {}
                    Effect::List { gateway, want } => {
                        let input = self.list(gateway, want).await?;
                        self.handle(input);
                    }
                    Effect::Fetch { gateway, source } => {
                        let input = self.fetch(gateway, source, want).await?;
                        self.handle(input);
                    }
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.search.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    fn fault(&mut self, gateway: usize, text: impl ToString) {
        if let Some(asked) = self.gateways.get_mut(gateway) {
            asked.fault(text);
        }
    }

    fn note(&mut self, text: String) {
        if self.unproven.len() < UNPROVEN_SHOWN_MAX {
            self.unproven.push(text);
        }
    }

    fn all_faults(&self) -> String {
        let told = self.gateways.iter().map(|asked| {
            let why = asked.faults.last().map_or("it has nothing of it", String::as_str);
            format!("{}: {why}", asked.gateway.name())
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// Asks a gateway where it has a thing.
    async fn list(&mut self, gateway: usize, want: Want) -> Result<Input, RecoverError> {
        let process = self.process;
        let question = match (want, self.reading()?.scheduler()) {
            (Want::Item(id), _) => ask::item(id),
            (Want::Slot(slot), Some(scheduler)) => {
                ask::assignments(process, scheduler, slot..slot.saturating_add(SLOTS_ASKED))
            }
            (Want::Slot(_), None) => return Ok(Input::Listed { gateway, sources: Vec::new() }),
        };
        let asked = self.gateways.get_mut(gateway);
        let listed = match asked {
            Some(asked) => asked.query(&question).await,
            None => None,
        };
        let Some(listed) = listed else { return Ok(Input::Failed { gateway }) };
        let is_wanted = |one: &Listed| match want {
            Want::Item(id) => one.id == id,
            Want::Slot(slot) => one.slot() == Some(slot),
        };
        // Assignments have no data: those that are in no bundle are whole as they are listed.
        let whole: Vec<Listed> =
            listed.iter().filter(|one| one.bundle.is_none() && one.data_bytes == 0).cloned().collect();
        if !whole.is_empty() {
            let has = self.away(move |reading| {
                for item in whole.iter().filter_map(|one| one.with_data(Bytes::new())) {
                    reading.pool.add_item(gateway, item.into_inner());
                }
                reading.has(want)
            });
            if has.await? == Has::Yes {
                return Ok(Input::Had { gateway });
            }
        }
        let wanted = listed.iter().enumerate().filter(|(_, one)| is_wanted(one));
        let mut sources: Vec<Source> = Vec::new();
        for bundle in wanted.clone().filter_map(|(_, one)| one.bundle) {
            if !sources.contains(&Source::Bundle(bundle)) {
                sources.push(Source::Bundle(bundle));
            }
        }
        sources.extend(wanted.map(|(at, _)| Source::Alone(at)));
        self.listed = listed;
        Ok(Input::Listed { gateway, sources })
    }

    /// Tries one place.
    async fn fetch(&mut self, gateway: usize, source: Source, want: Want) -> Result<Input, RecoverError> {
        match source {
            Source::Bundle(id) => self.fetch_bundle(gateway, id, want).await,
            Source::Alone(at) => self.fetch_alone(gateway, at, want).await,
        }
    }

    async fn fetch_bundle(&mut self, gateway: usize, id: Id, want: Want) -> Result<Input, RecoverError> {
        let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(Input::Failed { gateway }) };
        let bytes = match asked.gateway.bundle(id).await {
            Ok(bytes) => bytes,
            Err(error) => return Ok(self.failed(gateway, &error)),
        };
        self.bundles += 1;
        let raw = bytes.clone();
        let (root, added, has) = self
            .away(move |reading| {
                let added = reading.pool.add_bundle(gateway, raw.clone());
                (chunk::data_root(&raw), added, reading.has(want))
            })
            .await?;
        self.prove(gateway, id, root).await;
        let why = match (added, has) {
            (Ok(()), Has::Yes) => return Ok(Input::Had { gateway }),
            (Err(why), _) => format!("bundle {id} is none: {why}"),
            (_, Has::False) => format!("something else is in bundle {id} under the name of {want}"),
            (_, Has::No) => format!("{want} is not in bundle {id}, where it is said to be"),
        };
        self.fault(gateway, why);
        Ok(Input::Lacked { gateway, lie: true })
    }

    async fn fetch_alone(&mut self, gateway: usize, at: usize, want: Want) -> Result<Input, RecoverError> {
        let lacked = Input::Lacked { gateway, lie: false };
        let Some(listed) = self.listed.get(at).cloned() else { return Ok(lacked) };
        let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(Input::Failed { gateway }) };
        let data = match listed.data_bytes {
            0 => Ok(Bytes::new()),
            _ => asked.gateway.data(listed.id).await,
        };
        let data = match data {
            Ok(data) => data,
            Err(error) => return Ok(self.failed(gateway, &error)),
        };
        let id = listed.id;
        let has = self
            .away(move |reading| {
                let item = listed.with_data(data)?;
                reading.pool.add_item(gateway, item.into_inner());
                Some(reading.has(want))
            })
            .await?;
        if has == Some(Has::Yes) {
            return Ok(Input::Had { gateway });
        }
        // Gateways that leave fields out are not liars.
        self.fault(gateway, format!("what it lists of {id} with its data is not what was signed"));
        Ok(lacked)
    }

    fn failed(&mut self, gateway: usize, error: &GatewayError) -> Input {
        self.fault(gateway, error);
        match error {
            GatewayError::TooLarge { told, .. } => Input::Lacked { gateway, lie: !told },
            error if error.is_unknown() => Input::Lacked { gateway, lie: false },
            _ => Input::Failed { gateway },
        }
    }

    /// Finds out whether a bundle is the bytes that its name or its transaction commits to, and how deep its
    /// gateway says that it lies. What is in it proves itself without that.
    async fn prove(&mut self, gateway: usize, id: Id, root: Option<Hash>) {
        let Some(asked) = self.gateways.get_mut(gateway) else { return };
        let is_named = root == Some(Hash(id.0));
        if !is_named && let Ok(text) = asked.gateway.transaction(id).await {
            let transaction = L1Tx::parse_json(&text).and_then(|transaction| transaction.verify());
            match transaction {
                Ok(transaction) if transaction.id() == id && transaction.data_root() == root => {
                    self.bundles_proven += 1;
                }
                Ok(_) => asked.fault(format!("the bytes of bundle {id} are not those of its transaction")),
                Err(error) => asked.fault(format!(
                    "the bytes of bundle {id} are neither those of its name nor of a signed transaction: {error}"
                )),
            }
        }
        self.bundles_proven += u64::from(is_named);
        if let Ok(told) = asked.gateway.confirmations(id).await {
            self.least_confirmations = Some(self.least_confirmations.map_or(told, |least| least.min(told)));
        }
    }

    /// Asks all gateways beside each other for the newest assignment they know; answers the slots of the longest
    /// log, by their word.
    async fn ask_newest(&mut self) -> Result<u64, RecoverError> {
        let Some(scheduler) = self.reading()?.scheduler() else { return Ok(0) };
        let question = ask::newest(self.process, scheduler);
        let asked = self.gateways.iter_mut().map(|asked| asked.query(&question));
        let answers = futures::future::join_all(asked).await;
        let mut slots = 0;
        for (gateway, answer) in answers.into_iter().enumerate() {
            let Some(listed) = answer else {
                self.handle(Input::Failed { gateway });
                continue;
            };
            let newest = listed.into_iter().next();
            let slot = newest.as_ref().and_then(Listed::slot);
            slots = slots.max(slot.map_or(0, |slot| slot.saturating_add(1)));
            if let Some(asked) = self.gateways.get_mut(gateway) {
                asked.newest = newest;
            }
        }
        Ok(slots)
    }

    /// The slots that the scheduler signed and nobody gave: those up to the newest assignment that a gateway
    /// shows.
    async fn missing(&mut self) -> Result<Option<Missing>, RecoverError> {
        let next = self.reading()?.next_slot();
        let mut last = None;
        for gateway in 0..self.gateways.len() {
            let newest = self.gateways.get_mut(gateway).and_then(|asked| asked.newest.take());
            let Some(slot) = newest.as_ref().and_then(Listed::slot).filter(|slot| *slot >= next) else {
                continue;
            };
            let Some(id) = newest.map(|newest| newest.id) else { continue };
            // It is shown by its bytes, or it is a word.
            let shown = !self.search.has_given_up(gateway) && self.bring(Want::Item(id)).await?;
            if shown && self.reading()?.is_signed(slot, id) {
                last = last.max(Some(slot));
            } else {
                self.fault(gateway, format!("it lists slot {slot} and does not show it"));
            }
        }
        Ok(last.map(|to| Missing { from: next, to }))
    }

    async fn report(mut self) -> Result<RecoverReport, RecoverError> {
        let next = self.reading()?.next_slot();
        let newest = self.gateways.iter().filter_map(|asked| asked.newest.as_ref()?.slot());
        let ends_here = newest.into_iter().any(|slot| slot < next);
        let missing = self.missing().await?;
        let reading = self.reading()?;
        let (slots, link, wants_module) = (reading.next_slot(), reading.link, reading.wants_module());
        let module = match (self.apply.module, wants_module) {
            (true, _) => ModuleState::Recovered,
            (false, None) => ModuleState::Here,
            (false, Some(_)) => ModuleState::Missing,
        };
        let search = &self.search;
        let gateways = self.gateways.into_iter().enumerate().map(|(number, asked)| GatewayReport {
            gateway: asked.gateway.name().to_owned(),
            slots: asked.slots,
            requests: asked.gateway.requests,
            bytes: asked.gateway.bytes,
            faults: asked.faults,
            faults_count: asked.faults_count,
            given_up: search.has_given_up(number),
        });
        Ok(RecoverReport {
            process: self.process,
            slots,
            new_slots: slots.saturating_sub(self.apply.had),
            hash_chain: link.map_or(Hash::ZERO, |link| link.hash_chain),
            module,
            attestations: self.apply.attestations,
            bundles: self.bundles,
            bundles_proven: self.bundles_proven,
            least_confirmations: self.least_confirmations,
            gateways: gateways.collect(),
            missing,
            ends_here,
            unproven: self.unproven,
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}
