//! The rows W01 to W85 of the project's list of hostile input, as far as they are the codec's to answer, and the neighbours
//! of those rows. A row that is another floor's to refuse must get through here.

use super::{Framed, Packet, ProtocolVersion, Sender, decode, frame};
use ProtocolVersion::{V5, V31, V311};

/// Reason code of a refusal, 0 for a packet that the codec lets through.
fn answer(bytes: &[u8], version: ProtocolVersion, sender: Sender) -> u8 {
    let found = match frame(bytes, 1 << 20) {
        Err(error) => return error.reason as u8,
        Ok(Framed::Partial { .. }) => panic!("a row that is no whole packet: {bytes:02x?}"),
        Ok(Framed::Whole(found)) => found,
    };
    assert_eq!(found.len, bytes.len(), "a row of more than one packet: {bytes:02x?}");
    match decode(&found, version, sender) {
        Ok(packet) => {
            walk(&packet);
            0
        }
        Err(error) => error.reason as u8,
    }
}

/// Takes every iterator of a packet to its end.
fn walk(packet: &Packet<'_>) {
    match packet {
        Packet::Publish(publish) => {
            let _ = publish.properties.iter().count() + publish.properties.subscription_ids().count();
        }
        Packet::Subscribe(subscribe) => assert!(subscribe.filters().all(|(filter, _)| !filter.is_empty())),
        Packet::Unsubscribe(unsubscribe) => assert!(unsubscribe.filters().all(|filter| !filter.is_empty())),
        _ => {}
    }
}

pub(super) fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a row is hexadecimal") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn check(rows: &[(&str, ProtocolVersion, &str, u8)], sender: Sender) {
    for (row, version, hex, expected) in rows {
        let got = answer(&bytes_of(hex), *version, sender);
        assert_eq!(got, *expected, "{row}: answered 0x{got:02x}, expected 0x{expected:02x}");
    }
}

/// W03, W05 to W10, W77, W78, W85: fixed headers.
#[test]
fn a_fixed_header_is_refused_as_its_row_says() {
    check(
        &[
            ("W03 type 0", V5, "0000", 0x81),
            ("W05 AUTH in 3.1.1", V311, "f000", 0x81),
            ("W05 AUTH in 3.1", V31, "f0021800", 0x81),
            ("W07 five-byte length", V5, "10ffffffff01", 0x81),
            ("W09 256 MB", V5, "30ffffff7f", 0x95),
            ("W10 length longer than needed", V5, "c08000", 0x81),
            ("W77 PINGREQ with a body", V5, "c00178", 0x81),
            ("W77 3.1.1", V311, "c00178", 0x81),
            ("W78 DISCONNECT flags", V5, "e100", 0x81),
            ("W78 PINGREQ flags", V5, "c100", 0x81),
            ("W85 start of a ClientHello", V5, "1603010000", 0x81),
        ],
        Sender::Client,
    );
}

