//! Alarm: wakes a blocked thread when its next message is due; the time limit of a poll is too coarse (whole milliseconds).
//! Must not know what is due. Neighbours: `worker` sets it, `pacing` knows the time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The token of the alarm; those of clients are their places.
pub(super) const ALARM: Token = Token(usize::MAX);

/// See the file's head.
#[derive(Debug)]
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    /// An alarm that wakes who waits in `poll`.
    ///
    /// Errors: the kernel gives no timer.
    pub(super) fn new(poll: &Poll) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), ALARM, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Wakes once, after so long; what was set before is forgotten.
    ///
    /// Errors: the kernel refuses.
    pub(super) fn set(&self, after: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would mean never.
        let after = after.max(Duration::from_nanos(1));
        let at = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value: at })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mio::Events;

    use super::*;

    #[test]
    fn an_alarm_wakes_each_time_that_it_is_set_and_not_before_its_time() {
        let mut poll = Poll::new().unwrap();
        let alarm = Alarm::new(&poll).unwrap();
        let mut events = Events::with_capacity(8);
        for micros in [0, 50, 700, 50] {
            let (begun, after) = (Instant::now(), Duration::from_micros(micros));
            alarm.set(after).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(events.iter().any(|event| event.token() == ALARM));
            assert!(begun.elapsed() >= after);
        }
    }
}
