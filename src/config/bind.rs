//! Bind: from `--bind` and the files of TLS to listeners.
//!
//! Duty: parse addresses with what is spoken there; say in one line what is wrong and what would be right. Must not: open a file or
//! a socket. Neighbours: `cli` has the options, `load` calls, `address` knows names.

use std::net::IpAddr;
use std::path::PathBuf;

use super::access::Words;
use super::address::addresses_of;
use super::{Identity, ListenAddress, Listener, Tls, Transport};

/// Options of who may reach a listener.
const ACCESS: Words = Words { proxy: "proxy", proxies: "trusted", allow: "allow", deny: "deny", proxied_tls: "" };

/// Where to listen, whatever a file says.
#[derive(Clone, Debug, Default)]
pub struct Binds {
    /// IP, IP:PORT or host name, or `mqtts://`, `ws://`, `wss://` before them, or `unix:/PATH`, and options behind `?`.
    pub names: Vec<String>,
    /// Certificate chain of those that are encrypted, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// Certificates that sign the clients', PEM: each client must have one, and its common name is the user name.
    pub client_authority: Option<PathBuf>,
}

impl Binds {
    /// The listeners, and what is wrong. `port`: that of plain addresses which name none.
    pub(super) fn listeners(&self, port: u16) -> (Vec<Listener>, Vec<String>) {
        let (mut listeners, mut mistakes): (Vec<Listener>, _) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.listeners_of(name, port) {
                Ok(found) => {
                    for listener in found {
                        if !listeners.contains(&listener) {
                            listeners.push(listener);
                        }
                    }
                }
                Err(text) => mistakes.push(format!("--bind {text}")),
            }
        }
        if self.certificate.is_some() && mistakes.is_empty() && listeners.iter().all(|listener| listener.tls.is_none())
        {
            mistakes.push("--tls-cert: no address uses it; write --bind mqtts://127.0.0.1:8883 or wss://".into());
        }
        (listeners, mistakes)
    }

    fn listeners_of(&self, name: &str, port: u16) -> Result<Vec<Listener>, String> {
        let (address, options) = name.split_once('?').unwrap_or((name, ""));
        let mut listeners = self.at(address, port)?;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            listeners.iter_mut().try_for_each(|listener| set_option(name, listener, option))?;
        }
        match listeners.iter().find_map(|listener| ACCESS.mistake_of(listener)) {
            Some(text) => Err(format!("{name}: {text}")),
            None => Ok(listeners),
        }
    }

    fn at(&self, name: &str, port: u16) -> Result<Vec<Listener>, String> {
        if let Some(path) = name.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(format!("{name}: its path is missing"));
            }
            return Ok(vec![Listener::plain(ListenAddress::Unix(path.into()))]);
        }
        let (scheme, address) = name.split_once("://").unwrap_or(("mqtt", name));
        let (is_web, is_encrypted) = match scheme {
            "mqtt" => (false, false),
            "mqtts" => (false, true),
            "ws" => (true, false),
            "wss" => (true, true),
            _ => return Err(format!("{name}: this is not spoken here; mqtt, mqtts, ws and wss are")),
        };
        // The usual port of MQTT is none of the others'.
        if scheme != "mqtt" && !names_port(address) {
            return Err(format!("{name}: its port is missing; write it behind a colon"));
        }
        let tls = if is_encrypted { Some(self.tls(name)?) } else { None };
        let transport = if is_web { Transport::WebSocket { origins: Vec::new() } } else { Transport::Mqtt };
        let listener = |address| Listener {
            transport: transport.clone(),
            tls: tls.clone(),
            ..Listener::plain(ListenAddress::Tcp(address))
        };
        Ok(addresses_of(address, port)?.into_iter().map(listener).collect())
    }

    fn tls(&self, name: &str) -> Result<Tls, String> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Err(format!("{name}: give its certificate by --tls-cert FILE --tls-key FILE"));
        };
        let requires_certificate = self.client_authority.is_some();
        Ok(Tls {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authority: self.client_authority.clone(),
            revoked: None,
            requires_certificate,
            identity: if requires_certificate { Identity::CommonName } else { Identity::None },
            is_tls13_only: false,
        })
    }
}

/// Whether an address has a port of its own.
fn names_port(address: &str) -> bool {
    let is_bare = address.parse::<IpAddr>().is_ok() || address.ends_with(']');
    !is_bare && address.contains(':')
}

fn set_option(name: &str, listener: &mut Listener, option: &str) -> Result<(), String> {
    let bad = |why: &str| format!("{name}: {option}: {why}");
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
        ("trusted", _) => listener.access.proxies.push(value.parse().map_err(|why: String| bad(&why))?),
        ("allow", _) => listener.access.allow.push(value.parse().map_err(|why: String| bad(&why))?),
        ("deny", _) => listener.access.deny.push(value.parse().map_err(|why: String| bad(&why))?),
        ("origin", Transport::WebSocket { origins }) if value.contains("://") => origins.push(value.to_owned()),
        ("origin", Transport::WebSocket { .. }) => return Err(bad("write an origin such as https://example.org")),
        ("origin", Transport::Mqtt) => return Err(bad("only ws:// and wss:// have origins")),
        _ => return Err(bad("there is no such option; connections, proxy, trusted, allow, deny and origin are")),
    }
    Ok(())
}
