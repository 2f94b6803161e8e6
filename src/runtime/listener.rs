//! Listener: sockets to accept on.
//!
//! Duty: bind every address once per shard, or say why that cannot be; refuse a port that another broker has, which
//! SO_REUSEPORT alone would share with it; give each listener what its connections speak. Must not: accept. Neighbours: `start`
//! hands the sockets to the shards, `unix_path` has those of the file system.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::accepting::Entrance;
use super::crowd::Crowd;
use super::failure::Failure;
use super::inherited::Inherited;
use super::unix_path::{self, UnixPath};
use crate::config::{ListenAddress, Listener, Transport};
use crate::limits::{LISTENERS_MAX, Limits};
use crate::transport::Setup;

/// New connections that the kernel keeps waiting per socket.
pub(super) const BACKLOG: i32 = 4096;

/// A port or path in use is tried again so often, with this pause (20 ms were seen to pass after a kill with 3000 connections).
pub(super) const LISTENER_TRIES: u32 = 25;
pub(super) const LISTENER_PAUSE: Duration = Duration::from_millis(20);

/// A listener that is bound, for all shards.
#[derive(Debug)]
pub(super) struct Bound {
    /// What it was made from.
    pub(super) listener: Listener,
    /// Where it listens, with its true port.
    pub(super) place: Place,
    crowd: Arc<Crowd>,
    /// The file of a Unix socket, removed with this.
    _file: Option<UnixPath>,
}

