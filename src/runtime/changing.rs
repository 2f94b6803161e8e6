//! Changing: listeners that come, go or speak otherwise while the broker runs.
//!
//! Duty: on the main thread compare what is wanted with what there is, make everything that can fail, then tell every shard; on the
//! shard do it. Must not: touch a connection that is there. Neighbours: `listener` binds, `accepting` accepts, `start` asks.

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::accepting::{Entrance, Listener as ShardListener};
use super::driver::Driver;
use super::failure::Failure;
use super::inherited::Inherited;
use super::listener::{self, Bound, CannotBind, ListenerPlace};
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

/// What has changed.
#[derive(Debug)]
pub(super) struct Changed {
    opened: usize,
    closed: usize,
    /// By the index that the shards know a listener by: its index in the configuration; `None` for those that are gone.
    pub(super) places: Vec<Option<usize>>,
}

impl fmt::Display for Changed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} listeners added, {} removed", self.opened, self.closed)
    }
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
    pub(super) fn apply(&mut self, config: &Config) -> Result<Changed, Failure> {
        let wanted = &config.listeners;
        let setups = wanted.iter().map(|listener| listener::setup_of(listener, &config.limits));
        let setups = setups.collect::<Result<Vec<_>, _>>()?;
        let mut places: Vec<Option<usize>> = Vec::with_capacity(wanted.len());
        for listener in wanted {
            places.push(self.place_of(listener, &places));
        }
        listener::check_number(self.bound.len() + places.iter().filter(|place| place.is_none()).count())?;
        let mut opened = Vec::new();
        for (index, ((listener, setup), place)) in wanted.iter().zip(&setups).zip(&places).enumerate() {
            if place.is_some() {
                continue;
            }
            match listener::bind(listener, Arc::clone(setup), self.shards.len(), &mut Inherited::default()) {
                Ok(new) => opened.push((index, new)),
                Err(CannotBind::Missing(..)) => {}
                Err(CannotBind::Failed(failure)) => return Err(failure),
            }
        }
        // From here on nothing fails.
        let closed = self.close_unwanted(&places);
        let indexes: Vec<_> = places.iter().enumerate().filter_map(|(index, place)| Some((index, (*place)?))).collect();
        for ((listener, setup), place) in wanted.iter().zip(setups).zip(places) {
            if let Some(bound) = place.and_then(|place| self.bound[place].as_mut()) {
                bound.change(listener);
                self.tell_all(place.unwrap_or_default(), &setup);
            }
        }
        let mut changed = Changed { opened: opened.len(), closed, places: vec![None; self.bound.len()] };
        for (index, place) in indexes {
            changed.places[place] = Some(index);
        }
        for (index, (bound, entrances)) in opened {
            changed.places.push(Some(index));
            self.open(bound, entrances);
        }
        self.caller.call_all();
        Ok(changed)
    }

    /// Where each listens that is there.
    pub(super) fn listeners(&self) -> Vec<ListenerPlace> {
        listener::places_of(&self.bound)
    }

    /// The port of each listener by its index, 0 for a Unix socket; `None` for those that are gone.
    pub(super) fn ports(&self) -> Vec<Option<u16>> {
        listener::ports_of(&self.bound)
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use super::super::mesh::connect_shards;
    use super::*;
    use crate::config::{ListenAddress, Tls};
    use crate::limits::Limits;

    fn config(listeners: Vec<Listener>) -> Config {
        Config { listeners, ..Config::of_cpus(vec![0, 1]) }
    }

    fn local(last: u8) -> Listener {
        Listener::plain(ListenAddress::Tcp((Ipv4Addr::new(127, 0, 0, last), 0).into()))
    }

    fn told(shards: &[Receiver<Change>]) -> Vec<Vec<String>> {
        let word = |change: Change| match change {
            Change::Open(place, _) => format!("open {place}"),
            Change::Speak(place, _) => format!("speak {place}"),
            Change::Close(place) => format!("close {place}"),
        };
        shards.iter().map(|shard| shard.try_iter().map(word).collect()).collect()
    }

    /// Listeners of 127.0.0.1 and 127.0.0.2 on two shards.
    fn started() -> (Changing, Vec<Receiver<Change>>) {
        let listeners = listener::listen(&[local(1), local(2)], &Limits::default(), 2, Inherited::default()).unwrap();
        let (senders, receivers) = [channel(), channel()].into_iter().unzip();
        let (_ends, caller) = connect_shards(2).unwrap();
        (Changing::new(listeners.bound, senders, caller), receivers)
    }

    #[test]
    fn listeners_come_and_go_and_those_that_stay_keep_their_index() {
        let (mut changing, shards) = started();
        let mut stays = local(2);
        stays.connections_max = Some(1);
        let changed = changing.apply(&config(vec![local(3), stays])).unwrap();
        assert_eq!(changed.to_string(), "1 listeners added, 1 removed");
        assert_eq!(changed.places, [None, Some(1), Some(0)], "each keeps the index by which the shards know it");
        let expected = ["close 0", "speak 1", "open 2"].map(ToOwned::to_owned).to_vec();
        assert_eq!(told(&shards), [expected.clone(), expected]);
        let changed = changing.apply(&config(vec![local(2), local(3)])).unwrap();
        assert_eq!(changed.to_string(), "0 listeners added, 0 removed");
        assert_eq!(changed.places, [None, Some(0), Some(1)]);
        assert_eq!(told(&shards)[0], ["speak 1", "speak 2"]);
    }

    #[test]
    fn a_listener_that_cannot_be_changes_nothing() {
        let (mut changing, shards) = started();
        let none = PathBuf::from("/nonexistent/file");
        let tls = Tls {
            certificate: none.clone(),
            key: none,
            client_authority: None,
            revoked: None,
            requires_certificate: false,
            identity: crate::config::Identity::None,
            is_tls13_only: false,
        };
        let without_files = Listener { tls: Some(tls), ..local(2) };
        let elsewhere = Listener::plain(ListenAddress::Tcp((Ipv4Addr::new(192, 0, 2, 1), 0).into()));
        for bad in [without_files, elsewhere] {
            assert!(changing.apply(&config(vec![local(3), bad])).is_err());
            assert_eq!(told(&shards), [Vec::<String>::new(), Vec::new()]);
        }
        assert!(changing.bound.iter().all(Option::is_some));
    }
}
