//! Who may come by a listener, and who it is.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use socket2::{Domain, Socket, Type};

use crate::broker::{Broker, TIMEOUT};
use crate::folder::Folder;
use crate::packets::{Say, V311, granted};
use ringmq::wire::{Connect, ProtocolVersion};

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

fn broker(bind: &str, settings: &[&str]) -> Broker {
    Broker::start_with(&["--bind".into(), bind.into(), "-v".into()], 2, settings)
}

fn port_of(broker: &Broker) -> u16 {
    let first = broker.log.lock().unwrap()[0].clone();
    let port = first.split([' ', ',', ';']).find_map(|word| word.strip_prefix("127.0.0.2:"));
    port.unwrap_or_else(|| panic!("{first}")).parse().unwrap()
}

/// Says `header` and CONNECT; what is heard, until the end or CONNACK.
fn connect(broker: &Broker, header: &[u8], client_id: &str) -> (TcpStream, Vec<u8>) {
    connect_from(LOCALHOST, ([127, 0, 0, 2], port_of(broker)).into(), header, client_id)
}

/// The same from an address of this machine.
fn connect_from(source: [u8; 4], to: SocketAddr, header: &[u8], client_id: &str) -> (TcpStream, Vec<u8>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    // In two parts, so that the header does not end with the bytes of a receive. Who is closed at once may hear of it meanwhile.
    let _ = socket.write_all(&header[..header.len() / 2]);
    let rest = [&header[header.len() / 2..], &Connect::new(ProtocolVersion::V311, client_id).bytes(V311)].concat();
    let _ = socket.write_all(&rest);
    let mut heard = Vec::new();
    let _ = (&socket).take(4).read_to_end(&mut heard);
    (socket, heard)
}

/// A header of this version that names 192.0.2.`last`, port 4660.
fn header(version: u8, last: u8) -> Vec<u8> {
    if version == 1 {
        return format!("PROXY TCP4 192.0.2.{last} 127.0.0.2 4660 1883\r\n").into_bytes();
    }
    let addresses = [192, 0, 2, last, 127, 0, 0, 2, 0x12, 0x34, 0x07, 0x5b];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &addresses].concat()
}

/// Case T13: the true address is what the log names and what the limit per address counts.
#[test]
fn a_proxy_names_the_client_and_a_bad_header_closes_the_connection() {
    let once = "accepts_per_address_per_sec_max=1";
    for version in [1, 2] {
        let header = header(version, 9);
        let broker = broker(&format!("127.0.0.2:0?proxy={version}&trusted=127.0.0.0/8"), &[once]);
        let (_first, heard) = connect(&broker, &header, "first");
        assert_eq!(heard, granted().bytes(V311));
        broker.line_with(&["New client connected from 192.0.2.9:4660 as first"]);
        // Which shard takes it is the kernel's choice, and each counts alone.
        let refused = (0..3).filter(|_| connect(&broker, &header, "more").1.is_empty()).count();
        assert!(refused >= 1);
        broker.line_with(&["Connection from 192.0.2.9:4660 refused", "accepts_per_address_per_sec_max"]);
        for bad in [&b"PROXY TCP4 nonsense\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", b"no header at all"] {
            assert_eq!(connect(&broker, bad, "bad").1, b"", "{bad:?}");
        }
        broker.line_with(&["Connection from 127.0.0.1:", "PROXY protocol"]);
    }
}

/// Case T13: from elsewhere the connection is closed before anything is read of it; the address in the header is never used.
#[test]
fn a_header_counts_from_a_trusted_proxy_only() {
    for version in [1, 2] {
        let bind = format!("127.0.0.2:0?proxy={version}&trusted=127.0.0.3&trusted=127.0.1.0/24&trusted=::1");
        let mut broker = broker(&bind, &[]);
        let to = SocketAddr::from(([127, 0, 0, 2], port_of(&broker)));
        for (number, proxy) in [[127, 0, 0, 3], [127, 0, 1, 0], [127, 0, 1, 255]].into_iter().enumerate() {
            let client_id = format!("client-{number}");
            assert_eq!(connect_from(proxy, to, &header(version, 9), &client_id).1, granted().bytes(V311));
            broker.line_with(&[&format!("New client connected from 192.0.2.9:4660 as {client_id}")]);
        }
        let others = [[127, 0, 0, 1], [127, 0, 0, 4], [127, 0, 2, 0]];
        for other in others {
            assert_eq!(connect_from(other, to, &header(version, 13), "other").1, b"");
            let from = format!("Connection from {}:", Ipv4Addr::from(other));
            broker.line_with(&[&from, "refused", "it is no trusted proxy of the listener (proxy_trusted)"]);
        }
        assert_eq!(broker.stop(), Some(0));
        assert_eq!(broker.counted("untrusted_proxies"), others.len() as u64);
        let log = broker.log.lock().unwrap();
        assert!(log.iter().all(|line| !line.contains("192.0.2.13") && !line.contains("as other")), "{log:#?}");
    }
}

