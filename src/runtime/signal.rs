//! Signal: what the operator says by signals.
//!
//! Duty: turn signals into calls on a thread of their own. Must not: act. Neighbours: `serving` acts.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// A signal, as the broker understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Stop in order; the second time at once. With its number.
    Stop(i32),
    /// Open the files of the log again.
    ReopenLog,
    /// Read files and configuration again.
    Reload,
    /// Save what is to outlive the process.
    Save,
    /// Say how much there is of what.
    Census,
}

/// Calls `told` for every signal from now on, from another thread.
///
/// # Errors
/// The kernel refuses.
pub(super) fn tell_signals(told: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    let rotated = libc::SIGRTMIN();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, rotated])?;
    thread::Builder::new().name("ringmq-signals".into()).spawn(move || {
        for signal in &mut signals {
            told(match signal {
                SIGHUP => Signal::Reload,
                SIGUSR1 => Signal::Save,
                SIGUSR2 => Signal::Census,
                number if number == rotated => Signal::ReopenLog,
                number => Signal::Stop(number),
            });
        }
    })?;
    Ok(())
}

/// Keeps signals away from the calling thread and those it starts: they would only interrupt its waits.
pub(super) fn block_here() {
    // SAFETY: a set that is filled before it is read; the old mask is not asked for.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}
