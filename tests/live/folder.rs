//! Folder: the files of one test, which are gone after it.
//!
//! Duty: a folder with a name that nobody else has, paths as text for command lines, texts in and out. Must not: know what they mean.
//! Neighbours: nearly every test has one; `dashboard` includes it by path.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// A folder of one test, removed when dropped.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        // Others may look into it: one of the brokers runs as nobody.
        let mut builder = tempfile::Builder::new();
        Self(builder.prefix("ringmq-").permissions(Permissions::from_mode(0o755)).tempdir().unwrap())
    }

    /// One with these files: names, which may have folders before them, and texts.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        for (name, text) in files {
            fs::create_dir_all(folder.root().join(name).parent().unwrap()).unwrap();
            folder.write(name, text);
        }
        folder
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Where a file of this name is, or would be.
    pub(crate) fn path(&self, name: &str) -> String {
        self.root().join(name).into_os_string().into_string().unwrap()
    }

    /// Whether there is a file or a folder of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        fs::exists(self.path(name)).unwrap()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}