/// Case T13: who is named must be allowed, too; a header that names nobody is of the proxy itself.
#[test]
fn whom_a_trusted_proxy_names_is_asked_for_as_well() {
    let lists = "allow=192.0.2.0/25&deny=192.0.2.66&deny=127.0.0.66";
    let mut broker = broker(&format!("127.0.0.2:0?proxy=1&trusted=127.0.0.0/8&{lists}"), &[]);
    let to = SocketAddr::from(([127, 0, 0, 2], port_of(&broker)));
    let from_proxy = |header: &[u8], client_id: &str| connect_from(LOCALHOST, to, header, client_id).1;
    assert_eq!(from_proxy(&header(1, 9), "welcome"), granted().bytes(V311));
    assert_eq!(from_proxy(&header(1, 66), "denied"), b"");
    broker.line_with(&["Connection from 192.0.2.66:4660 refused", "the listener denies its address"]);
    assert_eq!(from_proxy(&header(1, 200), "other"), b"");
    broker.line_with(&["Connection from 192.0.2.200:4660 refused", "the listener allows other addresses only"]);
    assert_eq!(from_proxy(b"PROXY UNKNOWN\r\n", "itself"), b"");
    broker.line_with(&["Connection from 127.0.0.1:", "the listener allows other addresses only"]);
    assert_eq!(connect_from([127, 0, 0, 66], to, &header(1, 9), "by-denied-proxy").1, b"");
    broker.line_with(&["Connection from 127.0.0.66:", "the listener denies its address"]);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!((broker.counted("denied_addresses"), broker.counted("untrusted_proxies")), (4, 0));
}

/// Who may open the file of a Unix socket is a trusted proxy; whom it names is asked for, and nobody known is not allowed.
#[test]
fn a_proxy_by_a_unix_socket_is_trusted_and_its_clients_are_asked_for() {
    let folder = Folder::new();
    let path = folder.path("mqtt.sock");
    let broker = broker(&format!("unix:{path}?proxy=1&allow=192.0.2.0/25&allow=2001:db8::/32"), &[]);
    let heard = |header: &[u8], client_id: &str| {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let said = [header, &Connect::new(ProtocolVersion::V311, client_id).bytes(V311)].concat();
        socket.write_all(&said).unwrap();
        let mut heard = Vec::new();
        let _ = socket.take(4).read_to_end(&mut heard);
        heard
    };
    for shard in 0..2 {
        assert_eq!(heard(&header(1, 9), &broker.client_id("four", shard)), granted().bytes(V311));
        let six = b"PROXY TCP6 2001:db8::7 ::1 4660 1883\r\n";
        assert_eq!(heard(six, &broker.client_id("six", shard)), granted().bytes(V311));
    }
    broker.line_with(&["New client connected from 2001:db8::7:4660 as six"]);
    assert_eq!(heard(&header(1, 200), "other"), b"");
    broker.line_with(&["Connection from 192.0.2.200:4660 refused", "the listener allows other addresses only"]);
    assert_eq!(heard(b"PROXY UNKNOWN\r\n", "unknown"), b"");
    broker.line_with(&["Connection from unix socket (pid ", "refused", "the listener allows other addresses only"]);
}

