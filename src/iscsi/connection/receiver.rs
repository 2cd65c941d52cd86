//! Cuts the byte stream into headers and data segments, wherever TCP has cut it.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::super::error::Violation;
use super::super::pdu::{AHS_BYTES_MAX, BHS_BYTES, Bhs, DIGEST_BYTES, padding};
use crate::base::crc32c::{Crc32c, crc32c};
use serde::{Deserialize, Serialize};

const HEADER_BYTES_MAX: usize = BHS_BYTES + AHS_BYTES_MAX + DIGEST_BYTES;

/// A header that comes together: basic segment, additional segments, digest.
#[derive(Debug)]
pub(crate) struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    filled: usize,
}

impl Header {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; HEADER_BYTES_MAX],
            filled: 0,
        }
    }

    /// Takes bytes of one header from `input`. `None` when they do not complete it.
    pub(crate) fn fill(
        &mut self,
        input: &mut &[u8],
        digest: bool,
    ) -> Option<Result<Bhs, Violation>> {
        if !self.fill_to(BHS_BYTES, input) {
            return None;
        }
        let bhs = self.bhs();
        let end = BHS_BYTES.saturating_add(bhs.ahs_bytes());
        if !digest {
            return self.fill_to(end, input).then_some(Ok(bhs));
        }
        if !self.fill_to(end.saturating_add(DIGEST_BYTES), input) {
            return None;
        }
        let (header, rest) = self.bytes.split_at_checked(end)?;
        let got = u32::from_le_bytes(*rest.first_chunk()?);
        let expected = crc32c(header);
        Some(if got == expected {
            Ok(bhs)
        } else {
            Err(Violation::HeaderDigest { expected, got })
        })
    }

    /// Whether nothing of a header has come.
    pub(crate) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Starts over with the next header.
    pub(crate) const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Puts a header there that was kept.
    pub(crate) fn load(&mut self, bytes: &[u8]) -> Bhs {
        self.filled = 0;
        let mut input = bytes;
        self.fill_to(bytes.len().min(HEADER_BYTES_MAX), &mut input);
        self.bhs()
    }

    /// What has come of the header, its digest included.
    pub(crate) fn received(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Puts back what had come; nothing where that is more than a header can be.
    pub(crate) fn restored(received: &[u8]) -> Option<Self> {
        let mut header = Self::new();
        header
            .bytes
            .get_mut(..received.len())?
            .copy_from_slice(received);
        header.filled = received.len();
        Some(header)
    }

    /// The additional header segments.
    pub(crate) fn additional(&self) -> &[u8] {
        let end = BHS_BYTES.saturating_add(self.bhs().ahs_bytes());
        self.bytes.get(BHS_BYTES..end).unwrap_or_default()
    }

    /// Basic and additional segments.
    pub(crate) fn whole(&self) -> &[u8] {
        let end = BHS_BYTES.saturating_add(self.bhs().ahs_bytes());
        self.bytes.get(..end).unwrap_or_default()
    }

    /// The basic header segment.
    pub(crate) fn bhs(&self) -> Bhs {
        Bhs::from_bytes(self.bytes.first_chunk().copied().unwrap_or([0; BHS_BYTES]))
    }

    /// Whether `end` bytes are there, after taking what is missing from `input`.
    #[inline]
    fn fill_to(&mut self, end: usize, input: &mut &[u8]) -> bool {
        if self.filled >= end {
            return true;
        }
        // A basic segment that has come in one piece is copied as one, without a loop or a call.
        if self.filled == 0
            && end == BHS_BYTES
            && let (Some(room), Some((whole, rest))) = (
                self.bytes.first_chunk_mut::<BHS_BYTES>(),
                input.split_first_chunk(),
            )
        {
            *room = *whole;
            *input = rest;
            self.filled = end;
            return true;
        }
        let bytes = end.saturating_sub(self.filled).min(input.len());
        let to = self.filled.saturating_add(bytes);
        if let (Some(room), Some((piece, rest))) = (
            self.bytes.get_mut(self.filled..to),
            input.split_at_checked(bytes),
        ) {
            room.copy_from_slice(piece);
            *input = rest;
            self.filled = to;
        }
        self.filled >= end
    }
}

/// A data digest that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DigestMismatch {
    /// Computed over data and padding.
    pub(crate) expected: u32,
    /// As received.
    pub(crate) got: u32,
}

/// A data segment that passes by: data, padding, digest.
#[derive(Debug)]
pub(crate) struct Body {
    data_left: u32,
    passed: u32,
    padding_left: u32,
    crc: Option<Crc32c>,
    digest: [u8; DIGEST_BYTES],
    digest_filled: usize,
}

/// How far a data segment has passed by; a process that takes the connection over goes on there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    data_left: u32,
    passed: u32,
    padding_left: u32,
    /// Where the computation of the data digest stands, if the segment has one.
    crc: Option<u32>,
    /// What has come of the digest.
    #[serde(with = "serde_bytes")]
    digest: Vec<u8>,
}

impl Body {
    /// A segment of `bytes` bytes.
    pub(crate) fn new(bytes: u32, digest: bool) -> Self {
        Self {
            data_left: bytes,
            passed: 0,
            padding_left: padding(bytes),
            // An empty segment has no digest (RFC 7143 section 11.2.3).
            crc: (digest && bytes > 0).then(Crc32c::default),
            digest: [0; DIGEST_BYTES],
            digest_filled: 0,
        }
    }

