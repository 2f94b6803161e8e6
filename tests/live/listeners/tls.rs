//! TLS of the real binary.

use std::io::{Read, Write};
use std::net::TcpStream;

use ringmq::wire::{Connect, ProtocolVersion};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, StreamOwned};

use super::{Subscriber, run};
use crate::broker::{Broker, TIMEOUT};
use crate::packets::{Q0, Say, V311, lasting, qos0, qos1, subscribe, will};
use crate::papers::Papers;
use crate::program::{ended, ringmq};

pub(super) type Stream = StreamOwned<ClientConnection, TcpStream>;

fn broker(papers: &Papers, shards: usize, settings: &[&str], more: &[&str]) -> Broker {
    let options = papers.options(&[&["--bind", "mqtts://127.0.0.1:0"], more].concat());
    Broker::start_with(&options, shards, settings)
}

pub(super) fn dial(papers: &Papers, broker: &Broker) -> Stream {
    let socket = TcpStream::connect(("127.0.0.1", broker.port_of("mqtts://"))).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.set_nodelay(true).unwrap();
    let connection = ClientConnection::new(papers.client(), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, socket)
}

#[track_caller]
fn expect(stream: &mut Stream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap_or_else(|error| panic!("{error} instead of {bytes:02x?}"));
    assert_eq!(got, bytes);
}

fn connect(papers: &Papers, broker: &Broker, connect: &Connect<'_>) -> Stream {
    let mut stream = dial(papers, broker);
    stream.write_all(&(*connect).clone().bytes(V311)).unwrap();
    expect(&mut stream, &[0x20, 2, 0, 0]);
    stream
}

/// A client from before its broker's certificate changes.
struct OldCustomer {
    papers: Papers,
    broker: Broker,
    stream: Stream,
    certificate: CertificateDer<'static>,
}

impl OldCustomer {
    fn new() -> Self {
        let papers = Papers::new();
        let broker = broker(&papers, 2, &[], &[]);
        let stream = connect(&papers, &broker, &Connect::new(ProtocolVersion::V311, "old"));
        let certificate = papers.certificate("broker");
        assert_eq!(shown_by(&stream), certificate);
        Self { papers, broker, stream, certificate }
    }

    /// The certificate that who comes now is shown.
    fn shown_to(&self, client_id: &str) -> CertificateDer<'static> {
        shown_by(&connect(&self.papers, &self.broker, &Connect::new(ProtocolVersion::V311, client_id)))
    }

    /// Each shard takes what has changed in its next turn, which the answer to a ping of its client shows.
    fn let_shards_turn(&self) {
        for shard in 0..2 {
            self.broker.connect(&self.broker.client_id("turn", shard)).expect_alive();
        }
    }

    fn expect_alive(mut self) {
        self.stream.write_all(&[0xc0, 0]).unwrap();
        expect(&mut self.stream, &[0xd0, 0]);
    }
}

fn shown_by(stream: &Stream) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn mosquitto_clients_talk_over_tls_with_a_certificate_of_their_own() {
    let papers = Papers::new();
    papers.issue("anna");
    let ca = papers.path("ca.pem");
    let broker = broker(&papers, 1, &["sessions_per_user_per_shard_max=1"], &["--tls-ca", &ca]);
    let port = broker.port_of("mqtts://").to_string();
    let to_broker = ["-h", "localhost", "-p", &port, "--cafile", &ca];
    let (cert, key) = (papers.path("anna.pem"), papers.path("anna.key"));
    let as_anna = [&to_broker[..], &["--cert", &cert, "--key", &key]].concat();
    let (is_good, printed) = run("mosquitto_pub", &[&to_broker[..], &["-t", "x", "-m", "y"]].concat());
    assert!(!is_good, "without a certificate: {printed}");
    broker.line_with(&["closed by shard", "TLS"]);
    let subscriber = Subscriber::start(&as_anna, "tls");
    // The certificate's name is the user's, of whom there may be one.
    let (is_good, printed) = run("mosquitto_pub", &[&as_anna[..], &["-t", "tls", "-m", "x", "-u", "bob"]].concat());
    assert!(!is_good, "{printed}");
    broker.line_with(&["sessions_per_user_per_shard_max"]);
    let mut plain = broker.connect("plain");
    plain.send(qos0("tls", "secret"));
    subscriber.expect("secret");
}

/// A connection that belongs to another shard moves there with its state, whichever of the shards accepted it.
#[test]
fn clients_over_tls_reach_their_shard_and_each_other() {
    let papers = Papers::new();
    let broker = broker(&papers, 4, &[], &[]);
    let mut listeners: Vec<Stream> = (0..24)
        .map(|number| {
            let mut stream =
                connect(&papers, &broker, &Connect::new(ProtocolVersion::V311, &format!("listener-{number}")));
            stream.write_all(&subscribe(1).to("all", Q0).bytes(V311)).unwrap();
            expect(&mut stream, &[0x90, 3, 0, 1, 0]);
            stream
        })
        .collect();
    let mut speaker = connect(&papers, &broker, &Connect::new(ProtocolVersion::V311, "speaker"));
    let large = "x".repeat(100_000);
    for payload in ["one", &large, "two"] {
        speaker.write_all(&qos1(7, "all", payload).bytes(V311)).unwrap();
        expect(&mut speaker, &[0x40, 2, 0, 7]);
        listeners.iter_mut().for_each(|stream| expect(stream, &qos0("all", payload).bytes(V311)));
    }
}

