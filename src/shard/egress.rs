//! Egress: bytes on their way to one connection.
//!
//! Duty: gather what a turn wants sent to a connection so that the turn is one send; count what is not yet sent, control
//! packets apart. Small packets are copied into one buffer; a large payload is spliced in by reference. Must not: send, or
//! decide what is dropped. Neighbours: the shard's rooms append; `runtime` (or a simulation) takes and reports what was sent.
//!
//! A connection to which nothing is to be sent has no egress, and no buffer: both go to the next one that needs them. It
//! gives them up at once if all that it was sent is control packets, and else when it was sent no message for a while.

use bytes::Bytes;

use crate::seldom::{Empty, Seldom};
use crate::wire::{self, Framed};

/// Less than this is not counted for one connection: it is gone with the turn.
const COUNTED_BYTES_MIN: usize = 4096;

/// Spare buffers are kept up to this, bytes and number.
const SPARE_BYTES_MAX: usize = 16 << 20;
const SPARE_MAX: usize = 4096;

/// Unsent bytes of one connection.
#[derive(Debug, Default)]
pub struct Egress {
    bytes: Vec<u8>,
    splices: Vec<Splice>,
    splice_bytes: usize,
    control_bytes: usize,
    taken_bytes: usize,
    taken_control_bytes: usize,
    /// Buffer bytes of the taken flush; they stay allocated until all of it is sent.
    taken_buffer_bytes: usize,
    /// What of it stands in `EgressTable::unsent_bytes`.
    counted_bytes: usize,
    is_dirty: bool,
    /// Whether it stands in `EgressTable::lasting`.
    is_lasting: bool,
    /// Whether messages were taken since the last [`EgressTable::cool_down`].
    was_used: bool,
    report_below_bytes: usize,
}

impl Empty for Egress {
    const EMPTY: &'static Self = &Self {
        bytes: Vec::new(),
        splices: Vec::new(),
        splice_bytes: 0,
        control_bytes: 0,
        taken_bytes: 0,
        taken_control_bytes: 0,
        taken_buffer_bytes: 0,
        counted_bytes: 0,
        is_dirty: false,
        is_lasting: false,
        was_used: false,
        report_below_bytes: 0,
    };
}

/// A large payload that goes out between two bytes of the buffer.
#[derive(Debug)]
pub struct Splice {
    /// Offset in the buffer before which the payload is sent.
    pub at: usize,
    /// The payload, shared with every other connection it goes to.
    pub payload: Bytes,
}

/// What one flush takes: the buffer and the payloads spliced into it.
#[derive(Debug, Default)]
pub struct Flush {
    /// Encoded packets.
    pub bytes: Vec<u8>,
    /// Large payloads, in rising order of `at`.
    pub splices: Vec<Splice>,
}

impl Flush {
    /// All bytes of the flush, spliced payloads included.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.splices.iter().map(|splice| splice.payload.len()).sum::<usize>()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The flush as contiguous pieces, in order of sending. Empty pieces are left out.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let spliced = self.splices.iter().flat_map(move |splice| {
            let before = &self.bytes[from..splice.at];
            from = splice.at;
            [before, &splice.payload[..]]
        });
        let rest_from = self.splices.last().map_or(0, |splice| splice.at);
        spliced.chain(std::iter::once(&self.bytes[rest_from..])).filter(|piece| !piece.is_empty())
    }
}

impl Egress {
    /// Bytes not yet sent: queued here or taken by the sender.
    pub fn backlog_bytes(&self) -> usize {
        self.bytes.len() + self.splice_bytes + self.taken_bytes
    }

    /// Bytes of control packets not yet sent.
    pub fn control_backlog_bytes(&self) -> usize {
        self.control_bytes + self.taken_control_bytes
    }

    /// Whether there is something to take.
    pub fn has_queued(&self) -> bool {
        !self.bytes.is_empty() || !self.splices.is_empty()
    }

    /// Whether there is nothing to send or to remember.
    fn is_idle(&self) -> bool {
        let is_listed = self.is_dirty || self.is_lasting;
        !self.has_queued() && !is_listed && self.taken_bytes + self.counted_bytes + self.report_below_bytes == 0
    }

