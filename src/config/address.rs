//! Address: what the name of an address stands for.
//!
//! Duty: IP, IP:PORT, [IPv6]:PORT, host name and host name:PORT to socket addresses. Must not: bind. Neighbours: `cli` reads
//! `--bind`, `mosquitto` and `toml` their listeners.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The addresses of `name`; they have `port` unless it names its own.
///
/// # Errors
/// Why it names none, and what could stand there.
pub(super) fn addresses_of(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let unbracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(ip) = unbracketed.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    if let Ok(address) = name.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let refused = |why: &str| format!("{name}: {why}; write an address such as 127.0.0.1, [::1]:1884 or a host name");
    let (host, port) = match name.rsplit_once(':') {
        Some((host, own_port)) => (host, own_port.parse().map_err(|_| refused("its port is no number"))?),
        None => (name, port),
    };
    let found = (host, port).to_socket_addrs().map_err(|error| refused(&error.to_string()))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(refused("no address has that name")) } else { Ok(addresses) }
}
