//! Ring: the shard's own io_uring, for all its sockets and for calls from other threads.
//!
//! Duty: queue operations, submit them, wait, bring back completions; the only file besides `buffers` and `probe` that names
//! io_uring, so that another backend could stand here. Must not: know MQTT, connections' state or the shard. Neighbours:
//! `driver` and its rooms queue operations and route completions.
//!
//! Two rules of the kernel shape it: the ring belongs to the thread that made it, and completions appear only while that
//! thread is in the kernel asking for them (deferred task work).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffers::{BUFFERS, BufferId, Buffers};
use super::operation::Operation;
use crate::id::ConnectionId;

/// Operations that can be queued before a system call.
const SUBMISSIONS: u32 = 1024;

/// Completions that the ring holds: one per receive and send, and multishot operations need room or they end.
const COMPLETIONS: u32 = 8192;

/// The only group of receive buffers.
const BUFFER_GROUP: u16 = 0;

/// How long the end of the ring waits for its operations to be cancelled.
const CANCEL_SECS: u64 = 2;

/// What came back.
#[derive(Debug)]
pub(super) struct Completion {
    /// What was asked for.
    pub(super) operation: Operation,
    /// Bytes or descriptor, or the negative error number.
    pub(super) result: i32,
    /// Whether more completions of the same operation follow.
    pub(super) has_more: bool,
    /// The buffer with the received bytes.
    pub(super) buffer: Option<BufferId>,
    /// Of a receive: whether the socket was empty after it, as far as the kernel knows.
    pub(super) has_drained: bool,
}

/// The first arrivals of a [`Ring::receive_many`], up to the moment when the socket is empty.
///
/// When a receive is armed, the kernel takes what is there, at most `BURST_BUFFERS` at once, and takes the rest when it sees
/// that the socket is ready. If the peer has reset the connection before, that was the last event of the socket: the kernel
/// then waits for another one, for ever, instead of telling the end (seen on 6.18). To arm again is to ask again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstBurst {
    /// Arrivals so far, or `OVER`.
    buffers: u8,
}

/// MULTISHOT_MAX_RETRY of the kernel.
const BURST_BUFFERS: u8 = 32;

impl FirstBurst {
    const OVER: u8 = u8::MAX;

    /// Counts an arrival. Whether the burst has ended with it, in a way that may hide the end of the connection.
    pub(super) fn ends_unsure(&mut self, has_drained: bool) -> bool {
        if self.buffers == Self::OVER {
            return false;
        }
        self.buffers = (self.buffers + 1).min(BURST_BUFFERS);
        let is_unsure = has_drained && self.buffers == BURST_BUFFERS;
        if has_drained {
            self.buffers = Self::OVER;
        }
        is_unsure
    }
}

/// The io_uring of one shard.
pub(super) struct Ring {
    // Dropped before the memory that its operations point to.
    uring: IoUring,
    buffers: Buffers,
    wake_count: Box<u64>,
    spilled: VecDeque<Completion>,
    failure: Option<io::Error>,
    overflows: u64,
}

/// Makes an io_uring with the flags that a shard needs.
///
/// # Errors
/// The kernel refuses: see `probe` for what that means to the operator.
pub(super) fn build_uring(submissions: u32, completions: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_cqsize(completions)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .build(submissions)
}

/// Registers the receive buffers.
///
/// # Errors
/// The kernel refuses.
///
/// # Safety
/// `buffers` must outlive `uring`.
pub(super) unsafe fn register_buffers(uring: &IoUring, buffers: &Buffers) -> io::Result<()> {
    let address = buffers.entries_address();
    // SAFETY: the address is that of a ring of `BUFFERS` entries, on a page boundary; it lives long enough by contract.
    unsafe { uring.submitter().register_buf_ring_with_flags(address, BUFFERS, BUFFER_GROUP, 0) }
}

impl Ring {
    /// A ring for the calling thread, which alone may use it.
    ///
    /// # Errors
    /// The kernel refuses the ring or its memory.
    pub(super) fn new() -> io::Result<Self> {
        let uring = build_uring(SUBMISSIONS, COMPLETIONS)?;
        let buffers = Buffers::new()?;
        // SAFETY: both live in the ring, which drops `uring` first.
        unsafe { register_buffers(&uring, &buffers)? };
        Ok(Self { uring, buffers, wake_count: Box::new(0), spilled: VecDeque::new(), failure: None, overflows: 0 })
    }

