//! Egress: bytes on their way to one connection.
//!
//! Duty: gather what a turn wants sent to a connection so that the turn is one send; count what is not yet sent, control
//! packets apart. Small packets are copied into one buffer; a large payload is spliced in by reference. Must not: send, or
//! decide what is dropped. Neighbours: the shard's rooms append; `runtime` (or a simulation) takes and reports what was sent.
//!
//! A connection to which nothing is to be sent has no egress, and no buffer: both go to the next one that needs them. It
//! gives them up at once if all that it was sent is control packets, and else when it was sent no message for a while.
//!
//! What may not be sent before the store has what it says is *held*, with all that comes behind it, for a ticket. The buffer is always
//! the end of all that waits, so that whoever appends asks nothing; what stands before a hold waits beside it.

use std::collections::VecDeque;

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
    /// The ticket of the store that the buffer waits for; 0: none.
    held_for: u64,
    /// What waits before the buffer, in order, and its sizes.
    earlier: Seldom<VecDeque<Earlier>>,
    earlier_bytes: usize,
    earlier_control_bytes: usize,
}

/// Packets that wait before the buffer. Their number does not change.
#[derive(Debug)]
struct Earlier {
    /// The ticket that they wait for; 0: none.
    held_for: u64,
    bytes: Vec<u8>,
    splices: Vec<Splice>,
    splice_bytes: usize,
    control_bytes: usize,
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
        held_for: 0,
        earlier: Seldom::new(),
        earlier_bytes: 0,
        earlier_control_bytes: 0,
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
    #[inline]
    pub fn backlog_bytes(&self) -> usize {
        self.bytes.len() + self.splice_bytes + self.taken_bytes + self.earlier_bytes
    }

    /// Bytes of control packets not yet sent.
    #[inline]
    pub fn control_backlog_bytes(&self) -> usize {
        self.control_bytes + self.taken_control_bytes + self.earlier_control_bytes
    }

    /// Whether there is something to take.
    #[inline]
    pub fn has_queued(&self) -> bool {
        if self.held_for == 0 { self.has_end() } else { self.has_earlier() }
    }

    /// Whether something before a buffer that is held waits for nothing.
    #[cold]
    fn has_earlier(&self) -> bool {
        self.earlier.front().is_some_and(|first| first.held_for == 0)
    }

    /// Whether the buffer has something, held or not.
    #[inline]
    fn has_end(&self) -> bool {
        !self.bytes.is_empty() || !self.splices.is_empty()
    }

    /// Whether there is nothing to send or to remember.
    fn is_idle(&self) -> bool {
        let is_listed = self.is_dirty || self.is_lasting;
        let is_empty = !self.has_end() && self.held_for == 0;
        is_empty && !is_listed && self.taken_bytes + self.counted_bytes + self.report_below_bytes == 0
    }

    /// Takes what is queued into `flush`, which must be empty; its buffers are kept for the next queue.
    /// One flush at a time: the next may be taken only when [`EgressTable::sent`] has accounted for this one.
    pub fn take(&mut self, flush: &mut Flush) {
        debug_assert!(flush.is_empty() && self.taken_bytes == 0, "one flush at a time");
        if self.held_for > 0 {
            return self.take_earlier(flush);
        }
        std::mem::swap(&mut self.bytes, &mut flush.bytes);
        std::mem::swap(&mut self.splices, &mut flush.splices);
        self.taken_bytes = flush.bytes.len() + self.splice_bytes;
        self.taken_control_bytes = self.control_bytes;
        self.was_used |= self.taken_bytes > self.taken_control_bytes;
        self.taken_buffer_bytes = flush.bytes.len();
        self.splice_bytes = 0;
        self.control_bytes = 0;
    }

