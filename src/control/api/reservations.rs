//! The shapes of the `reservation.*` methods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::volume::VolumeName;

/// A volume's reservation as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationView {
    /// The volume.
    pub volume: String,
    /// The time at the server, to work ages out.
    pub now_ms: u64,
    /// A change is under way and may be shown already: whoever loses rights by it may still be
    /// writing, and the change may yet be taken back.
    pub changing: bool,
    /// PRGENERATION.
    pub generation: u32,
    /// The type's name, such as `WRITE EXCLUSIVE - REGISTRANTS ONLY`; `None`: not reserved.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The type's code.
    pub type_code: Option<u8>,
    /// The scope's name, `LU_SCOPE`: a reservation is always of the whole logical unit.
    pub scope: Option<String>,
    /// Since when the reservation has this type and this holder; `None` where that is not known.
    pub since_ms: Option<u64>,
    /// Whether registrations persist over a loss of power.
    pub aptpl: bool,
    /// All registrations.
    pub registrations: Vec<RegistrationView>,
    /// Who holds the SPC-2 reservation (RESERVE 6 and 10), if there is one.
    pub spc2_holder: Option<NexusView>,
}

/// One registration as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistrationView {
    /// The key, as `0x` and sixteen hexadecimal digits.
    pub key: String,
    /// The key as text, where all of its eight bytes are printable ASCII.
    pub key_text: Option<String>,
    /// Whose it is.
    #[serde(flatten)]
    pub nexus: NexusView,
    /// Whether it holds the reservation.
    pub holder: bool,
    /// Whether it was made through all target ports at once (ALL_TG_PT).
    pub all_target_ports: bool,
    /// Since when the nexus has this key; `None` where that is not known.
    pub since_ms: Option<u64>,
    /// Where its sessions come from, as `ADDR:PORT`; empty: it is not logged in.
    pub addresses: Vec<String>,
}

/// An I_T nexus, or a client whose sessions share one registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NexusView {
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// Its ISID, twelve hexadecimal digits; `any` for a client.
    pub isid: String,
    /// Relative target port identifier; 0 for a client, whose registration is good for every one.
    pub port: u16,
}

/// Parameters of `reservation.history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// The volume's name.
    pub name: VolumeName,
    /// At most that many entries, the newest ones.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only what happened then or later.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// Only what is new since an earlier answer, whose `cursor` this is: entries that have come, counted
    /// up or ended. What is under way is left out, and comes when it has ended.
    #[serde(default)]
    pub after: Option<HistoryCursor>,
    /// With `after`: where nothing is new, how long to wait for it, in milliseconds; at most
    /// [`HISTORY_WAIT_MAX`](crate::base::limits::HISTORY_WAIT_MAX) counts. The answer has no entries if
    /// nothing has come by then. No more than
    /// [`HISTORY_FOLLOWERS_MAX`](crate::base::limits::HISTORY_FOLLOWERS_MAX) requests wait at once; one
    /// more is refused.
    #[serde(default)]
    pub wait_ms: u64,
}

/// How far a history has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryCursor {
    /// The newest entry that there was.
    pub sequence: u64,
    /// How many changes of entries there had been.
    pub revision: u64,
}

/// The history of a volume's reservations as the control socket shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// The volume.
    pub volume: String,
    /// How many entries the server has beyond these.
    pub left_out: usize,
    /// How many entries came since `after` and were pushed out again by later ones.
    pub lost: u64,
    /// Where to go on reading: the next request's `after`.
    pub cursor: HistoryCursor,
    /// Entries, oldest first.
    pub entries: Vec<HistoryEntryView>,
}

