//! Tests of a whole transport: PROXY header, TLS and WebSocket above each other, against clients that we did not write.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::config::{Access, ListenAddress, Tls as TlsFiles};

/// A directory of certificates: an authority, the broker's and a client's.
struct Papers {
    folder: PathBuf,
}

impl Papers {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringmq-papers-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let papers = Self { folder };
        papers.write("ca.pem", authority.pem());
        for (serial, name) in [(1, "broker"), (2, "anna")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(SerialNumber::from(serial));
            papers.write(&format!("{name}.pem"), params.signed_by(&key, &authority).unwrap().pem());
            papers.write(&format!("{name}.key"), key.serialize_pem());
        }
        for (name, revoked) in [("anna", 2), ("nobody", 9)] {
            let list = CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(2020, 1, 1),
                next_update: rcgen::date_time_ymd(2200, 1, 1),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: vec![RevokedCertParams {
                    serial_number: SerialNumber::from(revoked),
                    revocation_time: rcgen::date_time_ymd(2021, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                }],
                key_identifier_method: KeyIdMethod::Sha256,
            };
            papers.write(&format!("{name}.crl"), list.signed_by(&authority).unwrap().pem().unwrap());
        }
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn tls(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.path("broker.pem"),
            key: self.path("broker.key"),
            client_authority: None,
            revoked: None,
            requires_certificate: false,
            identity: Identity::None,
            is_tls13_only: false,
        }
    }

    fn tls_of_clients(&self) -> TlsFiles {
        TlsFiles {
            client_authority: Some(self.path("ca.pem")),
            requires_certificate: true,
            identity: Identity::CommonName,
            ..self.tls()
        }
    }

    /// A client of the authority, with a certificate of its own or none.
    fn client(&self, own: Option<&str>) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{own}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{own}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn listener(tls: Option<TlsFiles>, is_web: bool, proxy_protocol: Option<u8>) -> Listener {
    let transport = if is_web { Spoken::WebSocket { origins: Vec::new() } } else { Spoken::Mqtt };
    let plain = Listener::plain(ListenAddress::Tcp((std::net::Ipv4Addr::LOCALHOST, 0).into()));
    Listener { tls, transport, proxy_protocol, ..plain }
}

fn setup(listener: &Listener) -> Result<Setup, TlsError> {
    Setup::of(listener, &Limits::default())
}

fn transport(listener: &Listener) -> Box<Transport> {
    setup(listener).unwrap().begin(None).unwrap()
}

/// A transport and its client, with what each has heard.
struct Line {
    broker: Box<Transport>,
    client: ClientConnection,
    plain: Vec<u8>,
    heard: Vec<u8>,
    user: Option<String>,
    end: Option<End>,
    piece: usize,
}

impl Line {
    fn new(broker: Box<Transport>, client: ClientConnection, piece: usize) -> Self {
        Self { broker, client, plain: Vec::new(), heard: Vec::new(), user: None, end: None, piece }
    }

    /// Carries bytes until nobody has any.
    fn settle(&mut self) {
        loop {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).unwrap();
            }
            for piece in wire.chunks(self.piece) {
                let arrival = self.broker.receive(piece, &mut self.plain);
                if arrival.is_certified {
                    self.user = self.broker.user().map(Into::into);
                }
                self.end = self.end.take().or(arrival.end);
            }
            let had_output = self.broker.has_output();
            self.say(&[], false);
            if wire.is_empty() && !had_output {
                return;
            }
        }
    }

    /// The broker says something.
    fn say(&mut self, pieces: &[&[u8]], is_last: bool) -> usize {
        let mut wire = Vec::new();
        self.broker.seal(pieces, is_last, &mut wire);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            if self.client.process_new_packets().is_err() {
                break;
            }
            let _ = self.client.reader().read_to_end(&mut self.heard);
        }
        wire.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_said_over_tls_arrives_whatever_the_pieces(
        said in vec(vec(any::<u8>(), 0..5000), 1..8), piece in 1_usize..3000,
    ) {
        let papers = Papers::new("pieces");
        let mut line = Line::new(transport(&listener(Some(papers.tls()), false, None)), papers.client(None), piece);
        line.client.writer().write_all(&said.concat()).unwrap();
        line.settle();
        prop_assert!(!line.broker.is_handshaking());
        prop_assert_eq!(line.client.alpn_protocol(), Some(&b"mqtt"[..]));
        prop_assert_eq!(&line.plain, &said.concat());
        let pieces: Vec<&[u8]> = said.iter().map(Vec::as_slice).collect();
        line.say(&pieces, false);
        prop_assert_eq!(&line.heard, &said.concat());
        prop_assert_eq!(line.end, None);
    }
}

