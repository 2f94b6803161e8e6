//! What every payload carries: which run, which topic, which message, and when it was meant to be sent.
//! Must not judge; `integrity` does. Neighbours: `engine::publisher` writes, `engine::subscriber` reads.

/// Bytes of a stamp, and so the smallest payload.
pub const STAMP_BYTES: usize = 24;

/// The front of a payload, little endian, in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Random number of the run, so that messages of another run are told apart.
    pub run: u32,
    /// Topic number, from 0, which says the publisher too: each topic belongs to one.
    pub topic: u32,
    /// Number of the message among those of its publisher and topic, from 0 without gaps.
    pub sequence: u64,
    /// When the message should have left, nanoseconds since the run's epoch.
    pub intended_ns: u64,
}

impl Stamp {
    /// The stamp as bytes.
    #[inline]
    pub fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[0..4].copy_from_slice(&self.run.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.topic.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.intended_ns.to_le_bytes());
        bytes
    }

    /// The stamp at the front of `payload` and what stands behind it; `None` when the payload is too short.
    #[inline]
    pub fn split(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (run, rest) = payload.split_first_chunk()?;
        let (topic, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (intended_ns, rest) = rest.split_first_chunk()?;
        let stamp = Self {
            run: u32::from_le_bytes(*run),
            topic: u32::from_le_bytes(*topic),
            sequence: u64::from_le_bytes(*sequence),
            intended_ns: u64::from_le_bytes(*intended_ns),
        };
        Some((stamp, rest))
    }
}

/// What fills a payload behind its stamp: a fixed pattern, so that the receiver sees a changed byte.
pub fn filler(bytes: usize) -> Vec<u8> {
    // 251 is prime, so the pattern never falls into step with buffer sizes.
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_written() {
        let stamp = Stamp { run: 0xdead_beef, topic: 77, sequence: u64::MAX - 1, intended_ns: 1 << 40 };
        let mut payload = stamp.to_bytes().to_vec();
        payload.extend_from_slice(b"rest");
        assert_eq!(Stamp::split(&payload), Some((stamp, &b"rest"[..])));
    }

    #[test]
    fn a_payload_shorter_than_a_stamp_has_none() {
        assert_eq!(Stamp::split(&[0; STAMP_BYTES - 1]), None);
    }
}
