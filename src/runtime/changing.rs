//! Changing: listeners that come, go or speak otherwise while the broker runs.
//!
//! Duty: on the main thread compare what is wanted with what there is, make everything that can fail, then tell every shard; on the
//! shard do it. Must not: touch a connection that is there. Neighbours: `listener` binds, `accepting` accepts, `start` asks.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::accepting::{Entrance, Listener as ShardListener};
use super::driver::Driver;
use super::failure::Failure;
use super::listener::{self, Bound, CannotBind};
use super::mesh::Caller;
use crate::config::{Config, Listener};
use crate::transport::Setup;

/// What a shard is told of a listener, by its index.
#[derive(Debug)]
pub(super) enum Change {
    /// It is new; indexes are given once.
    Open(usize, Entrance),
    /// New connections speak this.
    Speak(usize, Arc<Setup>),
    /// It is gone; its connections stay.
    Close(usize),
}

/// The listeners of the broker, as the main thread has them.
#[derive(Debug)]
pub(super) struct Changing {
    bound: Vec<Option<Bound>>,
    shards: Vec<Sender<Change>>,
    caller: Caller,
}

/// The way to one shard.
pub(super) fn channel() -> (Sender<Change>, Receiver<Change>) {
    unbounded()
}

impl Changing {
    /// What was bound at the start, and the ways to the shards in their order.
    pub(super) fn new(bound: Vec<Option<Bound>>, shards: Vec<Sender<Change>>, caller: Caller) -> Self {
        Self { bound, shards, caller }
    }

    /// Makes the listeners those of `config`, all or none; says what has changed. A listener with the address of an old one keeps its
    /// index, and its connections.
    ///
    /// # Errors
    /// A certificate cannot be used, or an address not be had; nothing was changed.
    pub(super) fn apply(&mut self, config: &Config) -> Result<String, Failure> {
        let wanted = &config.listeners;
        let setups = wanted.iter().map(|listener| listener::setup_of(listener, &config.limits));
        let setups = setups.collect::<Result<Vec<_>, _>>()?;
        let mut places: Vec<Option<usize>> = Vec::with_capacity(wanted.len());
        for listener in wanted {
            places.push(self.place_of(listener, &places));
        }
        let mut opened = Vec::new();
        for ((listener, setup), place) in wanted.iter().zip(&setups).zip(&places) {
            if place.is_some() {
                continue;
            }
            match listener::bind(listener, Arc::clone(setup), self.shards.len()) {
                Ok(new) => opened.push(new),
                Err(CannotBind::Missing(..)) => {}
                Err(CannotBind::Failed(failure)) => return Err(failure),
            }
        }
        // From here on nothing fails.
        let closed = self.close_unwanted(&places);
        for ((listener, setup), place) in wanted.iter().zip(setups).zip(places) {
            if let Some(bound) = place.and_then(|place| self.bound[place].as_mut()) {
                bound.change(listener);
                self.tell_all(place.unwrap_or_default(), &setup);
            }
        }
        let told = format!("{} listeners added, {closed} removed", opened.len());
        opened.into_iter().for_each(|(bound, entrances)| self.open(bound, entrances));
        self.caller.call_all();
        Ok(told)
    }

    /// Where it is already, among those that nobody has `taken`: port 0 may be asked for several times.
    fn place_of(&self, wanted: &Listener, taken: &[Option<usize>]) -> Option<usize> {
        let is_same =
            |bound: &Bound| bound.listener.address == wanted.address && bound.listener.interface == wanted.interface;
        let mut same = self.bound.iter().enumerate().filter(|(_, bound)| bound.as_ref().is_some_and(is_same));
        same.find(|(place, _)| !taken.contains(&Some(*place))).map(|(place, _)| place)
    }

    fn tell_all(&self, place: usize, setup: &Arc<Setup>) {
        // A shard that has ended ends the broker; there is nobody to tell.
        self.shards.iter().for_each(|shard| drop(shard.send(Change::Speak(place, Arc::clone(setup)))));
    }

    fn close_unwanted(&mut self, places: &[Option<usize>]) -> usize {
        let mut closed = 0;
        for (place, bound) in self.bound.iter_mut().enumerate() {
            if bound.is_some() && !places.contains(&Some(place)) {
                *bound = None;
                closed += 1;
                self.shards.iter().for_each(|shard| drop(shard.send(Change::Close(place))));
            }
        }
        closed
    }

    fn open(&mut self, bound: Bound, entrances: Vec<Entrance>) {
        let place = self.bound.len();
        self.bound.push(Some(bound));
        for (shard, entrance) in self.shards.iter().zip(entrances) {
            let _ = shard.send(Change::Open(place, entrance));
        }
    }
}

impl Driver {
    /// Does what the main thread has said since the last look.
    pub(super) fn take_changes(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::Open(place, entrance) => {
                    debug_assert_eq!(place, self.listeners.len(), "indexes are given once, in order");
                    self.listeners.push(Some(ShardListener::new(entrance)));
                }
                Change::Speak(place, setup) => {
                    if let Some(Some(listener)) = self.listeners.get_mut(place) {
                        listener.speak(setup);
                    }
                }
                Change::Close(place) => self.close_listener(place),
            }
        }
        self.arm_listeners();
    }
}
