//! How volumes present themselves: blocks, size, limits, INQUIRY texts.

use super::limits::{LimitChange, LimitError, LimitSettings};
use crate::base::limits::{
    VOLUME_BYTES_MAX, VOLUME_BYTES_MIN, VOLUME_SESSIONS_DEFAULT, VOLUME_SESSIONS_MAX,
    VOLUME_SESSIONS_SHORT_MIN, VOLUME_SESSIONS_SHORT_PERCENT,
};
use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The logical block size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum BlockSize {
    /// 512 bytes.
    #[default]
    Bytes512,
    /// 4096 bytes.
    Bytes4096,
}

impl BlockSize {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }

    /// The power of two that the size is.
    #[must_use]
    pub const fn exponent(self) -> u32 {
        self.bytes().trailing_zeros()
    }
}

impl TryFrom<u32> for BlockSize {
    type Error = SettingsError;

    fn try_from(bytes: u32) -> Result<Self, SettingsError> {
        match bytes {
            512 => Ok(Self::Bytes512),
            4096 => Ok(Self::Bytes4096),
            _ => Err(SettingsError::BlockSize(bytes)),
        }
    }
}

impl FromStr for BlockSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.parse::<u32>().ok();
        let size = bytes.and_then(|bytes| Self::try_from(bytes).ok());
        size.ok_or("expected 512 or 4096 (bytes)")
    }
}

impl From<BlockSize> for u32 {
    fn from(size: BlockSize) -> Self {
        size.bytes()
    }
}

/// Whose a reservation registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReservationScope {
    /// Each I_T nexus registers for itself (SPC-4 section 5.13).
    #[default]
    Nexus,
    /// All sessions of one initiator name share one registration, through every target port. It goes
    /// beyond SPC-4: a client whose sessions come back under other ISIDs is still registered.
    Client,
}

impl ReservationScope {
    /// The word for it in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nexus => "nexus",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for ReservationScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// Why settings are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A block size that is not offered.
    #[error("block size {0}, expected 512 or 4096 bytes")]
    BlockSize(u32),
    /// No session at all, or more than a volume may have.
    #[error("{0} sessions, expected 1 to {VOLUME_SESSIONS_MAX}")]
    Sessions(u32),
    /// A setting that never changes.
    #[error(
        "the block size stays {present} bytes, not {asked}: initiators address what they have written \
         by blocks of {present} bytes; copy it to a new volume of the other size"
    )]
    BlockSizeFixed {
        /// The size that the volume has.
        present: u32,
        /// The size that was asked for.
        asked: u32,
    },
    /// Limits that can't be.
    #[error(transparent)]
    Limits(#[from] LimitError),
    /// A text that INQUIRY cannot carry.
    #[error("{text:?} as INQUIRY text, expected at most {length_max} printable ASCII characters")]
    Inquiry {
        /// The text.
        text: String,
        /// Characters its field has.
        length_max: usize,
    },
}

/// A text field of INQUIRY data: at most `N` printable ASCII characters (SPC-4 section 4.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct InquiryText<const N: usize>(String);

