//! The devices' comings and goings: who leaves when, who comes back, and that no session is left behind at the end.
//! Must not speak MQTT; `client` does. Neighbours: `worker` calls it once per turn, `device` holds the state.

use mio::{Events, Interest, Token};

use super::client::{Role, Stage};
use super::device::Visit;
use super::worker::{DIALS_MAX, Worker};

/// How long a device stays away, nanoseconds.
const AWAY_NS: u64 = 20_000_000;

/// A broker closes the connection when it has read DISCONNECT; if it has not by then, the device does, nanoseconds.
const DEPARTURE_NS_MAX: u64 = 1_000_000_000;

impl Worker<'_> {
    /// Sends those devices away whose turn it is by `now_ns` and before `end_ns`; one that is still away is left out.
    pub(super) fn send_away(&mut self, now_ns: u64, end_ns: u64) {
        let Some(mut departures) = self.departures.take() else { return };
        departures.open(now_ns, end_ns, |device, _| {
            let slot = self.slot_of_device(device);
            if self.clients[slot].stage == Stage::Ready {
                self.clients[slot].stage = Stage::Quitting;
                self.roaming.push(slot);
            }
        });
        self.departures = Some(departures);
    }

    /// Takes every device that is on its way one step further if it can go.
    pub(super) fn see_to_the_roaming(&mut self) {
        let now_ns = self.shared.now_ns();
        let mut roaming = std::mem::take(&mut self.roaming);
        roaming.retain(|&slot| match self.clients[slot].stage {
            Stage::Quitting => self.depart(slot, now_ns),
            Stage::Departing => self.close_if_late(slot, now_ns),
            Stage::Away => self.come_back(slot, now_ns),
            Stage::Ready => self.welcome_back(slot),
            stage => stage != Stage::Lost,
        });
        self.roaming.append(&mut roaming);
    }

    fn depart(&mut self, slot: usize, now_ns: u64) -> bool {
        if self.clients[slot].depart(self.shared.plan) {
            self.note_time(slot, now_ns);
            // A failure is counted as a lost connection, and then the device is not on its way any more.
            let _ = self.serve(slot, false, false, false);
        }
        self.clients[slot].stage != Stage::Lost
    }

    fn close_if_late(&mut self, slot: usize, now_ns: u64) -> bool {
        if now_ns > self.since_ns(slot) + DEPARTURE_NS_MAX {
            self.clients[slot].stage = Stage::Away;
        }
        true
    }

    fn come_back(&mut self, slot: usize, now_ns: u64) -> bool {
        if now_ns < self.since_ns(slot) + AWAY_NS {
            return true;
        }
        match self.redial(slot, Visit::Return) {
            Ok(()) => true,
            Err(error) => {
                let _ = self.lose(slot, &format!("cannot be dialled: {error}"), false);
                false
            }
        }
    }

    /// The device has its session again, and sends what fell due in the meantime.
    fn welcome_back(&mut self, slot: usize) -> bool {
        self.reconnects += 1;
        if let Some(publisher) = self.clients[slot].publisher_mut()
            && publisher.released > publisher.sequence
            && !publisher.listed
        {
            publisher.listed = true;
            self.listed.push(slot);
        }
        false
    }

    fn redial(&mut self, slot: usize, visit: Visit) -> std::io::Result<()> {
        let client = &mut self.clients[slot];
        // Closing a socket ends its registration as well; an error here would only say so.
        let _ = self.poll.registry().deregister(&mut client.link.stream);
        if let Role::Device(device) = &mut client.role {
            device.visit = visit;
        }
        client.redial(self.way.dial()?, self.shared.plan);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client.link.stream, Token(slot), both)
    }

    /// Connects every device once more with a clean start, so that the broker is left as it was found.
    pub(super) fn remove_sessions(&mut self, events: &mut Events) {
        if !self.shared.plan.keeps_sessions() {
            return;
        }
        let mut left: Vec<_> = (0..self.devices.len()).map(|at| self.slot_of_device(self.devices[at])).collect();
        let mut under_way = Vec::new();
        while !(left.is_empty() && under_way.is_empty()) {
            while under_way.len() < DIALS_MAX
                && let Some(slot) = left.pop()
            {
                match self.redial(slot, Visit::Last) {
                    Ok(()) => under_way.push(slot),
                    Err(error) => self.score.note(format!("{}: its session is left: {error}", self.clients[slot].role)),
                }
            }
            let before = under_way.len();
            self.wait(events, self.shared.plan.flags.patience, |worker| {
                under_way.retain(|&slot| worker.clients[slot].stage == Stage::Greeting);
                under_way.len() < before
            });
            if under_way.len() == before {
                self.score.tally.connections_lost += before as u64;
                return self.score.note(format!("{} sessions are left: CONNECT is not answered", before + left.len()));
            }
        }
    }

    fn since_ns(&self, slot: usize) -> u64 {
        if let Role::Device(device) = &self.clients[slot].role { device.since_ns } else { 0 }
    }

    /// Notes when a device sent DISCONNECT or lost its connection.
    pub(super) fn note_time(&mut self, slot: usize, now_ns: u64) {
        if let Role::Device(device) = &mut self.clients[slot].role {
            device.since_ns = now_ns;
        }
    }
}
