//! Disk: the store of a directory, as far as import and export need one.
//!
//! Duty: open it, write changes, show records, say what was found that is not as it should be. Must not: know what records mean.
//! Neighbours: `runtime::store` is the store; `import` and `export` use this.

use std::fs::OpenOptions;
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::limits::Limits;
use crate::moving::{Chunks, Tally};
use crate::runtime::store::{Engine, Findings, Terms};
use crate::runtime::{Failure, wall_millis};
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

    /// Writes all that it has into a new file, for Mosquitto; how much there was.
    ///
    /// # Errors
    /// The file is there, or the system does not let us.
    pub(super) fn copy(&self, file: &Path) -> Result<Tally, Failure> {
        let copy = || {
            let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            let mut chunks = Chunks::new(BufWriter::new(out), wall_millis())?;
            let snapshot = self.engine.snapshot().ok_or_else(|| io::Error::other("the store is not open"))?;
            snapshot.show(&mut |space, key, value, last| chunks.take(space, key, value, last))?;
            let (out, tally) = chunks.finish();
            out.into_inner()?.sync_all()?;
            Ok(tally)
        };
        copy().map_err(|error: io::Error| Failure::usage(format!("{}: {error}", file.display())))
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
