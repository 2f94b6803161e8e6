//! UnixPath: a Unix socket in the file system.
//!
//! Duty: bind it, replace a file that a dead broker has left, refuse one that somebody listens on or that is no socket, remove it at
//! the end. Must not: accept. Neighbours: `listener` for addresses of TCP.
//!
//! There is no SO_REUSEPORT here: all shards accept on the same socket, and the kernel wakes one of them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;

use socket2::{Domain, SockAddr, Socket, Type};

use super::failure::Failure;
use super::listener::{BACKLOG, LISTENER_PAUSE, LISTENER_TRIES};

/// Mode of a file for its owner alone.
const OWNER_ALONE: libc::mode_t = 0o600;

/// The file of a socket that this process listens on. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct UnixPath(PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        // It may be gone already, or its directory may no longer be ours to change.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens on a path; one descriptor of the same socket for each of `shards` shards.
///
/// # Errors
/// Somebody listens there, or the file cannot be made.
pub(super) fn listen(path: &Path, shards: usize) -> Result<(UnixPath, Vec<OwnedFd>), Failure> {
    let failed = |error: io::Error| cannot_listen(path, &error);
    let (file, socket) = bind(path, None)?;
    let mut sockets = Vec::with_capacity(shards);
    for _ in 1..shards {
        sockets.push(socket.try_clone().map_err(failed)?.into());
    }
    sockets.push(socket.into());
    Ok((file, sockets))
}

/// Listens on a path, for processes of the same user and root.
///
/// # Errors
/// Somebody listens there, or the file cannot be made.
pub(super) fn listen_privately(path: &Path) -> Result<(UnixPath, OwnedFd), Failure> {
    bind(path, Some(OWNER_ALONE)).map(|(file, socket)| (file, socket.into()))
}

/// `mode`: of the file, unless it is that of all files of this process.
fn bind(path: &Path, mode: Option<libc::mode_t>) -> Result<(UnixPath, Socket), Failure> {
    let address = SockAddr::unix(path).map_err(|_| {
        let why = "the path is too long for a Unix socket; choose one of at most 107 bytes";
        Failure::usage(format!("cannot listen on unix:{}: {why}", path.display()))
    })?;
    let failed = |error: io::Error| cannot_listen(path, &error);
    make_way(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    if let Some(mode) = mode {
        // SAFETY: no pointers are passed. The file that `bind` makes gets the mode of the socket (unix(7)), so there is no moment in
        // which others may connect.
        let changed = unsafe { libc::fchmod(socket.as_raw_fd(), mode) };
        if changed != 0 {
            return Err(failed(io::Error::last_os_error()));
        }
    }
    socket.bind(&address).map_err(failed)?;
    let file = UnixPath(path.to_owned());
    socket.listen(BACKLOG).map_err(failed)?;
    Ok((file, socket))
}

/// Removes what a dead broker has left.
fn make_way(path: &Path, address: &SockAddr) -> Result<(), Failure> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let refuse = |why: &str| Err(Failure::usage(format!("cannot listen on unix:{}: {why}", path.display())));
    if !found.file_type().is_socket() {
        return refuse("there is a file that is no socket; move it away or choose another path");
    }
    match probe(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| cannot_listen(path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => refuse("somebody listens there; stop the other broker or choose another path"),
    }
}

/// Connects, again and again while somebody listens: the kernel takes down the rings of an ended process, and with them its
/// listeners, a little after its end.
fn probe(address: &SockAddr) -> io::Result<()> {
    let mut tries_left = LISTENER_TRIES;
    loop {
        let probed = Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(address);
        if probed.is_err() || tries_left == 0 {
            return probed;
        }
        tries_left -= 1;
        thread::sleep(LISTENER_PAUSE);
    }
}

fn cannot_listen(path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "its directory does not exist; make it".into(),
        io::ErrorKind::PermissionDenied => "the broker's user may not write its directory".into(),
        _ => error.to_string(),
    };
    Failure::usage(format!("cannot listen on unix:{}: {remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringmq-unix-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_file_that_a_dead_broker_has_left_is_replaced_and_ours_is_removed() {
        let path = path("stale");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (file, sockets) = listen(&path, 3).unwrap();
        assert_eq!(sockets.len(), 3);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_somebody_listens_on_or_that_is_no_socket_is_left_alone() {
        let taken = path("taken");
        let (_file, _sockets) = listen(&taken, 1).unwrap();
        assert!(listen(&taken, 1).unwrap_err().text.contains("somebody listens there"));
        UnixStream::connect(&taken).unwrap();
        let plain = path("plain");
        std::fs::write(&plain, "precious").unwrap();
        assert!(listen(&plain, 1).unwrap_err().text.contains("no socket"));
        assert_eq!(std::fs::read_to_string(&plain).unwrap(), "precious");
        std::fs::remove_file(&plain).unwrap();
        assert!(listen(&path("no-directory/x"), 1).unwrap_err().text.contains("directory does not exist"));
        assert!(listen(Path::new(&"x".repeat(200)), 1).unwrap_err().text.contains("too long"));
    }
}