    /// Accepts on a listener until told otherwise; every completion brings a descriptor.
    pub(super) fn accept(&mut self, listener: u32, socket: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(Fd(socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.queue(entry, Operation::Accept(listener));
    }

    /// Receives once, into a provided buffer.
    pub(super) fn receive_once(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) {
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.queue(entry, Operation::Receive(connection));
    }

    /// Receives until the end, an error, or a want of buffers: until a completion has no more behind it.
    pub(super) fn receive_many(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BUFFER_GROUP).build();
        self.queue(entry, Operation::Receive(connection));
    }

    /// Sends bytes; the completion may tell of fewer.
    ///
    /// # Safety
    /// `bytes` must stay where they are until the completion has come, or the ring is gone.
    pub(super) unsafe fn send(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>, bytes: *const [u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), bytes.cast(), len).flags(libc::MSG_NOSIGNAL).build();
        self.queue(entry, Operation::Send(connection));
    }

    /// Sends the pieces of a message; the completion may tell of fewer bytes.
    ///
    /// # Safety
    /// `message` and all that it points to must stay where they are until the completion has come, or the ring is gone.
    pub(super) unsafe fn send_pieces(
        &mut self,
        connection: ConnectionId,
        socket: BorrowedFd<'_>,
        message: *const libc::msghdr,
    ) {
        let entry = opcode::SendMsg::new(Fd(socket.as_raw_fd()), message).flags(libc::MSG_NOSIGNAL as u32).build();
        self.queue(entry, Operation::Send(connection));
    }

    /// Completes when another thread has written to the event descriptor.
    pub(super) fn await_wake(&mut self, event: BorrowedFd<'_>) {
        let count = std::ptr::from_mut(&mut *self.wake_count).cast();
        let entry = opcode::Read::new(Fd(event.as_raw_fd()), count, size_of::<u64>() as u32).build();
        self.queue(entry, Operation::Wake);
    }

    /// Ends an operation early. Its last completion comes all the same.
    pub(super) fn cancel(&mut self, operation: Operation) {
        self.queue(opcode::AsyncCancel::new(operation.pack()).build(), Operation::Cancel);
    }

    /// Received bytes.
    pub(super) fn received(&self, buffer: &BufferId, len: usize) -> &[u8] {
        self.buffers.bytes(buffer, len)
    }

    /// Gives the buffer back to the kernel.
    pub(super) fn give_back(&mut self, buffer: BufferId) {
        self.buffers.give_back(buffer);
    }

    /// The next completion that is there.
    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        self.spilled.pop_front().or_else(|| self.uring.completion().next().map(unpack))
    }

    /// Whether a system call or a look at the completions would bring news. Costs no system call.
    pub(super) fn has_news(&mut self) -> bool {
        !self.spilled.is_empty() || !self.uring.completion().is_empty() || self.uring.submission().taskrun()
    }

    /// Hands the queued operations to the kernel and lets it post what has completed. Does not wait.
    ///
    /// # Errors
    /// The ring is unusable.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        let submission = self.uring.submission();
        let is_idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
        drop(submission);
        if is_idle {
            return self.failure.take().map_or(Ok(()), Err);
        }
        self.enter(0, None)
    }

    /// As [`Ring::submit`], and waits for a completion, or for `timeout` if there is one.
    ///
    /// # Errors
    /// The ring is unusable.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.enter(1, timeout)
    }

    /// How often completions did not fit and had to be kept by the kernel.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.uring.submission().cq_overflow() {
            self.overflows += 1;
        }
        let submitter = self.uring.submitter();
        let entered = match timeout {
            Some(timeout) if want > 0 => {
                let timespec = Timespec::from(timeout);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&timespec))
            }
            _ => submitter.submit_and_wait(want),
        };
        match entered {
            Ok(_) => Ok(()),
            // The time is over, a signal came, or completions must be taken first: the next turn sees to it.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn queue(&mut self, entry: Entry, operation: Operation) {
        let entry = entry.user_data(operation.pack());
        loop {
            // SAFETY: the methods above see to it, or ask their callers to, that what the entry points to stays valid.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() || self.failure.is_some() {
                return;
            }
            if let Err(error) = self.enter(0, None) {
                self.failure = Some(error);
            }
            if self.uring.submission().is_full() {
                // The kernel takes nothing while completions do not fit: make room.
                self.spilled.extend(self.uring.completion().map(unpack));
            }
        }
    }
}

fn unpack(entry: cqueue::Entry) -> Completion {
    let flags = entry.flags();
    Completion {
        operation: Operation::unpack(entry.user_data()),
        result: entry.result(),
        has_more: cqueue::more(flags),
        buffer: cqueue::buffer_select(flags).map(BufferId),
        has_drained: !cqueue::sock_nonempty(flags),
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let limit = Timespec::new().sec(CANCEL_SECS);
        let cancelled = self.uring.submitter().register_sync_cancel(Some(limit), CancelBuilder::any());
        let is_quiet = match &cancelled {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if !is_quiet {
            // The kernel could still write into memory that is about to be freed: there is no safe way on.
            eprintln!("ringmq: internal error: io_uring operations cannot be cancelled: {cancelled:?}");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests;
