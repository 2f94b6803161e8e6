//! Import: `ringmq import` and `ringmq export`, which carry sessions and messages from one broker to another.
//!
//! Duty: their command lines, which file is what, reading all of it before anything is written. Must not: know a format. Neighbours:
//! `moving` knows them, `disk` has the store.

mod disk;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Parser;

use self::disk::Disk;
use super::load_again;
use crate::config::{Arguments, File as ConfigFile, Store};
use crate::id::Millis;
use crate::limits::Limits;
use crate::moving::{Kept, Record, mosquitto, records};
use crate::runtime::{Failure, allowed_cpus, wall_millis};
use crate::store::record::Wall;
use crate::store::{Reading, Space};
use crate::topic::TopicLimits;

/// Put sessions, subscriptions, waiting and retained messages into a store that has none yet, while no broker uses it
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq import", disable_version_flag = true)]
pub struct Import {
    /// A mosquitto.db (of Mosquitto 1.2 to 2.0), or JSON lines as `ringmq export` prints them; - for standard input
    file: PathBuf,

    /// Print the records as JSON lines, and write nothing
    #[arg(long, conflicts_with_all = ["store", "config_file", "config"])]
    print: bool,

    #[command(flatten)]
    whose: Whose,
}

/// Print all that a store has as JSON lines, one record each, while no broker uses it
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq export", disable_version_flag = true)]
pub struct Export {
    /// Write a new file that Mosquitto 2.0 starts with instead; `persistence_file` names it there
    #[arg(long, value_name = "FILE")]
    mosquitto: Option<PathBuf>,

    #[command(flatten)]
    whose: Whose,
}

/// Which store.
#[derive(Clone, Debug, clap::Args)]
struct Whose {
    /// The directory of the store
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// The store that this configuration file of Mosquitto's format names
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["store", "config"])]
    config_file: Option<PathBuf>,

    /// The store that this configuration file of ringmq's own names
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    config: Option<PathBuf>,
}

impl Whose {
    fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.store {
            return Ok(directory.clone());
        }
        let file = self.config_file.clone().map(ConfigFile::Mosquitto);
        let Some(file) = file.or_else(|| self.config.clone().map(ConfigFile::Toml)) else {
            return Err(Failure::usage(
                "which store? --store DIR names it, or -c FILE or --config FILE the broker's file",
            ));
        };
        let arguments = Arguments { file: Some(file), allowed_cpus: allowed_cpus(), ..Arguments::default() };
        let store = load_again(&arguments)?.store;
        store
            .map(|store| store.directory)
            .ok_or_else(|| Failure::usage("the configuration has no store; --store DIR names one"))
    }
}

/// Does what `ringmq import` is told.
///
/// # Errors
/// A file that cannot be read or says what cannot be, a store that cannot be written or has something already.
pub fn import(order: &Import) -> Result<(), Failure> {
    let directory = if order.print { None } else { Some(order.whose.directory()?) };
    let mut told = io::stderr();
    let mut say = |note: &str| drop(writeln!(told, "ringmq: {note}"));
    let Some(directory) = directory else {
        let mut out = io::stdout().lock();
        return read(&order.file, &mut say, &mut |record| {
            let line = record.to_line().map_err(|error| error.to_string())?;
            writeln!(out, "{line}").map_err(|error| format!("standard output: {error}"))
        });
    };
    let mut kept = Kept::new(wall_millis());
    read(&order.file, &mut say, &mut |record| kept.put(record))?;
    let (commits, tally) = kept.finish();
    let place = Store { directory: directory.clone(), durability: Vec::new(), mosquitto: None };
    if let Some(mistake) = place.mistake() {
        return Err(Failure { exit_code: mistake.exit_code, text: mistake.to_string() });
    }
    let mut disk = Disk::open(&directory)?;
    let shown = directory.display();
    if has_any(&mut disk)? {
        return Err(Failure::usage(format!("{shown} has sessions or messages already; import into a new directory")));
    }
    commits.iter().try_for_each(|changes| disk.commit(changes)).map_err(|failure| Failure {
        text: format!("{}; {shown} is not complete: remove it, and import again", failure.text),
        ..failure
    })?;
    say(&format!("{}, into {shown}", tally));
    Ok(())
}

