//! Beside: what a room that is no shard needs of the system: a socket that nobody shares, and a thread.
//!
//! Duty: open the one, start the other so that nothing of it reaches the shards, no signal and no panic. Must not: know what is done
//! there. Neighbours: `admin` uses both; `unix_path` has the file of a Unix socket; `window` is what such a room sees.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::thread::{Builder, JoinHandle};

use super::failure::Failure;
use super::scheduling::be_patient;
use super::unix_path::{self, UnixPath};
use super::{panic_policy, signal};
use crate::config::ListenAddress;

/// A socket that listens.
#[derive(Debug)]
pub enum Door {
    /// On a port.
    Tcp(TcpListener),
    /// In the file system, for the broker's own user and root.
    Unix(UnixListener),
}

/// The file of a Unix socket, removed when dropped; nothing for a port.
#[derive(Debug)]
pub struct DoorFile {
    _file: Option<UnixPath>,
}

/// Listens on an address; with its name, such as `http://127.0.0.1:1885`.
///
/// # Errors
/// Somebody has it, this machine does not, or it is not permitted.
pub fn open_door(address: &ListenAddress) -> Result<(Door, DoorFile, String), Failure> {
    match address {
        ListenAddress::Tcp(address) => {
            let bound = TcpListener::bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
            let (bound, socket) = bound.map_err(|error| cannot_listen(*address, &error))?;
            Ok((Door::Tcp(socket), DoorFile { _file: None }, format!("http://{bound}")))
        }
        ListenAddress::Unix(path) => {
            let (file, socket) = unix_path::listen_privately(path)?;
            Ok((Door::Unix(socket.into()), DoorFile { _file: Some(file) }, format!("unix:{}", path.display())))
        }
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the port is in use; `ss -ltnp sport = :{port}` says by whom; choose another by admin")
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have the address; `ip addr` lists those it has".into()
        }
        io::ErrorKind::PermissionDenied => format!("port {port} is not permitted; choose one from 1024 on"),
        _ => error.to_string(),
    };
    Failure::usage(format!("cannot listen on {address} for admin: {remedy}"))
}

/// Starts a thread that goes behind the shards where they are busy and hears no signals; its panics are a line and the end of what has
/// panicked, not of the broker.
///
/// # Errors
/// The system has no thread left.
pub fn start_beside(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    let started = Builder::new().name(format!("ringmq-{name}")).spawn(move || {
        signal::block_here();
        be_patient();
        panic_policy::spare_process();
        work();
    });
    started.map_err(|error| Failure::system(format!("cannot start {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_port_that_somebody_has_is_named_with_a_remedy() {
        let any = ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let (door, _file, name) = open_door(&any).unwrap();
        let Door::Tcp(socket) = door else { panic!("a port was asked for") };
        let address = socket.local_addr().unwrap();
        assert_eq!(name, format!("http://{address}"));
        let failure = open_door(&ListenAddress::Tcp(address)).unwrap_err();
        assert!(failure.text.contains("in use") && failure.text.contains("admin"), "{failure}");
        let elsewhere = ListenAddress::Tcp((Ipv4Addr::new(192, 0, 2, 1), 0).into());
        assert!(open_door(&elsewhere).unwrap_err().text.contains("does not have the address"));
    }

    #[test]
    fn a_unix_socket_is_for_its_owner_alone_and_goes_with_its_guard() {
        let path = std::env::temp_dir().join(format!("ringmq-door-{}", std::process::id()));
        let (_door, file, name) = open_door(&ListenAddress::Unix(path.clone())).unwrap();
        assert_eq!(name, format!("unix:{}", path.display()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    /// The hook of the test harness prints it; that of the broker spares the process on such a thread.
    #[test]
    fn a_panic_there_ends_the_thread_alone() {
        let thread = start_beside("test", || panic!("on purpose")).unwrap();
        assert!(thread.join().is_err());
    }
}
