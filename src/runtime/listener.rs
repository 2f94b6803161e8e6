//! Listener: sockets to accept on.
//!
//! Duty: bind every address once per shard, or say why that cannot be; refuse a port that another broker has, which
//! SO_REUSEPORT alone would share with it. Must not: accept. Neighbours: `start` hands the sockets to the shards.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::failure::Failure;
use crate::config::{ListenAddress, Listener};

/// New connections that the kernel keeps waiting per socket.
const BACKLOG: i32 = 4096;

/// A port in use is tried again so often, with this pause (20 ms were seen to pass after a kill with 3000 connections).
const PORT_TRIES: u32 = 25;
const PORT_PAUSE: Duration = Duration::from_millis(20);

/// The sockets of all shards.
#[derive(Debug)]
pub(super) struct Listeners {
    /// Addresses listened on, with their true ports.
    pub(super) addresses: Vec<SocketAddr>,
    /// One set of sockets per shard, each in order of address.
    pub(super) by_shard: Vec<Vec<OwnedFd>>,
    /// Optional addresses that the machine does not have, and why.
    pub(super) missing: Vec<(SocketAddr, io::Error)>,
}

/// Binds every address once for each of `shards` shards.
///
/// # Errors
/// An address is in use, not there, or not permitted.
pub(super) fn listen(binds: &[Listener], shards: usize) -> Result<Listeners, Failure> {
    let mut listeners =
        Listeners { addresses: Vec::new(), by_shard: (0..shards).map(|_| Vec::new()).collect(), missing: Vec::new() };
    for bind in binds {
        let ListenAddress::Tcp(wanted) = bind.address else {
            return Err(Failure::usage("unix sockets are not supported yet"));
        };
        match find_port(wanted) {
            Ok(address) => {
                for sockets in &mut listeners.by_shard {
                    let socket = bind_socket(address, true).map_err(|error| cannot_listen(wanted, &error))?;
                    socket.listen(BACKLOG).map_err(|error| cannot_listen(wanted, &error))?;
                    sockets.push(socket.into());
                }
                listeners.addresses.push(address);
            }
            Err(error) if bind.is_optional && is_missing(&error) => listeners.missing.push((wanted, error)),
            Err(error) => return Err(cannot_listen(wanted, &error)),
        }
    }
    if listeners.addresses.is_empty() {
        return Err(Failure::usage(
            "no address to listen on: none of the default addresses is there; name one by --bind",
        ));
    }
    Ok(listeners)
}

/// Binds without SO_REUSEPORT, which fails if anybody else has the port; the socket is closed again. The kernel takes down
/// the rings of an ended process, and with them its listeners, a little after its end: a restart has to wait for that.
fn find_port(address: SocketAddr) -> io::Result<SocketAddr> {
    let mut tries_left = PORT_TRIES;
    loop {
        match try_port(address) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) && tries_left > 0 => {
                tries_left -= 1;
                thread::sleep(PORT_PAUSE);
            }
            tried => return tried,
        }
    }
}

fn try_port(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = bind_socket(address, false)?;
    socket.listen(1)?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn bind_socket(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    // Accepted sockets inherit it: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            format!(
                "the port is in use; stop the other broker (`ss -ltnp sport = :{port}` names it) or choose another by -p"
            )
        }
        Some(libc::EADDRNOTAVAIL) => "this machine does not have the address; `ip addr` lists those it has".into(),
        Some(libc::EAFNOSUPPORT) => "this machine does not speak that protocol family".into(),
        Some(libc::EACCES) => {
            format!("port {port} is not permitted; choose one from 1024 on, or grant CAP_NET_BIND_SERVICE")
        }
        _ => error.to_string(),
    };
    Failure::usage(format!("cannot listen on {address}: {remedy}"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    use super::*;

    fn local(port: u16) -> Listener {
        Listener::plain(ListenAddress::Tcp((Ipv4Addr::LOCALHOST, port).into()))
    }

    #[test]
    fn all_shards_listen_on_one_port() {
        let listeners = listen(&[local(0)], 3).unwrap();
        assert_eq!(listeners.by_shard.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        assert_ne!(listeners.addresses[0].port(), 0);
        TcpStream::connect(listeners.addresses[0]).unwrap();
    }

    #[test]
    fn a_second_broker_on_the_port_is_refused() {
        let first = listen(&[local(0)], 2).unwrap();
        let failure = listen(&[local(first.addresses[0].port())], 2).unwrap_err();
        assert_eq!(failure.exit_code, 1);
        assert!(failure.text.contains("in use"), "{failure}");
    }

    #[test]
    fn a_missing_address_is_an_error_unless_it_is_optional() {
        let mut elsewhere = Listener::plain(ListenAddress::Tcp((Ipv4Addr::new(192, 0, 2, 1), 0).into()));
        assert!(listen(&[local(0), elsewhere.clone()], 1).unwrap_err().text.contains("does not have the address"));
        elsewhere.is_optional = true;
        let listeners = listen(&[local(0), elsewhere], 1).unwrap();
        assert_eq!((listeners.addresses.len(), listeners.missing.len()), (1, 1));
    }

    #[test]
    fn the_same_port_of_both_families_can_be_had() {
        let first = listen(&[local(0)], 1).unwrap();
        let address = ListenAddress::Tcp((Ipv6Addr::LOCALHOST, first.addresses[0].port()).into());
        let same_port = Listener { is_optional: true, ..Listener::plain(address) };
        let both = listen(&[same_port], 1);
        assert!(both.is_ok() || both.is_err_and(|failure| failure.text.starts_with("no address")));
    }
}
