//! Gate: whether an address may come by a listener.
//!
//! Duty: decide by the addresses of who connects and of whom a PROXY header names. Must not: know a socket. Neighbours:
//! `config::access` says the networks; `runtime` asks at accept, `Transport` behind a header.
//!
//! `deny` is asked first, of clients and proxies. Where a PROXY header is spoken, who connects must be a trusted proxy, and the
//! client that must be in `allow` is whom the header names; if it names nobody, the proxy itself. A Unix socket has no
//! addresses: who may open its file may come, and is a trusted proxy.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Listener, Network};

/// Who may come by a listener.
#[derive(Debug)]
pub(crate) struct Gate {
    deny: Networks,
    /// `None` for clients from anywhere.
    allow: Option<Networks>,
    /// `None` where no PROXY header is spoken.
    proxies: Option<Networks>,
}

/// Networks side by side, in order: a look costs as much as a binary search, however many there are.
#[derive(Debug)]
struct Networks(Vec<IpNet>);

/// Why somebody may not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The listener denies the address.
    Denied,
    /// The listener allows others.
    NotAllowed,
    /// No proxy has this address.
    NoProxy,
}

impl Networks {
    fn of(networks: &[Network]) -> Self {
        Self(IpNet::aggregate(&networks.iter().map(|network| network.net()).collect()))
    }

    fn have(&self, address: IpAddr) -> bool {
        let before = self.0.partition_point(|network| network.network() <= address);
        before > 0 && self.0[before - 1].contains(&address)
    }
}

impl Gate {
    pub(super) fn of(listener: &Listener) -> Self {
        let access = &listener.access;
        Self {
            deny: Networks::of(&access.deny),
            allow: (!access.allow.is_empty()).then(|| Networks::of(&access.allow)),
            proxies: listener.proxy_protocol.map(|_| Networks::of(&access.proxies)),
        }
    }

    /// Who connects from `address`, before anything is heard of it. `None`: by a Unix socket.
    ///
    /// # Errors
    /// It may not come.
    pub(crate) fn at_accept(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(address) = address.map(|address| address.to_canonical()) else { return Ok(()) };
        match &self.proxies {
            None => self.of_client(Some(address)),
            Some(_) if self.deny.have(address) => Err(Refusal::Denied),
            Some(proxies) if !proxies.have(address) => Err(Refusal::NoProxy),
            Some(_) => Ok(()),
        }
    }

    /// A client at `address`; `None` if nobody knows where it is.
    ///
    /// # Errors
    /// It may not come.
    pub(super) fn of_client(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let address = address.map(|address| address.to_canonical());
        if address.is_some_and(|address| self.deny.have(address)) {
            return Err(Refusal::Denied);
        }
        let is_allowed = |allow: &Networks| address.is_some_and(|address| allow.have(address));
        if self.allow.as_ref().is_none_or(is_allowed) { Ok(()) } else { Err(Refusal::NotAllowed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Access, ListenAddress};

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn gate(proxies: Option<&[&str]>, allow: &[&str], deny: &[&str]) -> Gate {
        let access =
            Access { proxies: networks(proxies.unwrap_or_default()), allow: networks(allow), deny: networks(deny) };
        let plain = Listener::plain(ListenAddress::Tcp(([0, 0, 0, 0], 1).into()));
        Gate::of(&Listener { proxy_protocol: proxies.map(|_| 2), access, ..plain })
    }

    fn at_accept(gate: &Gate, address: &str) -> Result<(), Refusal> {
        gate.at_accept(Some(address.parse().unwrap()))
    }

    fn client(gate: &Gate, address: &str) -> Result<(), Refusal> {
        gate.of_client(Some(address.parse().unwrap()))
    }

    #[test]
    fn who_is_denied_may_not_come_even_if_allowed_and_others_only_if_allowed() {
        let gate = gate(None, &["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"], &["10.1.0.0/16", "2001:db8::1"]);
        for may in
            ["10.0.0.0", "10.0.255.255", "10.2.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::2", "::ffff:10.0.0.1"]
        {
            assert_eq!(at_accept(&gate, may), Ok(()), "{may}");
        }
        for denied in ["10.1.0.0", "10.1.255.255", "2001:db8::1", "::ffff:10.1.0.1"] {
            assert_eq!(at_accept(&gate, denied), Err(Refusal::Denied), "{denied}");
        }
        for other in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db7:ffff::", "2001:db9::", "::"] {
            assert_eq!(at_accept(&gate, other), Err(Refusal::NotAllowed), "{other}");
        }
        assert_eq!(gate.at_accept(None), Ok(()), "a Unix socket has its file");
    }

    #[test]
    fn without_lists_everybody_may_come() {
        for address in ["0.0.0.0", "255.255.255.255", "::", "ffff::"] {
            assert_eq!(at_accept(&gate(None, &[], &[]), address), Ok(()));
        }
    }

    #[test]
    fn behind_a_proxy_it_is_the_client_that_must_be_allowed() {
        let gate = gate(Some(&["10.0.0.0/24", "::1"]), &["192.0.2.0/24"], &["192.0.2.66", "10.0.0.66"]);
        assert_eq!((at_accept(&gate, "10.0.0.1"), at_accept(&gate, "::1")), (Ok(()), Ok(())));
        assert_eq!(at_accept(&gate, "10.0.0.66"), Err(Refusal::Denied));
        for other in ["192.0.2.1", "10.0.1.0", "::2"] {
            assert_eq!(at_accept(&gate, other), Err(Refusal::NoProxy), "{other}");
        }
        assert_eq!(client(&gate, "192.0.2.1"), Ok(()));
        assert_eq!(client(&gate, "192.0.2.66"), Err(Refusal::Denied));
        assert_eq!(client(&gate, "10.0.0.1"), Err(Refusal::NotAllowed), "a proxy that speaks for itself");
        assert_eq!(gate.of_client(None), Err(Refusal::NotAllowed), "nobody knows who it is");
    }

    #[test]
    fn nobody_is_a_proxy_unless_named() {
        assert_eq!(at_accept(&gate(Some(&[]), &[], &[]), "127.0.0.1"), Err(Refusal::NoProxy));
        assert_eq!(at_accept(&gate(Some(&["0.0.0.0/0"]), &[], &[]), "127.0.0.1"), Ok(()));
        assert_eq!(at_accept(&gate(Some(&["0.0.0.0/0"]), &[], &[]), "::1"), Err(Refusal::NoProxy));
    }
}
