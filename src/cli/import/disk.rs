//! Disk: the store of a directory, as far as import and export need one.
//!
//! Duty: open it, write changes, show records. Must not: know what they mean. Neighbours: `runtime` has the store; `import` and `export`
//! use this.

use std::path::Path;

use crate::runtime::Failure;
use crate::store::{Changes, Space};

/// An open store. There is none yet: the broker keeps nothing on disk.
#[derive(Debug)]
pub(super) enum Disk {}

impl Disk {
    /// Opens it; makes it if it is not there.
    ///
    /// # Errors
    /// The system does not let us, or a broker has it.
    pub(super) fn open(directory: &Path) -> Result<Self, Failure> {
        let directory = directory.display();
        Err(Failure::usage(format!(
            "{directory}: this version keeps nothing on disk; `import --print` shows what a file holds"
        )))
    }

    /// Writes changes, all of them or none, so that they are safe.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn commit(&mut self, _changes: &Changes) -> Result<(), Failure> {
        match *self {}
    }

    /// Shows all records of a kind in the order of their keys.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn scan(&mut self, _space: Space, _each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Failure> {
        match *self {}
    }
}
