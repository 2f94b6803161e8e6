//! Proxy: the header by which a proxy names the client (PROXY protocol, versions 1 and 2).
//!
//! Duty: find the end of the header, bounded, the client's address in it, and what TLS it came by. Must not: guess the version; the
//! listener has it. Neighbours: `Transport` takes what follows it.

use std::net::SocketAddr;

use ppp::{v1, v2};

use super::identity::is_good;

/// The longest header of version 1, with its end, bytes.
const V1_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is taken, bytes: addresses, and more about the client than proxies say.
const V2_BYTES_MAX: usize = 2048;

/// The part of a header of version 2 that says how long it is, bytes.
const V2_BYTES_MIN: usize = 16;

/// Of what a proxy says of the client's TLS: that there is TLS, and that it has shown a certificate, now or when the TLS session began.
const HAS_TLS: u8 = 0x01;
const HAS_CERTIFICATE: u8 = 0x02 | 0x04;

/// What a header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Bytes of the header.
    pub(super) len: usize,
    /// Where the client is, if it names one.
    pub(super) client: Option<SocketAddr>,
    /// The client's TLS, if it came by that and the proxy tells.
    pub(super) tls: Option<ClientTls>,
}

/// TLS that has ended at the proxy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientTls {
    /// Whether the client has a certificate which the proxy has verified.
    pub(super) is_verified: bool,
    /// The common name of that certificate.
    pub(super) common_name: Option<Box<str>>,
}

/// Reads the header that begins `bytes`; `None` while it is not complete.
///
/// # Errors
/// This is no such header. For the log.
pub(super) fn read(version: u8, bytes: &[u8]) -> Result<Option<Named>, &'static str> {
    if version == 1 { read_v1(bytes) } else { read_v2(bytes) }
}

fn read_v1(bytes: &[u8]) -> Result<Option<Named>, &'static str> {
    const BAD: &str = "no header of PROXY protocol version 1";
    let begun = bytes.len().min(v1::PROTOCOL_PREFIX.len());
    if bytes[..begun] != v1::PROTOCOL_PREFIX.as_bytes()[..begun] {
        return Err(BAD);
    }
    let known = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = known.windows(2).position(|pair| pair == b"\r\n") else {
        return if known.len() < V1_BYTES_MAX { Ok(None) } else { Err(BAD) };
    };
    let len = end + 2;
    let client = match v1::Header::try_from(&bytes[..len]).map_err(|_| BAD)?.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    };
    Ok(Some(Named { len, client: client.map(canonical), tls: None }))
}

fn read_v2(bytes: &[u8]) -> Result<Option<Named>, &'static str> {
    const BAD: &str = "no header of PROXY protocol version 2";
    let begun = bytes.len().min(v2::PROTOCOL_PREFIX.len());
    if bytes[..begun] != v2::PROTOCOL_PREFIX[..begun] {
        return Err(BAD);
    }
    let Some(start) = bytes.first_chunk::<V2_BYTES_MIN>() else { return Ok(None) };
    let len = V2_BYTES_MIN + usize::from(u16::from_be_bytes([start[14], start[15]]));
    if len > V2_BYTES_MAX {
        return Err("a header of PROXY protocol version 2 that is too long");
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    let header = v2::Header::try_from(header).map_err(|_| BAD)?;
    let client = match (header.command, header.addresses) {
        // The proxy itself, to see whether we are alive.
        (v2::Command::Local, _) => None,
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    };
    let is_of_client = header.command == v2::Command::Proxy;
    let tls = if is_of_client { tls_of(header.tlvs()).ok_or(BAD)? } else { None };
    Ok(Some(Named { len, client: client.map(canonical), tls }))
}

/// What a proxy says of the client's TLS (PP2_TYPE_SSL); `None` if it says it wrongly.
fn tls_of(parts: v2::TypeLengthValues<'_>) -> Option<Option<ClientTls>> {
    let mut tls = None;
    for part in parts {
        let part = part.ok()?;
        if part.kind == v2::Type::SSL as u8 {
            let (flags, rest) = part.value.split_first()?;
            let (verify_error, inner) = rest.split_first_chunk()?;
            let mut common_name = None;
            for part in v2::TypeLengthValues::from(inner) {
                let part = part.ok()?;
                if part.kind == v2::Type::SSLCommonName as u8 {
                    common_name = std::str::from_utf8(&part.value).ok().filter(|name| is_good(name)).map(Into::into);
                }
            }
            let is_verified = flags & HAS_CERTIFICATE != 0 && u32::from_be_bytes(*verify_error) == 0;
            let client = ClientTls { is_verified, common_name: common_name.filter(|_| is_verified) };
            tls = (flags & HAS_TLS != 0).then_some(client);
        }
    }
    Some(tls)
}

