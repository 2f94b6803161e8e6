//! Writes the data types of section 1.5 to the end of a buffer.
//!
//! Duty: integers, strings, binary data, and lengths that are known only after what they measure. Must not: know a packet
//! or fail: every length that leaves here fits its field. Neighbours: every encoder of this floor; `reader` is the other
//! direction.

use crate::limits::REMAINING_LENGTH_MAX;

/// Longest string or binary data, bytes (sections 1.5.4 and 1.5.6).
pub(super) const FIELD_BYTES_MAX: usize = u16::MAX as usize;

#[inline]
pub(super) fn put_two_bytes(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(super) fn put_four_bytes(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Bytes of a Variable Byte Integer (section 1.5.5).
#[inline]
pub(super) fn variable_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Variable Byte Integer (section 1.5.5). Larger values than the field can hold become the largest.
#[inline]
pub(super) fn put_variable(out: &mut Vec<u8>, value: u32) {
    let mut left = value.min(REMAINING_LENGTH_MAX);
    while left > 0x7f {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// The part of `text` that a string field can hold: all of it, or as many whole characters as fit.
#[inline]
pub(super) fn fitting(text: &str) -> &str {
    if text.len() <= FIELD_BYTES_MAX { text } else { cut(text) }
}

#[cold]
fn cut(text: &str) -> &str {
    let mut end = FIELD_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// UTF-8 Encoded String (section 1.5.4), cut at the last whole character that fits.
#[inline]
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_binary(out, fitting(text).as_bytes());
}

/// Binary Data (section 1.5.6), cut at 65,535 bytes.
#[inline]
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(FIELD_BYTES_MAX)];
    put_two_bytes(out, bytes.len() as u16);
    out.extend_from_slice(bytes);
}

/// A packet: its first byte, its Remaining Length, and what `body` writes.
pub(super) fn put_packet(out: &mut Vec<u8>, first_byte: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first_byte);
    put_measured(out, body);
}

/// What `body` writes, with its length before it as a Variable Byte Integer.
pub(super) fn put_measured(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(0);
    body(out);
    let end = out.len();
    let length = (end - start - 1) as u32;
    // Nearly every packet fits the one byte left free above; the others move by up to three.
    let extra = variable_len(length) - 1;
    if extra > 0 {
        out.resize(end + extra, 0);
        out.copy_within(start + 1..end, start + 1 + extra);
    }
    put_variable_at(&mut out[start..=start + extra], length);
}

fn put_variable_at(place: &mut [u8], value: u32) {
    let last = place.len() - 1;
    for (index, byte) in place.iter_mut().enumerate() {
        *byte = (value >> (7 * index)) as u8 & 0x7f | if index < last { 0x80 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::split_variable;
    use super::*;

    /// Section 2.1.4: the length stands before its body, however many bytes it needs.
    #[test]
    fn a_measured_body_follows_its_length() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = vec![9];
            put_measured(&mut out, |out| out.extend(std::iter::repeat_n(7, length)));
            let (value, bytes) = split_variable(&out[1..]).expect("whole").expect("minimal");
            assert_eq!(value as usize, length);
            assert_eq!(out.len(), 1 + bytes + length);
            assert!(out[1 + bytes..].iter().all(|byte| *byte == 7));
        }
    }

    /// Section 1.5.4: a string of ours that is too long stays well-formed.
    #[test]
    fn a_string_too_long_is_cut_between_characters() {
        let mut out = Vec::new();
        put_string(&mut out, &"é".repeat(40_000));
        assert_eq!(out.len(), 2 + 65_534);
        assert!(std::str::from_utf8(&out[2..]).is_ok());
    }
}
