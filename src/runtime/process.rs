//! Process: what a daemon does with itself.
//!
//! Duty: go to the background, name itself in a file, give up root. Must not: listen, or know shards. Neighbours: `start` calls
//! each at its moment: the background before any thread, the user when everything is bound.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process;

use super::failure::Failure;

/// The line to whoever has started a broker that went to the background; dropped without a word, the start has failed.
#[derive(Debug)]
pub(super) struct Starter(File);

impl Starter {
    /// The broker serves: whoever has started it may go.
    pub(super) fn tell_ready(mut self) {
        let _ = self.0.write_all(b"\0");
    }

    /// The broker could not start.
    pub(super) fn tell_failure(mut self, failure: &Failure) {
        let _ = self.0.write_all(&[failure.exit_code]);
        let _ = self.0.write_all(failure.text.as_bytes());
    }
}

/// Goes on in a process of its own, without terminal. The process that was started ends when that one says that it serves, with
/// exit code 0, or that it cannot, with its text and exit code. To be called while there is one thread.
///
/// # Errors
/// The kernel refuses.
pub(super) fn go_to_background() -> Result<Starter, Failure> {
    let refused = |error: io::Error| Failure::system(format!("cannot go to the background: {error}"));
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(refused(io::Error::last_os_error()));
    }
    // SAFETY: just opened, and nobody else has them.
    let [reading, writing] = ends.map(|end| File::from(unsafe { OwnedFd::from_raw_fd(end) }));
    // SAFETY: there is one thread, so that the child finds every lock free.
    match unsafe { libc::fork() } {
        -1 => Err(refused(io::Error::last_os_error())),
        0 => {
            drop(reading);
            // SAFETY: no pointers are passed.
            unsafe { libc::setsid() };
            leave_terminal().map_err(refused)?;
            Ok(Starter(writing))
        }
        _ => {
            drop(writing);
            await_start(reading)
        }
    }
}

/// Standard input, output and error go nowhere: the terminal may be closed.
fn leave_terminal() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    for descriptor in 0..3 {
        // SAFETY: no pointers are passed; both descriptors are open.
        if unsafe { libc::dup2(nowhere.as_raw_fd(), descriptor) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The parent's rest of its life.
fn await_start(mut reading: File) -> ! {
    let mut told = Vec::new();
    let _ = reading.read_to_end(&mut told);
    match told.split_first() {
        Some((0, _)) => process::exit(0),
        Some((&code, text)) => {
            eprintln!("ringmq: {}", String::from_utf8_lossy(text));
            process::exit(i32::from(code));
        }
        None => {
            eprintln!("ringmq: the broker has ended while it started; start it without -d to see why");
            process::exit(i32::from(super::EXIT_INTERNAL));
        }
    }
}

/// A file that names the process as long as it lives.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(path: &Path) -> Result<Self, Failure> {
        fs::write(path, format!("{}\n", process::id())).map_err(|error| {
            let shown = path.display();
            Failure::usage(format!("cannot write pid_file {shown}: {error}; let this user write in its directory"))
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may be gone, or not be ours to remove any more.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether this process has every right.
pub(super) fn is_root() -> bool {
    // SAFETY: no pointers are passed.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes a user for good, with the groups of that user.
///
/// # Errors
/// There is no such user, or the kernel refuses.
pub(super) fn become_user(name: &str) -> Result<(), Failure> {
    let refused = |what: &str| Failure::usage(format!("cannot become user {name}: {what}; choose another by `user`"));
    let text = CString::new(name).map_err(|_| refused("that is no name"))?;
    // SAFETY: `text` ends with a zero. The entry is read before any other call of its kind, while one thread makes such calls.
    let (user, group) = unsafe {
        let entry = libc::getpwnam(text.as_ptr());
        if entry.is_null() {
            return Err(refused("there is no such user"));
        }
        ((*entry).pw_uid, (*entry).pw_gid)
    };
    // SAFETY: `text` ends with a zero; the others take numbers. Groups first, as a plain user may not change them.
    let is_done =
        unsafe { libc::initgroups(text.as_ptr(), group) == 0 && libc::setgid(group) == 0 && libc::setuid(user) == 0 };
    if is_done { Ok(()) } else { Err(refused(&io::Error::last_os_error().to_string())) }
}

/// CPU time of the calling thread, nanoseconds.
pub(super) fn thread_cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to what the pointer points to, and keeps nothing.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if result == 0 { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_names_the_process_and_goes_with_it() {
        let path = std::env::temp_dir().join(format!("ringmq-pid-{}", process::id()));
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_that_cannot_be_written_and_a_user_that_is_not_there_are_named() {
        let failure = PidFile::write(Path::new("/no/such/folder/pid")).unwrap_err();
        assert!(failure.text.contains("/no/such/folder/pid"), "{failure}");
        let failure = become_user("no-such-user-of-this-machine").unwrap_err();
        assert!(failure.text.contains("no-such-user-of-this-machine") && failure.exit_code == 1, "{failure}");
    }
}
