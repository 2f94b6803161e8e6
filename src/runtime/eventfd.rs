//! EventFd: a descriptor by which one thread makes another's ring complete.
//!
//! Duty: wrap an eventfd. Must not: decide who is to be woken. Neighbours: `mesh` rings it; the shard's ring reads it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A counter that can be waited for.
#[derive(Debug)]
pub(super) struct EventFd(OwnedFd);

impl EventFd {
    /// An event that was not rung.
    ///
    /// # Errors
    /// No file descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Rings. Several rings before a read are one.
    pub(super) fn ring(&self) {
        let one = 1_u64;
        // A full counter would block, after 2^64 - 2 rings without a read. An error would mean a closed descriptor.
        // SAFETY: eight bytes that live through the call.
        let written = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        debug_assert_eq!(written, size_of::<u64>() as isize);
    }

    /// Blocks until it was rung.
    #[cfg(test)]
    pub(super) fn wait(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes that live through the call.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        assert_eq!(read, size_of::<u64>() as isize);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
