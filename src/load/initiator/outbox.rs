//! What a connection sends in one go: headers in line, long payloads by reference.

use std::io::IoSlice;
use std::sync::Arc;

/// Payloads up to that many bytes are copied behind their header; a copy of that length costs no
/// more than another slice does.
const INLINE_BYTES_MAX: usize = 8 << 10;
/// Slices that one send takes. Payloads in line need one in all.
pub(crate) const SLICES_MAX: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Segment {
    Inline { start: usize, end: usize },
    Content { start: usize, end: usize },
}

/// Bytes to be sent, in order. Emptied, it keeps its room, so that it allocates nothing once it has
/// grown.
#[derive(Debug)]
pub(crate) struct Outbox {
    inline: Vec<u8>,
    segments: Vec<Segment>,
    /// The first segment that is not sent to its end, and how much of it is.
    first: usize,
    skip: usize,
    /// What writes are made of, shared by all connections.
    content: Arc<[u8]>,
}

impl Outbox {
    /// An empty one, whose payloads by reference come from `content`.
    pub(crate) fn new(content: Arc<[u8]>) -> Self {
        Self {
            inline: Vec::new(),
            segments: Vec::new(),
            first: 0,
            skip: 0,
            content,
        }
    }

    /// Whether all is sent.
    pub(crate) const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// What writes are made of.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Appends a copy of `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let start = self.inline.len();
        self.inline.extend_from_slice(bytes);
        self.extend_inline(start);
    }

    /// Appends bytes `start..end` of the content.
    ///
    /// # Panics
    /// If the content has no such bytes.
    pub(crate) fn push_content(&mut self, start: usize, end: usize) {
        if end - start <= INLINE_BYTES_MAX {
            let from = self.inline.len();
            self.inline.extend_from_slice(&self.content[start..end]);
            self.extend_inline(from);
        } else {
            assert!(end <= self.content.len());
            self.segments.push(Segment::Content { start, end });
        }
    }

    fn extend_inline(&mut self, start: usize) {
        let end = self.inline.len();
        if let Some(Segment::Inline { end: last, .. }) = self.segments.last_mut()
            && *last == start
        {
            *last = end;
        } else if start < end {
            self.segments.push(Segment::Inline { start, end });
        }
    }

    /// Puts what is next to be sent into `slices`; how many of them it takes.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut skip = self.skip;
        let mut count = 0;
        for (segment, slice) in self.segments[self.first..].iter().zip(slices) {
            let bytes = match *segment {
                Segment::Inline { start, end } => &self.inline[start..end],
                Segment::Content { start, end } => &self.content[start..end],
            };
            *slice = IoSlice::new(&bytes[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// Notes that the first `bytes` bytes were sent.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.skip += bytes;
        while let Some(segment) = self.segments.get(self.first) {
            let (Segment::Inline { start, end } | Segment::Content { start, end }) = *segment;
            if self.skip < end - start {
                return;
            }
            self.skip -= end - start;
            self.first += 1;
        }
        self.inline.clear();
        self.segments.clear();
        self.first = 0;
        debug_assert_eq!(self.skip, 0, "no more was sent than there was");
        self.skip = 0;
    }

    /// Everything that is next to be sent in one piece, for tests.
    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = self.slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_however_they_are_cut() {
        let content: Vec<u8> = (0..=255).cycle().take(INLINE_BYTES_MAX * 2).collect();
        let mut expected = b"head".to_vec();
        expected.extend_from_slice(&content[3..]);
        expected.extend_from_slice(b"tail");
        expected.extend_from_slice(&content[..16]);
        for cut in [1, 7, 4096, expected.len()] {
            let mut outbox = Outbox::new(content.clone().into());
            outbox.push(b"head");
            outbox.push_content(3, content.len());
            outbox.push(b"tail");
            outbox.push_content(0, 16);
            let mut sent = Vec::new();
            while !outbox.is_empty() {
                let next = outbox.to_vec();
                let piece = &next[..cut.min(next.len())];
                sent.extend_from_slice(piece);
                outbox.advance(piece.len());
            }
            assert!(sent == expected, "cut into pieces of {cut}");
        }
    }
}
