//! Egress: bytes on their way to one connection.
//!
//! Duty: gather what a turn wants sent to a connection so that the turn is one send; count what is not yet sent, control
//! packets apart. Small packets are copied into one buffer; a large payload is spliced in by reference. Must not: send, or
//! decide what is dropped. Neighbours: the shard's rooms append; `runtime` (or a simulation) takes and reports what was sent.
//!
//! A connection to which nothing is to be sent has no egress, and no buffer: both go to the next one that needs them. It
//! gives them up at once if all that it was sent is control packets, and else when it was sent no message for a while.
//!
//! What may not be sent before the store has what it says is *held*: it waits here, with all that comes behind it, for a ticket.

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
    /// What waits for the store, by rising ticket; all that is appended goes behind it. Never empty.
    held: Seldom<VecDeque<Held>>,
}

/// Packets that wait until a ticket of the store is answered.
#[derive(Debug, Default)]
struct Held {
    ticket: u64,
    bytes: Vec<u8>,
    splices: Vec<Splice>,
    control_bytes: usize,
}

impl Held {
    fn len(&self) -> usize {
        self.bytes.len() + self.splices.iter().map(|splice| splice.payload.len()).sum::<usize>()
    }
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
        held: Seldom::new(),
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
        let held = if self.held.is_made() { self.held_bytes() } else { 0 };
        self.bytes.len() + self.splice_bytes + self.taken_bytes + held
    }

    /// Bytes that wait for the store.
    fn held_bytes(&self) -> usize {
        self.held.iter().map(Held::len).sum()
    }

    /// Bytes of control packets not yet sent.
    pub fn control_backlog_bytes(&self) -> usize {
        let held = self.held.iter().map(|held| held.control_bytes).sum::<usize>();
        self.control_bytes + self.taken_control_bytes + held
    }

    /// Whether there is something to take.
    pub fn has_queued(&self) -> bool {
        !self.bytes.is_empty() || !self.splices.is_empty()
    }

    /// Whether there is nothing to send or to remember.
    fn is_idle(&self) -> bool {
        let is_listed = self.is_dirty || self.is_lasting;
        !self.has_queued()
            && !is_listed
            && !self.held.is_made()
            && self.taken_bytes + self.counted_bytes + self.report_below_bytes == 0
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
        let held = self.held.iter().map(|held| held.bytes.len()).sum::<usize>();
        let unsent = self.bytes.len() + self.taken_buffer_bytes + held;
        if unsent < COUNTED_BYTES_MIN && self.counted_bytes == 0 {
            return sum;
        }
        sum - std::mem::replace(&mut self.counted_bytes, unsent) + unsent
    }

    /// Takes out a packet that is not whole at the end of what is queued. Whether there was one.
    fn cut_unfinished(&mut self) -> bool {
        let mut is_cut = cut_unfinished(&mut self.bytes, &mut self.splices);
        self.splice_bytes = self.splices.iter().map(|splice| splice.payload.len()).sum();
        if !self.held.is_made() {
            return is_cut;
        }
        for held in self.held.iter_mut() {
            is_cut |= cut_unfinished(&mut held.bytes, &mut held.splices);
        }
        is_cut
    }

    /// Holds all that is appended from now on until `ticket` is answered.
    fn hold(&mut self, ticket: u64) {
        let held = &mut self.held;
        if held.back().is_none_or(|last| last.ticket < ticket) {
            held.push_back(Held { ticket, ..Held::default() });
        }
    }

    /// The store has answered: what waited for that may be sent. Whether there is something now.
    fn release(&mut self, through: u64) -> bool {
        if !self.held.is_made() {
            return false;
        }
        while self.held.front().is_some_and(|first| first.ticket <= through) {
            let Some(released) = self.held.pop_front() else { break };
            let from = self.bytes.len();
            self.bytes.extend_from_slice(&released.bytes);
            self.splice_bytes += released.splices.iter().map(|splice| splice.payload.len()).sum::<usize>();
            self.splices.extend(released.splices.into_iter().map(|splice| Splice { at: from + splice.at, ..splice }));
            self.control_bytes += released.control_bytes;
        }
        if self.held.is_empty() {
            self.held.give_up();
        }
        self.has_queued()
    }

    /// Where packets are appended: buffer, payloads between, count of control bytes.
    fn end(&mut self) -> (&mut Vec<u8>, &mut Vec<Splice>, &mut usize) {
        if self.held.is_made()
            && let Some(held) = self.held.back_mut()
        {
            return (&mut held.bytes, &mut held.splices, &mut held.control_bytes);
        }
        (&mut self.bytes, &mut self.splices, &mut self.control_bytes)
    }

    /// Asks that the sender reports (`Input::Drained`) when the backlog has fallen below `bytes`.
    pub(super) fn report_below(&mut self, bytes: usize) {
        self.report_below_bytes = bytes.max(1);
    }
}

