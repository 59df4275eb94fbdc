//! Arweave wallets: RSA keys as JSON Web Keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::rsa::{EXPONENT, MODULUS_BYTES, PrivateKey, is_modulus};

/// Why a text is not a wallet that can sign. No variant repeats what the text holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// Not JSON, or a field that is not a string.
    #[error("not a JSON Web Key: malformed at line {line}, column {column}")]
    Malformed {
        /// The line where reading stopped.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// Another kind of key.
    #[error("not an RSA key: `kty` must be `RSA`")]
    Kind,
    /// A field that a signing key needs; without `d`, `p` and `q` it is a public key.
    #[error("the key has no `{0}`")]
    Missing(&'static str),
    /// A field that is not unpadded base64url.
    #[error("the field `{0}` of the key is not base64url")]
    Encoding(&'static str),
    /// A modulus of another size than Arweave's.
    #[error("a modulus of {0} bits; Arweave wallets have 4096")]
    Size(usize),
    /// A public exponent that items cannot express.
    #[error("the public exponent `e` is not 65537 (`AQAB`)")]
    Exponent,
    /// Numbers that do not belong together.
    #[error("the numbers of the key do not belong together")]
    Inconsistent,
}

#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<String>,
    p: Option<String>,
    q: Option<String>,
}

/// Reads an RSA wallet. Fields that follow from the others (`dp`, `dq`, `qi`) are not read.
pub(super) fn parse(text: &str) -> Result<PrivateKey, JwkError> {
    // The library's own text would repeat the value that it did not expect.
    let malformed =
        |error: serde_json::Error| JwkError::Malformed { line: error.line(), column: error.column() };
    let jwk: Jwk = serde_json::from_str(text).map_err(malformed)?;
    if jwk.kty.as_deref() != Some("RSA") {
        return Err(JwkError::Kind);
    }
    let n = number("n", jwk.n)?;
    let e = number("e", jwk.e)?;
    let d = number("d", jwk.d)?;
    let p = number("p", jwk.p)?;
    let q = number("q", jwk.q)?;
    let size = bits(&n);
    let modulus: [u8; MODULUS_BYTES] = n.try_into().map_err(|_| JwkError::Size(size))?;
    if size != 8 * MODULUS_BYTES {
        return Err(JwkError::Size(size));
    }
    if !is_modulus(&modulus) {
        return Err(JwkError::Inconsistent);
    }
    if e != EXPONENT.to_be_bytes()[1..] {
        return Err(JwkError::Exponent);
    }
    PrivateKey::from_parts(&modulus, &d, &p, &q).ok_or(JwkError::Inconsistent)
}

/// The big-endian bytes of a field, without leading zeros.
fn number(name: &'static str, text: Option<String>) -> Result<Vec<u8>, JwkError> {
    let text = text.ok_or(JwkError::Missing(name))?;
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| JwkError::Encoding(name))?;
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    Ok(bytes[zeros..].to_vec())
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| 8 * number.len() - first.leading_zeros() as usize)
}
