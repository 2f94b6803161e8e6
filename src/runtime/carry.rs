//! Carry: received bytes of one connection that the shard has not used up.
//!
//! Duty: keep the incomplete tail of a buffer, complete it from the next one with as little copying as possible, assemble a
//! large packet in an allocation of its own, and park what must wait. Must not: know packets beyond the length that the
//! shard names. Neighbours: `reading` feeds it and offers its front to the shard.

use bytes::Bytes;

use super::buffers::BUFFER_BYTES;
use crate::seldom::Empty;
use crate::shard::Received;

/// Longest fixed header: while the length of a packet is unknown, no more than this is copied (section 2.1.1).
const FIXED_HEADER_BYTES_MAX: usize = 5;

/// A large packet's allocation starts with no more than this, and doubles: a header alone must not cost the length it names.
const ASSEMBLY_BYTES_FIRST: usize = 256 << 10;

/// Bytes not used up, in order: an assembled packet, then others.
#[derive(Debug, Default)]
pub(super) struct Carry {
    /// A packet larger than a buffer, complete.
    whole: Option<Bytes>,
    bytes: Vec<u8>,
    /// Bytes of `bytes` that are used up.
    from: usize,
    /// Length of the packet that begins the front, if the shard could tell; else 0.
    needed: usize,
    /// Whether the front has something that the shard has not seen.
    is_ready: bool,
}

impl Empty for Carry {
    const EMPTY: &'static Self = &Self { whole: None, bytes: Vec::new(), from: 0, needed: 0, is_ready: false };
}

