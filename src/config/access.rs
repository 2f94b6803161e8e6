//! Access: which addresses may come by a listener, and which of them are proxies that are believed.
//!
//! Duty: networks of addresses and what is wrong with one; what cannot be together in a listener. Must not: decide about a connection.
//! Neighbours: all formats of configuration read `Network`s, `transport` makes a gate of an `Access`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::{ListenAddress, Listener};

/// Which addresses may come by a listener. Of Unix sockets there are none: the rights of its file say who may come by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Where the proxies are: whose PROXY header is believed.
    pub proxies: Vec<Network>,
    /// Where clients may come from; from anywhere if it is empty.
    pub allow: Vec<Network>,
    /// Where nobody may come from, client or proxy, whatever `allow` says.
    pub deny: Vec<Network>,
}

/// What is asked of a client whose TLS has ended at a proxy, which tells of it in a PROXY header of version 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxiedTls {
    /// Whether a client is refused that did not come by TLS.
    pub is_required: bool,
    /// Whether a client is refused that has no certificate which the proxy has verified.
    pub requires_certificate: bool,
    /// Whether the common name of that certificate is the user name.
    pub names_user: bool,
}

/// A network of addresses, or one address. Of IPv6 addresses that stand for IPv4 ones it has the latter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// All addresses.
    pub(super) fn all() -> Vec<Self> {
        let both: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        both.into_iter().filter_map(|address| IpNet::new(address, 0).ok()).map(Self).collect()
    }

    /// The same for programs.
    pub(crate) fn net(self) -> IpNet {
        self.0
    }
}

impl From<IpNet> for Network {
    fn from(net: IpNet) -> Self {
        const MAPPED_BITS: u8 = 96;
        let mapped = match net {
            IpNet::V6(net) if net.prefix_len() >= MAPPED_BITS => net.addr().to_ipv4_mapped(),
            _ => None,
        };
        let mapped = mapped.and_then(|address| Ipv4Net::new(address, net.prefix_len() - MAPPED_BITS).ok());
        Self(mapped.map_or(net, IpNet::V4))
    }
}

impl FromStr for Network {
    /// What would be right.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address).into());
        }
        let net: IpNet = text.parse().map_err(|_| {
            format!("'{text}' is no network; an address or a network is wanted, such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")
        })?;
        if net.addr() != net.network() {
            return Err(format!("'{text}' is an address within a network; write {} or {}", net.addr(), net.trunc()));
        }
        Ok(net.into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return self.0.addr().fmt(formatter);
        }
        self.0.fmt(formatter)
    }
}

/// What a format calls the parts of a listener's access.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) proxy: &'static str,
    pub(super) proxies: &'static str,
    pub(super) allow: &'static str,
    pub(super) deny: &'static str,
    pub(super) proxied_tls: &'static str,
}

impl Words {
    /// What cannot be together in `listener`, in these words; `None` if nothing is wrong.
    pub(super) fn mistake_of(&self, listener: &Listener) -> Option<String> {
        let Self { proxy, proxies, allow, deny, proxied_tls } = self;
        let access = &listener.access;
        let is_unix = matches!(listener.address, ListenAddress::Unix(_));
        let has_lists = !access.allow.is_empty() || !access.deny.is_empty();
        if listener.proxied_tls != ProxiedTls::default() {
            if listener.proxy_protocol != Some(2) {
                return Some(format!("{proxied_tls}: only '{proxy}' 2 tells of the TLS that the proxy has ended"));
            }
            if listener.tls.is_some() {
                return Some(format!(
                    "{proxied_tls}: TLS ends at the proxy or at this listener, which has a certificate of its own"
                ));
            }
        }
        match (listener.proxy_protocol.is_some(), access.proxies.is_empty(), is_unix) {
            (false, false, _) => Some(format!("'{proxies}' is of listeners with '{proxy}' only")),
            (true, false, true) => Some(format!(
                "'{proxies}' is of listeners that have addresses; who may open a Unix socket is trusted, as the rights of its file say"
            )),
            (true, true, false) => Some(format!(
                "'{proxy}' needs '{proxies}', the addresses of the proxies, such as 10.0.0.0/8: nobody else is believed"
            )),
            (false, true, true) if has_lists => Some(format!(
                "'{allow}' and '{deny}' are of listeners that have addresses; the rights of its file say who may open a Unix socket"
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> String {
        text.parse::<Network>().map_or_else(|error| error, |network| network.to_string())
    }

    #[test]
    fn a_network_is_written_as_it_is_read_and_an_address_alone() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "192.0.2.7", "::1", "fe80::/64"] {
            assert_eq!(network(text), text);
        }
        assert_eq!(network("192.0.2.7/32"), "192.0.2.7");
        assert_eq!(network("::ffff:10.0.0.0/104"), "10.0.0.0/8", "it is the same network");
        assert_eq!(network("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(Network::all().iter().map(Network::to_string).collect::<Vec<_>>(), ["0.0.0.0/0", "::/0"]);
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_would_be_right() {
        assert!(network("10.1.2.3/8").ends_with("write 10.1.2.3 or 10.0.0.0/8"), "{}", network("10.1.2.3/8"));
        for bad in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/255.0.0.0", "10.0.0.1:80"] {
            assert!(network(bad).contains("is no network; "), "{bad}: {}", network(bad));
        }
    }

    #[test]
    fn what_has_no_addresses_or_no_proxy_has_no_list_of_them() {
        let words = Words { proxy: "P", proxies: "T", allow: "A", deny: "D", proxied_tls: "'R'" };
        let one = || vec!["10.0.0.0/8".parse().unwrap()];
        let mistake = |proxy_protocol, access, is_unix: bool| {
            let address =
                if is_unix { ListenAddress::Unix("/s".into()) } else { ListenAddress::Tcp(([0; 4], 1).into()) };
            words.mistake_of(&Listener { proxy_protocol, access, ..Listener::plain(address) })
        };
        let (trusts, allows) =
            (Access { proxies: one(), ..Access::default() }, Access { allow: one(), ..Access::default() });
        assert!(mistake(None, trusts.clone(), false).unwrap().contains("'T' is of listeners with 'P' only"));
        assert!(mistake(Some(1), allows.clone(), false).unwrap().contains("'P' needs 'T'"));
        assert!(mistake(Some(1), trusts.clone(), true).unwrap().contains("Unix"));
        assert!(mistake(None, allows.clone(), true).unwrap().contains("'A' and 'D'"));
        for (proxy, access, is_unix) in [
            (Some(2), trusts, false),
            (None, allows.clone(), false),
            (Some(1), allows, true),
            (None, Access::default(), true),
        ] {
            assert_eq!(mistake(proxy, access, is_unix), None);
        }
        let proxied_tls = ProxiedTls { names_user: true, ..ProxiedTls::default() };
        let plain = Listener::plain(ListenAddress::Unix("/s".into()));
        let of_version = |version| Listener { proxy_protocol: Some(version), proxied_tls, ..plain.clone() };
        assert!(words.mistake_of(&of_version(1)).unwrap().starts_with("'R': only 'P' 2 tells"));
        assert_eq!(words.mistake_of(&of_version(2)), None);
    }
}
