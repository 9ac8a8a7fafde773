//! Python's client libraries, led to the simulator by one variable and not a changed line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use headwater_testkit::simulator::Simulator;
use serde_json::{Value, json};

use super::simulator_client::start;

const ENDPOINTS: &str = "
endpoints:
  - path: /ships
    corpus: ships
    params: {page: page, per_page: {role: per_page, default: 2}}
    response: {pagination_style: page_number_with_link_header}
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn simulator() -> Simulator {
    start(ENDPOINTS, &[("ships", json!([{"id": 1}, {"id": 2}, {"id": 3}]))])
}

/// Runs a script with the variable set; no proxy of this machine's comes in between.
fn run(python: &Path, arguments: &[&str], url: &str) -> Output {
    let mut command = Command::new(python);
    command.args(arguments).env("PYTHONPATH", root().join("python/src")).env("HEADWATER_SIMULATOR", url);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn hosts(simulator: &Simulator) -> Vec<String> {
    simulator.control().requests().into_iter().map(|request| request.host).collect()
}

const STANDARD: &str = r#"
import headwater_worker.simulated
import asyncio, http.client, json, socket, ssl, urllib.request

def urlopen(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)

def connection(connection):
    connection.request("GET", "/ships?page=2")
    return json.load(connection.getresponse())

async def streams():
    reader, writer = await asyncio.open_connection("async.example", 443, ssl=ssl.create_default_context())
    writer.write(b"GET /ships HTTP/1.1\r\nHost: async.example\r\nConnection: close\r\n\r\n")
    return json.loads((await reader.read()).partition(b"\r\n\r\n")[2])

def literal():
    # An address that nobody looks up, and a socket that nobody wraps.
    with socket.socket() as plain:
        plain.connect(("192.0.2.7", 80))
        plain.sendall(b"GET /ships HTTP/1.0\r\nHost: 192.0.2.7\r\n\r\n")
        whole = b""
        while part := plain.recv(65536):
            whole += part
    return json.loads(whole.partition(b"\r\n\r\n")[2])

refused = None
try:
    strict = ssl.create_default_context()
    with socket.create_connection(("one.example", 443)) as plain:
        strict.wrap_socket(plain, server_hostname="another.example").getpeercert()
    refused = False
except ssl.SSLCertVerificationError:
    refused = True

print(json.dumps([
    urlopen("https://api.ships.example/ships"),
    urlopen("http://plain.example/ships"),
    connection(http.client.HTTPSConnection("deep.ships.example", 8443)),
    connection(http.client.HTTPConnection("10.1.2.3", 8080)),
    asyncio.run(streams()),
    literal(),
    refused,
]))
"#;

#[test]
fn the_standard_library_sees_the_names_it_asked_for() {
    let simulator = simulator();
    let got = json_of(&run(Path::new("python3"), &["-c", STANDARD], &simulator.base_url()));
    let (first, second) = (json!([{"id": 1}, {"id": 2}]), json!([{"id": 3}]));
    // A certificate for one name is made for the name that was asked for in TLS.
    assert_eq!(got, json!([first, first, second, second, first, first, false]));
    assert_eq!(
        hosts(&simulator),
        [
            "api.ships.example",
            "plain.example",
            "deep.ships.example:8443",
            "10.1.2.3:8080",
            "async.example",
            "192.0.2.7"
        ]
    );
}

#[test]
fn a_certificate_of_somebody_else_is_still_refused() {
    let (one, other) = (simulator(), simulator());
    let script = format!(
        "import headwater_worker.simulated, json, ssl, urllib.request
context = ssl.create_default_context()
import socket
# Past what leads there: another server with an authority of its own.
import _socket
plain = _socket.socket(); plain.connect(('127.0.0.1', {}))
try:
    context.wrap_socket(socket.socket(fileno=plain.detach()), server_hostname='a.example')
    print('true')
except ssl.SSLCertVerificationError:
    print('false')",
        other.address().port()
    );
    assert_eq!(json_of(&run(Path::new("python3"), &["-c", &script], &one.base_url())), json!(false));
}

#[test]
fn requests_reads_pages_by_their_links() {
    let setup = Command::new(root().join("testing/setup-python.sh")).output().unwrap();
    assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stderr));
    let python = PathBuf::from(String::from_utf8(setup.stdout).unwrap().trim()).join("bin/python");
    let script = r#"
import json, requests
session, url, ids = requests.Session(), "https://api.example.org/ships", []
while url:
    answer = session.get(url, timeout=30)
    answer.raise_for_status()
    ids += [record["id"] for record in answer.json()]
    url = answer.links.get("next", {}).get("url")
alone = requests.Session()
alone.trust_env = False
ids.append(len(alone.get("https://other.example.org:9443/ships", timeout=30).json()))
print(json.dumps(ids))
"#;
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.py");
    std::fs::write(&file, script).unwrap();
    // Not a line of it knows.
    let arguments = ["-m", "headwater_worker.simulated", file.to_str().unwrap()];
    let got = json_of(&run(&python, &arguments, &simulator.base_url()));
    assert_eq!(got, json!([1, 2, 3, 2]));
    assert_eq!(hosts(&simulator), ["api.example.org", "api.example.org", "other.example.org:9443"]);
}

#[test]
fn an_address_without_a_simulator_is_told() {
    let check = |url: &str, expect: &str| {
        let output = run(Path::new("python3"), &["-c", "import headwater_worker.simulated"], url);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expect), "{url}: {said}");
    };
    check("nonsense", "must be the address of a simulator");
    check("http://127.0.0.1:1", "no simulator answers");
    assert!(run(Path::new("python3"), &["-c", "import headwater_worker.simulated"], "").status.success());
}
