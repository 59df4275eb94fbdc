//! Names of things: 32 bytes, written as 43 characters of unpadded base64url.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::hashing::{Digest, Sha256};

/// A text that is not the base64url form of 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id: expected 43 characters of base64url (32 bytes)")]
pub struct IdError {
    /// What was given, cut at 64 characters.
    pub text: String,
}

macro_rules! name32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = || IdError { text: text.chars().take(64).collect() };
                if text.len() != 43 {
                    return Err(error());
                }
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| error())?;
                Ok(Self(bytes.try_into().map_err(|_| error())?))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                Ok(Self(bytes.try_into().map_err(|_| IdError {
                    text: format!("{} bytes", bytes.len()),
                })?))
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name32! {
    /// The id of a data item (SHA-256 of its signature); a process is named by its Process item's.
    Id
}

name32! {
    /// The address of a key: SHA-256 of the public key bytes as they stand in an item's owner.
    Address
}

name32! {
    /// A 32-byte hash: a chain link, an outcome, a root.
    Hash
}

impl Id {
    /// The id of an item with this signature.
    pub fn of_signature(signature: &[u8]) -> Self {
        Self(Sha256::digest(signature).into())
    }
}

impl Address {
    /// The address of this public key.
    pub fn of_key(owner: &[u8]) -> Self {
        Self(Sha256::digest(owner).into())
    }
}

impl Hash {
    /// Thirty-two zero bytes: "none" in hashed structures.
    pub const ZERO: Self = Self([0; 32]);
}

/// A network: nodes of different networks share keys and items, never promises.
///
/// The number stands in every hash and signature that could be replayed elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Network(pub u32);

impl Network {
    /// The network of this name: the first four bytes of its domain-separated SHA-256.
    pub fn of_name(name: &str) -> Self {
        let digest = Sha256::new().chain_update(b"weft/net/1").chain_update(name.as_bytes()).finalize();
        Self(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }

    /// Big-endian: the form in every hash.
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// Four characters for topics and protocol names: the first three bytes in base64url.
    pub fn short(self) -> String {
        URL_SAFE_NO_PAD.encode(&self.to_bytes()[..3])
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_name_has_one_number() {
        let network = Network::of_name("weft-test");
        assert_eq!(network.to_string(), "8c86b274");
        assert_eq!(network.short().len(), 4);
        assert_ne!(network, Network::of_name("weft-test2"));
    }
}
