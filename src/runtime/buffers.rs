//! Buffers: the receive buffers of one shard, provided to the kernel.
//!
//! Duty: own the memory and the ring through which the kernel is given buffers. Must not: know connections. Neighbours:
//! `ring` registers it and hands out what was received.
//!
//! An idle connection holds no buffer: the kernel takes one only when bytes are there.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// Buffers of one shard; a power of two.
pub(super) const BUFFERS: u16 = 128;

/// Size of a buffer, bytes.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

/// The ring entries come first, on pages of their own.
const ENTRIES_BYTES: usize = 4096;
const MAPPED_BYTES: usize = ENTRIES_BYTES + BUFFERS as usize * BUFFER_BYTES;

const _: () = assert!(BUFFERS.is_power_of_two());
const _: () = assert!(BUFFERS as usize * size_of::<BufRingEntry>() <= ENTRIES_BYTES);

/// A buffer with received bytes, taken from the kernel; to be given back once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BufferId(pub(super) u16);

/// The receive buffers of one shard.
#[derive(Debug)]
pub(super) struct Buffers {
    memory: NonNull<u8>,
    tail: u16,
}

impl Buffers {
    /// Maps the memory and puts every buffer into the ring.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping touches no memory that anybody has.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), MAPPED_BYTES, protection, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(mapped.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut buffers = Self { memory, tail: 0 };
        for id in 0..BUFFERS {
            buffers.give_back(BufferId(id));
        }
        Ok(buffers)
    }

    /// Address of the ring of entries, for registration; on a page boundary.
    pub(super) fn entries_address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// The first `len` bytes of a buffer, as the kernel has filled it.
    pub(super) fn bytes(&self, id: &BufferId, len: usize) -> &[u8] {
        assert!(id.0 < BUFFERS && len <= BUFFER_BYTES, "the kernel answers with a buffer that it was given");
        // SAFETY: inside the mapping by the assertion; the kernel does not write to a buffer between its completion and
        // its return, and `give_back` takes the id by value from whoever could still read.
        unsafe { std::slice::from_raw_parts(self.buffer(id.0), len) }
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn give_back(&mut self, id: BufferId) {
        let place = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: `place` is inside the ring of entries, which is mapped, aligned and zeroed. Only this thread writes entries,
        // and the kernel reads one only after the tail below has passed it.
        let entry = unsafe { &mut *self.memory.as_ptr().cast::<BufRingEntry>().add(place) };
        entry.set_addr(self.buffer(id.0) as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id.0);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, which is mapped and aligned; all access to it from here is atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.memory.as_ptr().cast()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn buffer(&self, id: u16) -> *mut u8 {
        // SAFETY: every id is below `BUFFERS`, so the offset stays inside the mapping.
        unsafe { self.memory.as_ptr().add(ENTRIES_BYTES + usize::from(id) * BUFFER_BYTES) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, unmapped once. The ring that could write into it is gone (see `Ring`).
        unsafe { libc::munmap(self.memory.as_ptr().cast(), MAPPED_BYTES) };
    }
}
