use bytes::{Buf, Bytes, BytesMut};

use super::{MAX_BODY_BYTES, MAX_LINE_BYTES};

/// Bytes that are asked for at once while a line is read. What has been read of a body with its line is copied
/// once, so this is also the most that is copied of it.
const LINE_CHUNK: usize = 16 << 10;

/// Characters shown of what is not a message.
const SHOWN_CHARS: usize = 200;

/// What is wrong with what the other side sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A line goes on beyond the limit.
    #[error("a line has more than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    /// A body is announced beyond the limit.
    #[error("a body of {bytes} bytes was announced, and {MAX_BODY_BYTES} are the most")]
    BodyTooLong {
        /// The length announced.
        bytes: u64,
    },
    /// The byte behind a body is no line break.
    #[error("a body of {bytes} bytes does not end where it should")]
    BodyEnd {
        /// The length announced.
        bytes: usize,
    },
    /// A line is not a message.
    #[error("not a message ({reason}): {start}")]
    NotAMessage {
        /// What is wrong with it.
        reason: String,
        /// How it begins.
        start: String,
    },
}

impl FrameError {
    pub(super) fn not_a_message(line: &[u8], reason: impl Into<String>) -> Self {
        let head = line.get(..line.len().min(SHOWN_CHARS * 4)).unwrap_or_default();
        let text = String::from_utf8_lossy(head);
        let mut start: String =
            text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        if text.chars().nth(SHOWN_CHARS).is_some() || head.len() < line.len() {
            start.push('…');
        }
        FrameError::NotAMessage { reason: reason.into(), start }
    }
}

/// A piece of what came: one line, or the body that follows one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A line, without its line break.
    Line(Bytes),
    /// A body, without the line break behind it; its allocation is its own.
    Body(Bytes),
}

/// Cuts a stream of bytes into lines and bodies.
///
/// Bytes are read into [`Frames::room`], and [`Frames::next_frame`] is asked until it has nothing. It keeps what is
/// not whole yet, so a read may be given up at any time and gone on with later.
#[derive(Debug, Default)]
pub struct Frames {
    line: BytesMut,
    /// How much of `line` is known to hold no line break.
    scanned: usize,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    bytes: BytesMut,
    /// Length announced, without the line break.
    length: usize,
}

impl Frames {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the next bytes go (at its end), and how many are taken at most; never none.
    pub fn room(&mut self) -> (&mut BytesMut, usize) {
        match &mut self.body {
            Some(body) => {
                let missing = (body.length + 1).saturating_sub(body.bytes.len()).max(1);
                (&mut body.bytes, missing)
            }
            None => {
                let chunk = LINE_CHUNK.max(self.line.len().min(MAX_LINE_BYTES / 64));
                self.line.reserve(chunk);
                (&mut self.line, chunk)
            }
        }
    }

