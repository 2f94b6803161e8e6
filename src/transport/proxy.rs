//! Proxy: the header by which a proxy names the client (PROXY protocol, versions 1 and 2).
//!
//! Duty: find the end of the header, bounded, and the client's address in it. Must not: guess the version; the listener has it.
//! Neighbours: `Transport` takes what follows it.

use std::net::SocketAddr;

use ppp::{v1, v2};

/// The longest header of version 1, with its end, bytes.
const V1_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is taken, bytes: addresses, and more about the client than proxies say.
const V2_BYTES_MAX: usize = 2048;

/// The part of a header of version 2 that says how long it is, bytes.
const V2_BYTES_MIN: usize = 16;

/// A header: its bytes, and the client if it names one.
type Named = (usize, Option<SocketAddr>);

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
    Ok(Some((len, client)))
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
    Ok(Some((len, client)))
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
        assert_eq!(read(version, &with_more), Ok(Some((header.len(), client.map(|client| client.parse().unwrap())))));
    }

    #[test]
    fn a_header_names_the_client_wherever_it_is_cut() {
        assert_reads(1, b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 1883\r\n", Some("192.0.2.7:4660"));
        assert_reads(1, b"PROXY TCP6 2001:db8::7 ::1 4660 1883\r\n", Some("[2001:db8::7]:4660"));
        assert_reads(1, b"PROXY UNKNOWN\r\n", None);
        assert_reads(2, &v2_header(1, 0x11, &V4), Some("192.0.2.7:4660"));
        assert_reads(2, &v2_header(0, 0x00, &[]), None);
        let with_name = [&V4[..], &[2, 0, 3, b'f', b'o', b'o']].concat();
        assert_reads(2, &v2_header(1, 0x11, &with_name), Some("192.0.2.7:4660"));
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
