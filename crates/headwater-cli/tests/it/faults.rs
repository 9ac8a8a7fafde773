//! Sources and disks that misbehave: each ends in a clear error or a correct table, and the test says which.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};

use headwater_source_example::{ExampleOptions, ExampleServer};

use crate::harness::{Sandbox, ids, project_for, shop_project};

/// An HTTP server that answers whatever a test wants, to the byte.
pub(crate) struct RawServer {
    address: std::net::SocketAddr,
    requests: Arc<(Mutex<usize>, Condvar)>,
}

impl RawServer {
    /// `answer` gives the bytes to send for a path with query; without any, the request hangs.
    pub(crate) fn start(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new((Mutex::new(0), Condvar::new()));
        let (answer, counted) = (Arc::new(answer), requests.clone());
        // The thread ends with the test process; a hanging request ends with its client.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counted) = (answer.clone(), counted.clone());
                std::thread::spawn(move || serve(stream, answer.as_ref(), &counted));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn wait_for_requests(&self, count: usize) {
        let (number, changed) = &*self.requests;
        let guard = number.lock().unwrap();
        drop(changed.wait_while(guard, |n| *n < count).unwrap());
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(&str) -> Option<Vec<u8>>, counted: &(Mutex<usize>, Condvar)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        line.clear();
    }
    *counted.0.lock().unwrap() += 1;
    counted.1.notify_all();
    match answer(first.split(' ').nth(1).unwrap_or("/")) {
        Some(bytes) => {
            // A client that has gone is the client's affair.
            drop((&stream).write_all(&bytes));
        }
        None => {
            drop(reader.read_line(&mut line));
        }
    }
}

pub(crate) fn http(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Sends what the shop answers, after `change` had its way with it.
fn proxy(
    server: &ExampleServer,
    change: impl Fn(&str, String) -> Vec<u8> + Send + Sync + 'static,
) -> RawServer {
    let base = server.base_url().trim_start_matches("http://").to_owned();
    RawServer::start(move |path| {
        let mut stream = TcpStream::connect(&base).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {base}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        Some(change(path, body))
    })
}

fn shop() -> ExampleServer {
    ExampleServer::start(ExampleOptions { steps: 120, ..ExampleOptions::default() }).unwrap()
}

/// Runs and gives the error; the table is not there, or holds a beginning without gaps.
fn fails(sandbox: &Sandbox) -> String {
    let ran = sandbox.run(&["run", "shop", "--quiet", "--attempts", "2"]).code(1);
    if sandbox.path().join("warehouse/main/shop/events/_delta_log").exists() {
        let part = ids(sandbox, "shop.events", "id");
        assert_eq!(part, (1..=part.len() as i64).collect::<Vec<i64>>());
    }
    ran.stderr
}

#[test]
fn a_corrupt_page_is_an_error_that_names_page_and_byte() {
    let server = shop();
    let proxy = proxy(&server, |path, body| {
        http(&if path.starts_with("/events") { body.replacen("\"kind\":", "\"kind\":}", 1) } else { body })
    });
    let sandbox = project_for(&proxy.url(), &["events"]);
    let error = fails(&sandbox);
    assert!(error.contains("malformed JSON at byte"), "{error}");
    assert!(error.contains("page 1"), "{error}");
}

#[test]
fn a_record_that_does_not_fit_is_an_error_that_names_column_and_value() {
    let server = shop();
    let proxy = proxy(&server, |_, body| {
        http(&body.replacen("\"visitor\":", "\"visitor\":\"no number\",\"was\":", 1))
    });
    let sandbox = project_for(&proxy.url(), &["events"]);
    let error = fails(&sandbox);
    assert!(error.contains("visitor") && error.contains("no number"), "{error}");
    assert!(error.contains("on_bad_record"), "{error}");
}

#[test]
fn a_truncated_body_that_stays_so_is_an_error_about_the_source() {
    let server = shop();
    let proxy = proxy(&server, |path, body| {
        let mut bytes = http(&body);
        if path.starts_with("/events") {
            bytes.truncate(bytes.len() - body.len() / 2);
        }
        bytes
    });
    let sandbox = project_for(&proxy.url(), &["events"]);
    let error = fails(&sandbox);
    assert!(error.contains("gave up after 2 attempts"), "{error}");
    assert!(
        error.contains("the source is unavailable") || error.contains("answer cannot be used"),
        "{error}"
    );
}

#[test]
fn a_body_that_is_truncated_now_and_then_ends_in_a_correct_table() {
    let options = ExampleOptions {
        steps: 600,
        truncate_rate: 0.2,
        error_rate: 0.2,
        throttle_rate: 0.1,
        ..ExampleOptions::default()
    };
    let (_server, sandbox) = shop_project(options, &["events"]);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=600).collect::<Vec<i64>>());
}

