//! The suites that are written for a client library.
//!
//! Duty: run `paho_suite.py` and `mqttjs_suite.mjs`, each against a broker of its own, and show what they print if a check
//! fails. Must not: check anything itself. Neighbours: the suites; `scripts/test setup` installs the libraries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, on_each_shard_count};
use crate::client::Client;

const SUITE_TIMEOUT: Duration = Duration::from_secs(75);

/// Where `scripts/test setup` puts the libraries.
pub(crate) fn libraries() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder");
    target.join("interop")
}

fn run(broker: &Broker, mut command: Command) {
    command.arg(broker.port.to_string());
    let mut suite = Client::start(command, "");
    let is_good = suite.wait_for_end_within(SUITE_TIMEOUT);
    suite.wait_for_line("# done");
    let printed = suite.printed();
    assert!(is_good && !printed.contains("not ok"), "the suite failed; it printed:\n{printed}");
}

#[test]
fn paho_for_python_is_content() {
    let python = libraries().join("venv/bin/python");
    assert!(python.exists(), "{} is missing: run `scripts/test setup`", python.display());
    on_each_shard_count(|broker| {
        let mut command = Command::new(&python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/paho_suite.py"));
        run(broker, command);
    });
}

#[test]
fn mqtt_js_is_content() {
    let module = libraries().join("node_modules/mqtt");
    assert!(module.exists(), "{} is missing: run `scripts/test setup`", module.display());
    on_each_shard_count(|broker| {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/mqttjs_suite.mjs")).arg(&module);
        run(broker, command);
    });
}