    /// Says whether the stream may end here: between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.body.is_none() && self.line.is_empty()
    }

    /// The next whole line or body, where there is one.
    ///
    /// # Errors
    /// A line that is too long or cannot be a message, or a body that does not end where it was said to. The
    /// stream cannot be read further.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(body) = &mut self.body {
            if body.bytes.len() <= body.length {
                return Ok(None);
            }
            let length = body.length;
            if body.bytes.get(length) != Some(&b'\n') {
                return Err(FrameError::BodyEnd { bytes: length });
            }
            let mut bytes = self.body.take().map(|body| body.bytes).unwrap_or_default();
            bytes.truncate(length);
            return Ok(Some(Frame::Body(bytes.freeze())));
        }
        if let Some(first) = self.line.first()
            && *first != b'{'
        {
            // Said before the line is whole: what is not a message may have no line breaks at all.
            return Err(FrameError::not_a_message(&self.line, "a JSON object was expected"));
        }
        let unseen = self.line.get(self.scanned..).unwrap_or_default();
        let Some(at) = unseen.iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.line.len();
            return if self.scanned > MAX_LINE_BYTES { Err(FrameError::LineTooLong) } else { Ok(None) };
        };
        let end = self.scanned + at;
        if end > MAX_LINE_BYTES {
            return Err(FrameError::LineTooLong);
        }
        self.scanned = 0;
        let line = self.line.split_to(end).freeze();
        self.line.advance(1);
        Ok(Some(Frame::Line(line)))
    }

    /// Takes what follows the line just given as a body of `bytes` bytes.
    ///
    /// # Errors
    /// It is longer than a body may be.
    pub fn expect_body(&mut self, bytes: u64) -> Result<(), FrameError> {
        let length = usize::try_from(bytes)
            .ok()
            .filter(|length| *length <= MAX_BODY_BYTES)
            .ok_or(FrameError::BodyTooLong { bytes })?;
        let mut body = BytesMut::with_capacity(length + 1);
        let here = self.line.len().min(length + 1);
        body.extend_from_slice(&self.line.split_to(here));
        self.body = Some(Body { bytes: body, length });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, FrameError, Frames, MAX_BODY_BYTES, MAX_LINE_BYTES};

    /// Feeds `input` in chunks of `step` bytes; a line `{N}` announces a body of N bytes.
    fn frames(input: &[u8], step: usize) -> Result<Vec<Frame>, FrameError> {
        let mut frames = Frames::new();
        let mut found = Vec::new();
        let mut input = input;
        loop {
            while let Some(frame) = frames.next_frame()? {
                if let Frame::Line(line) = &frame {
                    let text = std::str::from_utf8(line).unwrap();
                    if let Ok(bytes) = text.trim_matches(['{', '}']).parse() {
                        frames.expect_body(bytes)?;
                    }
                }
                found.push(frame);
            }
            if input.is_empty() {
                return Ok(found);
            }
            let (room, most) = frames.room();
            let taken = step.min(most).min(input.len());
            room.extend_from_slice(&input[..taken]);
            input = &input[taken..];
        }
    }

    #[test]
    fn lines_and_bodies_are_cut_wherever_the_reads_end() {
        let input = b"{\"a\":1}\n{5}\n[\n\n1]\n{0}\n\n{}\n{rest";
        let line = |text: &'static str| Frame::Line(text.as_bytes().into());
        let body = |text: &'static str| Frame::Body(text.as_bytes().into());
        let expect = vec![line("{\"a\":1}"), line("{5}"), body("[\n\n1]"), line("{0}"), body(""), line("{}")];
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(frames(input, step).unwrap(), expect, "{step}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_as_soon_as_it_shows() {
        let check = |input: &[u8], expect: &str| {
            let error = frames(input, 1000).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(
            b"Traceback (most recent",
            "not a message (a JSON object was expected): Traceback (most recent",
        );
        check(b"\xff\xfe\x00", "not a message");
        check(b"\n", "not a message");
        check(b"{3}\n[1]x", "a body of 3 bytes does not end where it should");
        check(b"{3}\n[1 ]\n", "a body of 3 bytes does not end where it should");
        check(b"{999999999999}\n", "999999999999 bytes was announced");
    }

    #[test]
    fn a_line_without_an_end_is_given_up_at_the_limit() {
        let mut frames = Frames::new();
        let chunk = vec![b'{'; 1 << 20];
        let mut fed = 0;
        let error = loop {
            if let Err(error) = frames.next_frame() {
                break error;
            }
            let (room, most) = frames.room();
            let taken = most.min(chunk.len());
            room.extend_from_slice(&chunk[..taken]);
            fed += taken;
        };
        assert_eq!(error, FrameError::LineTooLong);
        assert!(fed <= MAX_LINE_BYTES + (2 << 20), "{fed}");
    }

    #[test]
    fn a_body_is_read_into_an_allocation_of_its_own_size() {
        let mut frames = Frames::new();
        frames.expect_body(1000).unwrap();
        assert_eq!(frames.room().1, 1001);
        assert_eq!(
            frames.expect_body(MAX_BODY_BYTES as u64 + 1),
            Err(FrameError::BodyTooLong { bytes: MAX_BODY_BYTES as u64 + 1 })
        );
    }
}