proptest! {
    /// Whatever is said to it and however it is cut: the same bytes come out, and nothing panics.
    #[test]
    fn any_bytes_cut_anywhere_mean_the_same(
        kind in 0_usize..6, bytes in vec(any::<u8>(), 0..300), frames in vec(vec(any::<u8>(), 0..100), 0..4), piece in 1_usize..50,
    ) {
        let (is_web, proxy) = [(true, None), (true, None), (true, Some(2)), (false, Some(1)), (false, Some(2)), (true, Some(1))][kind];
        let header: &[u8] = match proxy {
            Some(1) => b"PROXY TCP6 2001:db8::7 ::1 4660 1883\r\n",
            Some(_) => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
            None => b"",
        };
        let upgrade = if is_web && kind > 0 { UPGRADE.as_bytes() } else { b"" };
        let frames: Vec<u8> = frames.iter().flat_map(|payload| client_frame(payload)).collect();
        let stream = [header, upgrade, &frames, &bytes].concat();
        let heard = |piece: usize| {
            let mut broker = transport(&listener(None, is_web, proxy));
            let (mut plain, mut is_over, mut wire) = (Vec::new(), false, Vec::new());
            for piece in stream.chunks(piece) {
                is_over |= broker.receive(piece, &mut plain).end.is_some();
            }
            broker.seal(&[b"MQTT"], true, &mut wire);
            (plain, is_over, wire)
        };
        prop_assert_eq!(heard(piece), heard(stream.len().max(1)));
    }
}

/// One pass for all that has gathered: what a turn has for a client is one record.
#[test]
fn many_packets_of_a_turn_are_one_record() {
    let papers = Papers::new("record");
    let mut line = Line::new(transport(&listener(Some(papers.tls()), false, None)), papers.client(None), 4096);
    line.settle();
    let packets = [b"packet".as_slice(); 200];
    let overhead = line.say(&packets, false) - packets.concat().len();
    assert!(overhead <= 5 + 16 + 1, "{overhead}");
}

#[test]
fn the_certificate_of_a_client_is_its_user_and_who_has_none_or_a_revoked_one_is_refused() {
    let papers = Papers::new("clients");
    let with = |revoked: &str| TlsFiles { revoked: Some(papers.path(revoked)), ..papers.tls_of_clients() };
    for (tls, own, user) in [
        (papers.tls_of_clients(), Some("anna"), Some("anna")),
        (papers.tls_of_clients(), None, None),
        (with("nobody.crl"), Some("anna"), Some("anna")),
        (with("anna.crl"), Some("anna"), None),
    ] {
        let mut line = Line::new(transport(&listener(Some(tls), false, None)), papers.client(own), 1000);
        line.client.writer().write_all(b"CONNECT").unwrap();
        line.settle();
        assert_eq!(line.user.as_deref(), user, "{own:?}");
        assert_eq!(line.plain.is_empty(), user.is_none());
        assert_eq!(matches!(line.end, Some(End::Fault(_))), user.is_none(), "{:?}", line.end);
    }
}

/// A state can be moved while keys are agreed on: it is a value like any other.
#[test]
fn a_transport_can_go_to_another_shard() {
    fn assert_send<T: Send>() {}
    assert_send::<Transport>();
}

/// Case T10 and T11: garbage, and a record that is too long, end the connection with an alert.
#[test]
fn bytes_that_are_no_tls_are_a_fault() {
    let papers = Papers::new("garbage");
    for garbage in
        [&b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"[..], b"\x16\x03\x01\xff\xff\x01", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut broker = transport(&listener(Some(papers.tls()), false, None));
        let mut plain = Vec::new();
        assert!(matches!(broker.receive(garbage, &mut plain).end, Some(End::Fault(_))), "{garbage:?}");
        assert!(broker.is_over() && plain.is_empty());
        assert!(broker.receive(b"more", &mut plain).end.is_none());
    }
}

