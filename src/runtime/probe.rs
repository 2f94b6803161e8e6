//! Probe: whether this system has what the broker needs, before anything is started.
//!
//! Duty: raise the soft limits, try every flag, operation and registration of io_uring that is used, and say in one line what
//! is missing. Must not: leave anything behind. Neighbours: `start` calls it first; `ring` uses what was tried here.

use std::io;

use io_uring::{Probe, opcode};

use super::buffers::Buffers;
use super::failure::Failure;
use super::ring::{build_uring, register_buffers};

/// The executor refuses to start with less memory that may be locked, bytes.
const LOCKED_BYTES_MIN: u64 = 512 << 10;

/// Raises the limits of open files and of locked memory as far as this process may.
pub(super) fn raise_limits() {
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_MEMLOCK] {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid struct to write to and to read from.
        unsafe {
            if libc::getrlimit(resource, &raw mut limit) != 0 {
                continue;
            }
            if resource == libc::RLIMIT_MEMLOCK && super::process::is_root() {
                // Root needs none, but whoever it becomes does.
                limit.rlim_max = libc::RLIM_INFINITY;
            }
            if limit.rlim_cur < limit.rlim_max {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(resource, &raw const limit);
            }
        }
    }
}

/// Tries what every shard will use.
///
/// # Errors
/// What is missing, and what to do about it.
pub(super) fn check_io_uring() -> Result<(), Failure> {
    // A ring belongs to its thread, so the trial has one, too.
    let trial =
        std::thread::spawn(|| try_io_uring().map_err(|error| Failure::of_io_uring(&error))?.map_or(Ok(()), Err));
    trial.join().unwrap_or_else(|_| Err(Failure::internal("the trial of io_uring ended in a panic")))?;
    let lockable = locked_bytes_max();
    if lockable < LOCKED_BYTES_MIN && !may_lock_any() {
        return Err(Failure::of_locked_memory());
    }
    Ok(())
}

fn try_io_uring() -> io::Result<Option<Failure>> {
    let uring = build_uring(8, 16)?;
    let mut probe = Probe::new();
    uring.submitter().register_probe(&mut probe)?;
    let operations = [
        ("accept", opcode::AcceptMulti::CODE),
        ("recv", opcode::RecvMulti::CODE),
        ("send", opcode::Send::CODE),
        ("sendmsg", opcode::SendMsg::CODE),
        ("read", opcode::Read::CODE),
        ("cancel", opcode::AsyncCancel::CODE),
    ];
    if let Some((name, _)) = operations.iter().find(|(_, code)| !probe.is_supported(*code)) {
        let text = format!("io_uring of this kernel has no {name} operation: ringmq needs Linux 6.1 or newer");
        return Ok(Some(Failure::system(text)));
    }
    let buffers = Buffers::new()?;
    // SAFETY: the ring is dropped first, below.
    unsafe { register_buffers(&uring, &buffers)? };
    uring.submit()?;
    drop(uring);
    Ok(None)
}

fn locked_bytes_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid struct to write to.
    match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } {
        0 => limit.rlim_cur,
        _ => u64::MAX,
    }
}

/// The limit does not hold for whoever has CAP_IPC_LOCK.
fn may_lock_any() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    u64::from_str_radix(effective.trim(), 16).is_ok_and(|bits| bits & (1 << CAP_IPC_LOCK) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_system_has_what_is_needed() {
        check_io_uring().unwrap();
    }

    /// O11: one line, with the remedy, and the exit code for configuration.
    #[test]
    fn every_refusal_of_the_kernel_names_its_remedy() {
        for (error, remedy) in [
            (libc::ENOSYS, "seccomp"),
            (libc::EPERM, "kernel.io_uring_disabled"),
            (libc::EINVAL, "6.1"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "ulimit -n"),
        ] {
            let failure = Failure::of_io_uring(&io::Error::from_raw_os_error(error));
            assert_eq!(failure.exit_code, super::super::failure::EXIT_SYSTEM);
            assert!(failure.text.contains(remedy) && !failure.text.contains('\n'), "{failure}");
        }
    }
}
