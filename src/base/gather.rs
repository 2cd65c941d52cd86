//! What a connection sends in one go: small bytes in line, payloads by reference.

use super::buffer::Buffer;
use std::io::IoSlice;

/// Bytes of a reply's payload, wherever they live.
#[derive(Debug)]
pub enum Payload {
    /// From a reactor's arena.
    Buffer(Buffer),
    /// Made for this reply: parameter data, sense data.
    Bytes(Vec<u8>),
    /// Part of the program: zeros.
    Static(&'static [u8]),
}

impl Payload {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Bytes(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }
}

/// Has bytes that a [`Gather`] refers to and does not own.
pub trait Lender {
    /// Bytes `offset..offset + length`, as they are now.
    ///
    /// # Panics
    /// If there are no such bytes. Only what is there is lent.
    fn lent(&self, offset: u64, length: usize) -> &[u8];
}

/// Has lent nothing.
#[derive(Debug)]
pub struct Nobody;

impl Lender for Nobody {
    fn lent(&self, offset: u64, length: usize) -> &[u8] {
        panic!("{length} bytes from {offset} were lent, and nobody knows by whom")
    }
}

#[derive(Debug, Clone, Copy)]
enum Segment {
    Inline {
        start: usize,
        end: usize,
    },
    Payload {
        index: usize,
        start: usize,
        end: usize,
    },
    Lent {
        offset: u64,
        length: usize,
    },
}

/// A gather list. It owns what it refers to, but for what has been [lent](Gather::lend). Reused after
/// [`Gather::clear`], it allocates nothing once it has grown.
#[derive(Debug, Default)]
pub struct Gather {
    inline: Vec<u8>,
    segments: Vec<Segment>,
    payloads: Vec<Payload>,
    bytes: usize,
    /// Bytes of all that is lent.
    lent: usize,
}

impl Gather {
    /// Bytes in the list.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is to be sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_headed(&[], bytes);
    }

    /// Appends copies of a `header`, whose length is known when the program is compiled, and of what
    /// follows it.
    #[inline(always)]
    pub fn push_headed<const N: usize>(&mut self, header: &[u8; N], bytes: &[u8]) {
        let added = N + bytes.len();
        if added == 0 {
            return;
        }
        let start = self.inline.len();
        self.inline.reserve(added);
        self.inline.extend_from_slice(header);
        self.inline.extend_from_slice(bytes);
        let end = self.inline.len();
        self.bytes += added;
        if let Some(Segment::Inline { end: last, .. }) = self.segments.last_mut()
            && *last == start
        {
            *last = end;
            return;
        }
        self.segments.push(Segment::Inline { start, end });
    }

    /// Takes a payload in, to be referred to by [`Gather::push_range`]; returns its index.
    pub fn hold(&mut self, payload: Payload) -> usize {
        self.payloads.push(payload);
        self.payloads.len() - 1
    }

    /// Appends bytes `start..end` of the payload that [`Gather::hold`] numbered `index`, by
    /// reference.
    ///
    /// # Panics
    /// If the payload has no such bytes.
    pub fn push_range(&mut self, index: usize, start: usize, end: usize) {
        assert!(start <= end && end <= self.payloads[index].as_slice().len());
        if start < end {
            self.segments.push(Segment::Payload { index, start, end });
            self.bytes += end - start;
        }
    }

    /// Appends bytes of a [`Lender`], who is to be at hand when they are used. They are what they are
    /// then: until they are sent or [owned](Gather::own), nobody may change them.
    pub fn lend(&mut self, offset: u64, length: usize) {
        if length > 0 {
            self.segments.push(Segment::Lent { offset, length });
            self.bytes += length;
            self.lent += length;
        }
    }

    /// Bytes that are lent.
    #[must_use]
    pub const fn lent_bytes(&self) -> usize {
        self.lent
    }

    /// Forgets the first `sent` bytes, and copies what is lent of the others: nothing is, then.
    ///
    /// # Panics
    /// As [`Lender::lent`].
    pub fn own(&mut self, sent: usize, lender: &dyn Lender) {
        self.cut(sent);
        for place in &mut self.segments {
            if let Segment::Lent { offset, length } = *place {
                let start = self.inline.len();
                self.inline.extend_from_slice(lender.lent(offset, length));
                let end = self.inline.len();
                *place = Segment::Inline { start, end };
            }
        }
        self.lent = 0;
    }

    /// Forgets the first `sent` bytes.
    fn cut(&mut self, sent: usize) {
        let mut left = sent.min(self.bytes);
        self.bytes -= left;
        let mut gone = 0;
        for segment in &mut self.segments {
            let bytes = segment.bytes().min(left);
            left -= bytes;
            match segment {
                Segment::Inline { start, .. } | Segment::Payload { start, .. } => *start += bytes,
                Segment::Lent { offset, length } => {
                    *offset += bytes as u64;
                    *length -= bytes;
                    self.lent -= bytes;
                }
            }
            if segment.bytes() > 0 {
                break;
            }
            gone += 1;
        }
        self.segments.drain(..gone);
    }

    /// All of it, if it lies in one piece and is owned.
    #[must_use]
    pub fn as_single(&self) -> Option<&[u8]> {
        match self.segments[..] {
            [Segment::Lent { .. }] => None,
            [segment] => Some(self.segment(segment, &Nobody)),
            _ => None,
        }
    }