impl Bound {
    /// It is to be as `listener` says, which has the same address.
    pub(super) fn change(&mut self, listener: &Listener) {
        self.crowd.bound(listener.connections_max);
        self.place.scheme = scheme_of(listener);
        self.listener = listener.clone();
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    scheme: &'static str,
    address: ListenAddress,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.scheme)?;
        match &self.address {
            ListenAddress::Tcp(address) => address.fmt(formatter),
            ListenAddress::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// The sockets of all shards.
#[derive(Debug)]
pub(super) struct Listeners {
    /// By index of listener; `None` for an optional one whose address the machine does not have.
    pub(super) bound: Vec<Option<Bound>>,
    /// One set per shard, each by index of listener.
    pub(super) by_shard: Vec<Vec<Option<Entrance>>>,
    /// Optional addresses that the machine does not have, and why.
    pub(super) missing: Vec<(SocketAddr, io::Error)>,
}

/// Binds every address once for each of `shards` shards; those that are `inherited` are bound already.
///
/// # Errors
/// An address is in use, not there, or not permitted; a certificate cannot be used.
pub(super) fn listen(
    wanted: &[Listener],
    limits: &Limits,
    shards: usize,
    mut inherited: Inherited,
) -> Result<Listeners, Failure> {
    let mut listeners =
        Listeners { bound: Vec::new(), by_shard: (0..shards).map(|_| Vec::new()).collect(), missing: Vec::new() };
    check_number(wanted.len())?;
    // All files are read before anything is bound.
    let setups = wanted.iter().map(|listener| setup_of(listener, limits)).collect::<Result<Vec<_>, _>>()?;
    for (listener, setup) in wanted.iter().zip(setups) {
        match bind(listener, setup, shards, &mut inherited) {
            Ok((bound, entrances)) => {
                listeners.bound.push(Some(bound));
                for (of_shard, entrance) in listeners.by_shard.iter_mut().zip(entrances) {
                    of_shard.push(Some(entrance));
                }
            }
            Err(CannotBind::Missing(address, error)) => {
                listeners.bound.push(None);
                listeners.by_shard.iter_mut().for_each(|of_shard| of_shard.push(None));
                listeners.missing.push((address, error));
            }
            Err(CannotBind::Failed(failure)) => return Err(failure),
        }
    }
    if let Some(left) = inherited.left().next() {
        let address = Place { scheme: "", address: left.clone() };
        return Err(Failure::usage(format!(
            "LISTEN_FDS: no listener has the address {address} of an inherited socket"
        )));
    }
    if listeners.bound.iter().all(Option::is_none) {
        return Err(Failure::usage(
            "no address to listen on: none of the default addresses is there; name one by --bind",
        ));
    }
    Ok(listeners)
}

/// Where clients come in, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlace {
    /// IP:PORT, or the path of a Unix socket.
    pub address: String,
    /// `mqtt`, `mqtts`, `ws` or `wss`.
    pub protocol: &'static str,
}

/// Where each listens that is there.
pub(super) fn places_of(bound: &[Option<Bound>]) -> Vec<ListenerPlace> {
    let place = |bound: &Bound| ListenerPlace {
        address: match &bound.place.address {
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix(path) => path.display().to_string(),
        },
        protocol: bound.place.scheme.strip_suffix("://").unwrap_or("mqtt"),
    };
    bound.iter().flatten().map(place).collect()
}

/// The port of each, 0 for a Unix socket.
pub(super) fn ports_of(bound: &[Option<Bound>]) -> Vec<Option<u16>> {
    let port = |bound: &Bound| match bound.place.address {
        ListenAddress::Tcp(address) => address.port(),
        ListenAddress::Unix(_) => 0,
    };
    bound.iter().map(|bound| bound.as_ref().map(port)).collect()
}

/// Whether so many listeners have an index each.
///
/// # Errors
/// Too many.
pub(super) fn check_number(listeners: usize) -> Result<(), Failure> {
    if listeners <= LISTENERS_MAX {
        return Ok(());
    }
    Err(Failure::usage(format!("too many listeners since the start, {LISTENERS_MAX} at most; start the broker again")))
}

/// What the connections of a listener speak.
///
/// # Errors
/// A certificate cannot be used.
pub(super) fn setup_of(listener: &Listener, limits: &Limits) -> Result<Arc<Setup>, Failure> {
    Setup::of(listener, limits).map(Arc::new).map_err(|error| {
        let text = error.to_string();
        if error.is_missing { Failure::usage(text) } else { Failure::config(text) }
    })
}

/// Why a listener has no socket.
pub(super) enum CannotBind {
    /// It is optional, and the machine does not have its address.
    Missing(SocketAddr, io::Error),
    /// All else.
    Failed(Failure),
}

impl From<Failure> for CannotBind {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Binds one listener for each of `shards` shards.
pub(super) fn bind(
    listener: &Listener,
    setup: Arc<Setup>,
    shards: usize,
    inherited: &mut Inherited,
) -> Result<(Bound, Vec<Entrance>), CannotBind> {
    let crowd = Arc::new(Crowd::new(listener.connections_max));
    let taken = inherited.take(&listener.address, shards).transpose();
    let taken = taken.map_err(|error| Failure::system(format!("cannot use an inherited socket: {error}")))?;
    let (address, sockets, file) = match (&listener.address, taken) {
        (address, Some(sockets)) => (address.clone(), sockets, None),
        (ListenAddress::Unix(path), None) => {
            let (file, sockets) = unix_path::listen(path, shards)?;
            (listener.address.clone(), sockets, Some(file))
        }
        (ListenAddress::Tcp(wanted), None) => match bind_port(*wanted, listener.interface.as_deref(), shards) {
            Ok((address, sockets)) => (ListenAddress::Tcp(address), sockets, None),
            Err(error) if listener.is_optional && is_missing(&error) => {
                return Err(CannotBind::Missing(*wanted, error));
            }
            Err(error) => return Err(cannot_listen(*wanted, &error).into()),
        },
    };
    let port = match &address {
        ListenAddress::Tcp(address) => address.port(),
        ListenAddress::Unix(_) => 0,
    };
    let entrance = |socket| Entrance { socket, port, setup: Arc::clone(&setup), crowd: Arc::clone(&crowd) };
    let entrances = sockets.into_iter().map(entrance).collect();
    let place = Place { scheme: scheme_of(listener), address };
    Ok((Bound { listener: listener.clone(), place, crowd, _file: file }, entrances))
}

fn scheme_of(listener: &Listener) -> &'static str {
    match (&listener.transport, listener.tls.is_some()) {
        (Transport::Mqtt, false) => "",
        (Transport::Mqtt, true) => "mqtts://",
        (Transport::WebSocket { .. }, false) => "ws://",
        (Transport::WebSocket { .. }, true) => "wss://",
    }
}

fn bind_port(wanted: SocketAddr, interface: Option<&str>, shards: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let address = find_port(wanted)?;
    let mut sockets = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = bind_socket(address, true, interface)?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok((address, sockets))
}

/// Binds without SO_REUSEPORT, which fails if anybody else listens there; the socket is closed again. It does not listen itself: who
/// comes just then would be let in and thrown out. The kernel takes down
/// the rings of an ended process, and with them its listeners, a little after its end: a restart has to wait for that.
fn find_port(address: SocketAddr) -> io::Result<SocketAddr> {
    let mut tries_left = LISTENER_TRIES;
    loop {
        match try_port(address) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) && tries_left > 0 => {
                tries_left -= 1;
                thread::sleep(LISTENER_PAUSE);
            }
            tried => return tried,
        }
    }
}