#[test]
fn a_source_that_gives_the_same_page_for_ever_is_an_error_not_an_endless_run() {
    let server = shop();
    // Whatever is asked for, the first page comes, and says that there is more.
    let seen: Mutex<HashMap<String, String>> = Mutex::default();
    let proxy = proxy(&server, move |path, body| {
        let resource = path.split('?').next().unwrap_or_default().to_owned();
        let first = if resource == "/events" {
            seen.lock().unwrap().entry(resource).or_insert(body).clone()
        } else {
            body
        };
        http(&first)
    });
    let sandbox = project_for(&proxy.url(), &["events"]);
    let error = fails(&sandbox);
    let circle = "leads back to a page that was read before: the pages go in a circle";
    assert!(error.contains(circle) && error.contains("&after=50"), "{error}");
}

#[test]
fn an_answer_that_is_no_json_at_all_is_an_error() {
    let server = RawServer::start(|_| Some(http("<html>Please sign in</html>")));
    let sandbox = project_for(&server.url(), &["events"]);
    let error = fails(&sandbox);
    assert!(error.contains("error:") && !error.contains("panicked"), "{error}");
}

#[test]
fn a_full_disk_is_an_error_and_the_table_stays_as_it_was() {
    let (server, sandbox) =
        shop_project(ExampleOptions { steps: 100, ..ExampleOptions::default() }, &["events"]);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    server.advance(5000);
    // A limit on the size of files stands for the disk: writing fails in the middle of the data file.
    let limited = |blocks: u32| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_headwater"), "run", "shop", "--quiet"]);
        command.current_dir(sandbox.path()).stdin(Stdio::null()).output().unwrap()
    };
    let output = limited(16);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("storage failed") && stderr.contains("File too large"), "{stderr}");
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=100).collect::<Vec<i64>>());
    // With room again, the next run goes on.
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=5100).collect::<Vec<i64>>());
}

#[test]
fn a_warehouse_that_cannot_be_written_is_an_error_that_names_it() {
    let (_server, sandbox) =
        shop_project(ExampleOptions { steps: 10, ..ExampleOptions::default() }, &["events"]);
    // Even an administrator cannot make a folder there.
    let settings = sandbox.read("headwater.yaml");
    for (warehouse, setup) in [("/sys/headwater-lake", None), ("./taken/lake", Some("taken"))] {
        if let Some(file) = setup {
            sandbox.write(file, "a file where a folder should be");
        }
        sandbox.write("headwater.yaml", &format!("warehouse: {warehouse}\n{settings}"));
        let ran = sandbox.run(&["run", "shop", "--quiet"]).code(2);
        assert!(ran.stderr.contains(warehouse.trim_start_matches("./")), "{ran}");
    }
}

/// Permissions do not bind an administrator, so the command runs as somebody else where the tests are run by one.
fn run_as_a_plain_user(sandbox: &Sandbox, arguments: &[&str]) -> (i32, String) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const ADMINISTRATOR: u32 = 0;
    const NOBODY: u32 = 65534;
    let mut command = sandbox.command(arguments);
    if std::fs::metadata("/proc/self").unwrap().uid() == ADMINISTRATOR {
        // A place that everybody may reach.
        let binary = sandbox.path().join("headwater-of-all");
        std::fs::copy(env!("CARGO_BIN_EXE_headwater"), &binary).unwrap();
        std::fs::set_permissions(sandbox.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        command = std::process::Command::new(binary);
        command.args(arguments).current_dir(sandbox.path()).stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_warehouse_that_becomes_read_only_fails_and_can_still_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let (server, sandbox) =
        shop_project(ExampleOptions { steps: 10, ..ExampleOptions::default() }, &["events"]);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    server.advance(10);
    let table = sandbox.path().join("warehouse/main/shop/events");
    let allow = |mode| {
        let set = |folder| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
        [table.join("_delta_log"), table.clone()].iter().for_each(set);
    };
    allow(0o555);
    let (code, error) = run_as_a_plain_user(&sandbox, &["run", "shop", "--quiet"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("storage failed") && error.contains("ermission denied"), "{error}");
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=10).collect::<Vec<i64>>());
    allow(0o755);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=20).collect::<Vec<i64>>());
}
