//! Layer 1: RFC 7143 without I/O. Bytes and `now` in, events and bytes out.
//!
//! [`Connection`] is the entry point: one TCP connection of a target, from its first Login PDU to
//! its end. It never reads a clock, never touches a socket and never knows what a CDB means.
//!
//! | room | what it is |
//! |---|---|
//! | [`pdu`] | one file per wire format: parse and emit, both directions |
//! | [`text`] | `key=value` lists within bounds |
//! | [`negotiate`] | the keys of RFC 7143 section 13 and their result functions |
//! | [`chap`] | CHAP, one-way and mutual (section 12.1) |
//! | [`login`] | stages, transitions and status of the login phase (section 6.3) |
//! | [`window`] | CmdSN, ExpCmdSN, MaxCmdSN (section 4.2.2) |
//! | `tags` | which task an Initiator Task Tag names |
//! | [`transfer`] | Data-Out against immediate, unsolicited and solicited sequences (section 4.2.5) |
//! | `task` | what a connection remembers of a command |
//! | [`discovery`] | SendTargets (appendix C) |
//! | [`connection`] | the pull parser and the state of one connection |
//! | [`event`], [`answer`] | what a connection tells its owner, and what it is told |
//! | [`error`] | one variant for each violation of the peer |
//!
//! Error recovery is level 0 and a session has one connection. The seams for more: a [`window`] is
//! a value of its own that several connections could share, status is numbered in one place
//! (`connection::output`), and [`event::LoginIdentity`] carries TSIH and CID.

pub mod answer;
pub mod chap;
pub mod connection;
pub mod discovery;
pub mod error;
pub mod event;
pub mod login;
pub mod negotiate;
pub mod pdu;
pub mod settings;
mod tags;
mod task;
pub mod text;
pub mod transfer;
pub mod window;

pub use answer::{
    AsyncEvent, AuthPolicy, ChapAccount, ChapPolicy, Identity, Offer, Response, Secret,
    TargetRecord,
};
pub use connection::Connection;
pub use connection::parked::{NotParked, Parked};
pub use connection::whole::{ReadData, WholeCommand};
pub use error::{CloseReason, DataOutError, Violation};
pub use event::{
    Cdb, Command, Event, LoginIdentity, LoginSummary, Parameters, Referenced, SendTargetsRequest,
    TaskId, TaskManagement,
};
pub use pdu::{
    LoginStatus, LogoutReason, SessionType, TaskAttribute, TaskFunction, TaskManagementResponse,
};
pub use settings::{Entropy, Portal, Settings};
