//! Executables that speak the protocol, well or badly.

use std::time::Duration;

use futures::StreamExt;
use headwater_connect::{ConnectorError, Options, Profile, Retry};

use crate::support::{Project, chain, drain, eventually, file, options, runs};

/// The error of reading a table through a worker that answers `read_table` with this code.
async fn read_error(code: &str) -> ConnectorError {
    let project = Project::new();
    let body = code.replace('\n', "\n    ");
    let connector = project
        .connect(&project.command(&format!("for id, call, request in requests():\n    {body}\n")))
        .await;
    drain(connector.read_table("t", None, &Options::new())).await.unwrap_err()
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_worker() {
    for (code, expect) in [
        (
            "out.write(b'Traceback: secret-of-mine\\n'); out.flush()",
            "a JSON object was expected): Traceback: <secret>",
        ),
        ("out.write(b'{\"id\":\\xff}\\n'); out.flush()", "invalid utf-8"),
        ("out.write(b'{' * 100000 + b'\\n'); out.flush()", "not a message"),
        ("send(id=id, records=1, bytes=1 << 40)", "1099511627776 bytes was announced"),
        ("send(id=id, records=1, bytes=3); out.write(b'[1]x'); out.flush()", "does not end where it should"),
        ("send(id=id + 1, end=None)", "it answered request 5; the last one made is 4"),
        ("send(id=id - 1, end=None)", "it answered request 3; the last one made is 4"),
        ("send(id=id, result=[])", "its answer is not one to this request"),
        ("send(id=id, result=[], end=None)", "more than one of"),
        ("send(id=id, nothing=1)", "none of `result`"),
        (
            "send(id=id, records=3, bytes=7); out.write(b'[{},{}]\\n'); out.flush()",
            "fewer records than the 3",
        ),
        (
            "send(id=id, records=1, bytes=7); out.write(b'[{},{}]\\n'); out.flush()",
            "2 records or more, and 1",
        ),
        ("send(id=id, records=1, bytes=2); out.write(b'{}\\n'); out.flush()", "not a JSON array"),
    ] {
        let error = read_error(code).await;
        assert!(matches!(error, ConnectorError::Protocol { .. }), "{code}: {error}");
        assert!(chain(&error).contains(expect), "{code}: {}", chain(&error));
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[tokio::test]
async fn a_worker_that_dies_says_how_and_quotes_its_log() {
    for (code, expect) in [
        ("print('on my way', file=sys.stderr); os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("records(id, [{'a': 1}]); sys.exit(0)", "exit code 0"),
        ("send(id=id, records=1, bytes=1000); out.write(b'[{'); out.flush(); os._exit(1)", "exit code 1"),
        ("out.write(b'{\"id\"'); out.flush(); os._exit(1)", "exit code 1"),
        ("os.close(1)\ntime.sleep(600)", "it closed its output and was killed"),
    ] {
        let error = read_error(code).await;
        assert!(matches!(error, ConnectorError::WorkerDied { .. }), "{code}: {error}");
        let text = chain(&error);
        assert!(text.contains(expect) && text.contains("`read_table`"), "{code}: {text}");
        assert_eq!(text.contains("on my way"), code.contains("on my way"), "{text}");
        assert_eq!(error.retry(), Retry::Backoff);
    }
}

#[tokio::test]
async fn a_failure_leaves_the_worker_usable() {
    let project = Project::new();
    let connector = project
        .connect(&project.command(
            "for id, call, request in requests():
    if call == 'list_tables': send(id=id, result=[str(os.getpid())])
    else: send(id=id, error={'kind': 'rate_limited', 'message': 'slow', 'retry_after_seconds': 2})",
        ))
        .await;
    let before = connector.list_tables().await.unwrap();
    let error = drain(connector.read_table("t", None, &Options::new())).await.unwrap_err();
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(2)));
    assert_eq!(connector.list_tables().await.unwrap(), before);
}

#[tokio::test]
async fn a_worker_that_dies_while_it_waits_is_replaced() {
    let project = Project::new();
    let connector = project
        .connect(&project.command(
            "for id, call, request in requests():
    send(id=id, result=[str(os.getpid())])",
        ))
        .await;
    let first = connector.list_tables().await.unwrap();
    let process: i32 = first[0].parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(process).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert_ne!(connector.list_tables().await.unwrap(), first);
}

#[tokio::test]
async fn a_call_that_a_dead_worker_had_is_made_again_and_counted() {
    let project = Project::new();
    let mark = project.folder.path().join("mark");
    let connector = project
        .connect(&project.command(&format!(
            "for id, call, request in requests():
    if call != 'read_table': send(id=id, result=[])
    elif os.path.exists({mark:?}): records(id, [{{'n': 1}}]); send(id=id, end=None)
    else:
        open({mark:?}, 'w').close()
        os._exit(3)"
        )))
        .await;
    connector.list_tables().await.unwrap();
    assert_eq!(connector.retries(), 0);
    let (records, _) = drain(connector.read_table("t", None, &Options::new())).await.unwrap();
    assert_eq!((records.len(), connector.retries()), (1, 1));
}

#[tokio::test]
async fn a_read_that_is_dropped_is_interrupted_and_the_worker_kept() {
    let project = Project::new();
    let connector = project
        .connect(&project.command(
            // An interrupt must not cut a message in two.
            "import signal
interrupted = []
signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
for id, call, request in requests():
    if call == 'list_tables':
        send(id=id, result=[str(os.getpid())])
        continue
    while not interrupted: records(id, [{'pad': 'x' * 100000}])
    send(id=id, error={'kind': 'cancelled', 'message': ''})",
        ))
        .await;
    let before = connector.list_tables().await.unwrap();
    let none = Options::new();
    let mut stream = connector.read_table("t", None, &none);
    stream.next().await.unwrap().unwrap();
    drop(stream);
    // Until it has answered the interrupt another one is asked.
    let kept = async { while connector.list_tables().await.unwrap() != before {} };
    tokio::time::timeout(Duration::from_secs(60), kept).await.expect("the worker was not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_what_is_dropped() {
    let project = Project::new();
    let pids = project.folder.path().join("pids");
    let code = format!(
        "import subprocess
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for id, call, request in requests():
    child = subprocess.Popen(['sleep', '600'])
    open({pids:?}, 'w').write('%d %d\\n' % (os.getpid(), child.pid))
    while True: time.sleep(600)"
    );
    let connector = project.connect(&project.command(&code)).await;
    let none = Options::new();
    let mut stream = connector.read_table("t", None, &none);
    let pids = tokio::select! {
        text = file(&pids) => text,
        _ = stream.next() => panic!("it answered"),
    };
    let processes: Vec<u64> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(processes.iter().all(|process| runs(*process)));
    drop(stream);
    drop(connector);
    eventually("something still runs", || !processes.iter().any(|process| runs(*process))).await;
    eventually("a temporary folder is left", || project.temp_folders() == 0).await;
}

#[tokio::test]
async fn a_worker_that_speaks_another_version_is_refused() {
    let project = Project::new();
    let definition = project.command("");
    for (answer, expect) in [
        ("{'id': 1, 'result': {'protocol': 2}}", "it took version 2, which was not offered"),
        ("{'id': 1, 'error': {'kind': 'protocol', 'message': 'knows 7 only'}}", "knows 7 only"),
        ("{'id': 1, 'result': 'hi'}", "the answer to `hello` is not what it should be"),
    ] {
        project.write(
            "worker.py",
            &format!("import sys, json\nsys.stdin.readline()\nprint(json.dumps({answer}))\nsys.stdin.read()"),
        );
        let environment = project.runtime.prepare(&definition, &|_| {}).await.unwrap();
        let error = project.runtime.factory(&definition, &environment).await.err().unwrap();
        assert!(chain(&error).contains(expect), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_says_so() {
    let project = Project::new();
    let mut definition = project.command("");
    definition.source = headwater_python::ConnectorSource::Command {
        program: project.folder.path().join("nothing"),
        args: Vec::new(),
    };
    let environment = project.runtime.prepare(&definition, &|_| {}).await.unwrap();
    let error = project.runtime.factory(&definition, &environment).await.err().unwrap();
    assert!(matches!(error, ConnectorError::NotStarted { .. }), "{error}");
    assert!(error.hint().is_some() && chain(&error).contains("nothing"), "{}", chain(&error));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let project = Project::new();
    let definition = project.command(
        "import threading
def beat():
    while True:
        send(alive={'at': 'slow.py:7 in read with secret-of-mine'}); time.sleep(0.05)
for id, call, request in requests():
    threading.Thread(target=beat, daemon=True).start()
    time.sleep(600)",
    );
    let factory = project.factory(&definition).await;
    let connector =
        factory.connect(&options(&[("call_timeout", "1s"), ("token", "secret-of-mine")])).await.unwrap();
    let error = connector.list_tables().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Timeout { .. }), "{error}");
    assert!(
        chain(&error).contains("the connector was at slow.py:7 in read with <secret>"),
        "{}",
        chain(&error)
    );
    let error = factory.connect(&options(&[("call_timeout", "soon")])).await.err().unwrap();
    assert!(matches!(error, ConnectorError::InvalidOption { .. }), "{error}");
}

#[tokio::test]
async fn parts_are_read_at_the_same_time_by_workers_of_their_own() {
    let project = Project::with(|settings| settings.parallel_parts = 3);
    let barrier = project.folder.path().join("barrier");
    std::fs::create_dir(&barrier).unwrap();
    let code = format!(
        "ABILITIES = ['partition']
for id, call, request in requests():
    if call == 'is_partitioned': send(id=id, result=True)
    elif call == 'get_partitions': send(id=id, result=[{{'n': n}} for n in range(9)])
    else:
        n = request['partition']['n']
        open({barrier:?} + '/%d' % n, 'w').close()
        # Each waits for the two others of its three.
        while len(os.listdir({barrier:?})) < n // 3 * 3 + 3: time.sleep(0.01)
        records(id, [{{'n': n, 'pid': os.getpid()}}])
        send(id=id, end=None)"
    );
    let connector = project.connect(&project.command(&code)).await;
    let ability = connector.partitions().unwrap();
    let none = Options::new();
    assert!(ability.is_partitioned("t").await.unwrap());
    let parts = ability.get_partitions("t", &none).await.unwrap();
    let reads = parts.iter().map(|part| drain(ability.read_partition("t", part, &none)));
    let all = futures::future::try_join_all(reads).await.unwrap();
    let mut numbers: Vec<u64> = all.iter().map(|(records, _)| records[0]["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..9).collect::<Vec<_>>());
    let mut pids: Vec<u64> = all.iter().map(|(records, _)| records[0]["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3, "{pids:?}");
}

#[tokio::test]
async fn a_process_serves_one_connection_only_but_all_its_tables() {
    let project = Project::new();
    let definition = project.command(
        "for id, call, request in requests():
    send(id=id, result=[str(os.getpid())])",
    );
    let factory = project.factory(&definition).await;
    let process = async |pairs: &[(&str, &str)]| {
        let connector = factory.connect(&options(pairs)).await.unwrap();
        connector.list_tables().await.unwrap().remove(0)
    };
    let first = process(&[("token", "one"), ("host", "h")]).await;
    assert_eq!(process(&[("token", "one"), ("host", "h"), ("tableName", "a"), ("owner", "x")]).await, first);
    assert_ne!(process(&[("token", "two"), ("host", "h")]).await, first);
    assert_ne!(process(&[("token", "one"), ("host", "other")]).await, first);
    assert_ne!(process(&[("host", "h")]).await, first);
}

#[tokio::test]
async fn a_worker_waits_while_nobody_reads() {
    let project = Project::new();
    let count = project.folder.path().join("count");
    let code = format!(
        "for id, call, request in requests():
    for n in range(1000):
        records(id, [{{'pad': 'x' * 1000000}}])
        open({count:?}, 'w').write('%d\\n' % n)"
    );
    let connector = project.connect(&project.command(&code)).await;
    let none = Options::new();
    let mut stream = connector.read_table("t", None, &none);
    stream.next().await.unwrap().unwrap();
    // It goes on until the pipe is full, and not beyond.
    let written = || std::fs::read_to_string(&count).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let mut last = None;
    let mut still = 0;
    eventually("it does not stand still", || {
        still = if written() == last { still + 1 } else { 0 };
        last = written();
        still > 30
    })
    .await;
    assert!(last.unwrap_or_default() < 5, "{last:?}");
    stream.next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_that_says_nothing_at_all_is_given_up() {
    let project = Project::new();
    let connector =
        project.connect(&project.command("for id, call, request in requests(): time.sleep(600)")).await;
    // From here on time passes as soon as everything waits.
    tokio::time::pause();
    let error = connector.list_tables().await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Timeout { after, .. } if *after == Duration::from_secs(120)),
        "{error}"
    );
    assert!(chain(&error).contains("not even a sign of life"), "{}", chain(&error));
}

#[tokio::test]
async fn a_flood_on_standard_error_does_not_stop_a_read() {
    let project = Project::new();
    let connector = project
        .connect(&project.command(
            "for id, call, request in requests():
    for n in range(300): sys.stderr.write('x' * 99_999 + '\\n')
    sys.stderr.write('y' * 20_000_000)
    sys.stderr.flush()
    records(id, [{'n': 1}])
    send(id=id, end=None)",
        ))
        .await;
    let (records, end) = drain(connector.read_table("t", None, &Options::new())).await.unwrap();
    assert_eq!((records.len(), end), (1, None));
}

#[test]
fn nothing_is_left_when_the_runtime_ends() {
    let project = Project::new();
    let definition =
        project.command("for id, call, request in requests(): send(id=id, result=[str(os.getpid())])");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (connector, process) = runtime.block_on(async {
        let connector = project.connect(&definition).await;
        let process: u64 = connector.list_tables().await.unwrap()[0].parse().unwrap();
        (connector, process)
    });
    assert!(runs(process));
    drop(runtime);
    drop(connector);
    // A killed process is gone as soon as the system has come to it.
    let mut turns = 0;
    while runs(process) {
        std::thread::yield_now();
        turns += 1;
        assert!(turns < 1_000_000, "the worker still runs");
    }
    assert_eq!(project.temp_folders(), 0);
}

#[tokio::test]
async fn an_executable_says_whether_its_values_are_those_of_python() {
    let project = Project::new();
    assert_eq!(project.factory(&project.command("for _ in requests(): pass")).await.profile(), Profile::Json);
    let python = project.command("");
    let text = std::fs::read_to_string(project.folder.path().join("worker.py")).unwrap();
    let text = text.replace(r#""protocol": 1,"#, r#""protocol": 1, "values": "python","#);
    project.write("worker.py", &format!("{text}\nfor _ in requests(): pass\n"));
    assert_eq!(project.factory(&python).await.profile(), Profile::Python);
}
