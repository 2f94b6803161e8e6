//! Failure: why the broker cannot start or go on, as one line and an exit code.
//!
//! Duty: say the cause and the remedy in the operator's words. Must not: print or exit; `main` does. Neighbours: `start`,
//! `probe` and `listener` make failures.

use std::fmt;
use std::io;

/// Exit code: wrong usage, or an address that cannot be had.
pub const EXIT_USAGE: u8 = 1;
/// Exit code: a mistake in a configuration file.
pub const EXIT_CONFIG: u8 = 3;
/// Exit code: a fault of the broker itself.
pub const EXIT_INTERNAL: u8 = 70;
/// Exit code: the system is not configured for the broker.
pub const EXIT_SYSTEM: u8 = 78;

/// Why the broker cannot start or go on.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of the process.
    pub exit_code: u8,
    /// One line: cause and remedy.
    pub text: String,
}

impl Failure {
    /// Wrong usage, or an address that cannot be had.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { exit_code: EXIT_USAGE, text: text.into() }
    }

    /// A fault of the broker itself.
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self { exit_code: EXIT_INTERNAL, text: format!("internal error: {}", text.into()) }
    }

    /// The system is not configured for the broker.
    pub(crate) fn system(text: impl Into<String>) -> Self {
        Self { exit_code: EXIT_SYSTEM, text: text.into() }
    }

    /// What it means that the kernel refuses an io_uring or its memory.
    pub(crate) fn of_io_uring(error: &io::Error) -> Self {
        let text = match error.raw_os_error() {
            Some(libc::ENOSYS) => {
                "io_uring is missing: the kernel is older than 6.1 or built without it, or a container's seccomp profile \
                 hides it; ringmq needs Linux 6.1 or newer and a profile that allows io_uring_setup, io_uring_enter and \
                 io_uring_register"
                    .into()
            }
            Some(libc::EPERM | libc::EACCES) => {
                "io_uring is not permitted: set `sysctl kernel.io_uring_disabled=0`, and in a container use a seccomp \
                 profile that allows io_uring_setup, io_uring_enter and io_uring_register"
                    .into()
            }
            Some(libc::EINVAL) => "io_uring of this kernel is too old: ringmq needs Linux 6.1 or newer".into(),
            Some(libc::ENOMEM) => return Self::of_locked_memory(),
            Some(libc::EMFILE) => {
                "too few file descriptors to start: raise the limit of open files (ulimit -n, LimitNOFILE=)".into()
            }
            _ => format!("io_uring cannot be used: {error}; ringmq needs Linux 6.1 or newer"),
        };
        Self::system(text)
    }

    /// What a panic means. The executor panics at its start where the system lacks something.
    pub(crate) fn of_panic(text: String) -> Self {
        let is_of_system = |number: i32| text.contains(&format!("Os {{ code: {number},"));
        if is_of_system(libc::EMFILE) {
            Self::of_io_uring(&io::Error::from_raw_os_error(libc::EMFILE))
        } else if is_of_system(libc::ENOMEM) || text.contains("Failed to register a probe") {
            Self::of_locked_memory()
        } else {
            Self::internal(text)
        }
    }

    /// Too little memory may be locked for the rings of all shards.
    pub(crate) fn of_locked_memory() -> Self {
        Self::system(
            "too little memory may be locked for io_uring: raise the limit to 8 MiB or more (ulimit -l 8192, or \
             LimitMEMLOCK=8M in the systemd unit), or use fewer shards (--shards)",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
