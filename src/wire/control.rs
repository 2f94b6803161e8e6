//! DISCONNECT, AUTH, PINGREQ, PINGRESP (sections 3.12 to 3.15).
//!
//! Duty: decode and encode them. Must not: close, authenticate, or watch a clock. Neighbours: `shard` acts on them.

use super::ack::read_reason;
use super::packet::kind;
use super::property::{Property, id};
use super::property_block::{IdSet, Properties, Rules, read_block};
use super::reader::Reader;
use super::writer::{put_measured, put_packet};
use super::{ProtocolVersion, ReasonCode, Sender, WireError, reason};

/// PINGREQ, whole (section 3.12).
pub const PINGREQ: [u8; 2] = [kind::PINGREQ, 0];

/// PINGRESP, whole (section 3.13).
pub const PINGRESP: [u8; 2] = [kind::PINGRESP, 0];

const DISCONNECT_BY_CLIENT: Rules = Rules::of(&[id::SESSION_EXPIRY_INTERVAL, id::REASON_STRING, id::USER_PROPERTY]);
const DISCONNECT_BY_SERVER: Rules = Rules::of(&[id::REASON_STRING, id::SERVER_REFERENCE, id::USER_PROPERTY]);
const AUTH: Rules =
    Rules::of(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA, id::REASON_STRING, id::USER_PROPERTY]);

/// The last packet of a connection. Encoding takes the typed properties from their fields, the user properties from
/// `properties`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Disconnect<'a> {
    /// Normal disconnection before 5.0.
    pub reason: ReasonCode,
    /// From a client only [MQTT-3.14.2-2], seconds.
    pub session_expiry_secs: Option<u32>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// From a server only: where to go instead.
    pub server_reference: Option<&'a str>,
    /// The block as it was received.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    /// Reads the body: nothing means normal disconnection, one byte a reason without properties (section 3.14.2). Malformed:
    /// any body before 5.0.
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion, sender: Sender) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let mut found = Self::default();
        if version < ProtocolVersion::V5 || reader.is_empty() {
            reader.finish("DISCONNECT with a body")?;
            return Ok(found);
        }
        let (reasons, rules) = match sender {
            Sender::Client => (reason::DISCONNECT_BY_CLIENT, DISCONNECT_BY_CLIENT),
            Sender::Server => (reason::DISCONNECT_BY_SERVER, DISCONNECT_BY_SERVER),
        };
        found.reason = read_reason(&mut reader, reasons)?;
        if reader.is_empty() {
            return Ok(found);
        }
        let block = read_block(&mut reader, rules, |property| match property {
            Property::SessionExpiryInterval(secs) => found.session_expiry_secs = Some(secs),
            Property::ReasonString(text) => found.reason_string = Some(text),
            Property::ServerReference(text) => found.server_reference = Some(text),
            _ => {}
        })?;
        reader.finish("DISCONNECT longer than its properties")?;
        Ok(Self { properties: block, ..found })
    }

    /// Appends the packet in its shortest form. Before 5.0 there is only one.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let start = out.len();
        put_packet(out, kind::DISCONNECT, |out| {
            if version == ProtocolVersion::V5 {
                out.push(self.reason as u8);
                put_measured(out, |out| self.encode_properties(out));
            }
        });
        shorten(out, start);
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        if let Some(secs) = self.session_expiry_secs {
            Property::SessionExpiryInterval(secs).encode(out);
        }
        if let Some(text) = self.reason_string {
            Property::ReasonString(text).encode(out);
        }
        if let Some(text) = self.server_reference {
            Property::ServerReference(text).encode(out);
        }
        self.properties.encode_only(IdSet::USER, out);
    }
}

