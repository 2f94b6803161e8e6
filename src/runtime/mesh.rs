//! Mesh: the channels between the shards of one broker.
//!
//! Duty: carry batches, and connections that belong elsewhere, from shard to shard in order; wake who sleeps, and nobody
//! else. Must not: look into a batch, drop one, or block. Neighbours: `driver` sends and drains once per turn; `flag` is the
//! protocol by which no wakeup is lost.
//!
//! One bounded channel per ordered pair. A batch that meets a full one stays in the outbox and grows there; its shard is
//! woken when there is room again.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::eventfd::EventFd;
use super::flag::Flag;
use super::peer::Origin;
use crate::id::{Millis, ShardId};
use crate::limits::MESH_BATCHES_MAX;
use crate::shard::MeshBatch;

/// A connection on its way to the shard of its client. Dropped, it closes.
#[derive(Debug)]
pub(super) struct Handoff {
    /// The socket; nothing of it is in flight.
    pub(super) socket: OwnedFd,
    /// Where it comes from, with the state of its transport.
    pub(super) origin: Origin,
    /// When it was accepted.
    pub(super) accepted_at: Millis,
    /// Bytes that were received and not used up.
    pub(super) unread: Vec<u8>,
}

/// What travels from shard to shard.
#[derive(Debug, Default)]
pub(super) struct MeshItem {
    /// What the shard says.
    pub(super) batch: MeshBatch,
    /// Connections that go with it.
    pub(super) handoffs: Vec<Handoff>,
    /// When the oldest of it was taken, nanoseconds.
    pub(super) since: u64,
}

/// What others need in order to wake a shard.
#[derive(Debug)]
struct Bell {
    is_sleeping: Flag,
    eventfd: EventFd,
}

/// All that the shards of a broker share.
#[derive(Debug)]
struct Bells {
    by_shard: Vec<Bell>,
    /// Place `from * shards + to`: the channel was full, and `from` wants to hear when it no longer is.
    blocked: Vec<Flag>,
}

impl Bells {
    fn is_blocked(&self, from: usize, to: usize) -> &Flag {
        &self.blocked[from * self.by_shard.len() + to]
    }

    /// Wakes a shard if it sleeps. What it is to see was published before.
    fn wake(&self, shard: usize) {
        let bell = &self.by_shard[shard];
        if bell.is_sleeping.take() {
            bell.eventfd.ring();
        }
    }
}

/// Calls a shard from outside the mesh, whether it sleeps or not.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    bells: Arc<Bells>,
}

impl Caller {
    /// Makes a shard take a turn.
    pub(super) fn call(&self, shard: ShardId) {
        self.bells.by_shard[shard.index()].eventfd.ring();
    }

    /// Makes every shard take a turn.
    pub(super) fn call_all(&self) {
        for bell in &self.bells.by_shard {
            bell.eventfd.ring();
        }
    }
}

/// One shard's end of the mesh.
#[derive(Debug)]
pub(super) struct Mesh {
    me: usize,
    bells: Arc<Bells>,
    /// In order of shard; the own place is empty.
    senders: Vec<Option<Sender<MeshItem>>>,
    receivers: Vec<Option<Receiver<MeshItem>>>,
    /// Connections that leave with the next batch, in order of shard.
    leaving: Vec<Vec<Handoff>>,
    /// Shards whose channel was full at the last push.
    full: Vec<usize>,
    /// In order of shard: since when a batch waits, nanoseconds; 0: none does.
    waiting_since: Vec<u64>,
    /// Items sent and taken.
    pub(super) sent: u64,
    pub(super) taken: u64,
}