    /// Takes what is queued into `flush`, which must be empty; its buffers are kept for the next queue.
    /// One flush at a time: the next may be taken only when [`EgressTable::sent`] has accounted for this one.
    pub fn take(&mut self, flush: &mut Flush) {
        debug_assert!(flush.is_empty() && self.taken_bytes == 0, "one flush at a time");
        std::mem::swap(&mut self.bytes, &mut flush.bytes);
        std::mem::swap(&mut self.splices, &mut flush.splices);
        self.taken_bytes = flush.bytes.len() + self.splice_bytes;
        self.taken_control_bytes = self.control_bytes;
        self.was_used |= self.taken_bytes > self.taken_control_bytes;
        self.taken_buffer_bytes = flush.bytes.len();
        self.splice_bytes = 0;
        self.control_bytes = 0;
    }

    /// Accounts for `sent_bytes` of the taken flush. True once when the shard asked to hear that the backlog is low again.
    fn sent(&mut self, sent_bytes: usize) -> bool {
        debug_assert!(sent_bytes <= self.taken_bytes, "no more is sent than was taken");
        self.taken_bytes -= sent_bytes;
        if self.taken_bytes == 0 {
            self.taken_buffer_bytes = 0;
        }
        self.taken_control_bytes = self.taken_control_bytes.min(self.taken_bytes);
        let is_low = self.report_below_bytes > 0 && self.backlog_bytes() < self.report_below_bytes;
        if is_low {
            self.report_below_bytes = 0;
        }
        is_low
    }

    /// Counts its buffer bytes in the sum of all connections; returns the new sum.
    fn count(&mut self, sum: usize) -> usize {
        let unsent = self.bytes.len() + self.taken_buffer_bytes;
        if unsent < COUNTED_BYTES_MIN && self.counted_bytes == 0 {
            return sum;
        }
        sum - std::mem::replace(&mut self.counted_bytes, unsent) + unsent
    }

    /// Takes out a packet that is not whole at the end of what is queued. Whether there was one.
    fn cut_unfinished(&mut self) -> bool {
        let (bytes, splices) = self.whole_packets();
        let is_cut = bytes < self.bytes.len() || splices < self.splices.len();
        self.bytes.truncate(bytes);
        self.splices.truncate(splices);
        self.splice_bytes = self.splices.iter().map(|splice| splice.payload.len()).sum();
        is_cut
    }

    /// How much of the buffer, and how many splices, the whole packets at the start of the queue are. A queue begins with a
    /// packet, as a flush takes all of it; a spliced payload ends its packet.
    fn whole_packets(&self) -> (usize, usize) {
        let (mut at, mut spliced) = (0, 0);
        while let Ok(Framed::Whole(wire::Frame { len, .. }) | Framed::Partial { needed: Some(len) }) =
            wire::frame(&self.bytes[at..], u32::MAX)
        {
            let end = at + len;
            match self.splices.get(spliced) {
                Some(splice) if splice.at < end => {
                    if splice.at + splice.payload.len() != end {
                        break;
                    }
                    at = splice.at;
                    spliced += 1;
                }
                _ if end <= self.bytes.len() => at = end,
                _ => break,
            }
        }
        (at, spliced)
    }

    /// Asks that the sender reports (`Input::Drained`) when the backlog has fallen below `bytes`.
    pub(super) fn report_below(&mut self, bytes: usize) {
        self.report_below_bytes = bytes.max(1);
    }
}

/// The egress of every connection of a shard, and which of them have something new.
#[derive(Debug, Default)]
pub struct EgressTable {
    by_slot: Vec<Seldom<Egress>>,
    dirty: Vec<u32>,
    /// Buffer bytes not yet sent, over all connections; spliced payloads are counted where they are held.
    unsent_bytes: usize,
    /// Slots that were sent messages not long ago: their egress stays.
    lasting: Vec<u32>,
    /// Those that connections have given up, with their buffers. The last is given out first.
    spare: Vec<Seldom<Egress>>,
    /// What the buffers of `spare` have allocated.
    spare_bytes: usize,
    /// The least that `spare` has had since [`Self::cool_down`].
    spare_least: usize,
}

impl EgressTable {
    /// Makes room for the connection of `slot`, empty.
    pub(super) fn open(&mut self, slot: u32) {
        let index = slot as usize;
        if index >= self.by_slot.len() {
            self.by_slot.resize_with(index + 1, Seldom::new);
        }
        self.close(slot);
    }

    /// Forgets what was queued or taken for a connection that is gone.
    pub fn close(&mut self, slot: u32) {
        let place = &mut self.by_slot[slot as usize];
        if place.is_made() {
            self.unsent_bytes -= place.counted_bytes;
            let (is_dirty, is_lasting) = (place.is_dirty, place.is_lasting);
            **place = Egress { is_dirty, is_lasting, ..Egress::default() };
            self.retire(slot);
        }
    }

