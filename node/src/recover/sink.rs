//! Where slots go that verify: into the node, or into a store that is gone afterwards.

use weft_protocol::Id;
use weft_protocol::record::Link;

use crate::portable::{Apply, Part, PortableError};

/// Takes what verifies.
pub(crate) trait Sink: Send {
    /// Takes parts, in their order.
    ///
    /// # Errors
    /// Why they are not taken.
    fn parts(&mut self, parts: Vec<Part>) -> impl Future<Output = Result<(), PortableError>> + Send;

    /// Waits until all slots up to this one are on disk.
    ///
    /// # Errors
    /// Why they are not.
    fn settle(&mut self, link: Option<Link>) -> impl Future<Output = Result<(), PortableError>> + Send;

    /// Whether it has an item already.
    ///
    /// # Errors
    /// The disk.
    fn has(&self, item: &Id) -> Result<bool, PortableError>;

    /// What it had and what came.
    fn tally(&self) -> Tally;
}

/// What a sink had and what came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    /// Slots that were there before.
    pub(crate) had: u64,
    /// Attestations that were new.
    pub(crate) attestations: u64,
    /// The module came.
    pub(crate) module: bool,
}

impl Sink for Apply<'_> {
    async fn parts(&mut self, parts: Vec<Part>) -> Result<(), PortableError> {
        for part in parts {
            self.part(part).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, link: Option<Link>) -> Result<(), PortableError> {
        Apply::settle(self, link).await
    }

    fn has(&self, item: &Id) -> Result<bool, PortableError> {
        Ok(self.shared.store.read()?.item(item)?.is_some())
    }

    fn tally(&self) -> Tally {
        Tally { had: self.had, attestations: self.attestations, module: self.module }
    }
}
