//! The suites that are written for a client library.
//!
//! Duty: run `paho_suite.py` and `mqttjs_suite.mjs`, each against a broker of its own, and show what they print if a check
//! fails. Must not: check anything itself. Neighbours: the suites; `scripts/test setup` installs the libraries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, is_another, on_each_shard_count, on_each_shard_count_with};
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

/// Extended authentication with a client that we have not written; users are made as an operator makes them. Another broker has
/// other files.
#[test]
fn mqtt_js_proves_its_password_by_scram() {
    if is_another() {
        return;
    }
    let module = libraries().join("node_modules/mqtt");
    assert!(module.exists(), "{} is missing: run `scripts/test setup`", module.display());
    let folder = std::env::temp_dir().join(format!("ringmq-scram-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    let (passwords, config) = (folder.join("passwords"), folder.join("broker.conf"));
    for (user, options) in [("alice", &["-H", "scram-sha-256", "-c", "-b"][..]), ("bob", &["-H", "sha512", "-b"])] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        command.arg("passwd").args(options).arg(&passwords).args([user, "secret"]);
        assert!(command.status().expect("it starts").success(), "{user}");
    }
    let text = format!("allow_anonymous false\npassword_file {}\n", passwords.display());
    std::fs::write(&config, text).expect("the folder is there");
    on_each_shard_count_with(&["-c", &config.display().to_string()], |broker| {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/mqttjs_scram.mjs")).arg(&module);
        run(broker, command);
    });
    let _ = std::fs::remove_dir_all(&folder);
}
