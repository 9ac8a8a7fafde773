//! Connections below HTTP: the first byte read ahead, and an end by force.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Tells a connection, from whatever lies on top of it, to end with a reset.
#[derive(Debug, Clone, Default)]
pub(super) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    pub(super) fn throw(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_thrown(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A TCP connection that can be reset: then nothing more is written, and the other side learns of it at once.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    reset: ResetSwitch,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, reset: ResetSwitch) -> Self {
        Self { stream, reset }
    }

    fn check(&self) -> io::Result<()> {
        if self.reset.is_thrown() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.is_thrown()
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "a connection is closed in place of reset");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly end would come before the reset.
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream whose first byte was read to see what it speaks.
#[derive(Debug)]
pub(super) struct Sniffed<S> {
    first: Option<u8>,
    inner: S,
}

impl<S: AsyncRead + Unpin> Sniffed<S> {
    /// Waits for the first byte; `None` where the stream ends before it.
    pub(super) async fn read(mut inner: S) -> io::Result<Option<Self>> {
        let mut first = [0];
        match inner.read(&mut first).await? {
            0 => Ok(None),
            _ => Ok(Some(Self { first: Some(first[0]), inner })),
        }
    }

    /// Says whether TLS begins here.
    pub(super) fn is_tls(&self) -> bool {
        const HANDSHAKE: u8 = 0x16;
        self.first == Some(HANDSHAKE)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A body that is sent whole, in pieces with pauses, or not to its end.
#[derive(Debug)]
pub(super) struct Sent {
    pieces: std::collections::VecDeque<Bytes>,
    announced: u64,
    pause: Duration,
    pausing: Option<Pin<Box<Sleep>>>,
    breaks_off: bool,
}

/// In how many pieces a slow body comes.
const PIECES: usize = 8;
/// What was written before a body breaks off has this long to leave.
const BEFORE_BREAK: Duration = Duration::from_millis(10);

impl Sent {
    pub(super) fn whole(body: Bytes) -> Self {
        Self::in_pieces(body, 1, Duration::ZERO)
    }

    /// The same over this time.
    pub(super) fn slow(body: Bytes, over: Duration) -> Self {
        let mut slow = Self::in_pieces(body, PIECES, Duration::ZERO);
        // The pauses lie between the pieces.
        let pauses = slow.pieces.len().saturating_sub(1).max(1);
        slow.pause = over / u32::try_from(pauses).unwrap_or(1);
        slow
    }

    /// Half of it, though the whole was announced.
    pub(super) fn truncated(body: Bytes) -> Self {
        // A body of nothing is announced as more.
        let announced = (body.len() as u64).max(2);
        let half = body.slice(..body.len() / 2);
        Self { announced, pause: BEFORE_BREAK, breaks_off: true, ..Self::in_pieces(half, 1, Duration::ZERO) }
    }

    fn in_pieces(body: Bytes, pieces: usize, pause: Duration) -> Self {
        let size = body.len().div_ceil(pieces).max(1);
        let announced = body.len() as u64;
        let mut rest = body;
        let mut list = std::collections::VecDeque::new();
        while !rest.is_empty() {
            list.push_back(rest.split_to(size.min(rest.len())));
        }
        Self { pieces: list, announced, pause, pausing: None, breaks_off: false }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pausing) = &mut self.pausing {
            std::task::ready!(pausing.as_mut().poll(cx));
            self.pausing = None;
        }
        match self.pieces.pop_front() {
            Some(piece) => {
                if !self.pause.is_zero() {
                    self.pausing = Some(Box::pin(tokio::time::sleep(self.pause)));
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None if self.breaks_off => Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.breaks_off
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}