/// W06, W11 to W19, W31: CONNECT without its properties.
#[test]
fn a_connect_is_refused_as_its_row_says() {
    check(
        &[
            ("W06 is the shard's", V5, "100e00044d5154540502003c00000178", 0),
            ("W11 reserved flag", V5, "100e00044d5154540503003c00000178", 0x81),
            ("W11 3.1.1", V311, "100d00044d5154540403003c000178", 0x81),
            ("W11 3.1 has no such rule", V31, "100f00064d51497364700303003c000178", 0),
            ("W13 will QoS alone", V5, "100e00044d515454050a003c00000178", 0x81),
            ("W14 will retain alone", V5, "100e00044d5154540522003c00000178", 0x81),
            ("will QoS 3", V5, "101500044d515454051e003c0000017800000174000170", 0x81),
            ("W15 password alone", V311, "101000044d5154540442003c000178000170", 0x81),
            ("W15 5.0 allows it", V5, "101100044d5154540542003c00000178000170", 0),
            ("W15 missing password", V311, "100d00044d51545404c2003c000178", 0x81),
            ("W15 3.1 follows the length", V31, "100f00064d514973647003c2003c000178", 0),
            ("W17 level 6", V5, "100d00044d5154540602003c000178", 0x84),
            ("W17 level 0", V5, "100d00044d5154540002003c000178", 0x84),
            ("W17 level 3 of MQTT", V5, "100d00044d5154540302003c000178", 0x84),
            ("W17 unknown name", V5, "100d00044d5154580402003c000178", 0x84),
            ("bridge 3.1.1", V5, "100d00044d5154548402003c000178", 0),
            ("bridge 3.1", V5, "100f00064d51497364708302003c000178", 0),
            ("bridge 5.0 is unknown", V5, "100e00044d5154548502003c00000178", 0x84),
            ("W18 client id with U+0000", V5, "101000044d5154540502003c000003610062", 0x81),
            ("W19 surrogate in client id", V5, "101000044d5154540502003c000003eda080", 0x81),
            ("byte order mark is kept", V5, "101000044d5154540502003c000003efbbbf", 0),
            ("W22 empty will topic", V5, "101400044d5154540506003c00000178000000000170", 0x82),
            ("W31 cut after flags", V5, "100800044d5154540502", 0x81),
            ("bytes left over", V311, "100e00044d5154540402003c00017800", 0x81),
        ],
        Sender::Client,
    );
}

/// W21 to W30: what is in a CONNECT's properties.
#[test]
fn a_connect_property_is_refused_as_its_row_says() {
    check(
        &[
            ("W23 given twice", V5, "101800044d5154540502003c0a11000000011100000001000178", 0x82),
            ("W25 topic alias", V5, "101100044d5154540502003c03230001000178", 0x82),
            ("W25 unknown property", V5, "101100044d5154540502003c03300001000178", 0x81),
            ("W25 id above 127", V5, "101100044d5154540502003c03a30101000178", 0x81),
            ("W26 receive maximum 0", V5, "101100044d5154540502003c03210000000178", 0x82),
            ("W27 maximum packet size 0", V5, "101300044d5154540502003c052700000000000178", 0x82),
            ("W29 data without method", V5, "101300044d5154540502003c051600026162000178", 0x82),
            ("request problem information 2", V5, "101000044d5154540502003c021702000178", 0x82),
            ("W30 block past the end", V5, "100f00044d5154540502003cff7f000178", 0x81),
            ("W30 value past the block", V5, "101000044d5154540502003c022100000178", 0x81),
            ("W21 is the topic floor's", V5, "101700044d5154540506003c00000178000003612f23000170", 0),
        ],
        Sender::Client,
    );
}

/// W33 to W47, W83: PUBLISH.
#[test]
fn a_publish_is_refused_as_its_row_says() {
    check(
        &[
            ("W33 QoS 3", V5, "360700016100010078", 0x81),
            ("W34 QoS 0 with DUP", V5, "38050001610078", 0x81),
            ("W34 3.1.1", V311, "380400016178", 0x81),
            ("W35 packet id 0", V5, "320700016100000078", 0x82),
            ("W37 is the topic floor's", V5, "30050001230078", 0),
            ("W38 neither topic nor alias", V5, "300400000078", 0x82),
            ("W38 3.1.1", V311, "3003000078", 0x82),
            ("W39 U+0000 in the topic", V5, "300700036100620078", 0x81),
            ("W39 overlong U+0000", V5, "30060002c0800078", 0x81),
            ("W41 cut before the packet id", V5, "32050003616263", 0x81),
            ("W42 alias 0", V5, "30080001610323000078", 0x94),
            ("W43 is the shard's", V5, "300700000323000578", 0),
            ("alias given twice", V5, "300b0001610623000123000178", 0x82),
            ("W45 subscription id", V5, "3007000161020b0178", 0x82),
            ("session expiry", V5, "300a000161051100000001 78", 0x82),
            ("unknown property", V5, "3007000161027f0178", 0x81),
            ("payload format 2", V5, "3007000161020102 78", 0x82),
            ("W46 is the topic floor's", V5, "300b00016106080003612f2378", 0),
            ("W47 is the shard's", V5, "3008000161020101fffe", 0),
            ("W83 is the shard's", V5, "3213000d245359532f62726f6b65722f7800010078", 0),
        ],
        Sender::Client,
    );
}