/// Does what `ringmq export` is told.
///
/// # Errors
/// A store that is not there, or cannot be read.
pub fn export(order: &Export) -> Result<(), Failure> {
    let directory = order.whose.directory()?;
    if !directory.is_dir() {
        return Err(Failure::usage(format!("{}: there is no store", directory.display())));
    }
    let mut disk = Disk::open(&directory)?;
    if let Some(file) = &order.mosquitto {
        let tally = disk.copy(file)?;
        eprintln!("ringmq: {tally}, into {}", file.display());
        return Ok(());
    }
    let wall = Wall(wall_millis());
    let mut reading = Reading::new((Millis(0), wall), Box::new(|payload| payload));
    for space in Reading::ORDER {
        disk.scan(space, &mut |key, value| reading.take(space, key, value))?;
    }
    let held = reading.finish();
    let damaged: usize = held.damaged.values().sum();
    if damaged > 0 {
        eprintln!("ringmq: {damaged} damaged records are left out");
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    for record in records(&held, wall) {
        let line = record.to_line().map_err(|error| Failure::internal(error.to_string()))?;
        writeln!(out, "{line}").map_err(|error| of_output(&error))?;
    }
    out.flush().map_err(|error| of_output(&error))
}

fn of_output(error: &io::Error) -> Failure {
    Failure::usage(format!("standard output: {error}"))
}

/// Gives each record of a file, whichever of the two kinds it is. `say`: what cannot be taken along.
fn read(
    path: &Path,
    say: &mut dyn FnMut(&str),
    take: &mut dyn FnMut(&Record) -> Result<(), String>,
) -> Result<(), Failure> {
    let shown = path.display();
    let unreadable = |error: io::Error| Failure::usage(format!("{shown}: cannot be read: {error}"));
    let mut input: Box<dyn BufRead> = match path.to_str() {
        Some("-") => Box::new(BufReader::new(io::stdin())),
        _ => Box::new(BufReader::new(File::open(path).map_err(unreadable)?)),
    };
    let mut begin = Vec::new();
    input.by_ref().take(mosquitto::KIND_BYTES as u64).read_to_end(&mut begin).map_err(unreadable)?;
    if mosquitto::is_one(&begin) {
        let mut bytes = begin;
        input.read_to_end(&mut bytes).map_err(unreadable)?;
        let limits = TopicLimits::from(&Limits::default());
        let contents = mosquitto::read(&bytes, limits)
            .map_err(|wrong| Failure::usage(format!("{shown}: at byte {}: {}", wrong.offset, wrong.what)))?;
        contents.notes.iter().for_each(|note| say(&format!("{shown}: {note}")));
        return contents
            .records
            .iter()
            .try_for_each(|record| take(record).map_err(|wrong| Failure::usage(format!("{shown}: {wrong}"))));
    }
    let lines = io::Cursor::new(begin).chain(input).lines();
    for (index, line) in lines.enumerate() {
        let wrong = |what: String| Failure::usage(format!("{shown}:{}: {what}", index + 1));
        let line = line.map_err(|error| wrong(format!("{error}; it is neither Mosquitto's file nor JSON lines")))?;
        if !line.trim().is_empty() {
            take(&Record::of_line(&line).map_err(wrong)?).map_err(wrong)?;
        }
    }
    Ok(())
}

fn has_any(disk: &mut Disk) -> Result<bool, Failure> {
    let mut has_any = false;
    for space in [Space::Session, Space::Retained] {
        disk.scan(space, &mut |_, _| has_any = true)?;
    }
    Ok(has_any)
}