/// Case T11: what came before close_notify counts.
#[test]
fn the_end_of_tls_is_heard_after_the_last_bytes_and_ours_is_said() {
    let papers = Papers::new("end");
    let mut line = Line::new(transport(&listener(Some(papers.tls()), false, None)), papers.client(None), 777);
    line.settle();
    line.client.writer().write_all(b"DISCONNECT").unwrap();
    line.client.send_close_notify();
    line.settle();
    assert_eq!(line.plain, b"DISCONNECT");
    assert_eq!(line.end, Some(End::Closed));
    let mut line = Line::new(transport(&listener(Some(papers.tls()), false, None)), papers.client(None), 777);
    line.settle();
    line.say(&[b"last"], true);
    assert_eq!(line.heard, b"last");
    assert!(line.client.process_new_packets().unwrap().peer_has_closed() && line.broker.has_said_farewell());
}

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A binary frame with a mask of zeros.
fn client_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

/// Over TLS too: the request, frames and the close travel inside, and a PROXY header before all of it.
#[test]
fn header_tls_and_websocket_stand_above_each_other_wherever_they_are_cut() {
    let papers = Papers::new("layers");
    for piece in [1, 7, 100_000] {
        let mut broker = transport(&listener(Some(papers.tls()), true, Some(1)));
        let mut client = None;
        for byte in b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 1883\r\n" {
            client = broker.receive(&[*byte], &mut Vec::new()).client.or(client);
        }
        assert_eq!(client, Some("192.0.2.7:4660".parse::<SocketAddr>().unwrap()));
        let mut line = Line::new(broker, papers.client(None), piece);
        let said = [UPGRADE.as_bytes(), &client_frame(b"CONN"), &client_frame(b""), &client_frame(b"ECT")].concat();
        line.client.writer().write_all(&said).unwrap();
        line.settle();
        assert_eq!(line.plain, b"CONNECT");
        let answer = String::from_utf8(std::mem::take(&mut line.heard)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        line.say(&[b"CON", b"NACK"], true);
        assert_eq!(line.heard, b"\x82\x07CONNACK\x88\x02\x03\xe8");
    }
}

/// Case T13: whom the header names is asked for at the gate before anything behind the header is looked at; who is not named is
/// the proxy itself.
#[test]
fn whom_a_header_names_is_judged_before_any_tls() {
    let papers = Papers::new("judged");
    let mut hello = Vec::new();
    papers.client(None).write_tls(&mut hello).unwrap();
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let access = Access {
        proxies: networks(&["10.0.0.0/8"]),
        allow: networks(&["192.0.2.0/24"]),
        deny: networks(&["192.0.2.66"]),
    };
    let listener = Listener { access, ..listener(Some(papers.tls()), false, Some(1)) };
    for (header, end) in [
        ("TCP4 192.0.2.7 10.0.0.1 4660 1883", None),
        ("TCP6 ::ffff:192.0.2.7 ::1 4660 1883", None),
        ("TCP4 192.0.2.66 10.0.0.1 4660 1883", Some(End::Refused(Refusal::Denied))),
        ("TCP4 192.0.3.7 10.0.0.1 4660 1883", Some(End::Refused(Refusal::NotAllowed))),
        ("UNKNOWN", Some(End::Refused(Refusal::NotAllowed))),
    ] {
        let mut broker = setup(&listener).unwrap().begin(Some([10, 0, 0, 1].into())).unwrap();
        let said = [format!("PROXY {header}\r\n").as_bytes(), &hello].concat();
        let arrival = broker.receive(&said, &mut Vec::new());
        assert_eq!(broker.has_output(), end.is_none(), "an answer to the client's part of TLS, {header}");
        assert_eq!(arrival.end, end, "{header}");
    }
}

#[test]
fn where_tls_ends_at_the_proxy_it_is_asked_as_a_client_of_ours_would_be() {
    let with_name = [&[0x20, 0, 12, 0x07, 0, 0, 0, 0, 0x22, 0, 4][..], b"anna"].concat();
    let without_certificate = [0x20, 0, 5, 0x01, 0, 0, 0, 0];
    let header = |more: &[u8]| {
        let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x07, 0x5b];
        let len = [0, (addresses.len() + more.len()) as u8];
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &len, &addresses, more, b"CONNECT"].concat()
    };
    for (asked, more, user, fault) in [
        ([false, false, false], &[][..], None, None),
        ([false, false, false], &with_name, None, None),
        ([true, true, true], &with_name, Some("anna"), None),
        ([false, false, true], &without_certificate, None, None),
        ([true, false, false], &without_certificate, None, None),
        ([true, false, false], &[], None, Some("by TLS")),
        ([false, true, false], &[], None, Some("certificate")),
        ([true, true, true], &without_certificate, None, Some("certificate")),
    ] {
        let [is_required, requires_certificate, names_user] = asked;
        let proxied_tls = ProxiedTls { is_required, requires_certificate, names_user };
        let mut broker = transport(&Listener { proxied_tls, ..listener(None, false, Some(2)) });
        let mut plain = Vec::new();
        let arrival = broker.receive(&header(more), &mut plain);
        assert_eq!((broker.user(), arrival.is_certified), (user, user.is_some()), "{asked:?}");
        let end = arrival.end.map(|end| format!("{end:?}")).unwrap_or_default();
        assert!(end.contains(fault.unwrap_or_default()) && end.is_empty() == fault.is_none(), "{asked:?}: {end}");
        assert_eq!(plain == b"CONNECT", fault.is_none());
    }
}