impl<const N: usize> InquiryText<N> {
    /// The text, if the field can carry it.
    pub fn new(text: &str) -> Result<Self, SettingsError> {
        let printable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if !printable || text.len() > N {
            return Err(SettingsError::Inquiry {
                text: text.to_owned(),
                length_max: N,
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The text without padding.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The field: left-aligned, padded with spaces.
    #[must_use]
    pub fn padded(&self) -> [u8; N] {
        let mut field = [b' '; N];
        field
            .iter_mut()
            .zip(self.0.bytes())
            .for_each(|(place, byte)| *place = byte);
        field
    }
}

impl<const N: usize> TryFrom<String> for InquiryText<N> {
    type Error = SettingsError;

    fn try_from(text: String) -> Result<Self, SettingsError> {
        Self::new(&text)
    }
}

impl<const N: usize> From<InquiryText<N>> for String {
    fn from(text: InquiryText<N>) -> Self {
        text.0
    }
}

impl<const N: usize> fmt::Display for InquiryText<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// What is set for one volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VolumeSettings {
    /// The logical block size.
    pub block_size: BlockSize,
    /// Whether every write is refused.
    pub read_only: bool,
    /// Whether the medium can be ejected (RMB of INQUIRY data).
    pub removable: bool,
    /// The most sessions at one time; `None`: as many as others have.
    pub sessions_max: Option<u32>,
    /// Whose a registration is. Another scope would make other registrants of those that have
    /// registered, so it changes only while nobody has.
    pub reservation_scope: ReservationScope,
    /// Operations and bytes per second.
    #[serde(skip_serializing_if = "LimitSettings::is_default")]
    pub limits: LimitSettings,
}

/// What holds for all volumes, as far as none has a setting of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonSettings {
    /// The most sessions at one time.
    pub sessions_max: u32,
    /// T10 VENDOR IDENTIFICATION.
    pub vendor: InquiryText<8>,
    /// PRODUCT IDENTIFICATION.
    pub product: InquiryText<16>,
    /// Whose registrations are, in volumes yet to be made.
    pub reservation_scope: ReservationScope,
}

impl Default for CommonSettings {
    fn default() -> Self {
        Self {
            sessions_max: VOLUME_SESSIONS_DEFAULT,
            vendor: InquiryText("HOLDFAST".to_owned()),
            product: InquiryText("VOLUME".to_owned()),
            reservation_scope: ReservationScope::default(),
        }
    }
}

/// What is to be set otherwise; `None`: as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// The logical block size. It never changes; to ask for the present one is no error.
    pub block_size: Option<BlockSize>,
    /// Whether every write is refused.
    pub read_only: Option<bool>,
    /// Whether the medium can be ejected.
    pub removable: Option<bool>,
    /// The most sessions at one time; `Some(None)`: as many as others have.
    pub sessions_max: Option<Option<u32>>,
    /// Whose a registration is.
    pub reservation_scope: Option<ReservationScope>,
    /// Operations and bytes per second.
    pub limits: LimitChange,
}

/// When settings may take the place of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeWhen {
    /// They are the same.
    Same,
    /// While initiators are at work.
    Live,
    /// Only while nobody uses the volume: no session, no registration, no reservation.
    Unused(Vec<UnusedOnly>),
}

/// A setting that changes only while nobody uses the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusedOnly {
    /// [`VolumeSettings::read_only`].
    ReadOnly,
    /// [`VolumeSettings::removable`].
    Removable,
    /// [`VolumeSettings::reservation_scope`].
    ReservationScope,
}

impl UnusedOnly {
    /// The word for it in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Removable => "removable",
            Self::ReservationScope => "reservation_scope",
        }
    }

    /// Why it is so, after the setting's name.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ReadOnly => {
                "is what an initiator has read when it logged in (WP of MODE SENSE), and what its file \
                 system relies on"
            }
            Self::Removable => {
                "is what an initiator has read when it logged in (RMB of INQUIRY), and decides which \
                 driver it uses"
            }
            Self::ReservationScope => {
                "says whose a registration is: those that stand would become registrations of others"
            }
        }
    }
}

impl VolumeSettings {
    /// The settings after `change`.
    pub fn changed_by(&self, change: &SettingsChange) -> Result<Self, SettingsError> {
        if let Some(asked) = change.block_size.filter(|asked| *asked != self.block_size) {
            return Err(SettingsError::BlockSizeFixed {
                present: self.block_size.bytes(),
                asked: asked.bytes(),
            });
        }
        let changed = Self {
            block_size: self.block_size,
            read_only: change.read_only.unwrap_or(self.read_only),
            removable: change.removable.unwrap_or(self.removable),
            sessions_max: change.sessions_max.unwrap_or(self.sessions_max),
            reservation_scope: change.reservation_scope.unwrap_or(self.reservation_scope),
            limits: self.limits.changed_by(&change.limits),
        };
        changed.check().map(|()| changed)
    }