/// W49 to W58, W69: SUBSCRIBE and UNSUBSCRIBE.
#[test]
fn a_subscribe_is_refused_as_its_row_says() {
    check(
        &[
            ("W49 packet id 0", V5, "820700000000016100", 0x81),
            ("W49 UNSUBSCRIBE", V5, "a20600000000 0161", 0x81),
            ("W50 no filters", V5, "8203000100", 0x81),
            ("W50 UNSUBSCRIBE", V311, "a2020001", 0x81),
            ("W51 empty filter", V5, "8206000100000000", 0x81),
            ("W53 QoS 3", V5, "820700010000016103", 0x81),
            ("W54 reserved bits", V5, "8207000100000161c0", 0x81),
            ("W54 3.1.1 has six of them", V311, "820600010001 6104", 0x81),
            ("W55 retain handling 3", V5, "820700010000016130", 0x81),
            ("W57 is the topic floor's", V5, "820b0001000005612f232f6200", 0),
            ("W58 is the topic floor's", V5, "820a0001000004612b2f6200", 0),
            ("W59 is the topic floor's", V5, "820f00010000092473686172652f616200", 0),
            ("W63 is the shard's", V5, "8210000100000a2473686172652f672f6104", 0),
            ("subscription id 0", V5, "8209000102 0b00 00016100", 0x82),
            ("subscription id twice", V5, "820b000104 0b010b01 00016100", 0x82),
            ("property of another packet", V5, "8209000102 0101 00016100", 0x81),
            ("UNSUBSCRIBE with a subscription id", V5, "a208000102 0b01 000161", 0x81),
            ("W69 flags", V5, "a006000100000161", 0x81),
            ("SUBSCRIBE flags", V5, "800700010000016100", 0x81),
            ("filter without options", V5, "8206000100000161", 0x81),
        ],
        Sender::Client,
    );
}

/// W70 to W79: acknowledgements, DISCONNECT, AUTH, packets of the other side.
#[test]
fn a_control_packet_is_refused_as_its_row_says() {
    check(
        &[
            ("W70 PUBREL flags", V5, "60020001", 0x81),
            ("W71 is the shard's", V5, "62020007", 0),
            ("W73 one byte", V5, "400100", 0x81),
            ("packet id 0", V5, "40020000", 0x82),
            ("PUBACK with a code of CONNACK", V5, "4003000184", 0x82),
            ("PUBREL with an unknown code", V5, "6203000103", 0x82),
            ("PUBACK with a reason in 3.1.1", V311, "4003000100", 0x81),
            ("PUBACK longer than its properties", V5, "40050001000000", 0x81),
            ("W74 CONNACK", V5, "200900000622000a210014", 0x82),
            ("W74 CONNACK without a body", V5, "2000", 0x82),
            ("W74 CONNACK with flags", V311, "2f00", 0x82),
            ("W75 SUBACK", V5, "900400010000", 0x82),
            ("UNSUBACK", V5, "b00400010000", 0x82),
            ("PINGRESP", V311, "d000", 0x82),
            ("W79 is the shard's", V5, "e0070005110000000a", 0),
            ("DISCONNECT given twice", V5, "e00c000a 11000000011100000001", 0x82),
            ("DISCONNECT with a server reference", V5, "e006000 41c000161", 0x82),
            ("DISCONNECT with a topic alias", V5, "e0050003230001", 0x82),
            ("DISCONNECT with an unknown property", V5, "e00400023001", 0x81),
            ("DISCONNECT with a code of a server", V5, "e0018e", 0x82),
            ("DISCONNECT with a body in 3.1.1", V311, "e00100", 0x81),
            ("AUTH without method", V5, "f0021800", 0x82),
            ("AUTH with the code of a server", V5, "f00600041500 0161", 0x82),
            ("AUTH without properties", V5, "f00118", 0x81),
        ],
        Sender::Client,
    );
}

