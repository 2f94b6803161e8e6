//! Panic policy: a panic while one connection's bytes are handled ends that connection; any other ends the process, in one
//! line, with the exit code of an internal error.
//!
//! Duty: keep the text of a panic for whoever catches it, and end the process where nobody does. Must not: decide who goes
//! on. Neighbours: `isolating` catches what the bytes of a client cause, `start` what else happens in a shard.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use super::failure::Failure;

/// Name of the threads that the store's database starts: after a panic there it takes no more commits, and the store says so.
const STORE_THREAD: &str = "fjall:worker";

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    /// A panic is on its way to who catches it. Another one before it arrives leaves nothing to be caught.
    static IS_UNWINDING: Cell<bool> = const { Cell::new(false) };
    /// Panics of this thread are caught by others, or end it alone.
    static IS_BESIDE: Cell<bool> = const { Cell::new(false) };
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic prints one line and ends the process, or is told to `catch`.
pub(super) fn install() {
    panic::set_hook(Box::new(|info| {
        let text = describe(info);
        if IS_CAUGHT.get() && !IS_UNWINDING.replace(true) {
            TEXT.replace(text);
        } else if IS_BESIDE.get() || std::thread::current().name() == Some(STORE_THREAD) {
            eprintln!("ringmq: {}; the broker goes on", Failure::of_panic(text));
        } else {
            let failure = Failure::of_panic(text);
            eprintln!("ringmq: {failure}");
            std::process::exit(i32::from(failure.exit_code));
        }
    }));
}

/// From now on a panic of this thread, which has nothing of a shard, prints one line and leaves the process alone.
pub(super) fn spare_process() {
    IS_BESIDE.set(true);
}

/// Runs `work`; a panic becomes its text. What `work` has touched may be half-changed then: the caller repairs it or ends.
///
/// # Errors
/// The text of the panic.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let was_caught = IS_CAUGHT.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        IS_UNWINDING.set(false);
        TEXT.take()
    });
    IS_CAUGHT.set(was_caught);
    result
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    format!("{}{place}", text.unwrap_or("panic").replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hook of the test harness stays: `catch` restores what was there around it.
    #[test]
    fn who_catches_inside_leaves_who_catches_outside() {
        let outer = catch(|| {
            assert_eq!(catch(|| 1), Ok(1));
            IS_CAUGHT.get()
        });
        assert_eq!(outer, Ok(true));
        assert!(!IS_CAUGHT.get());
    }
}
