//! Program: what tests start beside the broker, and what has ended when they end.
//!
//! Duty: run a program to its end and tell how that was, or kill it at the end of the test; an address for one that cannot choose a
//! port by itself. Must not: know what the program does. Neighbours: `broker` starts the binary under test, `mosquitto` another one.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// A process that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// By `kill`: TERM, HUP, or a number.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The binary under test with these arguments.
pub(crate) fn ringmq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(arguments);
    command
}

/// Exit code, standard output and standard error of a program that ends by itself.
#[track_caller]
pub(crate) fn ended(command: &mut Command) -> (Option<i32>, String, String) {
    told(command.stdin(Stdio::null()).output().unwrap_or_else(|error| missing(command, &error)))
}

/// The same with this on its standard input.
#[track_caller]
pub(crate) fn ended_after(command: &mut Command, input: &str) -> (Option<i32>, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap_or_else(|error| missing(command, &error));
    // It may have ended without reading.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    told(process.wait_with_output().unwrap())
}

fn told(Output { status, stdout, stderr }: Output) -> (Option<i32>, String, String) {
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (status.code(), out, err)
}

#[track_caller]
fn missing(command: &Command, error: &std::io::Error) -> ! {
    panic!("{}: {error}; `scripts/test setup` installs it", command.get_program().display())
}

/// An address of this machine that nobody else uses: a port of it that is let go is not given to another test meanwhile.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    // From 127.64.0.0 on, so that it is none of those that tests name.
    Ipv4Addr::new(127, 64 | high & 0x3f, low, NEXT.fetch_add(1, Ordering::Relaxed))
}
