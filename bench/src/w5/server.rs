//! A source on loopback that takes its time, and one that refuses what is too much.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What a server holds.
struct Source {
    /// The pages, from 1.
    bodies: Vec<Vec<u8>>,
    /// How long it takes to begin an answer.
    latency: Duration,
    limit: Option<Mutex<Bucket>>,
}

/// Tokens that come evenly, one for a request.
struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Instant,
    served: u64,
    refused: u64,
}

impl Bucket {
    #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn takes(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * self.per_second).min(self.per_second);
        self.at = now;
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
            self.served += 1;
        } else {
            self.refused += 1;
        }
        takes
    }
}

/// Serves `folder/<n>.json` as `/items?page=<n>`, with `Link` headers, after `latency_ms`; and `/all?bytes=<n>`, records of
/// these pages over and over in one answer. Writes its address as a line to stdout, and ends with stdin.
pub(crate) fn pages(folder: &Path, pages: u64, latency_ms: u64) -> Result<()> {
    let bodies = (1..=pages)
        .map(|page| std::fs::read(folder.join(format!("{page}.json"))).context("a page is missing"))
        .collect::<Result<_>>()?;
    serve(Source { bodies, latency: Duration::from_millis(latency_ms), limit: None })
}

/// Serves small pages without end as `/items?page=<n>`, so many each second and as many at once, and answers 429 beyond;
/// `/counts` says how many were served and refused.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn limited(per_second: u32, latency_ms: u64) -> Result<()> {
    let rate = f64::from(per_second);
    let bucket = Bucket { per_second: rate, tokens: rate, at: Instant::now(), served: 0, refused: 0 };
    let latency = Duration::from_millis(latency_ms);
    serve(Source { bodies: Vec::new(), latency, limit: Some(Mutex::new(bucket)) })
}

fn serve(source: Source) -> Result<()> {
    let source = Arc::new(source);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let source = Arc::clone(&source);
            std::thread::spawn(move || source.answer(connection));
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

impl Source {
    /// Answers requests until the client hangs up.
    fn answer(&self, connection: TcpStream) -> Option<()> {
        connection.set_nodelay(true).ok()?;
        let mut writer = connection.try_clone().ok()?;
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let target = line.split(' ').nth(1)?.to_owned();
            while reader.read_line(&mut line).ok()? > 2 {}
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let number = query.split('&').find_map(|pair| pair.split_once('=')?.1.parse::<usize>().ok());
            match (path, &self.limit, number) {
                ("/counts", Some(limit), _) => {
                    let bucket = limit.lock().unwrap_or_else(PoisonError::into_inner);
                    let body = format!("{{\"served\":{},\"refused\":{}}}", bucket.served, bucket.refused);
                    send(&mut writer, "200 OK", "", body.as_bytes())?;
                }
                ("/items", Some(limit), _) => {
                    let takes = limit.lock().unwrap_or_else(PoisonError::into_inner).takes();
                    self.wait();
                    match takes {
                        true => send(&mut writer, "200 OK", "", b"{\"data\":[]}")?,
                        false => send(&mut writer, "429 Too Many Requests", "", b"")?,
                    }
                }
                ("/items", None, Some(page)) => {
                    self.wait();
                    let last = self.bodies.len();
                    let link = match page < last {
                        true => format!(
                            "Link: </items?page={}>; rel=\"next\", </items?page={last}>; rel=\"last\"\r\n",
                            page + 1
                        ),
                        false => String::new(),
                    };
                    match self.bodies.get(page.wrapping_sub(1)) {
                        Some(body) => send(&mut writer, "200 OK", &link, body)?,
                        None => send(&mut writer, "200 OK", "", b"{\"data\":[]}")?,
                    }
                }
                ("/all", None, Some(bytes)) => self.all(&mut writer, bytes)?,
                _ => send(&mut writer, "404 Not Found", "", b"")?,
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a thread of its own plays a slow source")]
    fn wait(&self) {
        std::thread::sleep(self.latency);
    }

    /// One answer of about so many bytes, in chunks.
    fn all(&self, writer: &mut TcpStream, bytes: usize) -> Option<()> {
        let mut writer = BufWriter::with_capacity(1 << 20, writer);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        writer.write_all(head.as_bytes()).ok()?;
        let (mut sent, mut before) = (0, &b"{\"data\":["[..]);
        let mut pages = self.bodies.iter().cycle();
        while sent < bytes {
            let records = records(pages.next()?)?;
            chunk(&mut writer, before)?;
            chunk(&mut writer, records)?;
            sent += records.len();
            before = b",";
        }
        chunk(&mut writer, b"],\"next\":null}")?;
        writer.write_all(b"0\r\n\r\n").ok()?;
        writer.flush().ok()
    }
}

/// What stands between the brackets of a page's records.
fn records(body: &[u8]) -> Option<&[u8]> {
    let start = body.iter().position(|byte| *byte == b'[')?;
    let end = body.windows(9).rposition(|window| window == b"],\"next\":")?;
    body.get(start + 1..end)
}

fn chunk(writer: &mut impl Write, part: &[u8]) -> Option<()> {
    write!(writer, "{:x}\r\n", part.len()).ok()?;
    writer.write_all(part).ok()?;
    writer.write_all(b"\r\n").ok()
}

fn send(writer: &mut impl Write, status: &str, headers: &str, body: &[u8]) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    writer.write_all(head.as_bytes()).ok()?;
    writer.write_all(body).ok()
}
