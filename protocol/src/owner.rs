//! How the signer of an item is written in messages: an address text.

use crate::crypto::SignatureType;
use crate::data_item::DataItem;
use crate::hashing::{Digest, Keccak256};
use crate::id::Address;

/// The owner text of an item as the reference prints it: the EIP-55 form of the Ethereum address
/// for a 65-byte key, else the 43-character address.
pub fn owner_text(item: &DataItem) -> String {
    match item.signature_type() {
        SignatureType::Ethereum => ethereum_text(item.owner_key()),
        _ => Address::of_key(item.owner_key()).to_string(),
    }
}

/// The EIP-55 text of an uncompressed secp256k1 key (65 bytes, the first of which is 4).
fn ethereum_text(key: &[u8]) -> String {
    let hash = Keccak256::digest(key.get(1..).unwrap_or_default());
    let plain = hex::encode(&hash[12..]);
    let check = hex::encode(Keccak256::digest(plain.as_bytes()));
    let mut text = String::from("0x");
    for (letter, digit) in plain.chars().zip(check.chars()) {
        // A letter is upper case where the nibble of the hash of the lower-case text is 8 or more.
        text.push(if digit >= '8' { letter.to_ascii_uppercase() } else { letter });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_checksummed_address_of_a_known_key() {
        // The public key of private key 1, whose address is well known.
        let key = hex::decode(concat!(
            "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
        ));
        let text = key.map(|key| ethereum_text(&key));
        assert_eq!(text.as_deref(), Ok("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"));
    }
}