    /// Appends to `slices` what remains after the first `skip` bytes.
    ///
    /// # Panics
    /// As [`Lender::lent`].
    pub fn slices<'a>(
        &'a self,
        skip: usize,
        lender: &'a dyn Lender,
        slices: &mut Vec<IoSlice<'a>>,
    ) {
        let mut skip = skip;
        for segment in &self.segments {
            let bytes = self.segment(*segment, lender);
            if skip >= bytes.len() {
                skip -= bytes.len();
                continue;
            }
            slices.push(IoSlice::new(&bytes[skip..]));
            skip = 0;
        }
    }

    /// Forgets the content and keeps the room; the payloads are handed to `recycle`.
    pub fn clear(&mut self, mut recycle: impl FnMut(Payload)) {
        self.inline.clear();
        self.segments.clear();
        (self.bytes, self.lent) = (0, 0);
        self.payloads.drain(..).for_each(&mut recycle);
    }

    /// Makes at least as much room as `other` has. Lists that are used by turns grow as one then, and
    /// not each in its own time.
    pub fn make_room_as_in(&mut self, other: &Self) {
        fn room<T>(list: &mut Vec<T>, other: &Vec<T>) {
            // Exactly as much, or the two would outbid each other for ever.
            list.reserve_exact(other.capacity().saturating_sub(list.len()));
        }
        room(&mut self.inline, &other.inline);
        room(&mut self.segments, &other.segments);
        room(&mut self.payloads, &other.payloads);
    }

    /// Bytes that can be copied in without an allocation, what is there already included.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.inline.capacity()
    }

    /// Everything in one piece, for tests and tools.
    ///
    /// # Panics
    /// If something is lent.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.segments
            .iter()
            .flat_map(|segment| self.segment(*segment, &Nobody).iter().copied())
            .collect()
    }

    fn segment<'a>(&'a self, segment: Segment, lender: &'a dyn Lender) -> &'a [u8] {
        match segment {
            Segment::Inline { start, end } => &self.inline[start..end],
            Segment::Payload { index, start, end } => &self.payloads[index].as_slice()[start..end],
            Segment::Lent { offset, length } => lender.lent(offset, length),
        }
    }
}

impl Segment {
    const fn bytes(&self) -> usize {
        match *self {
            Self::Inline { start, end } | Self::Payload { start, end, .. } => end - start,
            Self::Lent { length, .. } => length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        let mut gather = Gather::default();
        gather.push_bytes(b"he");
        gather.push_headed(b"ad", b" ");
        gather.push_headed(b"", b"");
        let payload = gather.hold(Payload::Static(b"payload"));
        gather.push_range(payload, 0, 3);
        gather.push_bytes(b"-");
        gather.push_range(payload, 3, 7);
        assert_eq!(gather.to_vec(), b"head pay-load");
        assert_eq!(gather.len(), 13);
        assert_eq!(gather.as_single(), None);
        let mut slices = Vec::new();
        gather.slices(6, &Nobody, &mut slices);
        let rest: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
        assert_eq!(rest, b"ay-load");
        gather.clear(drop);
        assert!(gather.is_empty() && gather.to_vec().is_empty());
        gather.push_bytes(b"one");
        gather.push_bytes(b" piece");
        assert_eq!(gather.as_single(), Some(b"one piece".as_slice()));
    }

    struct Alphabet;

    impl Lender for Alphabet {
        fn lent(&self, offset: u64, length: usize) -> &[u8] {
            &b"abcdefghijklmnopqrstuvwxyz"[usize::try_from(offset).unwrap()..][..length]
        }
    }

    fn partly_lent() -> Gather {
        let mut gather = Gather::default();
        gather.push_bytes(b"<");
        gather.lend(2, 3);
        gather.push_bytes(b">");
        let payload = gather.hold(Payload::Static(b"01234"));
        gather.push_range(payload, 1, 4);
        gather.lend(0, 1);
        gather.lend(25, 0);
        gather
    }

    #[test]
    fn what_is_lent_is_looked_up_when_it_is_sent() {
        let gather = partly_lent();
        assert_eq!((gather.len(), gather.lent_bytes()), (9, 4));
        for skip in 0..=gather.len() {
            let mut slices = Vec::new();
            gather.slices(skip, &Alphabet, &mut slices);
            let rest: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            assert_eq!(rest, b"<cde>123a"[skip..]);
        }
        let mut alone = Gather::default();
        alone.lend(7, 2);
        assert_eq!(alone.as_single(), None);
    }

    #[test]
    fn what_was_lent_is_owned_but_for_what_has_been_sent() {
        let whole = b"<cde>123a";
        for sent in 0..=whole.len() {
            let mut gather = partly_lent();
            gather.own(sent, &Alphabet);
            assert_eq!(gather.lent_bytes(), 0);
            gather.push_bytes(b"!");
            let expected = [&whole[sent..], b"!"].concat();
            assert_eq!(gather.to_vec(), expected, "after {sent} bytes");
            assert_eq!(gather.len(), expected.len());
            gather.clear(drop);
            assert!(gather.is_empty() && gather.lent_bytes() == 0);
        }
    }

    #[test]
    #[should_panic(expected = "nobody knows by whom")]
    fn nobody_has_lent_anything() {
        let _ = partly_lent().to_vec();
    }
}