/// One thing that happened to a volume's reservations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntryView {
    /// Its number, from 1 on; numbers that are missing were pushed out by later ones.
    pub sequence: u64,
    /// When it happened, for the first time if it was repeated.
    pub at_ms: u64,
    /// When it happened last.
    pub last_ms: u64,
    /// How often it happened.
    pub times: u32,
    /// Who did it.
    pub by: ActorView,
    /// What was done, such as `PREEMPT AND ABORT`.
    pub action: String,
    /// SERVICE ACTION of a PERSISTENT RESERVE OUT.
    pub service_action: Option<u8>,
    /// The type's name, where the command takes one.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// SCOPE and TYPE as they came, where the command takes them.
    pub scope_and_type: Option<u8>,
    /// RESERVATION KEY, as `0x` and sixteen hexadecimal digits.
    pub key: Option<String>,
    /// SERVICE ACTION RESERVATION KEY, likewise.
    pub action_key: Option<String>,
    /// APTPL, where the command takes it.
    pub aptpl: Option<bool>,
    /// How many registrations outlived a restart, or how many entries are lost.
    pub count: Option<u32>,
    /// `GOOD`, `RESERVATION CONFLICT`, `CHECK CONDITION 5/26/00` and the like. `unfinished`: it is
    /// under way; after a restart: it was made durable, and the server was killed before it noted
    /// how it ended.
    pub status: String,
    /// Whether a registration or reservation came, went or changed.
    pub effect: bool,
    /// Who lost what by it.
    pub losses: Vec<LossView>,
    /// How many more lost something.
    pub losses_left_out: u32,
    /// Commands that PREEMPT AND ABORT ended.
    pub aborted: u32,
    /// PRGENERATION afterwards.
    pub generation: u32,
    /// How long it waited for the writes of those who lost rights, in microseconds; `None`: there
    /// was nobody to wait for.
    pub fence_us: Option<u64>,
}

/// Who did something to a volume's reservations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "who", rename_all = "lowercase")]
pub enum ActorView {
    /// An initiator.
    Initiator {
        /// Under which nexus.
        #[serde(flatten)]
        nexus: NexusView,
        /// From which `ADDR:PORT`.
        address: Option<String>,
    },
    /// An operator, over the control socket.
    Operator {
        /// User.
        uid: Option<u32>,
        /// Process.
        pid: Option<u32>,
    },
    /// The target itself.
    Target,
}

/// What one nexus loses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossView {
    /// Who.
    #[serde(flatten)]
    pub nexus: NexusView,
    /// What: `registration`, `reservation`, `write`, `read`.
    pub lost: Vec<String>,
}

/// Parameters of `reservation.check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreemptCheck {
    /// The volume's name.
    pub name: VolumeName,
    /// The key whose registrations would go (SERVICE ACTION RESERVATION KEY), as `0x` and
    /// hexadecimal digits.
    pub preempt: String,
    /// The type to establish if the reservation is taken; left out: the present one.
    #[serde(default)]
    pub type_code: Option<u8>,
    /// Who would send it, by iSCSI name, or by `NAME,i,0xISID`; left out: the holder, or another
    /// registrant that has another key.
    #[serde(default, rename = "as")]
    pub by: Option<String>,
}

/// What a PREEMPT would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreemptCheckView {
    /// The volume.
    pub volume: String,
    /// Who would send it.
    pub by: NexusView,
    /// RESERVATION KEY that it would send.
    pub key: String,
    /// SERVICE ACTION RESERVATION KEY.
    pub preempt: String,
    /// The type's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The type's code.
    pub type_code: u8,
    /// `GOOD`, or how it would be refused; then nothing of what follows would change.
    pub status: String,
    /// Who would lose what.
    pub victims: Vec<VictimView>,
    /// Who would be told what by a unit attention.
    pub attentions: Vec<AttentionView>,
    /// The reservation as it would be; ages are not worked out.
    pub after: Option<ReservationView>,
}

/// What one nexus would lose, and what it has under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VictimView {
    /// Who, and what.
    #[serde(flatten)]
    pub loss: LossView,
    /// Where its sessions come from; empty: it is not logged in.
    pub addresses: Vec<String>,
    /// Its commands under way, which PREEMPT AND ABORT would end.
    pub commands: u32,
    /// How many of them wait for data; nobody waits for these.
    pub awaiting_data: u32,
    /// Its requests at the backend that change the medium; PREEMPT would wait for these.
    pub writes: u32,
}

/// A unit attention that a nexus would be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttentionView {
    /// Who.
    #[serde(flatten)]
    pub nexus: NexusView,
    /// Additional sense code and qualifier, such as `2A/05`.
    pub sense: String,
}

/// Parameters of `reservation.clear`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationClear {
    /// The volume's name.
    pub name: VolumeName,
    /// Only the registrations of this key; left out: every registration and the reservation.
    #[serde(default)]
    pub key: Option<String>,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationClearView {
    /// Who lost what.
    pub losses: Vec<LossView>,
    /// What stands now.
    pub after: ReservationView,
}
