//! Reads the data types of section 1.5 from a packet's bytes, front to back.
//!
//! Duty: integers, strings, binary data, each checked as it is taken. Must not: know a packet, allocate, read past its
//! bytes. Neighbours: every decoder of this floor; `writer` is the other direction.

use super::WireError;

/// Bytes not yet read. Each call takes one value from the front, or fails as malformed with the caller's words.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their first byte on.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails as malformed if something is left.
    #[inline]
    pub fn finish(&self, what: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::malformed(what)) }
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        let [byte] = self.array(what)?;
        Ok(byte)
    }

    /// Two Byte Integer (section 1.5.2).
    #[inline]
    pub fn two_bytes(&mut self, what: &'static str) -> Result<u16, WireError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Four Byte Integer (section 1.5.3).
    #[inline]
    pub fn four_bytes(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Variable Byte Integer: at most four bytes, and no more of them than needed [MQTT-1.5.5-1].
    #[inline]
    pub fn variable(&mut self, what: &'static str) -> Result<u32, WireError> {
        match split_variable(self.rest) {
            Some(Ok((value, length))) => {
                self.rest = &self.rest[length..];
                Ok(value)
            }
            _ => Err(WireError::malformed(what)),
        }
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| WireError::malformed(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Binary Data (section 1.5.6): a Two Byte Integer and as many bytes.
    #[inline]
    pub fn binary(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let length = self.two_bytes(what)?;
        self.take(usize::from(length), what)
    }

    /// UTF-8 Encoded String (section 1.5.4): well-formed and without U+0000; U+FEFF is kept [MQTT-1.5.4-3].
    #[inline]
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        let bytes = self.binary(what)?;
        if contains_nul(bytes) {
            return Err(WireError::malformed(what));
        }
        std::str::from_utf8(bytes).map_err(|_| WireError::malformed(what))
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| WireError::malformed(what))?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// A Variable Byte Integer at the front of `bytes`: its value and its length in bytes. `None` while the bytes end inside
/// it, an error if it is longer than four bytes or than needed [MQTT-1.5.5-1].
#[inline]
pub(super) fn split_variable(bytes: &[u8]) -> Option<Result<(u32, usize), WireError>> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some(Ok((u32::from(first), 1)));
    }
    let mut value = u32::from(first & 0x7f);
    for index in 1..4 {
        let byte = *bytes.get(index)?;
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte == 0 {
            return Some(Err(WireError::malformed("variable byte integer longer than needed")));
        }
        if byte < 0x80 {
            return Some(Ok((value, index + 1)));
        }
    }
    Some(Err(WireError::malformed("variable byte integer of more than four bytes")))
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Whether a zero byte is in `bytes`. Eight bytes at a time, because every topic of every PUBLISH passes here.
#[inline]
fn contains_nul(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    if tail.len() == bytes.len() {
        return tail.contains(&0);
    }
    let found = words.iter().fold(0, |found, word| found | zero_bytes(*word));
    // The last eight bytes overlap the last whole word, which costs less than a loop over the tail.
    let last = bytes.last_chunk::<8>().map_or(0, |word| zero_bytes(*word));
    found | last != 0
}

/// Not zero exactly if one of the eight bytes is: only a zero borrows into its top bit, or passes a borrow on.
#[inline]
fn zero_bytes(word: [u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(word);
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use super::super::writer;
    use super::*;
    use proptest::prelude::*;

    /// [MQTT-1.5.5-1], W07, W10: the minimal form of each length is read, every other refused.
    #[test]
    fn a_variable_byte_integer_is_minimal_and_of_four_bytes_at_most() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0x7f], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xff, 0xff, 0xff, 0x7f], 268_435_455),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.variable("x"), Ok(value));
            assert!(reader.is_empty());
        }
        for bytes in [&[][..], &[0x80], &[0x80, 0x00], &[0x81, 0x80, 0x00], &[0xff, 0xff, 0xff, 0x80, 0x01]] {
            assert!(Reader::new(bytes).variable("x").is_err_and(|error| error.is_malformed()));
        }
    }

    /// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.4-3], W18, W19.
    #[test]
    fn a_string_is_well_formed_has_no_nul_and_keeps_its_byte_order_mark() {
        let read = |text: &[u8]| {
            let mut bytes = vec![0, text.len() as u8];
            bytes.extend_from_slice(text);
            Reader::new(&bytes).string("x").map(str::to_owned)
        };
        assert_eq!(read(b"plant/7/temperature/kelvin"), Ok("plant/7/temperature/kelvin".to_owned()));
        assert_eq!(read("\u{feff}a".as_bytes()), Ok("\u{feff}a".to_owned()));
        for bad in [&[0xed, 0xa0, 0x80][..], &[0xc0, 0x80], &[0xf5, 0x80, 0x80, 0x80], &[0xe2, 0x82], &[0x61, 0x00]] {
            assert!(read(bad).is_err_and(|error| error.is_malformed()), "{bad:x?}");
        }
        assert!(Reader::new(&[0, 3, b'a']).string("x").is_err());
    }

    /// [MQTT-1.5.4-2]: zeros at the same place of two words do not make up for each other.
    #[test]
    fn two_zeros_are_found_as_well_as_one() {
        for (first, second) in (0..24).flat_map(|first| (0..24).map(move |second| (first, second))) {
            let mut bytes = [b'x'; 24];
            (bytes[first], bytes[second]) = (0, 0);
            assert!(contains_nul(&bytes), "{first} and {second}");
        }
    }

    proptest! {
        /// [MQTT-1.5.4-2]: the word-wise search finds what a byte-wise one finds.
        #[test]
        fn a_zero_is_found_wherever_it_stands(mut bytes in prop::collection::vec(1u8.., 0..64), at in 0usize..64, put: bool) {
            if put && at < bytes.len() {
                bytes[at] = 0;
            }
            prop_assert_eq!(contains_nul(&bytes), bytes.contains(&0));
        }

        /// [MQTT-1.5.5-1]: what is written is read back, whole.
        #[test]
        fn a_written_variable_byte_integer_is_read_back(value in 0u32..=268_435_455) {
            let mut bytes = Vec::new();
            writer::put_variable(&mut bytes, value);
            prop_assert_eq!(bytes.len(), writer::variable_len(value));
            prop_assert_eq!(split_variable(&bytes), Some(Ok((value, bytes.len()))));
        }
    }
}
