//! The way to the broker: its address, and through what it is spoken to. Dials.
//! Must not drive a connection; `worker` does. Neighbours: `plan` says what is wanted, `link` and `carrier` are what it makes.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::carrier::{Carrier, Tls};
use super::frames::Frames;
use super::link::Link;
use super::outcome::Agreed;
use crate::plan::Overrides;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Way {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// How the broker is called in the request for a WebSocket.
    web_host: Option<String>,
    /// What the first connection over TLS has agreed on.
    agreed: Arc<OnceLock<Agreed>>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Way {
    /// The way that the flags describe.
    ///
    /// Errors: one sentence; the host has no address, or a file is not what it has to be.
    pub(super) fn of(flags: &Overrides) -> Result<Self, String> {
        let address = resolve(&flags.host, flags.port)?;
        let tls = match &flags.tls_ca {
            Some(ca) => Some((configure(ca, flags)?, name_of(&flags.host)?)),
            None => None,
        };
        let web_host = flags.websocket.then(|| format!("{}:{}", flags.host, flags.port));
        Ok(Self { address, tls, web_host, agreed: Arc::default() })
    }

    /// Starts to connect.
    ///
    /// Errors: no descriptor or no local port is left, or the network is unreachable.
    pub(super) fn dial(&self) -> io::Result<Link> {
        let tls = match &self.tls {
            Some((config, name)) => {
                let connection = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
                Some(Tls::new(connection, &self.agreed))
            }
            None => None,
        };
        let frames = self.web_host.as_deref().map(Frames::new);
        let is_bare = tls.is_none() && frames.is_none();
        Link::dial(self.address, (!is_bare).then(|| Box::new(Carrier::new(tls, frames))))
    }

    /// What the connections over TLS have agreed on.
    pub(super) fn agreed(&self) -> Option<Agreed> {
        self.agreed.get().cloned()
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve '{host}': {error}"))?;
    addresses.into_iter().next().ok_or_else(|| format!("'{host}' has no address"))
}

fn name_of(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("'{host}' cannot be the name in a certificate"))
}

fn configure(ca: &Path, flags: &Overrides) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS: {error}"))?.with_root_certificates(roots);
    let mut config = match &flags.tls_identity {
        Some((certificate, key)) => {
            let cannot = |error: &dyn fmt::Display| format!("cannot read {}: {error}", key.display());
            let read = PrivateKeyDer::from_pem_file(key).map_err(|error| cannot(&error))?;
            builder.with_client_auth_cert(certificates(certificate)?, read).map_err(|error| cannot(&error))?
        }
        None => builder.with_no_client_auth(),
    };
    // Each handshake is a whole one, whatever the broker offers, or brokers could not be compared.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |error: &dyn fmt::Display| format!("cannot read {}: {error}", path.display());
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read.map_err(|error| cannot(&error))? {
        none if none.is_empty() => Err(cannot(&"no certificate in it")),
        read => Ok(read),
    }
}