/// Case T11: TCP that ends without close_notify is a lost connection; and the reverse: the end of TLS alone ends it, too.
#[test]
fn a_connection_cut_off_is_lost_and_its_will_is_published() {
    let papers = Papers::new();
    let broker = broker(&papers, 1, &[], &[]);
    let mut watcher = broker.connect("watcher");
    watcher.send(subscribe(1).to("will", Q0));
    watcher.expect(&[0x90, 3, 0, 1, 0]);
    for is_orderly in [false, true] {
        let with_will =
            Connect { last_will: Some(will(Q0, "will", "gone")), ..Connect::new(ProtocolVersion::V311, "w") };
        let mut stream = connect(&papers, &broker, &with_will);
        if is_orderly {
            stream.conn.send_close_notify();
            stream.conn.write_tls(&mut stream.sock).unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "and ours is said");
        } else {
            drop(stream.sock);
        }
        watcher.expect(&qos0("will", "gone").bytes(V311));
    }
    let mut stream = connect(&papers, &broker, &lasting(V311, "polite", 0));
    stream.write_all(&[0xe0, 0]).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "after DISCONNECT the broker ends TLS in order");
}

/// Case T09: who is silent or slow in a handshake is closed in time, and nobody else waits.
#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let papers = Papers::new();
    let broker = broker(&papers, 1, &["connect_timeout_ms=300", "tls_handshakes_per_turn_max=1"], &[]);
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|number| {
            let mut socket = TcpStream::connect(("127.0.0.1", broker.port_of("mqtts://"))).unwrap();
            socket.set_read_timeout(Some(TIMEOUT)).unwrap();
            socket.write_all(&[0x16, 3, 1, 1, 0, 1][..number % 7]).unwrap();
            socket
        })
        .collect();
    connect(&papers, &broker, &Connect::new(ProtocolVersion::V311, "quick"));
    slow.iter_mut().for_each(|socket| drop(socket.read_to_end(&mut Vec::new())));
}

/// Cases T10 and T11: what is no TLS, or an old one, ends that connection only.
#[test]
fn bytes_that_are_no_tls_close_the_connection() {
    let papers = Papers::new();
    let mut broker = broker(&papers, 1, &[], &[]);
    for garbage in [&b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 5000]] {
        let mut socket = TcpStream::connect(("127.0.0.1", broker.port_of("mqtts://"))).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.write_all(garbage).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
        broker.line_with(&["closed by shard 0: TLS"]);
    }
    let port = broker.port_of("mqtts://").to_string();
    let (is_good, printed) = run("openssl", &["s_client", "-tls1_1", "-connect", &format!("127.0.0.1:{port}")]);
    assert!(!is_good, "{printed}");
    connect(&papers, &broker, &Connect::new(ProtocolVersion::V311, "good"));
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("transport_faults"), 4);
}

/// Case T15.
#[test]
fn a_signal_brings_new_certificates_and_a_bad_file_changes_nothing() {
    let customer = OldCustomer::new();
    let OldCustomer { papers, broker, certificate, .. } = &customer;
    let key = std::fs::read(papers.path("broker.key")).unwrap();
    std::fs::write(papers.path("broker.key"), &key[..key.len() / 2]).unwrap();
    broker.signal("HUP");
    broker.line_with(&["Not reloaded, nothing has changed", "broker.key", "END line is missing"]);
    assert_eq!(customer.shown_to("second"), *certificate);
    papers.issue("broker");
    broker.signal("HUP");
    broker.line_with(&["Reloaded: users and rights read again, 0 listeners added, 0 removed"]);
    customer.let_shards_turn();
    let next = papers.certificate("broker");
    assert!(next != *certificate && customer.shown_to("third") == next);
    customer.expect_alive();
}

/// Case T15: no signal comes. Files are moved over the old ones, or links to them are, as those do who renew certificates.
#[test]
fn certificates_that_are_replaced_on_disk_are_those_of_new_connections_without_a_signal() {
    for by_link in [false, true] {
        let customer = OldCustomer::new();
        let OldCustomer { papers, broker, certificate, .. } = &customer;
        papers.issue("next");
        let next = papers.certificate("next");
        // Between the two they do not belong together; should they be read then, the old ones hold.
        for end in ["key", "pem"] {
            let (mut new, target) = (papers.path(&format!("next.{end}")), papers.path(&format!("broker.{end}")));
            if by_link {
                let link = papers.path(&format!("link.{end}"));
                std::os::unix::fs::symlink(&new, &link).unwrap();
                new = link;
            }
            std::fs::rename(new, target).unwrap();
        }
        broker.line_with(&["Files were written and are used"]);
        customer.let_shards_turn();
        assert!(next != *certificate && customer.shown_to("new") == next);
        customer.expect_alive();
    }
}

#[test]
fn certificates_that_cannot_be_used_end_the_start_with_one_line() {
    let papers = Papers::new();
    papers.issue("other");
    let (cert, key, none) = (papers.path("broker.pem"), papers.path("other.key"), papers.path("none.key"));
    for (key, code, word) in [(&key, 3, "does not belong"), (&none, 1, "no such file"), (&cert, 3, "PRIVATE KEY")] {
        let arguments = ["--bind", "mqtts://127.0.0.1:0", "--tls-cert", &cert, "--tls-key", key];
        let (got, _, text) = ended(&mut ringmq(&arguments));
        assert_eq!(got, Some(code), "{text}");
        assert!(text.lines().count() == 1 && text.contains(word) && text.contains(key.as_str()), "{text}");
    }
}
