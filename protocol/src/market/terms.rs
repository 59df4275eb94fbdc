//! What a Process item says about the market for its pushes.

use crate::header::Header;
use crate::id::{Id, Network};
use crate::module::{cut, digits};
use crate::offer::OfferTerms;
use crate::process::Refusal;
use crate::tag::{self, Tag};
use crate::verify::Verified;

/// The `Extension` that a process in hard mode names. Builds that know no hard mode refuse it at
/// slot 0 by that name, instead of showing offer sets to the module (RULES.md 6.0). To a process that
/// does not name it the tags of the market say nothing, as they say nothing to those builds.
pub const EXTENSION: &str = "Push-Market";

const MARKET: &str = "Push-Market";
const LEDGER: &str = "Push-Ledger";
const PRICE_MAX: &str = "Push-Price-Max";
const KIB_MAX: &str = "Push-Price-Kib-Max";

/// The market tags of a process in hard mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PushTerms {
    /// The ledger process that holds escrow, bonds and claims.
    pub ledger: Id,
    /// The most that an offer may ask for a push, in the ledger's smallest unit.
    pub price_max: u64,
    /// The most that an offer may ask for a started KiB of data.
    pub kib_max: u64,
}

impl PushTerms {
    /// Reads the tags of a Process item; none in soft mode, which is that of every process that does not name
    /// [`EXTENSION`].
    ///
    /// # Errors
    /// The tag that is missing or cannot be obeyed, by name.
    pub fn of_tags(tags: &[Tag]) -> Result<Option<Self>, Refusal> {
        if !tag::all(tags, "Extension").any(|extension| extension == EXTENSION) {
            return Ok(None);
        }
        match tag::first(tags, MARKET) {
            None | Some("soft") => return Ok(None),
            Some("hard") => {}
            Some(other) => return Err(Refusal::PushMarket(cut(other))),
        }
        let ledger = tag::first(tags, LEDGER).ok_or(Refusal::Missing(LEDGER))?;
        let ledger = ledger.parse().map_err(|_| Refusal::NotAnId(LEDGER, cut(ledger)))?;
        Ok(Some(Self { ledger, price_max: limit(tags, PRICE_MAX)?, kib_max: limit(tags, KIB_MAX)? }))
    }

    /// The tags that say this, for a Process item.
    pub fn tags(&self) -> Vec<Tag> {
        vec![
            Tag::new(MARKET, "hard"),
            Tag::new("Extension", EXTENSION),
            Tag::new(LEDGER, self.ledger.to_string()),
            Tag::new(PRICE_MAX, self.price_max.to_string()),
            Tag::new(KIB_MAX, self.kib_max.to_string()),
        ]
    }

    /// Whether an offer asks for no more than the process pays.
    pub const fn affords(&self, offer: &OfferTerms) -> bool {
        offer.price_per_push <= self.price_max && offer.price_per_kib <= self.kib_max
    }
}

fn limit(tags: &[Tag], name: &'static str) -> Result<u64, Refusal> {
    let Some(text) = tag::first(tags, name) else { return Ok(0) };
    digits(text).ok_or_else(|| Refusal::PushPrice(name, cut(text)))
}

/// The market of one process in hard mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Market {
    /// The network.
    pub network: Network,
    /// The process.
    pub process: Id,
    /// Its tags.
    pub terms: PushTerms,
}

impl Market {
    /// The market of a process by the header of its Process item; none in soft mode.
    ///
    /// # Errors
    /// As [`PushTerms::of_tags`].
    pub fn of_header(header: &Verified<Header>, network: Network) -> Result<Option<Self>, Refusal> {
        let terms = PushTerms::of_tags(header.tags())?;
        Ok(terms.map(|terms| Self { network, process: header.id(), terms }))
    }
}