/// Case T05: of a flood of pings only the last is owed an answer; case T01 and [MQTT-6.0.0-1] close with their codes.
#[test]
fn a_websocket_answers_the_last_ping_and_says_why_it_closes() {
    let open = || {
        let mut broker = transport(&listener(None, true, None));
        let arrival = broker.receive(UPGRADE.as_bytes(), &mut Vec::new());
        broker.seal(&[], false, &mut Vec::new());
        assert!(arrival.end.is_none() && !broker.has_output());
        broker
    };
    let heard = |bytes: &[u8]| {
        let (mut broker, mut wire) = (open(), Vec::new());
        let end = broker.receive(bytes, &mut Vec::new()).end;
        broker.seal(&[], false, &mut wire);
        (end.is_some(), wire)
    };
    let flood: Vec<u8> = (0..100_u8).flat_map(|number| [0x89, 0x81, 0, 0, 0, 0, number]).collect();
    assert_eq!(heard(&flood), (false, vec![0x8a, 1, 99]));
    assert_eq!(heard(&[0x82, 0x02, 0xc0, 0]), (true, b"\x88\x02\x03\xea".to_vec()));
    assert_eq!(heard(&[0x81, 0x80, 0, 0, 0, 0]), (true, b"\x88\x02\x03\xeb".to_vec()));
    assert_eq!(heard(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]), (true, b"\x88\x02\x03\xe9".to_vec()));
    let mut broker = open();
    broker.receive(&[0x88, 0x80, 0, 0, 0, 0], &mut Vec::new());
    let mut wire = Vec::new();
    broker.seal(&[b"PUBLISH"], true, &mut wire);
    assert_eq!(wire, b"\x88\x02\x03\xe8", "nothing follows a close, and it is said once");
}

/// Case T15: files that cannot be used are named, with what to do.
#[test]
fn files_that_cannot_be_used_are_named_with_the_remedy() {
    let papers = Papers::new("bad");
    papers.write("empty.pem", "");
    papers.write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB");
    papers.write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let path = |name: &str| papers.path(name);
    let clients = papers.tls_of_clients();
    for (tls, file, word, is_missing) in [
        (TlsFiles { certificate: path("none.pem"), ..papers.tls() }, "none.pem", "no such file", true),
        (TlsFiles { key: path("none.key"), ..papers.tls() }, "none.key", "no such file", true),
        (TlsFiles { certificate: path("empty.pem"), ..papers.tls() }, "empty.pem", "BEGIN CERTIFICATE", false),
        (TlsFiles { certificate: path("cut.pem"), ..papers.tls() }, "cut.pem", "cut off", false),
        (TlsFiles { key: path("broker.pem"), ..papers.tls() }, "broker.pem", "PRIVATE KEY", false),
        (TlsFiles { key: path("anna.key"), ..papers.tls() }, "anna.key", "does not belong", false),
        (TlsFiles { key: path("locked.key"), ..papers.tls() }, "locked.key", "openssl pkey", false),
        (TlsFiles { client_authority: None, ..clients.clone() }, "broker.pem", "authority", false),
        (TlsFiles { client_authority: Some(path("empty.pem")), ..clients.clone() }, "empty.pem", "BEGIN", false),
        (TlsFiles { client_authority: Some(path("none")), ..clients.clone() }, "none", "no such file", true),
        (TlsFiles { revoked: Some(path("ca.pem")), ..clients.clone() }, "ca.pem", "X509 CRL", false),
    ] {
        let error = setup(&listener(Some(tls), false, None)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(file) && text.contains(word) && !text.contains('\n'), "{text}");
        assert_eq!(error.is_missing, is_missing, "{text}");
    }
    let folder = TlsFiles { client_authority: Some(papers.folder.clone()), ..clients };
    assert!(setup(&listener(Some(folder), false, None)).is_ok(), "a directory may hold other files as well");
}
