//! A buffer for text that is copied in blocks.

use headwater_connect::json_scan::{chunk16, special_bytes};

/// Bytes of room that are made at a time, at most.
const STEP_BYTES: usize = 4096;

/// Bytes under construction. There is room behind them, so that a block is written with one store, and what the block held beyond
/// the end of the text is written over by the next.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    room: Vec<u8>,
    len: usize,
    /// Room to start with.
    expected: usize,
}

impl Bytes {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        loop {
            if let Some(to) = self.room.get_mut(self.len..self.len + bytes.len()) {
                to.copy_from_slice(bytes);
                self.len += bytes.len();
                return;
            }
            self.grow(bytes.len());
        }
    }

    /// The room behind the text, of so many bytes at least. [`Bytes::advance`] takes what was written there for text.
    #[inline]
    pub(crate) fn room(&mut self, at_least: usize) -> &mut [u8] {
        if self.room.len() - self.len < at_least {
            self.grow(at_least);
        }
        self.room.get_mut(self.len..).unwrap_or_default()
    }

    /// Appends the first `count` bytes of the room, which has as many.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.len = self.room.len().min(self.len + count);
    }

    /// Appends the bytes of `body` from `at` on up to one that is special in a JSON string (quote, backslash, control character), or
    /// to the end of `body`; gives its place.
    #[inline(always)]
    pub(crate) fn extend_plain(&mut self, body: &[u8], mut at: usize) -> usize {
        loop {
            let (Some(from), Some(to)) = (body.get(at..), self.room.get_mut(self.len..)) else { return at };
            let end = from.len().min(to.len());
            let (from, to) = (&from[..end], &mut to[..end]);
            let mut copied = 0;
            while let (Some(from), Some(to)) = (chunk16(from, copied), chunk16_mut(to, copied)) {
                *to = *from;
                let hits = special_bytes(from);
                if hits != 0 {
                    copied += hits.trailing_zeros() as usize;
                    self.len += copied;
                    return at + copied;
                }
                copied += 16;
            }
            self.len += copied;
            at += copied;
            if body.len().saturating_sub(at) < 16 {
                return self.extend_plain_tail(body, at);
            }
            self.grow(16);
        }
    }

    #[cold]
    #[inline(never)]
    fn extend_plain_tail(&mut self, body: &[u8], at: usize) -> usize {
        let rest = body.get(at..).unwrap_or_default();
        let plain = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20)).count();
        self.extend(rest.get(..plain).unwrap_or_default());
        at + plain
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        let step = self.room.len().clamp(64, STEP_BYTES);
        let room = self.room.len().max(self.len + more) + step;
        if room > self.room.capacity() {
            let larger = self.room.capacity() + self.room.capacity() / 2;
            let capacity = self.expected.max(larger).max(room);
            self.room.reserve_exact(capacity - self.room.len());
        }
        // Zeroed piece by piece: what is written over is still in the processor's cache then.
        self.room.resize(room, 0);
    }

    /// Gives the bytes away, and expects about as many again.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.expected = self.len + self.len / 32;
        let mut bytes = std::mem::take(&mut self.room);
        bytes.truncate(std::mem::take(&mut self.len));
        if bytes.len() < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        bytes
    }
}

#[inline(always)]
fn chunk16_mut(bytes: &mut [u8], at: usize) -> Option<&mut [u8; 16]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Bytes;

    proptest! {
        #[test]
        fn text_is_copied_up_to_the_special_byte(parts in proptest::collection::vec("[a-zé日]{0,70}[\"\\\\\u{1}]?", 1..12)) {
            let (mut bytes, mut expect) = (Bytes::default(), Vec::new());
            for round in 0..2 {
                for part in &parts {
                    let plain = part.trim_end_matches(['"', '\\', '\u{1}']);
                    prop_assert_eq!(bytes.extend_plain(part.as_bytes(), 0), plain.len());
                    expect.extend_from_slice(plain.as_bytes());
                    bytes.room(4)[..4].copy_from_slice(b"\r\n..");
                    bytes.advance(2);
                    expect.extend_from_slice(b"\r\n");
                    bytes.extend(part.as_bytes());
                    expect.extend_from_slice(part.as_bytes());
                    bytes.truncate(expect.len() - part.len());
                    expect.truncate(expect.len() - part.len());
                }
                prop_assert_eq!(bytes.as_slice(), &*expect);
                if round == 0 {
                    prop_assert_eq!(bytes.take(), std::mem::take(&mut expect));
                    prop_assert_eq!(bytes.len(), 0);
                }
            }
        }
    }
}
