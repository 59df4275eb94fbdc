//! Every table of the store. A change of layout is a new version suffix and a migration.

use redb::TableDefinition;

/// The row that says whose file it is: in the store and in the weave alike.
pub(crate) const META: &str = "meta/1";

/// The type of all tables: keys from [`key`](crate::key), values from [`record`](crate::record).
pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Names the tables of a file.
macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A table of the file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Table {
            $($(#[$doc])* $variant,)*
        }

        impl Table {
            /// All tables; opening a new file creates them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the file.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The definition that redb opens.
            pub(crate) const fn definition(self) -> $crate::tables::Definition {
                redb::TableDefinition::new(self.name())
            }
        }
    };
}

pub(crate) use tables;

tables! {
    /// name -> bytes.
    Settings = "settings/1",
    /// process -> ProcessRow.
    Processes = "processes/1",
    /// item id -> raw item.
    Items = "items/1",
    /// spawn push id -> the child that this node gave slot 0.
    Children = "children/1",
    /// process, slot -> SlotRow.
    Slots = "slots/1",
    /// process, item id -> first slot, where the seen list does not say it.
    ItemSlots = "item-slots/1",
    /// process, key -> position and place in the list.
    Seen = "seen/1",
    /// process, place -> key and position.
    SeenList = "seen-list/1",
    /// process -> length of its seen list and the last position in it.
    SeenCounts = "seen-counts/1",
    /// process, position -> OutcomeRow.
    Outcomes = "outcomes/1",
    /// process, item id -> first position.
    ItemOutcomes = "item-outcomes/1",
    /// process, position -> CarriedRow.
    Carried = "carried/1",
    /// process, position, index -> OutboxRow.
    Outbox = "outbox/1",
    /// process, position, index -> next try, of rows that are pending.
    OutboxPending = "outbox-pending/1",
    /// process, position, attestor -> AttestationRow.
    Attestations = "attestations/1",
    /// process, position, attestor -> nothing, of attestations that are in no confirmed batch of this node's logs.
    AttestationsUnanchored = "attestations-unanchored/1",
    /// process, name -> EvidenceRow.
    Evidence = "evidence/1",
    /// process, name -> nothing, of evidence that is to be in a batch and is in no confirmed one.
    EvidenceUnanchored = "evidence-unanchored/1",
    /// process, position -> CheckpointRow.
    Checkpoints = "checkpoints/2",
    /// Hash of the page in the state tree -> zstd of the page.
    Pages = "pages/2",
    /// Hash of the page in the state tree -> how many checkpoints name it.
    PageRefs = "page-refs/1",
    /// BLAKE3 of the bytes -> bytes.
    Blobs = "blobs/1",
    /// data root -> BatchRow.
    Batches = "batches/1",
    /// data root -> nothing, of batches that are not confirmed.
    BatchesOpen = "batches-open/1",
    /// data root, BLAKE3 of the weave's name -> PostingRow.
    Postings = "postings/1",
    /// data root, BLAKE3 of the weave's name -> nothing, of postings that are not final.
    PostingsOpen = "postings-open/1",
    /// data root of a batch, BLAKE3 of the weave's name -> data root of the posting that it is in.
    Posted = "posted/1",
    /// process, weave name -> AnchoredRow.
    Anchored = "anchored/1",
    /// process -> CautionRow.
    Cautions = "cautions/1",
    /// process, position, index -> EarnedRow, of pushes that this node carried for pay.
    Earned = "earned/1",
    /// source, window, number -> ClaimRow, of claims of this node.
    Claims = "claims/1",
}
