//! A client that both publishes and subscribes, and that may go away and come back to its session.
//! Must not know sockets. Neighbours: `client` routes packets to its two sides, `roam` sends it away and fetches it back.

use super::publisher::Publisher;
use super::subscriber::Subscriber;
use crate::plan::Plan;

/// Session Expiry Interval of devices that come back, seconds: far longer than they are away.
pub(super) const SESSION_EXPIRY_SECS: u32 = 3600;

/// What a connection of a device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// It begins the session.
    First,
    /// It resumes the session.
    Return,
    /// It removes the session.
    Last,
}

/// State of one device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) publisher: Publisher,
    pub(super) subscriber: Subscriber,
    pub(super) visit: Visit,
    /// When it sent DISCONNECT, or when its connection ended.
    pub(super) since_ns: u64,
}

impl Device {
    /// Device number `index`.
    pub(super) fn new(plan: &Plan, index: u32) -> Self {
        Self {
            index,
            publisher: Publisher::of_device(plan, index),
            subscriber: Subscriber::new(plan, plan.scenario.subscribers + index),
            visit: Visit::First,
            since_ns: 0,
        }
    }
}
