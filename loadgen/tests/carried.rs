//! TLS and WebSocket against a broker that we have not written: Mosquitto of Debian, with certificates of openssl.
//!
//! Duty: whole runs over each carrier, and what is said when a broker is not to be trusted. Must not: test MQTT; `runs` does.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const INSTALL: &str = "is missing: run `scripts/test setup`";

/// A Mosquitto that runs until it is dropped, in a folder with all its papers.
struct Mosquitto {
    process: Child,
    folder: PathBuf,
    ports: [u16; 4],
}

/// Places in `ports`: TLS, TLS with client certificates, WebSocket, WebSocket over TLS.
const TLS: usize = 0;
const MUTUAL: usize = 1;
const WEB: usize = 2;
const SECURE_WEB: usize = 3;

impl Mosquitto {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringmq-loadgen-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        ["broker", "stranger"].iter().for_each(|name| issue(&folder, name));
        let ports = free_ports();
        let [tls, mutual, web, secure_web] = ports.map(|port| format!("listener {port} 127.0.0.1\n"));
        let at = folder.display();
        let papers = format!("certfile {at}/broker.pem\nkeyfile {at}/broker.key\n");
        let text = format!(
            "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n\
             log_type error\nlog_type information\nlog_dest stderr\n\
             {tls}{papers}{mutual}{papers}cafile {at}/broker.pem\nrequire_certificate true\n\
             {web}protocol websockets\n{secure_web}protocol websockets\n{papers}"
        );
        std::fs::write(folder.join("mosquitto.conf"), text).expect("the folder is there");
        let mut command = Command::new(program());
        command.arg("-c").arg(folder.join("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("mosquitto {INSTALL}: {error}"));
        let mut lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let is_running = lines.by_ref().map_while(Result::ok).any(|line| line.ends_with(" running"));
        // Read on, or it would wait for somebody who does.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let broker = Self { process, folder, ports };
        assert!(is_running, "mosquitto did not start");
        broker
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn run(&self, scenario: &str, port: usize, more: &[&str]) -> Output {
        let port = self.ports[port].to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-loadgen"));
        command.args([scenario, "--port", &port, "--warmup", "20ms", "--duration", "80ms", "--idle", "--json", "-"]);
        // Only what is refused has to be found out soon, and says so itself.
        if !more.contains(&"--patience") {
            command.args(["--patience", "60s"]);
        }
        command.args(more).output().expect("the program starts")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn program() -> &'static Path {
    // Debian keeps daemons off a user's PATH.
    let daemon = Path::new("/usr/sbin/mosquitto");
    if daemon.exists() { daemon } else { Path::new("mosquitto") }
}

/// A certificate that vouches for itself.
fn issue(folder: &Path, name: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.arg("-keyout").arg(folder.join(format!("{name}.key"))).arg("-out").arg(folder.join(format!("{name}.pem")));
    let output = command.output().unwrap_or_else(|error| panic!("openssl {INSTALL}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn free_ports<const N: usize>() -> [u16; N] {
    let taken = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    taken.map(|listener| listener.local_addr().expect("it is bound").port())
}

#[track_caller]
fn passed(output: &Output) -> Value {
    let printed = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{printed}"));
    // Whether a rate was reached is the machine's affair.
    assert_eq!(report["integrity_passed"], true, "{printed}");
    report
}

#[test]
fn every_kind_of_run_passes_over_every_carrier() {
    let broker = Mosquitto::start("kinds");
    let ca = broker.path("broker.pem");
    let secure = ["--tls-ca", &ca, "--host", "localhost"];
    let carriers = [
        (TLS, &secure[..], "TLS"),
        (WEB, &["--websocket"], "WebSocket"),
        (SECURE_WEB, &[&secure[..], &["--websocket"]].concat(), "WebSocket over TLS"),
    ];
    let kinds = [
        &["stream", "--window", "200"][..],
        &["stream", "--window", "50", "--qos", "2", "--protocol", "5.0"],
        &["fanout-deep", "--subscribers", "20"],
        &["pairs", "--publishers", "10", "--subscribers", "10", "--qos", "1"],
        // Packets that are assembled in place; Mosquitto takes 20 s for one of 1 MiB in one frame of WebSocket.
        &["big", "--window", "2", "--payload", "60000"],
        &["fleet", "--devices", "5", "--reconnects", "20"],
        &["offline", "--messages", "500"],
        &["connect", "--connections", "100"],
    ];
    for (port, flags, carrier) in carriers {
        let mut arrived = 0;
        for kind in kinds {
            let report = passed(&broker.run(kind[0], port, &[&kind[1..], flags].concat()));
            assert_eq!(report["setting"]["carrier"], carrier, "{kind:?}");
            let tls = &report["setting"]["tls"];
            let is_tls = tls["version"] == "1.3" && tls["cipher"].as_str().is_some_and(|name| name.starts_with("TLS_"));
            assert_eq!(is_tls, carrier != "WebSocket", "{kind:?}: {tls}");
            assert_eq!(report["arrived"], report["expected"], "{kind:?}");
            arrived += report["arrived"].as_u64().expect("a number");
        }
        assert!(arrived >= 500, "the staged run alone has as many");
    }
}

#[test]
fn a_client_certificate_is_shown_to_who_asks_for_it() {
    let broker = Mosquitto::start("mutual");
    let (ca, key) = (broker.path("broker.pem"), broker.path("broker.key"));
    passed(&broker.run("stream", MUTUAL, &["--tls-ca", &ca, "--tls-cert", &ca, "--tls-key", &key]));
    refused(&broker.run("stream", MUTUAL, &["--tls-ca", &ca]), "is not trusted or not understood");
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains(why) && complaint.lines().count() == 1, "{complaint}");
}

#[test]
fn a_broker_that_is_a_stranger_or_speaks_otherwise_is_refused_in_one_line() {
    let broker = Mosquitto::start("stranger");
    let (ca, stranger) = (broker.path("broker.pem"), broker.path("stranger.pem"));
    let secure = ["--tls-ca", &ca];
    refused(&broker.run("stream", TLS, &["--tls-ca", &stranger]), "invalid peer certificate");
    refused(&broker.run("connect", WEB, &[&secure[..], &["--patience", "2s"]].concat()), "127.0.0.1");
    refused(&broker.run("offline", TLS, &["--websocket", "--patience", "300ms"]), "127.0.0.1");
    refused(&broker.run("stream", TLS, &["--tls-ca", "/no/such/file"]), "cannot read /no/such/file");
    refused(&broker.run("stream", TLS, &["--tls-ca", &broker.path("broker.key")]), "no certificate in it");
    refused(&broker.run("stream", TLS, &["--tls-ca", &ca, "--tls-cert", &ca]), "--tls-key");
    let of_another = ["--tls-ca", &ca, "--tls-cert", &ca, "--tls-key", &broker.path("stranger.key")];
    refused(&broker.run("stream", TLS, &of_another), "stranger.key");
}
