//! Modules: adding one, and which there are.

use std::collections::BTreeSet;

use bytes::Bytes;
use weft_protocol::module::Module;
use weft_protocol::{DataItem, Id};
use weft_storage::Write;
use weft_vm::{Format, ModuleError};

use super::super::api::{Failure, FailureCode, ModuleInfo};
use super::duties::not_hosted;
use super::turns::blocking;
use super::{Answers, decode, disk, fail};
use crate::builtin;
use crate::hosting::HostingError;

/// What names the modules that were added by hand.
const MODULE_SETTING: &str = "module/";

impl Answers {
    pub(super) async fn put_module(&self, item: &str) -> Result<ModuleInfo, Failure> {
        let raw = decode(item)?;
        if !self.shared.store.has_room(raw.len()) {
            return Err(not_hosted(&HostingError::NoRoom));
        }
        let verified = tokio::task::spawn_blocking(move || DataItem::verify_bytes(raw)).await;
        let verified = verified.map_err(|error| fail(FailureCode::Fault, error.to_string()))?;
        let item = verified.map_err(|error| fail(FailureCode::Invalid, format!("the item: {error}")))?;
        let (id, raw, data) = (item.id(), item.raw().clone(), item.data());
        let module = Module::accept(item);
        let module = module.map_err(|error| fail(FailureCode::Invalid, format!("the module: {error}")))?;
        let format = Format::parse(module.format());
        let format = format.map_err(|error| fail(FailureCode::Invalid, error.to_string()))?;
        let engine = self.shared.modules.engine().clone();
        let compiled = tokio::task::spawn_blocking(move || engine.compile(&data, format).map(drop)).await;
        let compiled = compiled.map_err(|error| fail(FailureCode::Fault, error.to_string()))?;
        compiled.map_err(|error| match error {
            ModuleError::Host(fault) => fail(FailureCode::Fault, fault.to_string()),
            refused => fail(FailureCode::Invalid, format!("the module is refused: {refused}")),
        })?;
        let setting = Write::Setting { name: module_setting(&id), value: Bytes::new() };
        self.shared.store.write(vec![Write::Item { id, raw }, setting]).await.map_err(disk)?;
        if let Err(error) = self.shared.net.provide(weft_net::Key::Process(id)).await {
            tracing::debug!(module = %id, %error, "it is not announced that this node has the module");
        }
        Ok(module_info(&module))
    }

    pub(super) async fn modules(&self) -> Result<Vec<ModuleInfo>, Failure> {
        // Each is read and verified, and may have tens of megabytes.
        let answers = self.clone();
        blocking(move || answers.all_modules()).await
    }

    fn all_modules(&self) -> Result<Vec<ModuleInfo>, Failure> {
        let reader = self.read()?;
        let mut modules = Vec::new();
        for id in self.module_ids()? {
            let Some(raw) = reader.item(&id).map_err(disk)? else { continue };
            let item = DataItem::verify_bytes(raw);
            modules.extend(item.ok().and_then(|item| Module::accept(item).ok()).map(|m| module_info(&m)));
        }
        // What was added comes first.
        let place = |name: &String| builtin::named().position(|(known, _)| known == name);
        modules.sort_by_key(|module| module.name.as_ref().map(place));
        Ok(modules)
    }

    /// The modules that this node knows: those of its processes, those that were added, and its own.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn module_ids(&self) -> Result<BTreeSet<Id>, Failure> {
        let mut ids = self.shared.directory.modules();
        ids.extend(builtin::named().map(|(_, id)| id));
        for name in self.read()?.setting_names(MODULE_SETTING).map_err(disk)? {
            ids.extend(name.strip_prefix(MODULE_SETTING).and_then(|id| id.parse::<Id>().ok()));
        }
        Ok(ids)
    }
}

fn module_setting(id: &Id) -> String {
    format!("{MODULE_SETTING}{id}")
}

fn module_info(module: &Module) -> ModuleInfo {
    ModuleInfo {
        module: module.id(),
        name: builtin::name_of(&module.id()).map(str::to_owned),
        format: module.format().to_owned(),
        bytes: module.wasm().len(),
        owner: module.owner().to_owned(),
    }
}