/// The mesh of a broker: one end per shard.
///
/// # Errors
/// No file descriptor left for the bells.
pub(super) fn connect_shards(shards: usize) -> std::io::Result<(Vec<Mesh>, Caller)> {
    let mut by_shard = Vec::with_capacity(shards);
    for _ in 0..shards {
        by_shard.push(Bell { is_sleeping: Flag::new(), eventfd: EventFd::new()? });
    }
    let blocked = std::iter::repeat_with(Flag::new).take(shards * shards).collect();
    let bells = Arc::new(Bells { by_shard, blocked });
    let mut ends: Vec<Mesh> = (0..shards).map(|me| Mesh::unconnected(me, shards, &bells)).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (sender, receiver) = bounded(MESH_BATCHES_MAX);
            ends[from].senders[to] = Some(sender);
            ends[to].receivers[from] = Some(receiver);
        }
    }
    Ok((ends, Caller { bells }))
}

impl Mesh {
    fn unconnected(me: usize, shards: usize, bells: &Arc<Bells>) -> Self {
        Self {
            me,
            bells: Arc::clone(bells),
            senders: vec![None; shards],
            receivers: vec![None; shards],
            leaving: std::iter::repeat_with(Vec::new).take(shards).collect(),
            full: Vec::new(),
            waiting_since: vec![0; shards],
            sent: 0,
            taken: 0,
        }
    }

    /// Rung by whoever wants this shard awake.
    pub(super) fn eventfd(&self) -> &EventFd {
        &self.bells.by_shard[self.me].eventfd
    }

    /// Whether there is no other shard.
    pub(super) fn is_alone(&self) -> bool {
        self.senders.len() == 1
    }

    /// Sends a connection along with the next batch to `to`. Gives it back if there is no such shard.
    pub(super) fn hand_over(&mut self, to: ShardId, handoff: Handoff) {
        debug_assert_ne!(to.index(), self.me, "a connection is handed to another shard");
        self.leaving[to.index()].push(handoff);
    }

    /// Sends what is gathered for each peer since `since`, nanoseconds. What meets a full channel stays where it is.
    pub(super) fn push(&mut self, batches: &mut [MeshBatch], since: u64) {
        self.full.clear();
        for (to, batch) in batches.iter_mut().enumerate() {
            if batch.is_empty() && self.leaving[to].is_empty() {
                continue;
            }
            let Some(sender) = &self.senders[to] else { continue };
            let since = Some(self.waiting_since[to]).filter(|since| *since > 0).unwrap_or(since);
            let handoffs = std::mem::take(&mut self.leaving[to]);
            let item = MeshItem { batch: std::mem::take(batch), handoffs, since };
            match self.try_send(sender, to, item) {
                None => {
                    self.sent += 1;
                    self.waiting_since[to] = 0;
                }
                Some(item) => {
                    *batch = item.batch;
                    self.leaving[to] = item.handoffs;
                    self.waiting_since[to] = item.since;
                    self.full.push(to);
                }
            }
        }
    }

    /// Gives back what meets a full channel.
    fn try_send(&self, sender: &Sender<MeshItem>, to: usize, item: MeshItem) -> Option<MeshItem> {
        let mut sent = sender.try_send(item);
        if let Err(TrySendError::Full(item)) = sent {
            let is_blocked = self.bells.is_blocked(self.me, to);
            is_blocked.raise();
            sent = sender.try_send(item);
            if sent.is_ok() {
                is_blocked.lower();
            }
        }
        match sent {
            Ok(()) => self.bells.wake(to),
            Err(TrySendError::Full(item)) => return Some(item),
            // The peer has stopped, so all of the broker stops.
            Err(TrySendError::Disconnected(_)) => {}
        }
        None
    }

    /// The next item from a peer. After the last one of a turn, [`Mesh::unblock`] is due.
    pub(super) fn take(&mut self, from: usize) -> Option<MeshItem> {
        let item = self.receivers[from].as_ref()?.try_recv().ok()?;
        self.taken += 1;
        Some(item)
    }