    /// The egress of a slot that was opened.
    pub fn at(&mut self, slot: u32) -> &mut Seldom<Egress> {
        &mut self.by_slot[slot as usize]
    }

    /// Buffer to append packets to; the connection is sent to at the end of the turn.
    pub(super) fn buffer(&mut self, slot: u32) -> &mut Vec<u8> {
        if !self.by_slot[slot as usize].is_dirty {
            self.begin(slot);
        }
        &mut self.by_slot[slot as usize].bytes
    }

    /// The first that is queued since the last turn.
    fn begin(&mut self, slot: u32) {
        if self.by_slot[slot as usize].bytes.capacity() == 0 {
            self.equip(slot);
        }
        self.by_slot[slot as usize].is_dirty = true;
        self.dirty.push(slot);
    }

    /// Gives a connection a spare buffer, if there is one.
    fn equip(&mut self, slot: u32) {
        let Some(mut spare) = self.spare.pop() else { return };
        self.spare_bytes -= spare.bytes.capacity();
        self.spare_least = self.spare_least.min(self.spare.len());
        let place = &mut self.by_slot[slot as usize];
        if place.is_made() {
            place.bytes = std::mem::take(&mut spare.bytes);
        } else {
            *place = spare;
        }
    }

    /// Keeps the buffer of a flush that is sent, for what this connection or another one is to be sent.
    pub fn keep_buffer(&mut self, slot: u32, flush: Flush) {
        let Flush { mut bytes, .. } = flush;
        bytes.clear();
        let egress = &mut *self.by_slot[slot as usize];
        if egress.bytes.capacity() == 0 {
            egress.bytes = bytes;
        } else {
            let mut spare = Seldom::<Egress>::new();
            spare.bytes = bytes;
            self.keep(spare);
        }
    }

    /// Takes the egress away from a connection that needs none now.
    fn retire(&mut self, slot: u32) {
        let place = &mut self.by_slot[slot as usize];
        if place.is_made() && place.is_idle() {
            let spare = place.give_up();
            self.keep(spare);
        }
    }

    fn keep(&mut self, spare: Seldom<Egress>) {
        let bytes = spare.bytes.capacity();
        if self.spare.len() < SPARE_MAX && self.spare_bytes + bytes <= SPARE_BYTES_MAX {
            self.spare_bytes += bytes;
            self.spare.push(spare);
        }
    }

    /// Whether [`Self::cool_down`] has something to look at.
    pub fn is_warm(&self) -> bool {
        !self.spare.is_empty() || !self.lasting.is_empty()
    }

    /// Takes the egress away from who was sent no message since the last call, and frees what nobody has needed since then.
    pub fn cool_down(&mut self) {
        let freed = self.spare.drain(..self.spare_least).map(|spare| spare.bytes.capacity()).sum::<usize>();
        self.spare_bytes -= freed;
        for slot in std::mem::take(&mut self.lasting) {
            let egress = &mut *self.by_slot[slot as usize];
            if std::mem::take(&mut egress.was_used) {
                self.lasting.push(slot);
            } else {
                egress.is_lasting = false;
                self.retire(slot);
            }
        }
        self.spare_least = self.spare.len();
        if self.spare.is_empty() {
            self.spare = Vec::new();
        }
    }

    /// Appends a control packet by `encode`; its bytes are counted apart.
    pub(super) fn control(&mut self, slot: u32, encode: impl FnOnce(&mut Vec<u8>)) {
        let added = Unfinished::begin(self.buffer(slot)).write(encode);
        self.by_slot[slot as usize].control_bytes += added;
    }

    /// Appends a payload by reference, after what is in the buffer.
    pub(super) fn splice(&mut self, slot: u32, payload: Bytes) {
        let at = self.buffer(slot).len();
        let egress = &mut self.by_slot[slot as usize];
        egress.splice_bytes += payload.len();
        egress.splices.push(Splice { at, payload });
    }

    /// After a panic: takes out packets that it left unfinished. The slots whose connections lack one now.
    pub(super) fn cut_unfinished(&mut self) -> Vec<u32> {
        let Self { by_slot, dirty, .. } = self;
        dirty.iter().copied().filter(|&slot| by_slot[slot as usize].cut_unfinished()).collect()
    }