    /// Takes what waits for nothing, while the buffer does.
    #[cold]
    fn take_earlier(&mut self, flush: &mut Flush) {
        while let Some(first) = self.earlier.pop_front_if(|first| first.held_for == 0) {
            self.earlier_bytes -= first.bytes.len() + first.splice_bytes;
            self.earlier_control_bytes -= first.control_bytes;
            self.taken_control_bytes += first.control_bytes;
            first.append_to(&mut flush.bytes, &mut flush.splices);
        }
        self.taken_bytes = flush.len();
        self.was_used |= self.taken_bytes > self.taken_control_bytes;
        self.taken_buffer_bytes = flush.bytes.len();
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
        let unsent = self.bytes.len() + self.taken_buffer_bytes + self.earlier_bytes;
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

    /// Holds all that is appended from now on until `ticket` is answered.
    fn hold(&mut self, ticket: u64) {
        if self.held_for == ticket {
            return;
        }
        if self.has_end() {
            let before = Earlier {
                held_for: self.held_for,
                bytes: std::mem::take(&mut self.bytes),
                splices: std::mem::take(&mut self.splices),
                splice_bytes: std::mem::take(&mut self.splice_bytes),
                control_bytes: std::mem::take(&mut self.control_bytes),
            };
            self.earlier_bytes += before.bytes.len() + before.splice_bytes;
            self.earlier_control_bytes += before.control_bytes;
            self.earlier.push_back(before);
        }
        self.held_for = ticket;
    }

    /// The store has answered: what waited for that may be taken. Whether nothing waits any more.
    fn release(&mut self, through: u64) -> bool {
        if self.earlier.is_made() {
            let answered = self.earlier.iter_mut().filter(|earlier| earlier.held_for <= through);
            answered.for_each(|earlier| earlier.held_for = 0);
        }
        if self.held_for > through {
            return false;
        }
        self.held_for = 0;
        let (mut bytes, mut splices) = (Vec::new(), Vec::new());
        for earlier in self.earlier.give_up().drain(..) {
            self.splice_bytes += earlier.splice_bytes;
            self.control_bytes += earlier.control_bytes;
            earlier.append_to(&mut bytes, &mut splices);
        }
        (self.earlier_bytes, self.earlier_control_bytes) = (0, 0);
        if !bytes.is_empty() || !splices.is_empty() {
            let from = bytes.len();
            bytes.append(&mut self.bytes);
            splices.extend(self.splices.drain(..).map(|splice| Splice { at: from + splice.at, ..splice }));
            (self.bytes, self.splices) = (bytes, splices);
        }
        true
    }

    /// Forgets all that is held, as the connection ends. The first byte of it, if there was anything.
    fn forget_held(&mut self) -> Option<u8> {
        if self.held_for == 0 {
            return None;
        }
        let held = self.earlier.iter().find(|earlier| earlier.held_for > 0);
        let first = held.map_or(&self.bytes, |earlier| &earlier.bytes).first().copied();
        if self.earlier.is_made() {
            self.earlier.retain(|earlier| earlier.held_for == 0);
        }
        self.bytes.clear();
        self.splices.clear();
        (self.splice_bytes, self.control_bytes) = (0, 0);
        self.release(u64::MAX);
        first
    }

    /// The first ticket that something waits for.
    fn first_ticket(&self) -> Option<u64> {
        let tickets = self.earlier.iter().map(|earlier| earlier.held_for).chain([self.held_for]);
        tickets.into_iter().find(|ticket| *ticket > 0)
    }

    /// Asks that the sender reports (`Input::Drained`) when the backlog has fallen below `bytes`.
    pub(super) fn report_below(&mut self, bytes: usize) {
        self.report_below_bytes = bytes.max(1);
    }
}

impl Earlier {
    fn append_to(self, bytes: &mut Vec<u8>, splices: &mut Vec<Splice>) {
        let from = bytes.len();
        if from == 0 {
            *bytes = self.bytes;
        } else {
            bytes.extend_from_slice(&self.bytes);
        }
        splices.extend(self.splices.into_iter().map(|splice| Splice { at: from + splice.at, ..splice }));
    }
}

/// The egress of every connection of a shard, and which of them have something new.
#[derive(Debug, Default)]
pub struct EgressTable {
    by_slot: Vec<Seldom<Egress>>,
    dirty: Vec<u32>,
    /// Slots of which something waits for the store; some may have been given up since.
    holding: Vec<u32>,
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
    /// Control packets appended so far.
    control_packets: u64,
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

    /// Bytes of a connection that are not yet sent.
    pub fn backlog_bytes(&self, slot: u32) -> usize {
        self.by_slot.get(slot as usize).map_or(0, |egress| egress.backlog_bytes())
    }

    /// Buffer to append packets to; the connection is sent to at the end of the turn.
    pub(super) fn buffer(&mut self, slot: u32) -> &mut Vec<u8> {
        if !self.by_slot[slot as usize].is_dirty {
            self.begin(slot);
        }
        &mut self.by_slot[slot as usize].bytes
    }

    /// Holds all that is appended to a connection from now on until the store has answered `ticket`.
    pub(super) fn hold(&mut self, slot: u32, ticket: u64) {
        let egress = &mut *self.by_slot[slot as usize];
        if egress.held_for == 0 {
            self.holding.push(slot);
        }
        egress.hold(ticket);
    }

    /// The store has answered: what waited for tickets up to `through` is queued to be sent. Whose that is.
    pub(super) fn release(&mut self, through: u64) -> Vec<u32> {
        let mut released = Vec::new();
        let mut holding = std::mem::take(&mut self.holding);
        holding.retain(|&slot| {
            let place = &mut self.by_slot[slot as usize];
            if !place.is_made() || place.held_for == 0 {
                // Whoever held has gone.
                return false;
            }
            let is_over = place.release(through);
            if place.has_queued() {
                released.push(slot);
                if !place.is_dirty {
                    self.begin(slot);
                }
            }
            !is_over
        });
        self.holding = holding;
        released
    }

    /// The store could not take it: connections that wait for tickets up to `through` can never be sent what waits.
    pub(super) fn forsaken(&self, through: u64) -> Vec<u32> {
        let first = |slot: &u32| self.by_slot[*slot as usize].first_ticket();
        self.holding.iter().copied().filter(|slot| first(slot).is_some_and(|ticket| ticket <= through)).collect()
    }

    /// Whether something for the connection waits for the store.
    pub fn is_holding(&self, slot: u32) -> bool {
        self.by_slot[slot as usize].held_for > 0
    }

    /// Forgets what waits for the store, as the connection ends. The first byte of it, if there was anything.
    pub(super) fn forget_held(&mut self, slot: u32) -> Option<u8> {
        let place = &mut self.by_slot[slot as usize];
        if place.is_made() { place.forget_held() } else { None }
    }

    /// The first that is queued since the last turn.
    #[inline(always)]
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
        self.control_packets += 1;
        self.by_slot[slot as usize].control_bytes += added;
    }

    /// Appends a control packet of four bytes.
    pub(super) fn short_control(&mut self, slot: u32, packet: [u8; 4]) {
        self.buffer(slot).extend_from_slice(&packet);
        self.by_slot[slot as usize].control_bytes += packet.len();
        self.control_packets += 1;
    }

    /// Control packets appended so far, for all connections.
    pub fn control_packets(&self) -> u64 {
        self.control_packets
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
#[path = "egress_tests.rs"]
mod tests;