    /// Items that wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        self.receivers.iter().flatten().map(Receiver::len).sum()
    }

    /// Wakes a peer that waits for room in its channel to this shard.
    pub(super) fn unblock(&self, from: usize) {
        if self.bells.is_blocked(from, self.me).take() {
            self.bells.wake(from);
        }
    }

    /// Whether there is something to take, or room where there was none.
    pub(super) fn has_news(&self) -> bool {
        self.receivers.iter().flatten().any(|receiver| !receiver.is_empty())
            || self.full.iter().any(|&to| !self.bells.is_blocked(self.me, to).is_up())
    }

    /// Whether batches or connections wait for room.
    pub(super) fn is_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Says that this shard is going to sleep; false if it must not, because there is news.
    pub(super) fn lie_down(&self) -> bool {
        self.bells.by_shard[self.me].is_sleeping.raise();
        let may_sleep = !self.has_news();
        if !may_sleep {
            self.rise();
        }
        may_sleep
    }

    /// Says that this shard is awake.
    pub(super) fn rise(&self) {
        self.bells.by_shard[self.me].is_sleeping.lower();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn batch(clock: u64) -> MeshBatch {
        let mut batch = MeshBatch::default();
        batch.clock = clock;
        batch.ack = Some(crate::shard::MeshAck { through: clock, exceptions: Vec::new() });
        batch
    }

    fn sleep_until_news(mesh: &Mesh) {
        if mesh.lie_down() {
            mesh.eventfd().wait();
            mesh.rise();
        }
    }

    #[test]
    fn a_batch_that_meets_a_full_channel_stays_and_goes_later_in_order() {
        let (mut ends, _caller) = connect_shards(2).unwrap();
        let mut two = ends.pop().unwrap();
        let mut one = ends.pop().unwrap();
        for clock in 0..=MESH_BATCHES_MAX as u64 {
            let mut batches = [MeshBatch::default(), batch(clock)];
            one.push(&mut batches, 0);
            let is_last = clock == MESH_BATCHES_MAX as u64;
            assert_eq!(one.is_full(), is_last);
            assert_eq!(batches[1].is_empty(), !is_last);
        }
        assert!(!one.has_news());
        let seen: Vec<_> = std::iter::from_fn(|| two.take(0)).map(|item| item.batch.clock).collect();
        assert_eq!(seen, (0..MESH_BATCHES_MAX as u64).collect::<Vec<_>>());
        two.unblock(0);
        assert!(one.has_news(), "there is room again");
    }

    /// X01: nobody waits for ever, neither the one who finds nothing nor the one who finds no room.
    #[test]
    fn two_shards_that_flood_each_other_and_sleep_between_lose_no_batch() {
        const BATCHES: u64 = 20_000;
        let (ends, _caller) = connect_shards(2).unwrap();
        let floods = ends.into_iter().map(|mut mesh| {
            thread::spawn(move || {
                let peer = 1 - mesh.me;
                let mut batches = [MeshBatch::default(), MeshBatch::default()];
                let (mut sent, mut seen) = (0, 0);
                while seen < BATCHES || sent < BATCHES || !batches[peer].is_empty() {
                    while let Some(item) = mesh.take(peer) {
                        assert_eq!(item.batch.clock, seen);
                        seen += 1;
                    }
                    mesh.unblock(peer);
                    if batches[peer].is_empty() && sent < BATCHES {
                        batches[peer] = batch(sent);
                        sent += 1;
                    }
                    mesh.push(&mut batches, 0);
                    let has_work = batches[peer].is_empty() && sent < BATCHES;
                    let is_done = seen == BATCHES && sent == BATCHES && batches[peer].is_empty();
                    if !has_work && !is_done {
                        sleep_until_news(&mesh);
                    }
                }
            })
        });
        floods.collect::<Vec<_>>().into_iter().for_each(|flood| flood.join().unwrap());
    }

    #[test]
    fn a_dropped_hand_off_closes_its_socket() {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        let (mut ends, _caller) = connect_shards(2).unwrap();
        let unread = b"CONNECT".to_vec();
        let origin = Origin::plain(peer, 0);
        ends[0].hand_over(ShardId(1), Handoff { socket: socket.into(), origin, accepted_at: Millis(1), unread });
        ends[0].push(&mut [MeshBatch::default(), MeshBatch::default()], 0);
        drop(ends);
        assert_eq!(std::io::Read::read(&mut client, &mut [0; 8]).unwrap(), 0);
    }
}
