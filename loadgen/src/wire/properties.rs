//! MQTT 5.0 properties: which exist, how long they are and which packet may carry them (section 2.2.2 of 5.0).
//! Must not interpret them beyond that; the caller picks what it needs. Neighbour: `decode`.

use super::WireError;
use super::decode::Cursor;

/// A property's value, as far as this codec needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A byte, a two byte, four byte or variable byte integer.
    Number(u32),
    /// A string, binary data or a string pair.
    Bytes,
}

/// The packets whose properties this codec reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Connect,
    Connack,
    Publish,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP and SUBACK.
    Ack,
    Subscribe,
    Disconnect,
}

impl Carrier {
    fn allowed(self) -> &'static [u8] {
        match self {
            Self::Connect => &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
            Self::Connack => {
                &[0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a]
            }
            Self::Publish => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26],
            Self::Ack => &[0x1f, 0x26],
            Self::Subscribe => &[0x0b, 0x26],
            Self::Disconnect => &[0x11, 0x1c, 0x1f, 0x26],
        }
    }

    fn repeatable(self, id: u8) -> bool {
        id == 0x26 || (id == 0x0b && self == Self::Publish)
    }
}

/// Reads the property length and every property, and shows each to `visit`.
///
/// Errors: a length beyond the packet, a property that is unknown, not allowed in this packet or there twice.
pub(super) fn walk(
    cursor: &mut Cursor<'_>,
    carrier: Carrier,
    mut visit: impl FnMut(u8, Value),
) -> Result<(), WireError> {
    let length = cursor.varint()? as usize;
    let mut properties = Cursor::new(cursor.take(length)?);
    let mut seen = 0u64;
    while !properties.is_empty() {
        let id = properties.u8()?;
        if !carrier.allowed().contains(&id) {
            return Err(WireError::Property(id));
        }
        // Every allowed id is below 0x2b, so the shift is in range.
        if seen & (1 << id) != 0 && !carrier.repeatable(id) {
            return Err(WireError::Property(id));
        }
        seen |= 1 << id;
        let value = value(&mut properties, id)?;
        visit(id, value);
    }
    Ok(())
}

fn value(properties: &mut Cursor<'_>, id: u8) -> Result<Value, WireError> {
    Ok(match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Value::Number(u32::from(properties.u8()?)),
        0x13 | 0x21 | 0x22 | 0x23 => Value::Number(u32::from(properties.u16()?)),
        0x02 | 0x11 | 0x18 | 0x27 => Value::Number(properties.u32()?),
        0x0b => Value::Number(properties.varint()?),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
            properties.block()?;
            Value::Bytes
        }
        0x26 => {
            properties.block()?;
            properties.block()?;
            Value::Bytes
        }
        _ => return Err(WireError::Property(id)),
    })
}
