//! A static server on loopback that costs as little as it can: bodies in memory, one thread a connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

/// Serves `folder/<n>.json` as `/items/<n>.json`; writes its address as a line to stdout, and ends with stdin.
pub(crate) fn serve(folder: &Path, pages: u64) -> Result<()> {
    let bodies: Vec<Vec<u8>> = (1..=pages)
        .map(|page| std::fs::read(folder.join(format!("{page}.json"))).context("a page is missing"))
        .collect::<Result<_>>()?;
    let bodies = Arc::new(bodies);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let bodies = Arc::clone(&bodies);
            std::thread::spawn(move || answer(connection, &bodies));
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// Answers requests until the client hangs up.
fn answer(connection: TcpStream, bodies: &[Vec<u8>]) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut writer = connection.try_clone().ok()?;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let path = line.split(' ').nth(1)?.to_owned();
        while reader.read_line(&mut line).ok()? > 2 {}
        let page: Option<usize> =
            path.strip_prefix("/items/").and_then(|p| p.strip_suffix(".json")).and_then(|p| p.parse().ok());
        match page.and_then(|p| bodies.get(p.wrapping_sub(1))) {
            Some(body) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                writer.write_all(head.as_bytes()).ok()?;
                writer.write_all(body).ok()?;
            }
            None => writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok()?,
        }
    }
}
