//! Asking one gateway: where it has a thing, and what is there. Where it has no bundle of it, the item is put together from what
//! it lists.

use bytes::Bytes;
use weft_protocol::Id;

use super::super::RecoverError;
use super::super::ask::{Listed, Question};
use super::super::gateway::GatewayError;
use super::super::given::{GivenBundle, Proof};
use super::super::machine::{Input, Instead, Source, Want};
use super::super::reading::Has;
use super::super::sink::Sink;
use super::Run;
use super::inclusion::{FETCHED_MAX, Fetched};

/// Bundles of which it is noted that they were read: others may be asked for what is in them once more.
const READ_NOTED_MAX: usize = 100_000;

/// By whose word a bundle has a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// That of the gateway that gives it.
    Itself,
    /// Nobody's: it is in the block where the thing is.
    Nobody,
    /// That of the log's scheduler, for which no gateway answers.
    Scheduler,
}

impl<S: Sink> Run<'_, S> {
    /// Asks a gateway where it has a thing.
    pub(super) async fn list(&mut self, gateway: usize, want: Want) -> Result<Input, RecoverError> {
        if self.try_hints(gateway, want).await? {
            return Ok(Input::Had { gateway });
        }
        let process = self.process;
        let question = match (want, self.reading()?.scheduler()) {
            (Want::Item(id), _) => Question::Item(id),
            (Want::Slot(slot), Some(scheduler)) => Question::of_slots(process, scheduler, slot),
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
                    reading.pool.add_item(gateway, &item);
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
        let height = wanted.clone().find_map(|(_, one)| one.height).filter(|_| sources.is_empty());
        sources.extend(wanted.map(|(at, _)| Source::Alone(at)));
        if let Some(height) = height
            && let Some(asked) = self.gateways.get_mut(gateway)
        {
            // Its fields may not be all that was signed: then the bundle is needed.
            let bundles = asked.query(&Question::Bundles { height }).await;
            sources.extend(bundles.into_iter().flatten().map(|bundle| Source::Perhaps(bundle.id)));
        }
        self.listed = listed;
        Ok(Input::Listed { gateway, sources })
    }

    /// Tries one place.
    pub(super) async fn fetch(
        &mut self,
        gateway: usize,
        source: Source,
        want: Want,
    ) -> Result<Input, RecoverError> {
        match source {
            Source::Bundle(id) => self.fetch_bundle(gateway, id, want, Word::Itself).await,
            Source::Perhaps(id) => self.fetch_bundle(gateway, id, want, Word::Nobody).await,
            Source::Alone(at) => self.fetch_alone(gateway, at, want).await,
        }
    }

    async fn fetch_bundle(
        &mut self,
        gateway: usize,
        id: Id,
        want: Want,
        by: Word,
    ) -> Result<Input, RecoverError> {
        let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(Input::Failed { gateway }) };
        match asked.bundle(id).await {
            Ok(given) => self.take_bundle(gateway, (id, given), want, by).await,
            Err(error) => Ok(self.failed(gateway, &error)),
        }
    }

    /// Takes a bundle that a gateway gave.
    pub(super) async fn take_bundle(
        &mut self,
        gateway: usize,
        (id, given): (Id, GivenBundle),
        want: Want,
        by: Word,
    ) -> Result<Input, RecoverError> {
        let GivenBundle { bytes, root, proof } = given;
        // What is in a bundle that is not what was signed proves itself without that.
        let is_proven = matches!(proof, Proof::Shown);
        let (size, is_hint) = (bytes.len() as u64, by == Word::Scheduler);
        // A scheduler can name what no transaction is, and what is in it is not the gateway's either.
        let from = (gateway, is_proven || is_hint);
        let (added, has) =
            self.away(move |reading| (reading.add_bundle(from, bytes), reading.has(want))).await?;
        if is_hint && (added.is_err() || has == Has::False) {
            return Ok(Input::Lacked { gateway, instead: Instead::Nothing });
        }
        self.bundles += 1;
        self.bundles_proven += u64::from(is_proven);
        if let Proof::False(why) = proof
            && !is_hint
        {
            self.fault(gateway, why);
        }
        if let Some(root) = root.filter(|_| is_proven && self.fetched.len() < FETCHED_MAX) {
            self.fetched.push(Fetched { id, root, bytes: size, gateway });
        }
        // Of one that is not, others may have what this gateway left out.
        if is_proven && self.read.len() < READ_NOTED_MAX {
            self.read.insert(id);
        }
        let instead = if is_proven { Instead::Junk } else { Instead::Lie };
        let why = match (added, has) {
            (Ok(()), Has::Yes) => return Ok(Input::Had { gateway }),
            (Ok(()), Has::No) if by != Word::Itself => {
                return Ok(Input::Lacked { gateway, instead: Instead::Nothing });
            }
            (Err(why), _) => format!("{id} is not a bundle: {why}"),
            (_, Has::False) => format!("something else is in bundle {id} under the name of {want}"),
            (_, Has::No) => {
                self.fault(gateway, format!("{want} is not in bundle {id}, where it is said to be"));
                return Ok(Input::Lacked { gateway, instead: Instead::Lie });
            }
        };
        self.fault(gateway, why);
        Ok(Input::Lacked { gateway, instead })
    }

    async fn fetch_alone(&mut self, gateway: usize, at: usize, want: Want) -> Result<Input, RecoverError> {
        let lacked = Input::Lacked { gateway, instead: Instead::Nothing };
        let Some(listed) = self.listed.get(at).cloned() else { return Ok(lacked) };
        let Some(asked) = self.gateways.get_mut(gateway) else { return Ok(Input::Failed { gateway }) };
        let data = match listed.data_bytes {
            0 => Ok(Bytes::new()),
            _ => asked.holder.data(listed.id).await,
        };
        let data = match data {
            Ok(data) => data,
            Err(error) => return Ok(self.failed(gateway, &error)),
        };
        let id = listed.id;
        let has = self
            .away(move |reading| {
                let item = listed.with_data(data)?;
                reading.pool.add_item(gateway, &item);
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
            GatewayError::TooLarge { told: false, .. } => Input::Lacked { gateway, instead: Instead::Lie },
            GatewayError::TooLarge { .. } => Input::Lacked { gateway, instead: Instead::Nothing },
            error if error.is_unknown() => Input::Lacked { gateway, instead: Instead::Nothing },
            _ => Input::Failed { gateway },
        }
    }
}
