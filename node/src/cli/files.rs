//! Reading what the user names: files, standard input, base64.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::exit::CliError;

/// Bytes of an item, bundle or transaction that is checked: what fits in memory with ease.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Reads a whole file, or standard input for `-`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CliError> {
    let name = shown(path);
    let fail = |error: std::io::Error| CliError::input(format!("cannot read {name}: {error}"));
    let too_large = || CliError::input(format!("{name} is too large: at most {bytes_max} bytes are read"));
    let mut bytes = Vec::new();
    let one_more = bytes_max.saturating_add(1);
    if path == Path::new("-") {
        std::io::stdin().lock().take(one_more).read_to_end(&mut bytes).map_err(fail)?;
    } else {
        let file = File::open(path).map_err(fail)?;
        // Pipes and devices have no size; what they give is counted as it comes.
        if file.metadata().map_err(fail)?.len() > bytes_max {
            return Err(too_large());
        }
        file.take(one_more).read_to_end(&mut bytes).map_err(fail)?;
    }
    if bytes.len() as u64 > bytes_max {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The data of an item as it is given on the command line: text, `@FILE` or `@-`.
pub(crate) fn data(given: Option<&str>, bytes_max: u64) -> Result<Vec<u8>, CliError> {
    match given {
        None => Ok(Vec::new()),
        Some(text) => match text.strip_prefix('@') {
            Some(path) => read(Path::new(path), bytes_max),
            None => Ok(text.as_bytes().to_vec()),
        },
    }
}

/// A file's name for messages.
pub(crate) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

/// Decodes bytes that are base64 text (of either alphabet, padded or not, with line breaks);
/// others are returned as they are. Nothing that Weft reads raw is such text: items and bundles
/// hold zero bytes, transactions hold braces.
pub(crate) fn raw_or_base64(bytes: Vec<u8>) -> Vec<u8> {
    // Raw bytes are told apart by the first that is no text of this kind, without a copy of them.
    if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_= \t\r\n\x0c".contains(byte)) {
        return bytes;
    }
    let url_safe = bytes.iter().any(|byte| b"-_".contains(byte));
    let alphabet = if url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    GeneralPurpose::new(alphabet, LENIENT).decode(text).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn base64_of_any_kind_is_decoded_and_raw_bytes_are_not() {
        let raw = vec![2, 0, 0xfb, 0xff, 0xfe, 7, 9];
        for text in ["AgD7//4HCQ==", "AgD7__4HCQ==", "AgD7__4HCQ", "AgD7//4H\r\nCQ==\n"] {
            assert_eq!(raw_or_base64(text.into()), raw, "{text}");
        }
        assert_eq!(raw_or_base64(raw.clone()), raw);
        assert_eq!(raw_or_base64(b"{\"format\":2}".to_vec()), b"{\"format\":2}");
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        std::fs::write(&path, [0; 11]).unwrap();
        assert_eq!(read(&path, 11).unwrap().len(), 11);
        assert!(read(&path, 10).unwrap_err().text.contains("big is too large"));
        // Nothing of what has a size is read in vain.
        std::fs::File::create(&path).unwrap().set_len(20 << 30).unwrap();
        assert!(read(&path, FILE_BYTES_MAX).unwrap_err().text.contains("big is too large"));
        assert!(read(folder.path(), 10).is_err());
        assert!(data(Some("@/no/such"), 10).unwrap_err().text.contains("cannot read /no/such"));
        assert_eq!(data(Some("x"), 0).unwrap(), b"x");
    }
}
