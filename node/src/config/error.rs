//! Why there is no configuration.

use std::path::PathBuf;

use super::{DATA_DIR_ENV, Source, source};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No folder is named and the environment gives no place for one.
    #[error(
        "there is no data folder: neither --data-dir nor {DATA_DIR_ENV} is given, and neither XDG_DATA_HOME nor \
         HOME says where to put one; give --data-dir FOLDER"
    )]
    NoDataDir,
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("{} has {bytes} bytes; a configuration has at most {}", path.display(), source::FILE_BYTES_MAX)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {reason}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong there.
        reason: String,
    },
    /// A key that nobody reads.
    #[error("{from}: unknown key `{key}`{}", nearest.as_ref().map_or_else(
        || "; `weft config show` lists the keys".to_owned(),
        |nearest| format!("; did you mean `{nearest}`?"),
    ))]
    UnknownKey {
        /// Where it stands.
        from: Source,
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// The data folder cannot be moved by the file that lies in it.
    #[error(
        "{from}: `data_dir` cannot be set in this file, which is found through it; use --data-dir or {DATA_DIR_ENV}"
    )]
    DataDirInFile {
        /// The file.
        from: Source,
    },
    /// Keys that are right each, and not together.
    #[error("`{key}` is {value}, and {why}")]
    Together {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is missing, or in its way.
        why: String,
    },
    /// A value that breaks its key's rule.
    #[error("{from}: `{key}` is {value}; expected {expected}")]
    BadValue {
        /// Where it stands.
        from: Source,
        /// The key.
        key: &'static str,
        /// The value, cut at 100 characters.
        value: String,
        /// What would be right.
        expected: String,
    },
}
