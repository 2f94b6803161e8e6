//! Describing: the API is what its description says, judged by a tool that asks whatever the description allows, and more.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::asking::{get, start};
use crate::folder::Folder;
use crate::packets::{PublishWords, Q1, V5, lasting, qos1, subscribe};

/// Those that say less than the truth: that a topic has no wildcards, or one of two parameters is wanted, no schema here says.
const UNJUDGED: &str = "positive_data_acceptance";

#[test]
fn whatever_is_asked_is_answered_as_described() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let tool = target.join("interop/venv/bin/schemathesis");
    assert!(tool.exists(), "{} is missing: run `scripts/test setup`", tool.display());
    let folder = Folder::new();
    let broker = start(&folder, "admin_allow_changes true\n");
    let mut away = broker.join(&lasting(V5, "away", 3600));
    away.send(subscribe(1).to("#", Q1));
    away.hear();
    drop(away);
    let mut client = broker.connect("client");
    for packet_id in 1..=20 {
        client.send(qos1(packet_id, &format!("a/{packet_id}"), "x").retained());
        client.hear();
    }
    let address = format!("http://127.0.0.1:{}/api/openapi.json", broker.port_of("http://"));
    let mut command = Command::new(&tool);
    command.args(["run", &address, "--exclude-checks", UNJUDGED, "--seed", "1", "--max-examples", "15", "--no-color"]);
    command.args(["--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"]);
    // Its answer does not end.
    command.args(["--exclude-path", "/api/v1/trace"]);
    // It leaves nothing behind.
    let output = command.current_dir(folder.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" generated, ") && !said.contains("0 generated"), "{said}");
    assert_eq!(broker.log.lock().unwrap().iter().find(|line| line.contains("panic")), None);
    assert_eq!(get(&broker, "/readyz").status, 200);
}

#[test]
fn the_description_is_of_this_version_and_open_to_everybody() {
    let folder = Folder::new();
    let token = folder.write("token", "0123456789abcdef\n");
    let broker = start(&folder, &format!("admin_token_file {token}\n"));
    let described: Value = get(&broker, "/api/openapi.json").json();
    assert_eq!(
        (&described["openapi"], &described["info"]["version"]),
        (&"3.1.0".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert!(described["paths"]["/api/v1/clients/{client_id}"]["delete"].is_object());
}
