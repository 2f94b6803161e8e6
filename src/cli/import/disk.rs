//! Disk: the store of a directory, as far as import and export need one.
//!
//! Duty: open it, write changes, show records, say what was found that is not as it should be. Must not: know what records mean.
//! Neighbours: `runtime::store` is the store; `import` and `export` use this.

use std::path::{Path, PathBuf};

use crate::limits::Limits;
use crate::runtime::Failure;
use crate::runtime::store::{Engine, Findings, Terms};
use crate::store::{Changes, Space};

/// An open store; no broker can have it meanwhile.
#[derive(Debug)]
pub(super) struct Disk {
    engine: Engine,
    directory: PathBuf,
}

impl Disk {
    /// Opens it; makes it if it is not there.
    ///
    /// # Errors
    /// The system does not let us, or a broker has it.
    pub(super) fn open(directory: &Path) -> Result<Self, Failure> {
        let terms = Terms { free_bytes_min: Limits::default().store_free_bytes_min };
        let (engine, findings) = Engine::open(directory, terms).map_err(|fault| Failure::usage(fault.to_string()))?;
        tell(&findings);
        Ok(Self { engine, directory: directory.to_owned() })
    }

    /// Writes changes, all of them or none, so that they are safe.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn commit(&mut self, changes: &Changes) -> Result<(), Failure> {
        let shown = self.directory.display();
        self.engine.commit(changes, true).map_err(|error| Failure::usage(format!("{shown} cannot be written: {error}")))
    }

    /// Shows all records of a kind in the order of their keys.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn scan(&mut self, space: Space, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Failure> {
        let findings = self.engine.scan(space, each).map_err(|fault| Failure::usage(fault.to_string()))?;
        tell(&findings);
        Ok(())
    }
}

fn tell(findings: &Findings) {
    findings.lines().iter().for_each(|line| eprintln!("ringmq: {line}"));
}