/// One step of extended authentication (section 4.12). Encoding takes the typed properties from their fields, reason
/// string and user properties from `properties`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Auth<'a> {
    /// Success, continue, re-authenticate.
    pub reason: ReasonCode,
    /// Absent only in the form without a body (section 3.15.2.1).
    pub authentication_method: Option<&'a str>,
    /// Whatever the method says.
    pub authentication_data: Option<&'a [u8]>,
    /// The block as it was received.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    /// Reads the body: nothing means success without properties. Protocol error: no authentication method (section
    /// 3.15.2.2.2), a reason code of the other side.
    pub(super) fn decode(body: &'a [u8], sender: Sender) -> Result<Self, WireError> {
        let reasons = match sender {
            Sender::Client => reason::AUTH_BY_CLIENT,
            Sender::Server => reason::AUTH_BY_SERVER,
        };
        let body = if body.is_empty() { &[0, 0][..] } else { body };
        let omitted = body == [0, 0];
        let mut reader = Reader::new(body);
        let mut found = Self { reason: read_reason(&mut reader, reasons)?, ..Self::default() };
        found.properties = read_block(&mut reader, AUTH, |property| match property {
            Property::AuthenticationMethod(text) => found.authentication_method = Some(text),
            Property::AuthenticationData(bytes) => found.authentication_data = Some(bytes),
            _ => {}
        })?;
        reader.finish("AUTH longer than its properties")?;
        if found.authentication_method.is_none() && !omitted {
            return Err(WireError::protocol("AUTH without authentication method"));
        }
        Ok(found)
    }

    /// Appends the packet; nothing before 5.0, which has no AUTH.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if version < ProtocolVersion::V5 {
            return;
        }
        let start = out.len();
        put_packet(out, kind::AUTH, |out| {
            out.push(self.reason as u8);
            put_measured(out, |out| self.encode_properties(out));
        });
        shorten(out, start);
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        if let Some(text) = self.authentication_method {
            Property::AuthenticationMethod(text).encode(out);
        }
        if let Some(bytes) = self.authentication_data {
            Property::AuthenticationData(bytes).encode(out);
        }
        self.properties.encode_only(IdSet::of(&[id::REASON_STRING, id::USER_PROPERTY]), out);
    }
}

/// Leaves out reason 0 and an empty block, which both packets may (sections 3.14.2.1 and 3.15.2.1).
fn shorten(out: &mut Vec<u8>, start: usize) {
    if out[start + 1..] == [2, 0, 0] {
        out.truncate(start + 1);
        out.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 3.14.2.1: normal disconnection is said by saying nothing; 3.1.1 cannot say anything else.
    #[test]
    fn a_disconnect_takes_its_shortest_form() {
        let written = |reason, version| {
            let mut out = vec![9];
            Disconnect::new(reason).encode(version, &mut out);
            out
        };
        assert_eq!(written(ReasonCode::Success, ProtocolVersion::V5), [9, 0xe0, 0]);
        assert_eq!(written(ReasonCode::SessionTakenOver, ProtocolVersion::V5), [9, 0xe0, 2, 0x8e, 0]);
        assert_eq!(written(ReasonCode::SessionTakenOver, ProtocolVersion::V311), [9, 0xe0, 0]);
    }

    /// Section 3.14.2.2.1: a DISCONNECT of one byte has a reason and no properties.
    #[test]
    fn a_disconnect_of_one_byte_is_a_reason() {
        let found = Disconnect::decode(&[0x04], ProtocolVersion::V5, Sender::Client);
        assert_eq!(found, Ok(Disconnect::new(ReasonCode::DisconnectWithWill)));
    }

    /// Section 3.15.2.1: an AUTH without a body is a server's success.
    #[test]
    fn an_auth_without_a_body_is_success() {
        assert_eq!(Auth::decode(&[], Sender::Server), Ok(Auth::default()));
        assert!(Auth::decode(&[], Sender::Client).is_err_and(|error| error.is_protocol()));
        let mut out = Vec::new();
        Auth::default().encode(ProtocolVersion::V311, &mut out);
        assert_eq!(out, [0; 0]);
        Auth::default().encode(ProtocolVersion::V5, &mut out);
        assert_eq!(out, [0xf0, 0]);
    }
}
