//! Who may come by a listener, and who it is.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::broker::{Broker, TIMEOUT};
use super::packets::{Say, V311, granted};
use ringmq::wire::{Connect, ProtocolVersion};

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
    let mut socket = TcpStream::connect(("127.0.0.2", port_of(broker))).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    // In two parts, so that the header does not end with the bytes of a receive.
    socket.write_all(&header[..header.len() / 2]).unwrap();
    socket
        .write_all(&[&header[header.len() / 2..], &Connect::new(ProtocolVersion::V311, client_id).bytes(V311)].concat())
        .unwrap();
    let mut heard = Vec::new();
    let _ = (&socket).take(4).read_to_end(&mut heard);
    (socket, heard)
}

/// Case T13: the true address is what the log names and what the limit per address counts.
#[test]
fn a_proxy_names_the_client_and_a_bad_header_closes_the_connection() {
    let v2 = |last: u8| {
        let addresses = [192, 0, 2, last, 127, 0, 0, 2, 0x12, 0x34, 0x07, 0x5b];
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &addresses].concat()
    };
    let once = "accepts_per_address_per_sec_max=1";
    for (version, header) in [(1, b"PROXY TCP4 192.0.2.9 127.0.0.2 4660 1883\r\n".to_vec()), (2, v2(9))] {
        let broker = broker(&format!("127.0.0.2:0?proxy={version}"), &[once]);
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
