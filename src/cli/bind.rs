//! Bind: from `--bind` and the files of TLS to listeners.
//!
//! Duty: parse addresses with what is spoken there, ask the resolver for names; say in one line what is wrong and what would be
//! right. Must not: open a file or a socket. Neighbours: `cli` has the other options.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;

use crate::config::{Identity, ListenAddress, Listener, Tls, Transport};
use crate::runtime::Failure;

/// Where to listen, and with which certificate.
#[derive(Debug, Args)]
pub(super) struct Bind {
    /// Port of every address that does not name its own
    #[arg(short, long, default_value_t = 1883)]
    port: u16,

    /// Address to listen on: IP, IP:PORT or host name, or one of mqtts://IP:PORT, ws://IP:PORT, wss://IP:PORT, unix:/PATH;
    /// repeatable [default: 127.0.0.1 and ::1]. Behind it may stand ?connections=N for the most connections at once, ?proxy=1 or
    /// ?proxy=2 if a proxy names the client by the PROXY protocol, ?origin=URL for pages that may use a WebSocket; joined by &
    #[arg(long, value_name = "ADDR")]
    bind: Vec<String>,

    /// Certificate chain for mqtts:// and wss://, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Certificates that sign those of clients, PEM: each client must have one, and its common name is the user name
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
}

impl Bind {
    /// The listeners.
    ///
    /// # Errors
    /// An address that cannot be, or TLS without its files.
    pub(super) fn listeners(&self) -> Result<Vec<Listener>, Failure> {
        if self.bind.is_empty() {
            self.check_use(&[])?;
            let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let plain = |ip| Listener::plain(ListenAddress::Tcp((ip, self.port).into()));
            return Ok(local.map(|ip| Listener { is_optional: ip.is_ipv6(), ..plain(ip) }).to_vec());
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for name in &self.bind {
            for listener in self.listeners_of(name)? {
                if !listeners.contains(&listener) {
                    listeners.push(listener);
                }
            }
        }
        self.check_use(&listeners)?;
        Ok(listeners)
    }

    fn check_use(&self, listeners: &[Listener]) -> Result<(), Failure> {
        if self.tls_cert.is_some() && listeners.iter().all(|listener| listener.tls.is_none()) {
            return Err(Failure::usage(
                "--tls-cert: no address uses it; write --bind mqtts://127.0.0.1:8883 or wss://",
            ));
        }
        Ok(())
    }

    fn listeners_of(&self, name: &str) -> Result<Vec<Listener>, Failure> {
        let (address, options) = name.split_once('?').unwrap_or((name, ""));
        let mut listeners = self.at(address)?;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            listeners.iter_mut().try_for_each(|listener| set_option(name, listener, option))?;
        }
        Ok(listeners)
    }

    fn at(&self, name: &str) -> Result<Vec<Listener>, Failure> {
        if let Some(path) = name.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(bad_address(name, "its path is missing"));
            }
            return Ok(vec![Listener::plain(ListenAddress::Unix(path.into()))]);
        }
        let (scheme, address) = name.split_once("://").unwrap_or(("mqtt", name));
        let (is_web, is_encrypted) = match scheme {
            "mqtt" => (false, false),
            "mqtts" => (false, true),
            "ws" => (true, false),
            "wss" => (true, true),
            _ => return Err(bad_address(name, "this is not spoken here; mqtt, mqtts, ws and wss are")),
        };
        let port = (scheme == "mqtt").then_some(self.port);
        let tls = if is_encrypted { Some(self.tls(name)?) } else { None };
        let transport = if is_web { Transport::WebSocket { origins: Vec::new() } } else { Transport::Mqtt };
        let listener = |address| Listener {
            transport: transport.clone(),
            tls: tls.clone(),
            ..Listener::plain(ListenAddress::Tcp(address))
        };
        Ok(addresses_of(name, address, port)?.into_iter().map(listener).collect())
    }

    fn tls(&self, name: &str) -> Result<Tls, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Err(Failure::usage(format!(
                "--bind {name}: give its certificate by --tls-cert FILE --tls-key FILE"
            )));
        };
        let requires_certificate = self.tls_ca.is_some();
        Ok(Tls {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authority: self.tls_ca.clone(),
            revoked: None,
            requires_certificate,
            identity: if requires_certificate { Identity::CommonName } else { Identity::None },
            is_tls13_only: false,
        })
    }
}

fn set_option(name: &str, listener: &mut Listener, option: &str) -> Result<(), Failure> {
    let bad = |why: &str| Failure::usage(format!("--bind {name}: {option}: {why}"));
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    match (key, &mut listener.transport) {
        ("connections", _) => {
            let number = value.parse().ok().filter(|number| *number > 0);
            listener.connections_max = Some(number.ok_or_else(|| bad("a number from 1 on is wanted"))?);
        }
        ("proxy", _) => {
            let version = value.parse().ok().filter(|version| matches!(version, 1 | 2));
            listener.proxy_protocol = Some(version.ok_or_else(|| bad("1 or 2 is wanted"))?);
        }
        ("origin", Transport::WebSocket { origins }) if value.contains("://") => origins.push(value.to_owned()),
        ("origin", Transport::WebSocket { .. }) => return Err(bad("write an origin such as https://example.org")),
        ("origin", Transport::Mqtt) => return Err(bad("only ws:// and wss:// have origins")),
        _ => return Err(bad("there is no such option; connections, proxy and origin are")),
    }
    Ok(())
}

/// `port`: if the address names none.
fn addresses_of(name: &str, address: &str, port: Option<u16>) -> Result<Vec<SocketAddr>, Failure> {
    let own_port = || port.ok_or_else(|| bad_address(name, "its port is missing"));
    let unbracketed = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if let Ok(ip) = unbracketed.parse::<IpAddr>() {
        return Ok(vec![(ip, own_port()?).into()]);
    }
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, own_port)) => (host, own_port.parse().map_err(|_| bad_address(name, "its port is no number"))?),
        None => (address, own_port()?),
    };
    let found = (host, port).to_socket_addrs().map_err(|error| bad_address(name, &error.to_string()))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(bad_address(name, "no address has that name")) } else { Ok(addresses) }
}

fn bad_address(name: &str, why: &str) -> Failure {
    Failure::usage(format!(
        "--bind {name}: {why}; write an address such as 127.0.0.1, [::1]:1884, a host name, mqtts://127.0.0.1:8883 or unix:/PATH"
    ))
}
