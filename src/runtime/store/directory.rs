//! Directory: the folder of a store: who has it, of which format it is, and where damaged things go.
//!
//! Duty: one process at a time, private to its owner, nothing deleted. Must not: know what is in the files of the database.
//! Neighbours: `opening` and `mending` work inside.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_64;

use super::findings::{Findings, SetAside, StoreFault};

/// Version of what is in the folder. Raise it when records or the database change so that an older ringmq cannot read them.
pub(super) const FORMAT: u32 = 1;

const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";

/// Longest format file that is read, bytes.
const FORMAT_BYTES_MAX: u64 = 256;

/// Bytes by which our own format line may differ from what it should be, and is taken as damaged, not as somebody else's.
const FORMAT_DAMAGE_BYTES_MAX: usize = 4;

/// The folder, locked as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The lock of this process is on it.
    _lock: File,
}

impl Directory {
    /// Takes the folder for this process, and makes it if it is not there.
    ///
    /// # Errors
    /// Another process has it, its format is another one, or the system does not let us.
    pub(super) fn take(path: &Path, findings: &mut Findings) -> Result<Self, StoreFault> {
        let path = std::path::absolute(path).map_err(|error| StoreFault::system("use", path, &error))?;
        make_folder(&path).map_err(|error| StoreFault::system("make", &path, &error))?;
        let lock = take_lock(&path)?;
        let directory = Self { path, _lock: lock };
        directory.check_format(findings)?;
        Ok(directory)
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A place in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A name for something damaged that is in the folder, and not yet taken.
    fn free_name(&self, from: &Path) -> PathBuf {
        let secs = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let inside = from.strip_prefix(&self.path).unwrap_or(from).to_string_lossy().replace('/', "-");
        let names = (1_u32..).map(|number| match number {
            1 => format!("damaged-{secs}-{inside}"),
            _ => format!("damaged-{secs}-{inside}-{number}"),
        });
        let mut places = names.map(|name| self.path.join(name));
        places.find(|place| fs::symlink_metadata(place).is_err()).expect("there are more numbers than files")
    }

    /// Gives something another name.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn set_aside(&self, from: &Path, findings: &mut Findings) -> io::Result<()> {
        let to = self.free_name(from);
        fs::rename(from, &to)?;
        findings.set_aside.push(SetAside { from: from.to_owned(), to });
        Ok(())
    }

    /// Keeps a part of a file under another name.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) fn keep_part(&self, from: &Path, part: &[u8], findings: &mut Findings) -> io::Result<()> {
        let to = self.free_name(from);
        write_private(&to, part)?;
        findings.set_aside.push(SetAside { from: from.to_owned(), to });
        Ok(())
    }

    /// Compares the format with ours; writes ours if there is none or it is damaged.
    fn check_format(&self, findings: &mut Findings) -> Result<(), StoreFault> {
        let path = self.join(FORMAT_FILE);
        let wanted = format_line(FORMAT);
        let system = |error: &io::Error| StoreFault::system("read", &path, error);
        match read_at_most(&path, FORMAT_BYTES_MAX) {
            Ok(found) if found == wanted.as_bytes() => return Ok(()),
            Ok(found) if is_damaged(&found, wanted.as_bytes()) => {
                self.set_aside(&path, findings).map_err(|error| system(&error))?;
                findings.recovered.push("the file of its format was damaged and is written anew".into());
            }
            Ok(found) => {
                let found = String::from_utf8_lossy(&found).trim_end().to_owned();
                let wanted = wanted.trim_end().to_owned();
                return Err(StoreFault::Foreign { directory: self.path.clone(), found, wanted });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(system(&error)),
        }
        let write = || {
            write_private(&path, wanted.as_bytes())?;
            sync_folder(&self.path)
        };
        write().map_err(|error| StoreFault::system("write", &path, &error))
    }
}

/// What the format file says: the version, and a checksum by which damage is told from another version.
pub(super) fn format_line(version: u32) -> String {
    let text = format!("ringmq store {version}");
    format!("{text} {:016x}\n", xxh3_64(text.as_bytes()))
}

/// Whether it is our line with a few bytes changed or cut off. A line of another version is whole.
fn is_damaged(found: &[u8], wanted: &[u8]) -> bool {
    let text = std::str::from_utf8(found).unwrap_or_default();
    let version = text.strip_prefix("ringmq store ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    if version.is_some_and(|version| found == format_line(version).as_bytes()) {
        return false;
    }
    let differing = found.iter().zip(wanted).filter(|(one, other)| one != other).count();
    found.len() <= wanted.len() && differing <= FORMAT_DAMAGE_BYTES_MAX
}

fn take_lock(directory: &Path) -> Result<File, StoreFault> {
    let path = directory.join(LOCK_FILE);
    let system = |error: &io::Error| StoreFault::system("lock", &path, error);
    let mut options = OpenOptions::new();
    let open = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(|error| system(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = (&file).take(32).read_to_string(&mut text);
            return Err(StoreFault::Taken { directory: directory.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(system(&error)),
    }
    let said = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    // A full disk must not keep the store from being opened: who comes second then hears of no pid.
    if let Err(error) = said
        && !super::findings::is_of_room(&error)
    {
        return Err(system(&error));
    }
    Ok(file)
}

/// Makes a folder for its owner alone, with all above it. One that is there stays as it is.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file for its owner alone, and syncs it. Only the whole of it is ever seen under that name.
pub(in crate::runtime) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Makes names in a folder as safe as what is in the files.
pub(in crate::runtime) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