/// Takes out a packet that is not whole at the end. Whether there was one.
fn cut_unfinished(bytes: &mut Vec<u8>, splices: &mut Vec<Splice>) -> bool {
    let (whole_bytes, whole_splices) = whole_packets(bytes, splices);
    let is_cut = whole_bytes < bytes.len() || whole_splices < splices.len();
    bytes.truncate(whole_bytes);
    splices.truncate(whole_splices);
    is_cut
}

/// How much of the buffer, and how many splices, the whole packets at the start of the queue are. A queue begins with a
/// packet, as a flush takes all of it; a spliced payload ends its packet.
fn whole_packets(bytes: &[u8], splices: &[Splice]) -> (usize, usize) {
    let (mut at, mut spliced) = (0, 0);
    while let Ok(Framed::Whole(wire::Frame { len, .. }) | Framed::Partial { needed: Some(len) }) =
        wire::frame(&bytes[at..], u32::MAX)
    {
        let end = at + len;
        match splices.get(spliced) {
            Some(splice) if splice.at < end => {
                if splice.at + splice.payload.len() != end {
                    break;
                }
                at = splice.at;
                spliced += 1;
            }
            _ if end <= bytes.len() => at = end,
            _ => break,
        }
    }
    (at, spliced)
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

    /// Buffer to append packets to; the connection is sent to at the end of the turn.
    pub(super) fn buffer(&mut self, slot: u32) -> &mut Vec<u8> {
        if !self.by_slot[slot as usize].is_dirty {
            self.begin(slot);
        }
        let egress = &mut *self.by_slot[slot as usize];
        if egress.held.is_made() { egress.end().0 } else { &mut egress.bytes }
    }

    /// Holds all that is appended to a connection from now on until the store has answered `ticket`.
    pub(super) fn hold(&mut self, slot: u32, ticket: u64) {
        let egress = &mut *self.by_slot[slot as usize];
        if !egress.held.is_made() {
            self.holding.push(slot);
        }
        egress.hold(ticket);
    }

    /// The store has answered: what waited for tickets up to `through` is queued to be sent. Whose that is.
    pub(super) fn release(&mut self, through: u64) -> Vec<u32> {
        let mut holding = std::mem::take(&mut self.holding);
        let mut released = Vec::new();
        holding.retain(|&slot| {
            let place = &mut self.by_slot[slot as usize];
            if !place.is_made() {
                return false;
            }
            if place.release(through) {
                released.push(slot);
                if !place.is_dirty {
                    self.begin(slot);
                }
            }
            self.by_slot[slot as usize].held.is_made()
        });
        self.holding = holding;
        released
    }

    /// The store could not take it: connections that wait for tickets up to `through` can never be sent what waits.
    pub(super) fn forsaken(&mut self, through: u64) -> Vec<u32> {
        let first = |slot: &u32| self.by_slot[*slot as usize].held.front();
        let is_forsaken = |slot: &u32| first(slot).is_some_and(|first| first.ticket <= through);
        self.holding.iter().copied().filter(is_forsaken).collect()
    }

    /// Whether something for the connection waits for the store.
    pub fn is_holding(&self, slot: u32) -> bool {
        self.by_slot[slot as usize].held.is_made()
    }

    /// Forgets what waits for the store, as the connection ends. The first byte of it, if there was anything.
    pub(super) fn forget_held(&mut self, slot: u32) -> Option<u8> {
        let place = &mut self.by_slot[slot as usize];
        if !place.is_made() || !place.held.is_made() {
            return None;
        }
        place.held.give_up().front()?.bytes.first().copied()
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
        self.control_packets += 1;
        *self.by_slot[slot as usize].end().2 += added;
    }

    /// Appends a control packet of four bytes.
    pub(super) fn short_control(&mut self, slot: u32, packet: [u8; 4]) {
        self.buffer(slot).extend_from_slice(&packet);
        *self.by_slot[slot as usize].end().2 += packet.len();
        self.control_packets += 1;
    }

    /// Control packets appended so far, for all connections.
    pub fn control_packets(&self) -> u64 {
        self.control_packets
    }

    /// Appends a payload by reference, after what is in the buffer.
    pub(super) fn splice(&mut self, slot: u32, payload: Bytes) {
        let at = self.buffer(slot).len();
        let egress = &mut *self.by_slot[slot as usize];
        if !egress.held.is_made() {
            egress.splice_bytes += payload.len();
        }
        egress.end().1.push(Splice { at, payload });
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