fn try_port(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = bind_socket(address, false, None)?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn bind_socket(address: SocketAddr, is_shared: bool, interface: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    // Accepted sockets inherit it: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
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
        Some(libc::ENODEV) => "this machine does not have the interface; `ip link` lists those it has".into(),
        Some(libc::EPERM) => "the interface is not permitted; grant CAP_NET_RAW".into(),
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

    /// Who comes while the port is looked at is refused, as before, and not let in and thrown out.
    #[test]
    fn nobody_is_let_in_while_a_port_is_looked_at() {
        let address = try_port("127.0.0.1:0".parse().unwrap()).unwrap();
        let caller = thread::spawn(move || {
            let come = || {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                // From elsewhere, as a socket may meet itself.
                socket.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 9], 0)))).unwrap();
                socket.connect(&SockAddr::from(address)).is_ok()
            };
            (0..5000).filter(|_| come()).count()
        });
        while !caller.is_finished() {
            find_port(address).unwrap();
        }
        assert_eq!(caller.join().unwrap(), 0);
    }

    fn try_listen(wanted: &[Listener], shards: usize) -> Result<Listeners, Failure> {
        listen(wanted, &Limits::default(), shards, Inherited::default())
    }

    fn address(listeners: &Listeners, at: usize) -> SocketAddr {
        match listeners.bound[at].as_ref().unwrap().place.address {
            ListenAddress::Tcp(address) => address,
            ListenAddress::Unix(_) => unreachable!("only TCP is asked for here"),
        }
    }

    #[test]
    fn all_shards_listen_on_one_port() {
        let listeners = try_listen(&[local(0)], 3).unwrap();
        assert_eq!(listeners.by_shard.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        assert_ne!(address(&listeners, 0).port(), 0);
        TcpStream::connect(address(&listeners, 0)).unwrap();
    }

    #[test]
    fn a_second_broker_on_the_port_is_refused() {
        let first = try_listen(&[local(0)], 2).unwrap();
        let failure = try_listen(&[local(address(&first, 0).port())], 2).unwrap_err();
        assert_eq!(failure.exit_code, 1);
        assert!(failure.text.contains("in use"), "{failure}");
    }

    #[test]
    fn a_missing_address_is_an_error_unless_it_is_optional() {
        let mut elsewhere = Listener::plain(ListenAddress::Tcp((Ipv4Addr::new(192, 0, 2, 1), 0).into()));
        assert!(try_listen(&[local(0), elsewhere.clone()], 1).unwrap_err().text.contains("does not have the address"));
        elsewhere.is_optional = true;
        let listeners = try_listen(&[local(0), elsewhere], 1).unwrap();
        assert_eq!((listeners.bound.iter().flatten().count(), listeners.missing.len()), (1, 1));
    }

    #[test]
    fn the_same_port_of_both_families_can_be_had() {
        let first = try_listen(&[local(0)], 1).unwrap();
        let address = ListenAddress::Tcp((Ipv6Addr::LOCALHOST, address(&first, 0).port()).into());
        let same_port = Listener { is_optional: true, ..Listener::plain(address) };
        let both = try_listen(&[same_port], 1);
        assert!(both.is_ok() || both.is_err_and(|failure| failure.text.starts_with("no address")));
    }
}