/// W74, W75 mirrored: what a client must not get from a server.
#[test]
fn a_packet_of_a_client_is_refused_from_a_server() {
    check(
        &[
            ("CONNECT", V5, "100e00044d5154540502003c00000178", 0x82),
            ("SUBSCRIBE", V5, "820700010000016100", 0x82),
            ("UNSUBSCRIBE", V5, "a206000100000161", 0x82),
            ("PINGREQ", V5, "c000", 0x82),
            ("DISCONNECT in 3.1.1", V311, "e000", 0x82),
            ("DISCONNECT with a session expiry", V5, "e0070005110000000a", 0x82),
            ("CONNACK with reserved flags", V5, "2003020000", 0x81),
            ("CONNACK that refuses a present session", V5, "2003018700", 0x82),
            ("CONNACK with maximum QoS 2", V5, "2005000002 2402", 0x82),
            ("CONNACK with return code 6", V311, "20020006", 0x82),
            ("SUBACK without codes", V5, "9003000100", 0x81),
            ("SUBACK with a code of UNSUBACK", V5, "900400010011", 0x82),
            ("SUBACK with a code of 5.0", V311, "9003000187", 0x82),
            ("UNSUBACK with codes in 3.1.1", V311, "b003000100", 0x81),
            ("PUBLISH with two subscription ids", V5, "3009000161040b010b0278", 0),
        ],
        Sender::Server,
    );
}

/// W65 to W67, W81, W82: sizes that other brokers fell over are decoded in one pass, and counted.
#[test]
fn large_packets_are_decoded_and_their_parts_counted() {
    let publish = |properties: &[u8], topic: &str, payload: &[u8]| {
        let mut bytes = Vec::new();
        let properties = super::PublishProperties { raw: properties, ..super::PublishProperties::EMPTY };
        let (dup, retain, qos, packet_id) = (false, false, super::QoS::AtMostOnce, 0);
        super::Publish { dup, qos, retain, topic, packet_id, properties, payload }.encode(V5, &mut bytes);
        bytes
    };
    assert_eq!(answer(&publish(&[], &"/".repeat(65_535), b"x"), V5, Sender::Client), 0, "W66");
    let bytes = publish(&bytes_of("2600016b000176").repeat(30_000), "a", b"x");
    assert_eq!(bytes.len(), 210_011);
    let Ok(Framed::Whole(found)) = frame(&bytes, 1 << 20) else { panic!("W82") };
    let Ok(Packet::Publish(found)) = decode(&found, V5, Sender::Client) else { panic!("W82") };
    assert_eq!((found.properties.user_properties, found.payload), (30_000, &b"x"[..]), "W82");
    for filter in ["/".repeat(65_535), "+/".repeat(32_767)] {
        let (mut block, mut bytes) = (Vec::new(), Vec::new());
        super::Subscribe::push_filter(&mut block, &filter, super::SubscriptionOptions::default());
        super::Subscribe::new(1, None, &block).encode(V5, &mut bytes);
        assert_eq!(answer(&bytes, V5, Sender::Client), 0, "W65, W67");
    }
    let user = bytes_of("2600016b000176").repeat(1000);
    let mut bytes = Vec::new();
    let properties = super::Properties { raw: &user };
    super::Connect { properties, ..super::Connect::new(V5, "x") }.encode(&mut bytes);
    let Ok(Framed::Whole(found)) = frame(&bytes, 1 << 20) else { panic!("W81") };
    let Ok(Packet::Connect(found)) = decode(&found, V5, Sender::Client) else { panic!("W81") };
    assert_eq!(found.user_properties, 1000, "W81");
}