/// The user is whom the proxy has seen a certificate of, as it would be if TLS ended here.
#[test]
fn the_certificate_that_a_proxy_has_verified_names_the_user() {
    let folder = Folder::new();
    let conf = "listener 0 127.0.0.1\nenable_proxy_protocol 2\nproxy_trusted 127.0.0.0/8\nlog_timestamp false\n\
                proxy_protocol_v2_require_tls true\nrequire_certificate true\nuse_identity_as_username true\n";
    let broker = Broker::of_arguments(&["-c", &folder.write("m.conf", conf)], 2);
    let heard = |tls: &[u8], client_id: &str| {
        let mut header = header(2, 9);
        header[15] += tls.len() as u8;
        header.extend(tls);
        connect_from(LOCALHOST, broker.address(), &header, client_id).1
    };
    for shard in 0..2 {
        let id = broker.client_id("client", shard);
        let named = [&[0x20, 0, 12, 0x03, 0, 0, 0, 0, 0x22, 0, 4][..], b"anna"].concat();
        assert_eq!(heard(&named, &id), [0x20, 2, 0, 0]);
        let line = broker.line_with(&["New client connected from 192.0.2.9:4660", &format!("as {id} ")]);
        assert!(line.contains("u'anna'"), "{line}");
    }
    for (tls, why) in [(&[][..], "by TLS"), (&[0x20, 0, 5, 0x01, 0, 0, 0, 0], "has no certificate")] {
        assert_eq!(heard(tls, "other"), b"");
        broker.line_with(&["Connection from 192.0.2.9:4660 closed", why]);
    }
}

/// The lists are asked at accept; a signal changes them for who comes from then on.
#[test]
fn an_address_that_a_listener_does_not_take_is_closed_at_once_and_a_signal_changes_that() {
    let folder = Folder::new();
    let conf = |denied: &str| {
        let lists = format!("allow_address 127.0.0.0/16\ndeny_address {denied}\n");
        folder.write("m.conf", &format!("listener 0 127.0.0.1\n{lists}allow_anonymous true\nlog_timestamp false\n"))
    };
    let mut broker = Broker::of_arguments(&["-c", &conf("127.0.0.5")], 2);
    let to = broker.address();
    let (mut stays, heard) = connect_from([127, 0, 0, 6], to, b"", "stays");
    assert_eq!(heard, granted().bytes(V311));
    assert_eq!(connect_from([127, 0, 0, 5], to, b"", "denied").1, b"");
    broker.line_with(&["Connection from 127.0.0.5:", "refused", "the listener denies its address"]);
    assert_eq!(connect_from([127, 1, 0, 0], to, b"", "other").1, b"");
    broker.line_with(&["Connection from 127.1.0.0:", "refused", "the listener allows other addresses only"]);
    conf("127.0.0.6");
    broker.signal("HUP");
    broker.line_with(&["Reloaded: ", "0 listeners added, 0 removed"]);
    // Each shard does it in its next turn, which the answer to a ping of its client shows.
    for shard in 0..2 {
        broker.connect(&broker.client_id("turn", shard)).expect_alive();
    }
    assert_eq!(connect_from([127, 0, 0, 6], to, b"", "denied-now").1, b"");
    assert_eq!(connect_from([127, 0, 0, 5], to, b"", "denied-no-more").1, granted().bytes(V311));
    stays.write_all(&[0xc0, 0]).unwrap();
    let mut heard = [0; 2];
    stays.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [0xd0, 0], "who is there stays");
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("denied_addresses"), 3);
}

/// The bound is of the listener, whichever shards its connections live on; who goes makes room.
#[test]
fn a_listener_takes_as_many_connections_as_it_is_told() {
    let mut broker = broker("127.0.0.2:0?connections=3", &[]);
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..3 {
        let (socket, heard) = connect(&broker, b"", &format!("client-{number}"));
        assert_eq!(heard, granted().bytes(V311));
        held.push(socket);
    }
    assert_eq!(connect(&broker, b"", "too-many").1, b"");
    broker.line_with(&["refused", "the listener has as many connections as it takes"]);
    broker.connect("by-another-listener");
    let mut gone = held.pop().unwrap();
    gone.write_all(&[0xe0, 0]).unwrap();
    let _ = gone.read_to_end(&mut Vec::new());
    drop(gone);
    broker.line_with(&["client-2", "disconnected"]);
    let mut tries = 1;
    while connect(&broker, b"", "instead").1.is_empty() {
        tries += 1;
        assert!(tries < 10_000, "the place of who has gone is not given to another");
    }
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("refused_listener_connections"), tries);
}