    /// Takes the list of slots that have something new since the last call. `into` must be empty.
    pub fn take_dirty(&mut self, into: &mut Vec<u32>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.dirty, into);
        for &slot in into.iter() {
            let egress = &mut *self.by_slot[slot as usize];
            egress.is_dirty = false;
            self.unsent_bytes = egress.count(self.unsent_bytes);
            if !egress.has_queued() {
                // Of a connection that is gone, nothing but the entry in the list was left.
                self.retire(slot);
            }
        }
    }

    /// Accounts for `sent_bytes` of the taken flush. True once when the shard asked to hear that the backlog is low again.
    #[must_use]
    pub fn sent(&mut self, slot: u32, sent_bytes: usize) -> bool {
        let egress = &mut *self.by_slot[slot as usize];
        let is_low = egress.sent(sent_bytes);
        self.unsent_bytes = egress.count(self.unsent_bytes);
        if egress.is_lasting {
            return is_low;
        }
        if egress.was_used {
            egress.is_lasting = true;
            self.lasting.push(slot);
        } else {
            self.retire(slot);
        }
        is_low
    }

    /// Buffer bytes not yet sent, over all connections.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }
}

/// A packet being appended. Its length may be written last, so that nobody could tell where it ends if a panic left it.
struct Unfinished<'a> {
    buffer: &'a mut Vec<u8>,
    from: usize,
}

impl<'a> Unfinished<'a> {
    fn begin(buffer: &'a mut Vec<u8>) -> Self {
        Self { from: buffer.len(), buffer }
    }

