//! Bytes to packets. Every packet is a view of the buffer; nothing is copied.
//! Must not guess: a packet that breaks a rule is an error, never repaired. Neighbours: `properties`, `engine::client`.

use super::properties::{Carrier, Value, walk};
use super::{Ack, AckKind, Connack, Connect, Packet, Publish, QoS, Suback, Subscribe, Version, WireError};

/// Reads the packet at the front of `bytes` and says how many bytes it takes; `None` when it is not complete yet.
///
/// Errors: whatever the version's text calls malformed, as far as it can be seen in one packet.
#[inline]
pub fn decode(bytes: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>, WireError> {
    let Some((remaining, head)) = remaining_length(bytes)? else { return Ok(None) };
    let Some(body) = bytes.get(head..head + remaining) else { return Ok(None) };
    let packet = packet(bytes[0], Cursor::new(body), version)?;
    Ok(Some((packet, head + remaining)))
}

/// How many bytes the packet at the front of `bytes` takes; `None` when its fixed header is incomplete or malformed.
pub fn packet_bytes(bytes: &[u8]) -> Option<usize> {
    remaining_length(bytes).ok()?.map(|(remaining, head)| head + remaining)
}

/// Remaining length and the size of the fixed header, both in bytes (section 2.2.3 of 3.1.1).
#[inline]
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let mut length = 0;
    for (at, shift) in [(1, 0), (2, 7), (3, 14), (4, 21)] {
        let Some(&byte) = bytes.get(at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    Err(WireError::Varint)
}

#[inline]
fn packet(first: u8, mut body: Cursor<'_>, version: Version) -> Result<Packet<'_>, WireError> {
    let kind = first >> 4;
    if kind == 3 {
        return publish(first, body, version).map(Packet::Publish);
    }
    let flags = if kind == 6 || kind == 8 { 2 } else { 0 };
    if first & 0x0f != flags {
        return Err(WireError::Flags(first));
    }
    let packet = match kind {
        1 => Packet::Connect(connect(&mut body)?),
        2 => Packet::Connack(connack(&mut body, version)?),
        4 => Packet::Ack(ack(AckKind::Puback, &mut body, version)?),
        5 => Packet::Ack(ack(AckKind::Pubrec, &mut body, version)?),
        6 => Packet::Ack(ack(AckKind::Pubrel, &mut body, version)?),
        7 => Packet::Ack(ack(AckKind::Pubcomp, &mut body, version)?),
        8 => Packet::Subscribe(subscribe(&mut body, version)?),
        9 => Packet::Suback(suback(&mut body, version)?),
        12 => Packet::Pingreq,
        13 => Packet::Pingresp,
        14 => Packet::Disconnect { reason: disconnect(&mut body, version)? },
        _ => return Err(WireError::PacketType(kind)),
    };
    if body.is_empty() { Ok(packet) } else { Err(WireError::Trailing) }
}

#[inline]
fn publish(first: u8, mut body: Cursor<'_>, version: Version) -> Result<Publish<'_>, WireError> {
    let qos = QoS::from_number((first >> 1) & 3).ok_or(WireError::Flags(first))?;
    let dup = first & 8 != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(WireError::Flags(first));
    }
    let topic = body.block()?;
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { body.packet_id()? };
    if version == Version::V5 {
        publish_properties(&mut body)?;
    }
    if topic.is_empty() {
        return Err(WireError::Value("topic name"));
    }
    Ok(Publish { topic, payload: body.rest, qos, retain: first & 1 != 0, dup, packet_id })
}

/// Neither side of this codec offers topic aliases, so a PUBLISH may not use one [MQTT-3.3.2-8].
#[inline]
fn publish_properties(body: &mut Cursor<'_>) -> Result<(), WireError> {
    if body.rest.first() == Some(&0) {
        body.rest = &body.rest[1..];
        return Ok(());
    }
    let mut alias = false;
    walk(body, Carrier::Publish, |id, _| alias |= id == 0x23)?;
    if alias { Err(WireError::Property(0x23)) } else { Ok(()) }
}

fn connect<'a>(body: &mut Cursor<'a>) -> Result<Connect<'a>, WireError> {
    if body.block()? != b"MQTT" {
        return Err(WireError::Value("protocol name"));
    }
    let version = Version::from_level(body.u8()?).ok_or(WireError::Value("protocol level"))?;
    let flags = body.u8()?;
    if flags & !2 != 0 {
        return Err(WireError::Value("connect flags"));
    }
    let keep_alive_secs = body.u16()?;
    let mut session_expiry_secs = 0;
    if version == Version::V5 {
        walk(body, Carrier::Connect, |id, value| {
            if let (0x11, Value::Number(secs)) = (id, value) {
                session_expiry_secs = secs;
            }
        })?;
    }
    let client_id = std::str::from_utf8(body.block()?).map_err(|_| WireError::Value("client identifier"))?;
    Ok(Connect { version, client_id, clean_start: flags & 2 != 0, session_expiry_secs, keep_alive_secs })
}

fn connack(body: &mut Cursor<'_>, version: Version) -> Result<Connack, WireError> {
    let flags = body.u8()?;
    if flags > 1 {
        return Err(WireError::Value("connect acknowledge flags"));
    }
    let reason = body.u8()?;
    let (mut receive_maximum, mut maximum_qos, mut packet_bytes_max) = (u32::from(u16::MAX), 2, None);
    if version == Version::V5 {
        walk(body, Carrier::Connack, |id, value| match (id, value) {
            (0x21, Value::Number(number)) => receive_maximum = number,
            (0x24, Value::Number(number)) => maximum_qos = number,
            (0x27, Value::Number(number)) => packet_bytes_max = Some(number),
            _ => (),
        })?;
    }
    if receive_maximum == 0 {
        return Err(WireError::Value("receive maximum"));
    }
    if packet_bytes_max == Some(0) {
        return Err(WireError::Value("maximum packet size"));
    }
    Ok(Connack {
        session_present: flags == 1,
        reason,
        receive_maximum: u16::try_from(receive_maximum).map_err(|_| WireError::Value("receive maximum"))?,
        maximum_qos: qos(maximum_qos as u8, "maximum QoS")?,
        packet_bytes_max,
    })
}

/// Reason and properties may be left out in MQTT 5.0 when the reason is 0 (sections 3.4.2.1 and 3.4.2.2.1 of 5.0).
fn ack(kind: AckKind, body: &mut Cursor<'_>, version: Version) -> Result<Ack, WireError> {
    let packet_id = body.packet_id()?;
    let reason = trailing_reason(body, version, Carrier::Ack)?;
    Ok(Ack { kind, packet_id, reason })
}

fn disconnect(body: &mut Cursor<'_>, version: Version) -> Result<u8, WireError> {
    trailing_reason(body, version, Carrier::Disconnect)
}

fn trailing_reason(body: &mut Cursor<'_>, version: Version, carrier: Carrier) -> Result<u8, WireError> {
    if version == Version::V311 || body.is_empty() {
        return Ok(0);
    }
    let reason = body.u8()?;
    if !body.is_empty() {
        walk(body, carrier, |_, _| ())?;
    }
    Ok(reason)
}

fn subscribe<'a>(body: &mut Cursor<'a>, version: Version) -> Result<Subscribe<'a>, WireError> {
    let packet_id = body.packet_id()?;
    if version == Version::V5 {
        walk(body, Carrier::Subscribe, |_, _| ())?;
    }
    let filter = body.block()?;
    let options = body.u8()?;
    if options & !3 != 0 {
        return Err(WireError::Value("subscription options"));
    }
    Ok(Subscribe { packet_id, filter, qos: qos(options, "subscription options")? })
}

fn suback(body: &mut Cursor<'_>, version: Version) -> Result<Suback, WireError> {
    let packet_id = body.packet_id()?;
    if version == Version::V5 {
        walk(body, Carrier::Ack, |_, _| ())?;
    }
    let reason = body.u8()?;
    if (3..0x80).contains(&reason) {
        return Err(WireError::Value("SUBACK code"));
    }
    Ok(Suback { packet_id, reason })
}

fn qos(number: u8, name: &'static str) -> Result<QoS, WireError> {
    QoS::from_number(number).ok_or(WireError::Value(name))
}

/// What is left of a packet's body.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A string or binary field: two bytes of length, then that many bytes.
    #[inline]
    pub(super) fn block(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn packet_id(&mut self) -> Result<u16, WireError> {
        match self.u16()? {
            0 => Err(WireError::PacketIdZero),
            id => Ok(id),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u32, WireError> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::Varint)
    }
}
