//! Copying a payload into memory that is mostly cold: a named leaf of unsafe code.
//!
//! A RAM volume is far larger than the caches, so an ordinary copy into it waits twice: for each
//! line of the target to be fetched, only to be overwritten, and later for its way back. Measured on
//! a cold set of 256 MiB, as a part of an ordinary copy's time: with its lines asked for ahead 0.2 at
//! 512 bytes and 0.6 to 0.9 from 4 to 16 KiB; with stores past the caches 0.55 at 4 KiB and 0.15 to
//! 0.25 from 64 KiB on. On a set of 2 MiB, which the caches hold, asking ahead costs nothing, while
//! stores past the caches take seven times as long at 4 KiB and twice as long at 64 KiB. So those are
//! for large payloads alone, which would only push everything else out.
//!
//! Reads gain from a few lines asked for ahead: the processor goes on by itself once it loads one after
//! the other. Measured against the raw echo, in runs of its own each, on such a set with payloads of 4 KiB
//! that are sent from where they lie: at depth 32 0.90 with 4 lines, 0.93 to 0.96 with 8 to 16, and 0.86
//! with 24; with 16 sessions of depth 8 0.70 with none, 0.81 with 8, and 0.68 with all 64. Those are more
//! than the processor waits for at a time, and cost more than they bring.

/// From that many bytes on a payload goes past the caches.
const STREAM_BYTES_MIN: usize = 64 << 10;

/// Copies `source` to `target`.
///
/// # Safety
/// `target` is valid for writes of `source.len()` bytes and does not overlap `source`, and nobody else
/// reaches those bytes meanwhile.
#[allow(unsafe_code, reason = "named leaf: copying into the mapping")]
#[inline]
pub(super) unsafe fn copy_in(source: &[u8], target: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    if source.len() >= STREAM_BYTES_MIN && x86_64::can_stream(source.len(), target) {
        // SAFETY: as promised to this function; the length and the alignment have just been checked.
        return unsafe { x86_64::stream(source, target) };
    }
    let mut at = 0;
    for part in source.chunks(PART_BYTES) {
        let target = target.wrapping_add(at);
        #[cfg(target_arch = "x86_64")]
        x86_64::fetch::<{ x86_64::TO_WRITE }>(target, part.len());
        // SAFETY: as promised to this function, for a part of the range.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), target, part.len()) };
        at += part.len();
    }
}

/// Whether [`fetch_to_read`] and [`fetch_to_write`] do anything.
pub(super) const FETCHES_AHEAD: bool = cfg!(target_arch = "x86_64");

/// So much of a range that is read is worth asking for ahead.
pub(super) const READ_AHEAD_BYTES: u64 = 8 * 64;

/// Asks for the lines of a range that is soon read.
#[inline]
pub(super) fn fetch_to_read(start: *const u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    x86_64::fetch::<{ x86_64::TO_READ }>(start, length);
}

/// Asks for the lines of a range that is soon written.
#[inline]
pub(super) fn fetch_to_write(start: *const u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    x86_64::fetch::<{ x86_64::TO_WRITE }>(start, length);
}

/// Lines that are asked for ahead: about as many as a first-level cache holds and has room to await.
const PART_BYTES: usize = 4096;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{
        __m128i, _MM_HINT_ET0, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_sfence,
        _mm_stream_si128,
    };

    pub(super) const TO_READ: i32 = _MM_HINT_T0;
    pub(super) const TO_WRITE: i32 = _MM_HINT_ET0;
    const LINE_BYTES: usize = 64;
    const VECTOR_BYTES: usize = size_of::<__m128i>();

    /// Whether a range is made of whole vectors.
    pub(super) fn can_stream(length: usize, target: *const u8) -> bool {
        length.is_multiple_of(VECTOR_BYTES) && target.addr().is_multiple_of(VECTOR_BYTES)
    }

    /// Asks for the lines of a range.
    #[allow(unsafe_code, reason = "named leaf: a hint to the processor")]
    pub(super) fn fetch<const HINT: i32>(target: *const u8, length: usize) {
        for offset in (0..length).step_by(LINE_BYTES) {
            // SAFETY: a hint touches no memory, whatever the address.
            unsafe { _mm_prefetch::<HINT>(target.wrapping_add(offset).cast()) };
        }
    }

    /// Copies past the caches. Every x86-64 processor can (SSE2), and wider vectors gain nothing.
    ///
    /// # Safety
    /// As of [`copy_in`](super::copy_in), and [`can_stream`] is true.
    #[allow(unsafe_code, reason = "named leaf: stores past the caches")]
    pub(super) unsafe fn stream(source: &[u8], target: *mut u8) {
        for offset in (0..source.len()).step_by(VECTOR_BYTES) {
            let from = source.as_ptr().wrapping_add(offset).cast();
            // SAFETY: a whole vector lies in `source` from `offset` on.
            let vector = unsafe { _mm_loadu_si128(from) };
            // SAFETY: a whole vector lies in the target from `offset` on, aligned, and is the
            // caller's alone.
            unsafe { _mm_stream_si128(target.wrapping_add(offset).cast(), vector) };
        }
        // SAFETY: every x86-64 processor has the instruction. The stores above obey no order of their
        // own, and must be seen before the write's completion is.
        unsafe { _mm_sfence() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way against the bytes it should leave, with guards on both sides.
    #[test]
    #[allow(unsafe_code, reason = "the leaf's own test")]
    fn every_length_and_alignment_arrives_whole() {
        const GUARD: usize = 64;
        let lengths = [0, 1, 63, 512, 4096, 4097, 12_288, STREAM_BYTES_MIN - 1];
        let streamed = [
            STREAM_BYTES_MIN,
            STREAM_BYTES_MIN + 16,
            STREAM_BYTES_MIN + 8,
            1 << 20,
        ];
        for length in lengths.into_iter().chain(streamed) {
            for shift in [0, 1, 8, 16] {
                let source: Vec<u8> = (1..=255).cycle().take(length).collect();
                let mut target = vec![0_u8; length + shift + 2 * GUARD];
                let start = GUARD + shift;
                // SAFETY: the range lies in `target`, which is this test's own.
                unsafe { copy_in(&source, target.as_mut_ptr().wrapping_add(start)) };
                assert_eq!(target[start..start + length], source, "{length} at {shift}");
                assert!(target[..start].iter().all(|&byte| byte == 0));
                assert!(target[start + length..].iter().all(|&byte| byte == 0));
            }
        }
    }
}
