//! The property block of a packet: a length, then properties in any order (section 2.2.2).
//!
//! Duty: which packet may carry which property, how often, and the reason code if it does not keep to it; walking a
//! validated block. Must not: interpret values. Neighbours: `property` reads the single property, the packets read blocks.

use super::property::{Property, id};
use super::reader::Reader;
use super::{ReasonCode, WireError};

/// A validated property block without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    /// The bytes of the properties, in the sender's order. Who fills this by hand writes them with [`Property::encode`]:
    /// reading stops at the first byte that is no property.
    pub raw: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self { raw: &[] };

    /// The properties in the sender's order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        slices(self.raw).map(|(property, _)| property)
    }

    /// The Reason String, if there is one.
    pub fn reason_string(&self) -> Option<&'a str> {
        self.iter().find_map(|property| match property {
            Property::ReasonString(text) => Some(text),
            _ => None,
        })
    }

    /// The user properties, name and value, in the sender's order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// The shortest part of the block with all its user properties.
    pub(super) fn user_part(&self) -> Self {
        let is_user = |(property, _): &(Property<'_>, &[u8])| property.id() == id::USER_PROPERTY;
        let before: usize = slices(self.raw).take_while(|item| !is_user(item)).map(|(_, bytes)| bytes.len()).sum();
        let mut end = before;
        let mut at = before;
        for item in slices(&self.raw[before..]) {
            at += item.1.len();
            if is_user(&item) {
                end = at;
            }
        }
        Self { raw: &self.raw[before..end] }
    }

    /// Appends the properties whose id is in `set`, unchanged and in order.
    pub(super) fn encode_only(&self, set: IdSet, out: &mut Vec<u8>) {
        for (property, bytes) in slices(self.raw) {
            if set.has(property.id()) {
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// Each property of a validated block with its bytes.
fn slices(raw: &[u8]) -> impl Iterator<Item = (Property<'_>, &[u8])> {
    let mut reader = Reader::new(raw);
    std::iter::from_fn(move || {
        let before = reader.rest();
        let property_id = reader.byte("property id").ok()?;
        let property = Property::read(property_id, &mut reader).ok()?;
        Some((property, &before[..before.len() - reader.rest().len()]))
    })
}

/// A set of property ids, all below 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdSet(u64);

impl IdSet {
    pub(super) const EMPTY: Self = Self(0);
    /// What most packets may carry.
    pub(super) const USER: Self = Self::of(&[id::USER_PROPERTY]);

    pub(super) const fn of(ids: &[u8]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < ids.len() {
            set |= 1 << ids[index];
            index += 1;
        }
        Self(set)
    }

    #[inline]
    pub(super) fn has(self, property_id: u8) -> bool {
        property_id < 64 && self.0 & (1 << property_id) != 0
    }

    #[inline]
    fn add(&mut self, property_id: u8) {
        self.0 |= 1 << property_id;
    }
}

/// Every id of table 2-4.
const KNOWN: IdSet = IdSet::of(&[
    0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1C, 0x1F, 0x21, 0x22,
    0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A,
]);

/// What one kind of packet may carry (table 2-4).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    allowed: IdSet,
    repeatable: IdSet,
    /// Reason code for a property that exists and does not belong here.
    foreign: ReasonCode,
}

impl Rules {
    /// `allowed` once each, user properties any number of times, anything else a protocol error. The specification would
    /// say malformed (section 2.2.2.2); established brokers say 0x82, and scripts were written for them.
    pub(super) const fn of(allowed: &[u8]) -> Self {
        Self { allowed: IdSet::of(allowed), repeatable: IdSet::USER, foreign: ReasonCode::ProtocolError }
    }

    /// The same, but a property that does not belong here is malformed: SUBSCRIBE and UNSUBSCRIBE.
    pub(super) const fn strict(allowed: &[u8]) -> Self {
        Self { foreign: ReasonCode::MalformedPacket, ..Self::of(allowed) }
    }

    /// The same, with ids that may come more than once.
    pub(super) const fn repeatable(self, repeatable: &[u8]) -> Self {
        Self { repeatable: IdSet::of(repeatable), ..self }
    }
}

/// Reads a property block with its length and gives each property to `take`. Malformed: a block longer than its packet, an
/// unknown id, a value that does not parse. Protocol error: a property given twice, a forbidden value.
#[inline]
pub(super) fn read_block<'a>(
    reader: &mut Reader<'a>,
    rules: Rules,
    take: impl FnMut(Property<'a>),
) -> Result<Properties<'a>, WireError> {
    let length = reader.variable("property length")?;
    if length == 0 {
        return Ok(Properties::EMPTY);
    }
    let raw = reader.take(length as usize, "property length")?;
    scan(raw, rules, take)?;
    Ok(Properties { raw })
}

fn scan<'a>(raw: &'a [u8], rules: Rules, mut take: impl FnMut(Property<'a>)) -> Result<(), WireError> {
    let mut reader = Reader::new(raw);
    let mut seen = IdSet::EMPTY;
    while !reader.is_empty() {
        let property_id = reader.byte("property id")?;
        if !rules.allowed.has(property_id) {
            return Err(refuse(property_id, rules.foreign));
        }
        if seen.has(property_id) && !rules.repeatable.has(property_id) {
            return Err(WireError::protocol("property given twice"));
        }
        seen.add(property_id);
        take(Property::read(property_id, &mut reader)?);
    }
    Ok(())
}

#[cold]
fn refuse(property_id: u8, foreign: ReasonCode) -> WireError {
    if KNOWN.has(property_id) {
        WireError { reason: foreign, what: "property not allowed in this packet" }
    } else {
        WireError::malformed("unknown property")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules::of(&[id::REASON_STRING, id::USER_PROPERTY]);

    fn refusal(block: &[u8], rules: Rules) -> Option<u8> {
        read_block(&mut Reader::new(block), rules, |_| {}).err().map(|error| error.reason as u8)
    }

    /// Section 2.2.2.2: which of the two errors a property is that does not belong to its packet.
    #[test]
    fn a_foreign_property_is_refused_as_its_packet_says_and_an_unknown_one_is_malformed() {
        assert_eq!(refusal(&[2, id::PAYLOAD_FORMAT_INDICATOR, 0], RULES), Some(0x82));
        assert_eq!(refusal(&[2, id::PAYLOAD_FORMAT_INDICATOR, 0], Rules::strict(&[])), Some(0x81));
        for unknown in (0..=255).filter(|byte| !KNOWN.has(*byte)) {
            assert_eq!(refusal(&[2, unknown, 0], RULES), Some(0x81), "{unknown:#04x}");
        }
    }

    /// Section 2.2.2.2: user properties may come again, others may not, and the block ends where its length says.
    #[test]
    fn only_a_user_property_is_given_twice() {
        let user = [id::USER_PROPERTY, 0, 1, b'n', 0, 0];
        assert_eq!(refusal(&[&[12][..], &user, &user].concat(), RULES), None);
        let reason = [id::REASON_STRING, 0, 0];
        assert_eq!(refusal(&[&[6][..], &reason, &reason].concat(), RULES), Some(0x82));
        assert_eq!(refusal(&[&[5][..], &user].concat(), RULES), Some(0x81));
    }

    /// Section 3.2.2.3.10: the user properties of a block are found between others.
    #[test]
    fn the_user_part_reaches_from_the_first_to_the_last_user_property() {
        let reason = [id::REASON_STRING, 0, 0];
        let user = [id::USER_PROPERTY, 0, 1, b'n', 0, 0];
        let raw = [&reason[..], &user, &user, &reason].concat();
        let part = Properties { raw: &raw }.user_part();
        assert_eq!(part.raw, [user, user].concat());
        assert_eq!(part.user_properties().collect::<Vec<_>>(), [("n", ""), ("n", "")]);
        assert_eq!(Properties { raw: &reason }.user_part(), Properties::EMPTY);
    }
}
