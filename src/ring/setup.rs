//! `io_uring_setup`, asked again where memory was short for a moment.

use io_uring::{Builder, IoUring};
use std::io;
use std::time::Duration;

/// How often it is asked before `ENOMEM` is believed.
const TRIES_MAX: u32 = 50;
/// What the kernel gets each time to take pages back from its caches.
const PAUSE: Duration = Duration::from_millis(10);

/// Sets a ring up.
///
/// The kernel takes the pages of a ring without waiting for any: where its page cache has filled the
/// memory, as on a busy storage node, it says `ENOMEM` although a moment later there is enough. A server
/// that starts then is not to fail, nor to take a feature for one that the kernel lacks.
///
/// # Errors
/// The kernel's, `ENOMEM` after half a second.
#[allow(
    clippy::disallowed_methods,
    reason = "the ring carries nothing yet, and its reactor serves nobody"
)]
pub(super) fn build(builder: &Builder, submissions: u32) -> io::Result<IoUring> {
    let set_up = || builder.build(submissions);
    persist(set_up, || std::thread::sleep(PAUSE))
}

fn persist<T>(mut set_up: impl FnMut() -> io::Result<T>, mut pause: impl FnMut()) -> io::Result<T> {
    let mut tries = 1;
    loop {
        match set_up() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && tries < TRIES_MAX => {
                tries += 1;
                pause();
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn persisted(answers: &[Result<u8, i32>]) -> (io::Result<u8>, usize) {
        let (mut answers, mut pauses) = (answers.iter().cycle(), 0);
        let set_up = || {
            let answer = answers.next().expect("there is always another");
            answer.map_err(io::Error::from_raw_os_error)
        };
        let result = persist(set_up, || pauses += 1);
        (result, pauses)
    }

    #[test]
    fn memory_that_is_short_for_a_moment_is_waited_for() {
        let short = Err(libc::ENOMEM);
        let (result, pauses) = persisted(&[short, short, Ok(7)]);
        assert_eq!((result.ok(), pauses), (Some(7), 2));
    }

    #[test]
    fn memory_that_stays_short_and_anything_else_is_an_error() {
        let (result, pauses) = persisted(&[Err(libc::ENOMEM)]);
        let code = result.err().and_then(|error| error.raw_os_error());
        assert_eq!((code, pauses), (Some(libc::ENOMEM), 49));
        let (result, pauses) = persisted(&[Err(libc::EPERM), Ok(7)]);
        assert!(result.is_err());
        assert_eq!(pauses, 0);
    }
}
