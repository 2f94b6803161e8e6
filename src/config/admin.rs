//! Admin: where a broker is asked about itself, and by whom.
//!
//! Duty: the address as it is written everywhere, and which addresses need a token. Must not: bind, or read the token. Neighbours:
//! `load` takes it from the command line, `mosquitto` and `toml` from files; the admin room binds.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::ListenAddress;

/// Where a broker is asked about itself, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where.
    pub address: AdminAddress,
    /// A file with the token that whoever asks must know; `None`: there is none.
    pub token_file: Option<PathBuf>,
    /// Users of the password files who may ask instead, with their passwords.
    pub users: Vec<String>,
    /// Whether anything can be changed there.
    pub allows_changes: bool,
    /// Certificate chain and private key, PEM; both, or the room is not encrypted.
    pub certificate: Option<PathBuf>,
    /// As said.
    pub key: Option<PathBuf>,
    /// The collector of OpenTelemetry that gets spans of sampled messages, such as `http://127.0.0.1:4318`.
    pub otlp_endpoint: Option<String>,
}

/// An address of the admin room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// None.
    Nowhere,
    /// A Unix socket in the folder for such things, if this process has one.
    Usual,
    /// This one.
    At(ListenAddress),
}

impl Admin {
    /// Nobody asks.
    pub const OFF: Self = Self {
        address: AdminAddress::Nowhere,
        token_file: None,
        users: Vec::new(),
        allows_changes: false,
        certificate: None,
        key: None,
        otlp_endpoint: None,
    };
    /// In the usual place, for the broker's own user and root.
    pub const USUAL: Self = Self {
        address: AdminAddress::Usual,
        token_file: None,
        users: Vec::new(),
        allows_changes: false,
        certificate: None,
        key: None,
        otlp_endpoint: None,
    };

    /// Whether who asks must say who it is.
    pub fn is_guarded(&self) -> bool {
        self.token_file.is_some() || !self.users.is_empty()
    }

    /// What is wrong with all that together: without a token, whoever reaches the address would know all.
    pub(super) fn mistake(&self) -> Option<String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Some("admin_tls_cert and admin_tls_key belong together; name both files, or neither".into());
        }
        let AdminAddress::At(ListenAddress::Tcp(address)) = self.address else { return None };
        let is_open = !address.ip().is_loopback() && !self.is_guarded();
        is_open.then(|| {
            format!(
                "admin {address}: other machines reach it; name a file with a token by admin_token_file \
                 (--admin-token-file), or users by admin_users, or choose 127.0.0.1:{}",
                address.port()
            )
        })
    }
}

impl AdminAddress {
    /// Reads `none`, `default`, `unix:/PATH`, IP:PORT or `http://IP:PORT`.
    ///
    /// # Errors
    /// What is wanted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text}: none, default, IP:PORT or unix:/PATH is wanted");
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = path.starts_with('/');
            return if is_path { Ok(Self::At(ListenAddress::Unix(path.into()))) } else { Err(wanted()) };
        }
        match text {
            "none" => Ok(Self::Nowhere),
            "default" => Ok(Self::Usual),
            _ => {
                let address = text.strip_prefix("http://").unwrap_or(text);
                let address = address.strip_suffix('/').unwrap_or(address).replace("localhost:", "127.0.0.1:");
                let address = address.parse::<SocketAddr>().map_err(|_| wanted())?;
                Ok(Self::At(ListenAddress::Tcp(address)))
            }
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => out.write_str("none"),
            Self::Usual => out.write_str("default"),
            Self::At(ListenAddress::Tcp(address)) => address.fmt(out),
            Self::At(ListenAddress::Unix(path)) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["none", "default", "127.0.0.1:1885", "[::1]:1885", "unix:/run/x.sock"] {
            assert_eq!(AdminAddress::parse(text).unwrap().to_string(), text);
        }
        let url = AdminAddress::parse("http://localhost:80/").unwrap();
        assert_eq!(url.to_string(), "127.0.0.1:80");
        for bad in ["", "127.0.0.1", "1885", "https://127.0.0.1:1", "unix:", "unix:x", "example.org:80", "off"] {
            assert!(AdminAddress::parse(bad).unwrap_err().contains("IP:PORT"), "{bad}");
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        let admin = |address, token: Option<&str>| Admin {
            address: AdminAddress::parse(address).unwrap(),
            token_file: token.map(PathBuf::from),
            ..Admin::OFF
        };
        for open in ["0.0.0.0:1885", "[::]:1885", "192.0.2.1:1885"] {
            assert!(admin(open, None).mistake().unwrap().contains("admin_token_file"), "{open}");
            assert_eq!(admin(open, Some("t")).mistake(), None);
        }
        for closed in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/x", "default", "none"] {
            assert_eq!(admin(closed, None).mistake(), None, "{closed}");
        }
    }
}
