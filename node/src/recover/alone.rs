//! One item from one gateway, which proves itself.

use bytes::Bytes;
use weft_protocol::{DataItem, Id, Verified};

use super::ask::{self, Question};
use super::gateway::{Gateway, GatewayError};

/// Why there is no such item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AloneError {
    /// The gateway gave nothing.
    #[error("{gateway}: {error}")]
    Gateway {
        /// Its address.
        gateway: String,
        /// Why.
        error: GatewayError,
    },
    /// It does not list it.
    #[error("{0} lists no item of that id")]
    Unlisted(String),
    /// What it gives is not what somebody signed under that id.
    #[error("what {0} gives is not what was signed under that id; try another gateway")]
    False(String),
}

/// An item with at most so many bytes of data, from what a gateway lists of it and its data. It is verified, and
/// its id is that of its signature: nothing is believed of the gateway.
///
/// # Errors
/// Why there is none.
pub(crate) async fn item_from(
    gateway: &str,
    id: Id,
    bytes_max: usize,
) -> Result<Verified<DataItem>, AloneError> {
    let failed = |error| AloneError::Gateway { gateway: gateway.to_owned(), error };
    let mut asked = Gateway::new(gateway).map_err(failed)?;
    let answer = asked.query(&Question::Item(id).to_json()).await.map_err(failed)?;
    let listed = ask::read(answer).unwrap_or_default().into_iter().find(|listed| listed.id == id);
    let listed = listed.ok_or_else(|| AloneError::Unlisted(gateway.to_owned()))?;
    let data = match listed.data_bytes {
        0 => Bytes::new(),
        _ => asked.small_data(id, bytes_max).await.map_err(failed)?,
    };
    listed.with_data(data).ok_or_else(|| AloneError::False(gateway.to_owned()))
}