    /// When `next` may take the place of these settings.
    #[must_use]
    pub fn when_to_become(&self, next: &Self) -> ChangeWhen {
        let different = [
            (self.read_only != next.read_only, UnusedOnly::ReadOnly),
            (self.removable != next.removable, UnusedOnly::Removable),
            (
                self.reservation_scope != next.reservation_scope,
                UnusedOnly::ReservationScope,
            ),
        ];
        let unused: Vec<_> = different
            .into_iter()
            .filter_map(|(differs, setting)| differs.then_some(setting))
            .collect();
        match unused.is_empty() {
            false => ChangeWhen::Unused(unused),
            true if self == next => ChangeWhen::Same,
            true => ChangeWhen::Live,
        }
    }

    /// Passes if all settings are within their ranges.
    pub fn check(&self) -> Result<(), SettingsError> {
        match self.sessions_max {
            Some(sessions) if !(1..=VOLUME_SESSIONS_MAX).contains(&sessions) => {
                Err(SettingsError::Sessions(sessions))
            }
            _ => Ok(self.limits.check()?),
        }
    }
}

/// Whether a volume that has `sessions` of at most `sessions_max` is so nearly full that an operator
/// ought to know.
#[must_use]
pub const fn sessions_run_short(sessions: usize, sessions_max: u32) -> bool {
    let sessions = sessions as u64;
    sessions_max >= VOLUME_SESSIONS_SHORT_MIN
        && sessions * 100 >= sessions_max as u64 * VOLUME_SESSIONS_SHORT_PERCENT as u64
}

/// Why a volume cannot have that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Below or above what a volume may have.
    #[error(
        "{asked} bytes, expected {least} ({VOLUME_BYTES_MIN} bytes) to {most} ({VOLUME_BYTES_MAX} bytes)",
        asked = .0,
        least = ByteSize::b(VOLUME_BYTES_MIN),
        most = ByteSize::b(VOLUME_BYTES_MAX)
    )]
    Range(u64),
    /// Not a whole number of logical blocks.
    #[error("{size_bytes} bytes, expected a multiple of the block size {block_bytes}")]
    Blocks {
        /// The size asked for.
        size_bytes: u64,
        /// The logical block size.
        block_bytes: u32,
    },
    /// A volume never shrinks: initiators would lose what they wrote.
    #[error(
        "{asked_bytes} bytes, expected at least the present {present_bytes}: volumes only grow"
    )]
    Shrink {
        /// The size asked for.
        asked_bytes: u64,
        /// The size the volume has.
        present_bytes: u64,
    },
}

