//! Adopting: a store that is not there yet begins with what Mosquitto has left in its file.
//!
//! Duty: read all of it or refuse to start; make the store under another name, so that it is there whole or not at all. Must not: change
//! the file. Neighbours: `start` calls before the store is opened; `moving` reads the file; `twin` remembers it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::clock::wall_millis;
use super::failure::Failure;
use super::journal::Journal;
use super::store::{Engine, Terms, sync_folder};
use super::twin::{Twin, is_mosquittos};
use crate::config::{LogType, MosquittoFile, Store};
use crate::limits::Limits;
use crate::moving::{Kept, Tally, mosquitto};
use crate::store::Changes;
use crate::topic::TopicLimits;

/// What the store is called until it is whole.
const UNFINISHED: &str = ".unfinished";

/// Makes the store of `config` out of Mosquitto's file, if there is one and no store yet.
///
/// # Errors
/// The file cannot be read or says what cannot be, or the store not be made; there is none then.
pub(super) fn adopt(config: &Store, limits: &Limits, journal: &Journal) -> Result<(), Failure> {
    let Some(MosquittoFile { path: file, .. }) = &config.mosquitto else { return Ok(()) };
    if config.directory.exists() || !file.is_file() {
        return Ok(());
    }
    let refuse = |why: String| {
        let text = "move it away to begin without it, or take what can be read by `ringmq import`";
        Failure::usage(format!("{} of Mosquitto is not taken over: {why}; {text}", file.display()))
    };
    if !is_mosquittos(file).map_err(|error| refuse(error.to_string()))? {
        return Ok(());
    }
    let (commits, tally) = read(file, journal).map_err(&refuse)?;
    let mut unfinished = config.directory.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    make(&unfinished, &commits, limits).map_err(&refuse)?;
    let put = || -> io::Result<()> {
        Twin::new(file, &unfinished, 0).remember_theirs()?;
        fs::rename(&unfinished, &config.directory)?;
        let folder = config.directory.parent().filter(|folder| !folder.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new(".")))
    };
    put().map_err(|error| refuse(error.to_string()))?;
    let (file, directory) = (file.display(), config.directory.display());
    journal.tell(LogType::Notice, format!("{file} of Mosquitto is taken over: {tally}, into {directory}"));
    Ok(())
}

fn read(file: &Path, journal: &Journal) -> Result<(Vec<Changes>, Tally), String> {
    let bytes = fs::read(file).map_err(|error| error.to_string())?;
    let contents = mosquitto::read(&bytes, TopicLimits::from(&Limits::default()))
        .map_err(|wrong| format!("at byte {}: {}", wrong.offset, wrong.what))?;
    for note in &contents.notes {
        journal.tell(LogType::Warning, format!("{}: {note}", file.display()));
    }
    let mut kept = Kept::new(wall_millis());
    contents.records.iter().try_for_each(|record| kept.put(record))?;
    Ok(kept.finish())
}

fn make(directory: &Path, commits: &[Changes], limits: &Limits) -> Result<(), String> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("{} cannot be removed: {error}", directory.display()));
        }
        _ => {}
    }
    let terms = Terms { free_bytes_min: limits.store_free_bytes_min };
    let (mut engine, _) = Engine::open(directory, terms).map_err(|fault| fault.to_string())?;
    commits.iter().try_for_each(|changes| engine.commit(changes, true)).map_err(|error| error.to_string())
}