    /// Writes it; returns its length.
    fn write(self, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        encode(self.buffer);
        let added = self.buffer.len() - self.from;
        std::mem::forget(self);
        added
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.buffer.truncate(self.from);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// A PUBLISH of QoS 0 to topic `t`: all but the payload, of which `payload_len` bytes follow.
    fn head(payload_len: usize) -> Vec<u8> {
        let mut head = vec![0x30];
        let mut left = payload_len + 3;
        while left > 0x7f {
            head.push(left as u8 | 0x80);
            left >>= 7;
        }
        head.extend([left as u8, 0, 1, b't']);
        head
    }

    fn queued(table: &mut EgressTable) -> Vec<u8> {
        let mut flush = Flush::default();
        table.at(0).take(&mut flush);
        assert_eq!(table.at(0).backlog_bytes(), flush.len());
        flush.pieces().collect::<Vec<_>>().concat()
    }

    /// Whatever the packet and wherever a panic has cut it, what is sent is the whole packets before it.
    #[test]
    fn a_packet_that_a_panic_left_unfinished_is_taken_out_wherever_it_was_cut() {
        let small = [head(2), vec![7, 7]].concat();
        let large = head(5000);
        let payload = Bytes::from(vec![9; 5000]);
        for is_large_before in [false, true] {
            for cut in 0..=large.len() {
                let mut table = EgressTable::default();
                table.open(0);
                table.buffer(0).extend_from_slice(&small);
                let mut whole = small.clone();
                if is_large_before {
                    table.buffer(0).extend_from_slice(&large);
                    table.splice(0, payload.clone());
                    whole.extend(large.iter().chain(&payload[..]));
                }
                table.control(0, |out| out.extend_from_slice(&[0x40, 2, 0, 1]));
                whole.extend([0x40, 2, 0, 1]);
                table.buffer(0).extend_from_slice(&large[..cut]);
                assert_eq!(table.cut_unfinished(), if cut > 0 { vec![0] } else { vec![] }, "cut at {cut}");
                assert_eq!(table.at(0).control_backlog_bytes(), 4);
                assert_eq!(queued(&mut table), whole, "cut at {cut}");
            }
        }
    }

    #[test]
    fn whole_packets_are_left_alone() {
        let mut table = EgressTable::default();
        table.open(0);
        let mut whole = Vec::new();
        for payload_len in [0, 1, 124, 125, 5000, 20_000] {
            let payload = vec![3; payload_len];
            table.buffer(0).extend_from_slice(&head(payload_len));
            if payload_len < 5000 {
                table.buffer(0).extend_from_slice(&payload);
            } else {
                table.splice(0, Bytes::from(payload.clone()));
            }
            whole.extend(head(payload_len).iter().chain(&payload));
        }
        assert!(table.cut_unfinished().is_empty());
        assert_eq!(queued(&mut table), whole);
    }

    #[test]
    fn a_control_packet_is_written_whole_or_not_at_all() {
        let mut table = EgressTable::default();
        table.open(0);
        table.control(0, |out| out.extend_from_slice(&[0xd0, 0]));
        let cut = catch_unwind(AssertUnwindSafe(|| {
            table.control(0, |out| {
                // As `put_packet` does: the length comes last.
                out.extend_from_slice(&[0x90, 0, 0x30, 0]);
                panic!("while it was encoded");
            });
        }));
        assert!(cut.is_err() && table.cut_unfinished().is_empty());
        assert_eq!(table.at(0).control_backlog_bytes(), 2);
        assert_eq!(queued(&mut table), [0xd0, 0]);
    }

    #[test]
    fn a_flush_sends_buffer_and_spliced_payloads_in_the_order_they_were_queued() {
        let mut table = EgressTable::default();
        table.open(0);
        table.buffer(0).extend_from_slice(b"head1");
        table.splice(0, Bytes::from_static(b"PAYLOAD1"));
        table.buffer(0).extend_from_slice(b"head2");
        table.splice(0, Bytes::from_static(b"PAYLOAD2"));
        table.control(0, |out| out.extend_from_slice(b"ack"));
        let mut flush = Flush::default();
        assert_eq!(table.at(0).backlog_bytes(), 29);
        table.at(0).take(&mut flush);
        assert_eq!(flush.pieces().collect::<Vec<_>>().concat(), b"head1PAYLOAD1head2PAYLOAD2ack");
        assert_eq!((flush.len(), flush.is_empty()), (29, false));
        assert_eq!(table.at(0).backlog_bytes(), 29);
        assert_eq!(table.at(0).control_backlog_bytes(), 3);
        assert!(!table.sent(0, 29));
        assert_eq!(table.at(0).backlog_bytes(), 0);
        assert_eq!(table.at(0).control_backlog_bytes(), 0);
    }

    #[test]
    fn unsent_bytes_are_counted_until_their_flush_is_sent() {
        let mut table = EgressTable::default();
        table.open(0);
        table.buffer(0).extend_from_slice(&[0; 5000]);
        table.splice(0, Bytes::from_static(b"PAYLOAD"));
        table.take_dirty(&mut Vec::new());
        assert_eq!(table.unsent_bytes(), 5000);
        table.at(0).take(&mut Flush::default());
        let _ = table.sent(0, 50);
        assert_eq!(table.unsent_bytes(), 5000);
        let _ = table.sent(0, 4957);
        assert_eq!(table.unsent_bytes(), 0);
        table.buffer(0).extend_from_slice(&[0; 5000]);
        table.take_dirty(&mut Vec::new());
        table.open(0);
        assert_eq!(table.unsent_bytes(), 0);
    }

    /// Sends all that is queued for a slot, as the driver does.
    fn send(table: &mut EgressTable, slot: u32) {
        table.take_dirty(&mut Vec::new());
        let mut flush = Flush::default();
        table.at(slot).take(&mut flush);
        let len = flush.len();
        table.keep_buffer(slot, flush);
        assert!(!table.sent(slot, len));
    }

    #[test]
    fn who_was_sent_control_packets_has_no_egress_and_its_buffer_goes_to_the_next() {
        let mut table = EgressTable::default();
        (0..2).for_each(|slot| table.open(slot));
        assert!(!table.at(0).is_made() && table.at(0).backlog_bytes() == 0 && !table.is_warm());
        table.control(0, |out| out.extend([0; 5000]));
        let buffer = table.buffer(0).as_ptr();
        send(&mut table, 0);
        assert!(!table.at(0).is_made() && table.is_warm());
        table.buffer(1).push(7);
        assert_eq!(table.buffer(1).as_ptr(), buffer);
        assert!(!table.is_warm());
    }

    #[test]
    fn who_was_sent_messages_keeps_its_egress_for_a_while() {
        let mut table = EgressTable::default();
        table.open(0);
        for _ in 0..3 {
            table.buffer(0).push(7);
            let buffer = table.buffer(0).as_ptr();
            send(&mut table, 0);
            table.cool_down();
            assert_eq!(table.at(0).bytes.as_ptr(), buffer);
        }
        table.cool_down();
        assert!(!table.at(0).is_made() && table.is_warm());
        table.cool_down();
        assert!(!table.is_warm() && table.spare_bytes == 0);
    }

    /// A slot stands once among the lasting, whoever comes and goes in it.
    #[test]
    fn a_connection_that_goes_leaves_its_egress_to_the_next_in_its_slot() {
        let mut table = EgressTable::default();
        for _ in 0..3 {
            table.open(0);
            table.buffer(0).push(7);
            send(&mut table, 0);
            table.close(0);
        }
        assert_eq!(table.lasting, [0]);
        (0..3).for_each(|_| table.cool_down());
        assert!(!table.at(0).is_made() && !table.is_warm());
    }

    #[test]
    fn spare_buffers_are_freed_when_nobody_has_needed_them_for_a_while() {
        let mut table = EgressTable::default();
        (0..3).for_each(|slot| table.open(slot));
        (0..3).for_each(|slot| table.control(slot, |out| out.push(7)));
        (0..3).for_each(|slot| send(&mut table, slot));
        table.cool_down();
        assert_eq!(table.spare.len(), 3);
        table.control(0, |out| out.push(7));
        send(&mut table, 0);
        table.cool_down();
        assert_eq!(table.spare.len(), 1, "the one that was in use");
        table.cool_down();
        assert!(!table.is_warm() && table.spare_bytes == 0);
    }

    #[test]
    fn a_slot_that_is_closed_while_it_is_listed_is_listed_once() {
        let mut table = EgressTable::default();
        table.open(0);
        table.buffer(0).push(1);
        table.close(0);
        table.open(0);
        assert!(!table.at(0).has_queued());
        table.buffer(0).push(2);
        let mut dirty = Vec::new();
        table.take_dirty(&mut dirty);
        assert_eq!((dirty, queued(&mut table)), (vec![0], vec![2]));
    }

    #[test]
    fn a_connection_is_listed_once_however_much_is_queued() {
        let mut table = EgressTable::default();
        table.open(3);
        table.buffer(3).push(1);
        table.buffer(3).push(2);
        let mut dirty = Vec::new();
        table.take_dirty(&mut dirty);
        assert_eq!(dirty, [3]);
    }

    #[test]
    fn a_slot_is_listed_once_also_for_the_connection_that_comes_after() {
        let mut table = EgressTable::default();
        table.open(3);
        table.buffer(3).push(1);
        table.close(3);
        table.open(3);
        table.buffer(3).push(2);
        let mut dirty = Vec::new();
        table.take_dirty(&mut dirty);
        assert_eq!(dirty, [3]);
    }

    #[test]
    fn unsent_bytes_are_counted_from_a_page_on() {
        for (bytes, counted) in [(4095, 0), (4096, 4096), (4097, 4097)] {
            let mut table = EgressTable::default();
            table.open(0);
            table.buffer(0).extend_from_slice(&vec![0; bytes]);
            table.take_dirty(&mut Vec::new());
            assert_eq!(table.unsent_bytes(), counted);
        }
    }

    /// A payload belongs to the head before it: one without is no packet, and leaves the one before it whole.
    #[test]
    fn a_payload_without_its_head_is_taken_out() {
        let mut table = EgressTable::default();
        table.open(0);
        table.control(0, |out| out.extend_from_slice(&[0x40, 2, 0, 1]));
        table.splice(0, Bytes::from(vec![9; 5000]));
        assert_eq!(table.cut_unfinished(), [0]);
        assert_eq!(queued(&mut table), [0x40, 2, 0, 1]);
    }

    #[test]
    fn spare_buffers_are_bounded_by_number_and_by_bytes() {
        let keep = |table: &mut EgressTable, capacity| {
            let mut spare = Seldom::<Egress>::new();
            spare.bytes = Vec::with_capacity(capacity);
            table.keep(spare);
        };
        let mut table = EgressTable::default();
        (0..SPARE_MAX + 2).for_each(|_| keep(&mut table, 1));
        assert_eq!(table.spare.len(), SPARE_MAX);
        let mut table = EgressTable::default();
        for kept in [1, 2, 2] {
            keep(&mut table, SPARE_BYTES_MAX / 2);
            assert_eq!(table.spare.len(), kept);
        }
    }

    #[test]
    fn a_low_backlog_is_reported_once_when_it_was_asked_for() {
        let mut table = EgressTable::default();
        table.open(0);
        table.buffer(0).extend_from_slice(&[0; 100]);
        table.at(0).report_below(50);
        table.at(0).take(&mut Flush::default());
        assert!(!table.sent(0, 40));
        assert!(!table.sent(0, 10), "as much is not below");
        assert!(table.sent(0, 1));
        assert!(!table.sent(0, 49));
    }
}
