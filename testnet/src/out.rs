//! Files that a run writes when it is over, opened before it begins: hours are not to be lost for a typo.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::TestnetError;

/// A file that is written when the run is over. Until then it is what an earlier run left, or empty; one that was
/// not there before goes away if nothing is written.
#[derive(Debug)]
pub(crate) struct Out {
    path: PathBuf,
    file: File,
    is_ours: bool,
}

impl Out {
    /// Opens it.
    ///
    /// # Errors
    /// That it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self, TestnetError> {
        let fresh = File::options().write(true).create_new(true).open(path);
        let is_ours = fresh.is_ok();
        let file = fresh.or_else(|_| File::options().write(true).create(true).truncate(false).open(path));
        let file = file.map_err(|source| failed(path, source))?;
        Ok(Self { path: path.into(), file, is_ours })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(mut self, bytes: &[u8]) -> Result<(), TestnetError> {
        self.is_ours = false;
        // A device or a pipe has no length.
        let is_file = self.file.metadata().is_ok_and(|file| file.is_file());
        let emptied = if is_file { self.file.set_len(0) } else { Ok(()) };
        emptied.and_then(|()| self.file.write_all(bytes)).map_err(|source| failed(&self.path, source))
    }
}

fn failed(path: &Path, source: std::io::Error) -> TestnetError {
    TestnetError::File { path: path.into(), source }
}

impl Drop for Out {
    fn drop(&mut self) {
        if self.is_ours {
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
    fn a_file_holds_what_this_run_wrote_or_what_it_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "an earlier run").unwrap();
        drop(Out::open(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"an earlier run");
        Out::open(&path).unwrap().write(b"this").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"this");
        let fresh = dir.path().join("b.json");
        drop(Out::open(&fresh).unwrap());
        assert!(!fresh.exists());
        Out::open(&fresh).unwrap().write(b"this").unwrap();
        assert_eq!(std::fs::read(&fresh).unwrap(), b"this");
        let null = Path::new("/dev/null");
        drop(Out::open(null).unwrap());
        assert!(null.exists());
        let error = Out::open(&dir.path().join("no/such.json")).unwrap_err();
        assert!(error.is_input() && error.to_string().contains("no/such.json: "), "{error}");
    }
}
