//! A packet built from any bytes: encoded and decoded it is the same, a part of it is no packet, and the broker's own way
//! of writing a PUBLISH writes the same one.

use super::packets::{Blocks, KINDS, Source, packet_of};
use super::plain::plain;
use ringmq::wire::{Frame, Framed, OutgoingPublish, Packet, ProtocolVersion, Publish, QoS, Sender, decode, frame};

/// Builds one packet from `bytes` and checks it.
pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let version = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5][source.index(3)];
    let sender = [Sender::Client, Sender::Server][source.index(2)];
    let blocks = Blocks::of(&mut source);
    let kind = source.index(KINDS);
    let packet = packet_of(kind, &mut source, &blocks, version, sender);
    let mut written = vec![0xee];
    packet.encode(version, &mut written);
    let written = &written[1..];
    let Ok(Framed::Whole(found)) = frame(written, u32::MAX) else { panic!("not one whole packet: {packet:?}") };
    assert_eq!(found.len, written.len());
    let decoded = decode(&found, version, sender).unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    assert_eq!(plain(&decoded), plain(&packet));
    check_parts(&found, written, version, sender);
    if let Packet::Publish(publish) = &decoded {
        check_outgoing(publish, version);
    }
}

/// Every beginning of the bytes is a part of a packet, and every beginning of the body is refused or read, never more.
fn check_parts(found: &Frame<'_>, written: &[u8], version: ProtocolVersion, sender: Sender) {
    for end in 0..written.len() {
        assert!(matches!(frame(&written[..end], u32::MAX), Ok(Framed::Partial { .. })));
    }
    for end in 0..found.body.len() {
        let part = Frame { body: &found.body[..end], ..*found };
        let _ = decode(&part, version, sender);
    }
}

fn check_outgoing(publish: &Publish<'_>, version: ProtocolVersion) {
    let mut properties = Vec::new();
    publish.properties.forward_into(&mut properties);
    let subscription_ids: Vec<u32> = publish.properties.subscription_ids().collect();
    let outgoing = OutgoingPublish {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic,
        packet_id: publish.packet_id,
        message_expiry_secs: publish.properties.message_expiry_secs,
        topic_alias: publish.properties.topic_alias,
        subscription_ids: &subscription_ids,
        properties: &properties,
        payload_len: publish.payload.len(),
    };
    let mut written = vec![0xee; 3];
    let packet_id_at = outgoing.encode_head(version, &mut written);
    written.extend_from_slice(publish.payload);
    assert_eq!(written.len() - 3, outgoing.encoded_len(version));
    assert_eq!(packet_id_at.is_some(), publish.qos != QoS::AtMostOnce);
    if let Some(at) = packet_id_at {
        assert_eq!(written[at..at + 2], publish.packet_id.to_be_bytes());
    }
    let mut expected = Vec::new();
    publish.encode(version, &mut expected);
    assert_eq!(&written[3..], expected);
}