/// An IPv6 address that stands for an IPv4 one is the latter: so it is counted and judged as that.
fn canonical(client: SocketAddr) -> SocketAddr {
    (client.ip().to_canonical(), client.port()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2_header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend((addresses.len() as u16).to_be_bytes());
        header.extend(addresses);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x07, 0x5b];

    /// Every start of a header is waited for, and what follows it is not taken.
    fn assert_reads(version: u8, header: &[u8], client: Option<&str>) {
        for end in 0..header.len() {
            assert_eq!(read(version, &header[..end]), Ok(None), "{end} bytes");
        }
        let with_more = [header, b"\x10\x0c\r\n"].concat();
        let client = client.map(|client| client.parse().unwrap());
        assert_eq!(read(version, &with_more), Ok(Some(Named { len: header.len(), client, tls: None })));
    }

    #[test]
    fn a_header_names_the_client_wherever_it_is_cut() {
        assert_reads(1, b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 1883\r\n", Some("192.0.2.7:4660"));
        assert_reads(1, b"PROXY TCP6 2001:db8::7 ::1 4660 1883\r\n", Some("[2001:db8::7]:4660"));
        assert_reads(1, b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4660 1883\r\n", Some("192.0.2.7:4660"));
        assert_reads(1, b"PROXY UNKNOWN\r\n", None);
        assert_reads(2, &v2_header(1, 0x11, &V4), Some("192.0.2.7:4660"));
        assert_reads(2, &v2_header(0, 0x00, &[]), None);
        let with_name = [&V4[..], &[2, 0, 3, b'f', b'o', b'o']].concat();
        assert_reads(2, &v2_header(1, 0x11, &with_name), Some("192.0.2.7:4660"));
    }

    /// What a proxy says of TLS: flags, the error of verifying (0 for none), parts.
    fn tls_part(flags: u8, verify_error: u8, parts: &[(u8, &[u8])]) -> Vec<u8> {
        let part = |(kind, value): &(u8, &[u8])| [&[*kind, 0, value.len() as u8], *value].concat();
        let value = [&[flags, 0, 0, 0, verify_error], &parts.iter().flat_map(part).collect::<Vec<_>>()[..]].concat();
        part(&(0x20, &value))
    }

    fn tls_in(part: &[u8]) -> Result<Option<ClientTls>, &'static str> {
        read(2, &v2_header(1, 0x11, &[&V4[..], part].concat())).map(|named| named.unwrap().tls)
    }

    #[test]
    fn a_header_tells_of_the_clients_tls_and_of_a_certificate_only_if_it_was_verified() {
        let names: &[(u8, &[u8])] = &[(0x21, b"TLSv1.3"), (0x22, b"anna")];
        let tls =
            |is_verified, name: Option<&str>| Ok(Some(ClientTls { is_verified, common_name: name.map(Into::into) }));
        assert_eq!(tls_in(&tls_part(0x01, 0, &[])), tls(false, None));
        assert_eq!(tls_in(&tls_part(0x03, 0, names)), tls(true, Some("anna")));
        assert_eq!(tls_in(&tls_part(0x05, 0, names)), tls(true, Some("anna")), "shown when the session began");
        assert_eq!(tls_in(&tls_part(0x07, 1, names)), tls(false, None), "not verified");
        assert_eq!(tls_in(&tls_part(0x01, 0, names)), tls(false, None), "none was shown");
        assert_eq!(tls_in(&tls_part(0x06, 0, names)), Ok(None), "no TLS");
        for bad in [&b""[..], b"root\0x", &[0xff, 0xfe]] {
            assert_eq!(tls_in(&tls_part(0x07, 0, &[(0x22, bad)])), tls(true, None), "{bad:?}");
        }
        let whole = tls_part(0x03, 0, names);
        for end in 1..whole.len() {
            assert!(tls_in(&whole[..end]).is_err(), "{end}");
        }
        assert!(tls_in(&tls_part(0x03, 0, &[])[..7]).is_err());
        assert!(tls_in(&[0x20, 0, 4, 1, 0, 0, 0]).is_err(), "too short");
        assert!(tls_in(&[0x20, 0, 7, 1, 0, 0, 0, 0, 0x22, 0]).is_err(), "a part that is cut off");
    }

    /// Case T13.
    #[test]
    fn a_bad_or_endless_header_is_refused_at_once() {
        for bad in ["X", "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 300.0.0.1 1.2.3.4 1 2\r\n", "PROXY\r\n"] {
            assert!(read(1, bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(1, format!("PROXY TCP4 {}", "1".repeat(V1_BYTES_MAX)).as_bytes()).is_err());
        assert!(read(1, b"\x10\x0c\0\x04MQTT").is_err());
        assert!(read(2, b"PROXY TCP4").is_err());
        let mut long = v2_header(1, 0x11, &V4);
        long[14..16].copy_from_slice(&[0xff, 0xff]);
        assert!(read(2, &long[..V2_BYTES_MIN]).is_err(), "not after 64 KiB");
        assert!(read(2, &v2_header(5, 0x11, &V4)).is_err());
        assert!(read(2, &v2_header(1, 0x11, &V4[..8])).is_err());
    }
}
