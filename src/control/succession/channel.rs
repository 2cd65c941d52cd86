//! A socket between two processes of this host: one message a packet, and descriptors beside it.

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Descriptors of one packet; the kernel takes 253 (SCM_MAX_FD).
pub(super) const DESCRIPTORS_MAX: usize = 200;
/// How long a process that does not listen is waited for.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one message. A refusal may be long; all else is short.
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// One end of the channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// Why nothing came, or nothing went.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other process has closed its end: it has ended.
    #[error("it is gone")]
    Gone,
    /// It said nothing in time.
    #[error("nothing was heard of it in time")]
    TimedOut,
    /// What came is no message.
    #[error("what it said can't be read: {0}")]
    Unreadable(String),
    /// The system failed.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Gone,
            Errno::AGAIN => Self::TimedOut,
            errno => Self::System(errno.into()),
        }
    }
}

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// Descriptors run out.
    pub fn pair() -> Result<(Self, OwnedFd), ChannelError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&ours, Timeout::Send, Some(SEND_TIMEOUT))?;
        Ok((Self(ours), theirs))
    }

    /// The end that is this process's standard input, which is then empty.
    ///
    /// # Errors
    /// Standard input is no such socket.
    pub fn from_stdin() -> Result<Self, ChannelError> {
        let ours = std::io::stdin().as_fd().try_clone_to_owned()?;
        rustix::net::sockopt::socket_acceptconn(&ours)?;
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        Ok(Self(ours))
    }

    /// Sends a message, and copies of descriptors.
    ///
    /// # Errors
    /// The other process is gone, or the system failed.
    pub fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let bytes = rmp_serde::to_vec_named(message);
        let bytes = bytes.map_err(|error| std::io::Error::other(error.to_string()))?;
        assert!(
            bytes.len() <= MESSAGE_BYTES_MAX && descriptors.len() <= DESCRIPTORS_MAX,
            "a message fits in a packet"
        );
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() {
            let pushed = ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
            assert!(pushed, "there is room for all of them");
        }
        let slices = [IoSlice::new(&bytes)];
        loop {
            match sendmsg(&self.0, &slices, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return Ok(sent.map(drop)?),
            }
        }
    }

    /// Waits for a message, at most `patience`; with it come the descriptors that were sent along.
    ///
    /// # Errors
    /// Nothing came, or no message.
    pub fn receive<M: DeserializeOwned>(
        &self,
        patience: Option<Duration>,
    ) -> Result<(M, Vec<OwnedFd>), ChannelError> {
        set_socket_timeout(&self.0, Timeout::Recv, patience)?;
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut room);
        let received = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            match recvmsg(
                &self.0,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                received => break received?,
            }
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(ChannelError::Unreadable("it was cut off".to_owned()));
        }
        let bytes = bytes.get(..received.bytes).unwrap_or_default();
        if bytes.is_empty() {
            return Err(ChannelError::Gone);
        }
        let message = rmp_serde::from_slice(bytes);
        let message = message.map_err(|error| ChannelError::Unreadable(error.to_string()))?;
        Ok((message, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{ToPredecessor, ToSuccessor};
    use super::*;
    use std::io::{Read, Seek, Write};

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, Channel(theirs))
    }

    #[test]
    fn messages_and_descriptors_arrive_together() {
        let (one, other) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"here").unwrap();
        let many: Vec<_> = (0..DESCRIPTORS_MAX).map(|_| file.as_fd()).collect();
        one.send(&ToSuccessor::Descriptors, &many).unwrap();
        one.send(&ToSuccessor::Serve, &[]).unwrap();
        let (message, descriptors) = other.receive::<ToSuccessor>(None).unwrap();
        assert!(matches!(message, ToSuccessor::Descriptors));
        assert_eq!(descriptors.len(), DESCRIPTORS_MAX);
        let mut copy = std::fs::File::from(descriptors.into_iter().next_back().unwrap());
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "here");
        let (message, descriptors) = other.receive::<ToSuccessor>(None).unwrap();
        assert!(matches!(message, ToSuccessor::Serve) && descriptors.is_empty());
    }

    #[test]
    fn silence_an_end_and_nonsense_are_told_apart() {
        let (one, other) = pair();
        let brief = Some(Duration::from_millis(10));
        let silence = one.receive::<ToPredecessor>(brief).unwrap_err();
        assert!(matches!(silence, ChannelError::TimedOut), "{silence}");
        other.send(&"what?", &[]).unwrap();
        let nonsense = one.receive::<ToPredecessor>(None).unwrap_err();
        assert!(
            matches!(nonsense, ChannelError::Unreadable(_)),
            "{nonsense}"
        );
        drop(other);
        let end = one.receive::<ToPredecessor>(None).unwrap_err();
        assert!(matches!(end, ChannelError::Gone), "{end}");
        let end = one.send(&ToSuccessor::Serve, &[]).unwrap_err();
        assert!(matches!(end, ChannelError::Gone), "{end}");
    }
}