/// Passes if a volume with such blocks may have `size_bytes`.
pub(super) fn check_size(size_bytes: u64, block_size: BlockSize) -> Result<(), SizeError> {
    if !(VOLUME_BYTES_MIN..=VOLUME_BYTES_MAX).contains(&size_bytes) {
        return Err(SizeError::Range(size_bytes));
    }
    let block_bytes = block_size.bytes();
    if !size_bytes.is_multiple_of(block_bytes.into()) {
        return Err(SizeError::Blocks {
            size_bytes,
            block_bytes,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_block_sizes() {
        let sizes = [BlockSize::Bytes512, BlockSize::Bytes4096];
        assert_eq!(sizes.map(BlockSize::exponent), [9, 12]);
        assert_eq!(
            sizes.map(|size| BlockSize::try_from(size.bytes())),
            sizes.map(Ok)
        );
        assert_eq!(BlockSize::try_from(520), Err(SettingsError::BlockSize(520)));
    }

    #[test]
    fn a_size_is_whole_blocks_within_the_limits() {
        let small = BlockSize::Bytes512;
        for size in [VOLUME_BYTES_MIN, VOLUME_BYTES_MIN + 512, VOLUME_BYTES_MAX] {
            assert_eq!(check_size(size, small), Ok(()));
        }
        for size in [0, VOLUME_BYTES_MIN - 512, VOLUME_BYTES_MAX + 512, u64::MAX] {
            assert_eq!(check_size(size, small), Err(SizeError::Range(size)));
        }
        let size_bytes = VOLUME_BYTES_MIN + 512;
        let expected = SizeError::Blocks {
            size_bytes,
            block_bytes: 4096,
        };
        assert_eq!(check_size(size_bytes, BlockSize::Bytes4096), Err(expected));
    }

    #[test]
    fn inquiry_texts_fit_their_fields() {
        assert_eq!(InquiryText::<4>::new("ab").unwrap().padded(), *b"ab  ");
        assert!(InquiryText::<4>::new("abcde").is_err());
        assert!(InquiryText::<4>::new("é").is_err());
        assert!(InquiryText::<4>::new("a\n").is_err());
    }

    #[test]
    fn settings_have_ranges_and_defaults_pass() {
        assert_eq!(VolumeSettings::default().check(), Ok(()));
        let with = |sessions| VolumeSettings {
            sessions_max: Some(sessions),
            ..VolumeSettings::default()
        };
        assert_eq!(with(VOLUME_SESSIONS_MAX).check(), Ok(()));
        for wrong in [0, VOLUME_SESSIONS_MAX + 1] {
            assert_eq!(with(wrong).check(), Err(SettingsError::Sessions(wrong)));
        }
        assert_eq!(CommonSettings::default().sessions_max, 128);
    }

    #[test]
    fn sessions_run_short_from_nine_tenths_on() {
        for (sessions, most, short) in [
            (115, 128, false),
            (116, 128, true),
            (128, 128, true),
            (8, 10, false),
            (9, 10, true),
            (9, 9, false),
            (1, 1, false),
            (300, 128, true),
        ] {
            assert_eq!(
                sessions_run_short(sessions, most),
                short,
                "{sessions} of {most}"
            );
        }
    }

    #[test]
    fn a_change_says_when_it_may_be() {
        let present = VolumeSettings::default();
        let when = |change: SettingsChange| {
            let next = present.changed_by(&change).unwrap();
            present.when_to_become(&next)
        };
        let none = SettingsChange::default;
        assert_eq!(when(none()), ChangeWhen::Same);
        let same = SettingsChange {
            block_size: Some(present.block_size),
            removable: Some(false),
            sessions_max: Some(None),
            ..none()
        };
        assert_eq!(when(same), ChangeWhen::Same);
        let sessions_max = Some(Some(7));
        let live = SettingsChange {
            sessions_max,
            ..none()
        };
        assert_eq!(when(live), ChangeWhen::Live);
        let all = SettingsChange {
            read_only: Some(true),
            removable: Some(true),
            reservation_scope: Some(ReservationScope::Client),
            sessions_max,
            limits: LimitChange::default(),
            block_size: None,
        };
        let settings = [
            UnusedOnly::ReadOnly,
            UnusedOnly::Removable,
            UnusedOnly::ReservationScope,
        ];
        assert_eq!(when(all), ChangeWhen::Unused(settings.to_vec()));
    }

    #[test]
    fn a_change_to_what_cannot_be_is_refused() {
        let present = VolumeSettings::default();
        let blocks = SettingsChange {
            block_size: Some(BlockSize::Bytes4096),
            ..SettingsChange::default()
        };
        let fixed = SettingsError::BlockSizeFixed {
            present: 512,
            asked: 4096,
        };
        assert_eq!(present.changed_by(&blocks), Err(fixed));
        let sessions = SettingsChange {
            sessions_max: Some(Some(0)),
            ..SettingsChange::default()
        };
        assert_eq!(
            present.changed_by(&sessions),
            Err(SettingsError::Sessions(0))
        );
    }

    #[test]
    fn settings_left_out_are_the_defaults_and_unknown_ones_are_errors() {
        let settings: VolumeSettings = serde_json::from_str("{\"block_size\": 4096}").unwrap();
        assert_eq!(settings.block_size, BlockSize::Bytes4096);
        assert_eq!(settings.sessions_max, None);
        assert_eq!(settings.reservation_scope, ReservationScope::Nexus);
        assert!(serde_json::from_str::<VolumeSettings>("{\"blocksize\": 4096}").is_err());
        assert!(serde_json::from_str::<VolumeSettings>("{\"block_size\": 1024}").is_err());
    }
}