    /// A segment of `bytes` bytes that was checked before: neither padding nor digest.
    pub(crate) fn checked(bytes: u32) -> Self {
        Self {
            padding_left: 0,
            ..Self::new(bytes, false)
        }
    }

    /// How far it has passed by.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            data_left: self.data_left,
            passed: self.passed,
            padding_left: self.padding_left,
            crc: self.crc.as_ref().map(Crc32c::state),
            digest: self
                .digest
                .iter()
                .take(self.digest_filled)
                .copied()
                .collect(),
        }
    }

    /// A segment that has passed by so far; nothing where its digest is longer than a digest.
    pub(crate) fn restored(progress: &Progress) -> Option<Self> {
        let mut digest = [0; DIGEST_BYTES];
        let digest_filled = progress.digest.len();
        digest
            .get_mut(..digest_filled)?
            .copy_from_slice(&progress.digest);
        Some(Self {
            data_left: progress.data_left,
            passed: progress.passed,
            padding_left: progress.padding_left,
            crc: progress.crc.map(Crc32c::resume),
            digest,
            digest_filled,
        })
    }

    /// Bytes of data that are still to come.
    pub(crate) const fn data_left(&self) -> u32 {
        self.data_left
    }

    /// Bytes of the segment that are still to come, with padding and digest.
    pub(crate) fn bytes_left(&self) -> usize {
        let digest = self.crc.as_ref().map_or(0, |_| DIGEST_BYTES);
        (self.data_left as usize)
            .saturating_add(self.padding_left as usize)
            .saturating_add(digest.saturating_sub(self.digest_filled))
    }

    /// The next piece of data in `input`, and where in the segment it starts.
    pub(crate) fn take<'a>(&mut self, input: &mut &'a [u8]) -> (u32, &'a [u8]) {
        let piece = take_front(input, self.data_left);
        if let Some(crc) = &mut self.crc {
            crc.update(piece);
        }
        let at = self.passed;
        let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        self.data_left = self.data_left.saturating_sub(bytes);
        self.passed = self.passed.saturating_add(bytes);
        (at, piece)
    }

    /// Takes padding and digest. `None` when they are not complete, else whether the digest holds.
    pub(crate) fn finish(&mut self, input: &mut &[u8]) -> Option<Result<(), DigestMismatch>> {
        let pad = take_front(input, self.padding_left);
        self.padding_left = self
            .padding_left
            .saturating_sub(u32::try_from(pad.len()).unwrap_or(u32::MAX));
        let Some(crc) = &mut self.crc else {
            return (self.padding_left == 0).then_some(Ok(()));
        };
        crc.update(pad);
        if self.padding_left > 0 {
            return None;
        }
        for room in self.digest.iter_mut().skip(self.digest_filled) {
            let (byte, rest) = input.split_first()?;
            *room = *byte;
            *input = rest;
            self.digest_filled = self.digest_filled.saturating_add(1);
        }
        let (expected, got) = (crc.value(), u32::from_le_bytes(self.digest));
        Some(if expected == got {
            Ok(())
        } else {
            Err(DigestMismatch { expected, got })
        })
    }
}

/// Cuts up to `bytes` bytes off the front.
fn take_front<'a>(input: &mut &'a [u8], bytes: u32) -> &'a [u8] {
    let bytes = usize::try_from(bytes)
        .unwrap_or(usize::MAX)
        .min(input.len());
    let (piece, rest) = input.split_at_checked(bytes).unwrap_or_default();
    *input = rest;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the stream is cut, header and data come out the same and the digests hold.
        #[test]
        fn cuts_do_not_matter(
            words in 0u8..4, data in prop::collection::vec(any::<u8>(), 0..50),
            digest: bool, cut in 1usize..20,
        ) {
            let length = u32::try_from(data.len()).unwrap();
            let opcode = super::super::super::pdu::Opcode::NopOut;
            let bhs = Bhs::new(opcode, 0x80).with_data(length).with_ahs_words(words);
            let mut stream = bhs.as_bytes().to_vec();
            stream.resize(BHS_BYTES + usize::from(words) * 4, 9);
            if digest {
                stream.extend(crc32c(&stream).to_le_bytes());
            }
            let mut segment = data.clone();
            segment.resize(data.len().next_multiple_of(4), 0);
            stream.extend_from_slice(&segment);
            if digest && !data.is_empty() {
                stream.extend(crc32c(&segment).to_le_bytes());
            }
            let (mut header, mut body, mut got) = (Header::new(), None, Vec::new());
            let mut done = false;
            for mut piece in stream.chunks(cut) {
                if body.is_none()
                    && let Some(result) = header.fill(&mut piece, digest)
                {
                    prop_assert_eq!(result.unwrap(), bhs);
                    body = Some(Body::new(length, digest));
                }
                if let Some(body) = &mut body {
                    got.extend_from_slice(body.take(&mut piece).1);
                    if body.data_left() == 0
                        && let Some(result) = body.finish(&mut piece)
                    {
                        prop_assert_eq!(result, Ok(()));
                        done = true;
                    }
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert!(done);
            prop_assert_eq!(got, data);
            prop_assert_eq!(header.additional().len(), usize::from(words) * 4);
        }
    }
}
