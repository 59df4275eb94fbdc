//! Files that a run writes when it is over, opened before it begins: hours are not to be lost for a typo.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::TestnetError;

/// A file that is empty until the run is over. One that is not written by then goes away: what an earlier run
/// wrote there is not of this one.
#[derive(Debug)]
pub(crate) struct Out {
    path: PathBuf,
    file: File,
    written: bool,
}

impl Out {
    /// Opens it.
    ///
    /// # Errors
    /// That it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self, TestnetError> {
        let file = File::create(path).map_err(|source| failed(path, source))?;
        Ok(Self { path: path.into(), file, written: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(mut self, bytes: &[u8]) -> Result<(), TestnetError> {
        self.file.write_all(bytes).map_err(|source| failed(&self.path, source))?;
        self.written = true;
        Ok(())
    }
}

fn failed(path: &Path, source: std::io::Error) -> TestnetError {
    TestnetError::File { path: path.into(), source }
}

impl Drop for Out {
    fn drop(&mut self) {
        // A device or a pipe is not ours to remove.
        if !self.written && self.file.metadata().is_ok_and(|file| file.is_file()) {
            // Somebody may have been faster.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_holds_what_this_run_wrote_or_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "an earlier run").unwrap();
        Out::open(&path).unwrap().write(b"this").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"this");
        drop(Out::open(&path).unwrap());
        assert!(!path.exists());
        let null = Path::new("/dev/null");
        drop(Out::open(null).unwrap());
        assert!(null.exists());
        let error = Out::open(&dir.path().join("no/such.json")).unwrap_err();
        assert!(error.is_input() && error.to_string().contains("no/such.json: "), "{error}");
    }
}