impl Carry {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_none() && self.bytes.is_empty()
    }

    /// Whether the front is worth offering.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Says that the front is to be offered again although nothing was added.
    pub(super) fn set_ready(&mut self) {
        self.is_ready = !self.is_empty();
    }

    /// What to offer the shard.
    pub(super) fn front(&self) -> Received<'_> {
        match &self.whole {
            Some(whole) => Received { bytes: whole, shared: Some(whole) },
            None => Received { bytes: &self.bytes[self.from..], shared: None },
        }
    }

    /// Keeps the rest of a buffer, of which the shard has said how long its packet is.
    pub(super) fn keep(&mut self, rest: &[u8], needed: Option<usize>) {
        debug_assert!(self.is_empty(), "a buffer is offered in place only when nothing waits before it");
        self.needed = needed.unwrap_or(0);
        self.make_room(rest.len());
        self.bytes.extend_from_slice(rest);
        self.is_ready = false;
    }

    /// Adds `rest` behind everything else.
    pub(super) fn append(&mut self, rest: &[u8]) {
        self.bytes.extend_from_slice(rest);
        self.set_ready();
    }

    /// Takes from the start of `new` what completes the packet at the front; returns how many bytes that was.
    pub(super) fn fill(&mut self, new: &[u8]) -> usize {
        debug_assert!(self.whole.is_none(), "a complete packet is offered before more is read");
        let have = self.bytes.len() - self.from;
        let wanted = if self.needed == 0 { FIXED_HEADER_BYTES_MAX } else { self.needed }.saturating_sub(have).max(1);
        let taken = wanted.min(new.len());
        self.make_room(taken);
        self.bytes.extend_from_slice(&new[..taken]);
        self.is_ready = have + taken >= self.needed;
        if self.is_ready && self.is_large() && have + taken == self.needed {
            self.whole = Some(Bytes::from(std::mem::take(&mut self.bytes)));
        }
        taken
    }

    /// Accounts for `consumed` bytes of the front. `needed`: length of the packet that begins the rest, if known.
    pub(super) fn consume(&mut self, consumed: usize, needed: Option<usize>) {
        self.needed = needed.unwrap_or(0);
        self.is_ready = false;
        if let Some(whole) = &self.whole {
            debug_assert!(consumed == 0 || consumed == whole.len(), "an assembled packet is one packet");
            if consumed > 0 {
                self.whole = None;
                self.needed = 0;
                self.set_ready();
            }
            return;
        }
        self.from += consumed;
        if self.from == self.bytes.len() {
            *self = Self::default();
        } else if self.from > self.bytes.len() / 2 || self.is_large() {
            self.bytes.drain(..self.from);
            self.from = 0;
        }
    }

    /// All bytes in one piece, for another shard.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.from);
        match self.whole {
            Some(whole) => [&whole[..], &self.bytes].concat(),
            None => self.bytes,
        }
    }

    fn is_large(&self) -> bool {
        self.needed > BUFFER_BYTES
    }

    fn make_room(&mut self, added: usize) {
        let len = self.bytes.len() + added;
        if self.is_large() && self.from == 0 && self.bytes.capacity() < len {
            let target = (len * 2).max(ASSEMBLY_BYTES_FIRST).min(self.needed).max(len);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of `piece` bytes as `reading` does; packets are `len: u32` and so many bytes in all.
    fn packets_seen(stream: &[u8], piece: usize) -> Vec<(Vec<u8>, bool)> {
        let mut carry = Carry::default();
        let mut seen = Vec::new();
        for mut new in stream.chunks(piece) {
            if carry.is_empty() {
                let (consumed, needed) = take(Received { bytes: new, shared: None }, &mut seen);
                carry.keep(&new[consumed..], needed);
                continue;
            }
            while !new.is_empty() {
                let filled = carry.fill(new);
                new = &new[filled..];
                if carry.is_ready() {
                    let (consumed, needed) = take(carry.front(), &mut seen);
                    carry.consume(consumed, needed);
                }
                if carry.is_empty() && !new.is_empty() {
                    let (consumed, needed) = take(Received { bytes: new, shared: None }, &mut seen);
                    carry.keep(&new[consumed..], needed);
                    break;
                }
            }
        }
        assert!(carry.is_empty());
        seen
    }

    fn take(received: Received<'_>, seen: &mut Vec<(Vec<u8>, bool)>) -> (usize, Option<usize>) {
        let mut consumed = 0;
        loop {
            let rest = &received.bytes[consumed..];
            let Some(header) = rest.first_chunk::<4>() else { return (consumed, None) };
            let len = u32::from_be_bytes(*header) as usize;
            let Some(packet) = rest.get(..len) else { return (consumed, Some(len)) };
            seen.push((packet.to_vec(), received.shared.is_some()));
            consumed += len;
        }
    }

    fn packet(len: u32) -> Vec<u8> {
        let mut packet = len.to_be_bytes().to_vec();
        packet.extend((4..len).map(|at| at as u8));
        packet
    }

    #[test]
    fn packets_come_out_whole_however_the_stream_is_cut() {
        let packets: Vec<_> = [4, 5, 72, 72, 40_000, 6, 300_000, 16_384, 9, 1_000_000].map(packet).into();
        let stream = packets.concat();
        for piece in [1, 3, 72, 1000, BUFFER_BYTES] {
            let seen = packets_seen(&stream, piece);
            assert!(seen.iter().map(|(packet, _)| packet).eq(&packets), "pieces of {piece}");
        }
    }

    #[test]
    fn a_packet_larger_than_a_buffer_is_offered_as_one_shared_allocation() {
        let stream = [packet(72), packet(100_000), packet(72)].concat();
        let seen = packets_seen(&stream, BUFFER_BYTES);
        assert_eq!(seen.iter().map(|(_, is_shared)| *is_shared).collect::<Vec<_>>(), [false, true, false]);
    }

    /// R07: a header that names 16 MiB must not cost 16 MiB.
    #[test]
    fn an_announced_length_does_not_allocate_it() {
        let mut carry = Carry::default();
        carry.keep(&[0; 100], Some(16 << 20));
        assert!(carry.bytes.capacity() <= ASSEMBLY_BYTES_FIRST);
    }

    #[test]
    fn an_emptied_carry_gives_its_memory_back() {
        let mut carry = Carry::default();
        carry.append(&[0; 100_000]);
        carry.consume(100_000, None);
        assert!(carry.is_empty() && carry.bytes.capacity() == 0);
    }

    #[test]
    fn parked_bytes_stay_in_order_behind_an_assembled_packet() {
        let large = packet(50_000);
        let mut carry = Carry::default();
        carry.keep(&large[..10], Some(50_000));
        carry.fill(&large[10..]);
        carry.append(b"after");
        carry.consume(50_000, None);
        assert!(carry.is_ready());
        assert_eq!(carry.front().bytes, b"after");
        assert_eq!(carry.into_bytes(), b"after");
    }
}
