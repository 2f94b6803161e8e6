//! A client of a live broker: one socket, said and heard packet by packet.
//!
//! Duty: bytes out, bytes and whole packets in, all within a time. Must not: answer by itself. Neighbours: `broker` is the
//! other end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use ringmq::wire::{Connect, OutgoingPublish, ProtocolVersion, QoS};

use super::broker::{Broker, TIMEOUT};
use super::packets::Say;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    version: ProtocolVersion,
}

impl Broker {
    /// A connection on which nothing is said yet.
    pub(crate) fn dial(&self) -> Client {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        Client { stream, version: ProtocolVersion::V311 }
    }

    /// A client of MQTT 3.1.1 with a clean session.
    pub(crate) fn connect(&self, client_id: &str) -> Client {
        self.join(&Connect::new(ProtocolVersion::V311, client_id))
    }

    /// A client that said this, and was let in.
    #[track_caller]
    pub(crate) fn join(&self, connect: &Connect<'_>) -> Client {
        let mut client = self.dial();
        client.version = connect.version;
        client.say(|out| connect.encode(out));
        let connack = client.hear();
        assert!(
            connack.first() == Some(&0x20) && connack.get(3) == Some(&0),
            "{} got {connack:02x?}",
            connect.client_id
        );
        client
    }
}

impl Client {
    pub(crate) fn say(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// Says a packet in its dialect.
    pub(crate) fn send(&mut self, packet: impl Say) {
        let bytes = packet.bytes(self.version);
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn publish(&mut self, topic: &str, qos: QoS, packet_id: u16, payload: &[u8]) {
        let version = self.version;
        self.say(|out| put_publish(out, version, topic, qos, packet_id, payload));
    }

    /// The next packet, if one comes in time and before the end.
    pub(crate) fn try_hear(&mut self) -> std::io::Result<Vec<u8>> {
        let mut packet = vec![0; 1];
        self.stream.read_exact(&mut packet)?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let head = packet.len();
        packet.resize(head + length, 0);
        self.stream.read_exact(&mut packet[head..])?;
        Ok(packet)
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Vec<u8> {
        self.try_hear().unwrap_or_else(|error| panic!("{error} instead of a packet"))
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        self.stream.read_exact(&mut got).unwrap_or_else(|error| panic!("{error} instead of {bytes:02x?}"));
        assert_eq!(got, bytes);
    }

    /// The broker ends the connection; what it says before is returned.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        match self.stream.read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        got
    }

    /// PINGREQ is answered, and nothing else is said before.
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        self.say(|out| out.extend([0xc0, 0]));
        self.expect(&[0xd0, 0]);
    }
}

/// PUBLISH without properties.
pub(crate) fn put_publish(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    topic: &str,
    qos: QoS,
    packet_id: u16,
    payload: &[u8],
) {
    let publish = OutgoingPublish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        message_expiry_secs: None,
        topic_alias: None,
        subscription_ids: &[],
        properties: &[],
        payload_len: payload.len(),
    };
    publish.encode_head(version, out);
    out.extend_from_slice(payload);
}
