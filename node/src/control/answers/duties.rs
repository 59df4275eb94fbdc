//! What this node does for a process: beginning, ending and changing it.

use weft_protocol::Id;
use weft_storage::Roles;

use super::super::api::{Evaluate, Failure, FailureCode, ProcessInfo};
use super::{Answers, fail};
use crate::carrying;
use crate::directory::Known;
use crate::gateway::{Wish, outlast};
use crate::hosting::{self, HostingError};
use crate::subscriptions::Wanted;

impl Answers {
    pub(super) async fn host(
        &self,
        process: Id,
        compute: bool,
        messenger: bool,
        evaluate: Option<Evaluate>,
    ) -> Result<ProcessInfo, Failure> {
        let computes = compute || messenger;
        if computes && self.compute.is_none() {
            return Err(fail(FailureCode::Refused, "this node has no compute role; add it to `roles`"));
        }
        let known = self.shared.directory.get(&process).filter(|known| known.roles.computes);
        let on_demand = match (evaluate, known) {
            (Some(evaluate), _) => evaluate == Evaluate::Lazy,
            (None, Some(known)) => known.roles.on_demand,
            (None, None) => self.shared.config.evaluate == Evaluate::Lazy,
        };
        let wanted = Roles { computes, messenges: messenger, watches: true, on_demand, ..Roles::default() };
        let hosted = hosting::host(&self.shared, process, wanted).await;
        hosted.map_err(|error| not_hosted(&error))?;
        self.ordered(process, Wanted { carries: messenger.then_some(true), keeps_time: None }).await?;
        outlast(&self.shared, &process, Wish::Follow).await?;
        self.info(&self.read()?, &self.known(&process)?)
    }

    pub(super) async fn unhost(&self, process: Id) -> Result<ProcessInfo, Failure> {
        let known = self.known(&process)?;
        let left = Known { roles: Roles::default(), ..known.clone() };
        // Judged by what it does when its turn comes: it may be pinned meanwhile.
        let roles = |has: Roles| {
            let refused = |text: String| Err(fail(FailureCode::Refused, text));
            if has.schedules {
                return refused(format!(
                    "this node schedules process {process}: without it the log would end"
                ));
            }
            if has.pinned {
                return refused(format!("process {process} is pinned; `weft pin {process} --off` first"));
            }
            Ok(Roles::default())
        };
        hosting::change(&self.shared, known, roles).await?;
        carrying::forget(&self.shared, process).await?;
        self.ordered(process, Wanted { carries: Some(false), keeps_time: Some(false) }).await?;
        outlast(&self.shared, &process, Wish::Own).await?;
        self.info(&self.read()?, &left)
    }

    pub(super) async fn cron(&self, process: Id, on: bool) -> Result<ProcessInfo, Failure> {
        let known = self.known(&process)?;
        if on && known.process.crons().is_empty() {
            let text = format!("process {process} has no Cron-Interval: it has nothing to run");
            return Err(fail(FailureCode::Refused, text));
        }
        let roles = |has| Ok::<_, Failure>(Roles { keeps_time: on, ..has });
        hosting::change(&self.shared, known, roles).await?;
        self.ordered(process, Wanted { carries: None, keeps_time: Some(on) }).await?;
        outlast(&self.shared, &process, Wish::Own).await?;
        self.info(&self.read()?, &self.known(&process)?)
    }

    pub(super) async fn pin(&self, process: Id, on: bool) -> Result<ProcessInfo, Failure> {
        let known = self.known(&process)?;
        let roles = |has| Ok::<_, Failure>(Roles { pinned: on, ..has });
        hosting::change(&self.shared, known, roles).await?;
        self.info(&self.read()?, &self.known(&process)?)
    }
}

/// The names of what is done.
pub(super) fn duties(roles: Roles) -> Vec<String> {
    let all = [
        (roles.schedules, "schedule"),
        (roles.computes && !roles.on_demand, "compute"),
        (roles.computes && roles.on_demand, "compute on demand"),
        (roles.messenges && roles.computes, "messenger"),
        (roles.messenges && !roles.computes, "carry"),
        (roles.watches, "watch"),
        (roles.keeps_time, "cron"),
        (roles.pinned, "pinned"),
    ];
    all.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned()).collect()
}

/// Why a process, or a module, is not taken up.
pub(crate) fn not_hosted(error: &HostingError) -> Failure {
    let code = match error {
        HostingError::NoRoom => FailureCode::Full,
        HostingError::Leaving(_) => FailureCode::Busy,
        HostingError::Store(_) => FailureCode::Fault,
        HostingError::Remote(_) | HostingError::False { .. } | HostingError::Search(_) => {
            FailureCode::Unknown
        }
    };
    fail(code, error.to_string())
}
