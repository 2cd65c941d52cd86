//! The matrix: which class of command is allowed to whom (SPC-4 section 5.13.1, SBC-3 section 4.17).
//!
//! The matrix is worked out once, when a state is turned into [`Rights`]; an I/O tests one bit.

use super::kinds::ReservationType;

/// What a command needs, by class. EXTENDED COPY needs [`Access::Write`] on the logical unit that
/// receives it, and `Read` or `Write` on every source and destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Allowed whoever holds what, an SPC-2 reservation included (SPC-2 section 5.5.1 and annex B):
    /// INQUIRY, REPORT LUNS, REQUEST SENSE, LOG SENSE, READ CAPACITY and their like, and RESERVE and
    /// RELEASE, which decide for themselves.
    Exempt,
    /// N: never conflicts with a persistent reservation: TEST UNIT READY, MODE SENSE, PERSISTENT
    /// RESERVE IN and their like.
    Never,
    /// R: reads the medium, or tells of it.
    Read,
    /// W: changes the medium, the cache, or how the logical unit works.
    Write,
    /// P1: PERSISTENT RESERVE OUT with REGISTER or REGISTER AND IGNORE EXISTING KEY.
    Register,
    /// P2: PERSISTENT RESERVE OUT with CLEAR, PREEMPT, PREEMPT AND ABORT or RELEASE.
    Manage,
    /// P3: PERSISTENT RESERVE OUT with RESERVE or REGISTER AND MOVE.
    Take,
}

impl Access {
    /// All classes.
    pub const ALL: [Self; 7] = [
        Self::Exempt,
        Self::Never,
        Self::Read,
        Self::Write,
        Self::Register,
        Self::Manage,
        Self::Take,
    ];

    /// The bits of [`Rights`] that the class needs.
    const fn bits(self) -> u8 {
        match self {
            Self::Exempt => 0,
            Self::Never | Self::Register => Rights::OPEN,
            Self::Read => Rights::READ,
            Self::Write => Rights::WRITE,
            Self::Manage => Rights::MANAGE,
            Self::Take => Rights::TAKE,
        }
    }
}

/// How a nexus stands to the logical unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not registered.
    Stranger,
    /// Registered; holds no reservation.
    Registrant,
    /// Holds the reservation. Every registrant does under an all-registrants type.
    Holder,
}

const A: bool = true;
const C: bool = false;

/// Columns of [`MATRIX`]: the reservation's type and how the sender stands to it. The holder has
/// none, because it is always allowed.
#[derive(Clone, Copy)]
enum Column {
    /// Write Exclusive, a registrant.
    WriteRegistrant = 0,
    /// Write Exclusive, a stranger.
    WriteStranger = 1,
    /// Exclusive Access, a registrant.
    AccessRegistrant = 2,
    /// Exclusive Access, a stranger.
    AccessStranger = 3,
    /// Registrants only, a registrant (under all registrants, each one is a holder).
    SharedRegistrant = 4,
    /// Write Exclusive for registrants or all registrants, a stranger.
    SharedWriteStranger = 5,
    /// Exclusive Access for registrants or all registrants, a stranger.
    SharedAccessStranger = 6,
}

/// A = allowed, C = conflict.
///
/// ```text
///          type    WE  WE  EA  EA  RO  WE-RO/AR  EA-RO/AR
///          sender  reg str reg str reg str       str
/// ```
const MATRIX: [(Access, [bool; 7]); 7] = [
    (Access::Exempt, [A, A, A, A, A, A, A]),
    (Access::Never, [A, A, A, A, A, A, A]),
    (Access::Read, [A, A, C, C, A, A, C]),
    (Access::Write, [C, C, C, C, A, C, C]),
    (Access::Register, [A, A, A, A, A, A, A]),
    (Access::Manage, [A, C, A, C, A, C, C]),
    (Access::Take, [C, C, C, C, C, C, C]),
];

/// The column of a sender, or `None` for the holder, which is always allowed.
const fn column(kind: ReservationType, standing: Standing) -> Option<Column> {
    use ReservationType::{
        ExclusiveAccess, ExclusiveAccessAllRegistrants, ExclusiveAccessRegistrantsOnly,
        WriteExclusive, WriteExclusiveAllRegistrants, WriteExclusiveRegistrantsOnly,
    };
    match (standing, kind) {
        (Standing::Holder, _) => None,
        (Standing::Registrant, WriteExclusive) => Some(Column::WriteRegistrant),
        (Standing::Registrant, ExclusiveAccess) => Some(Column::AccessRegistrant),
        (Standing::Registrant, _) => Some(Column::SharedRegistrant),
        (Standing::Stranger, WriteExclusive) => Some(Column::WriteStranger),
        (Standing::Stranger, ExclusiveAccess) => Some(Column::AccessStranger),
        (Standing::Stranger, WriteExclusiveRegistrantsOnly | WriteExclusiveAllRegistrants) => {
            Some(Column::SharedWriteStranger)
        }
        (Standing::Stranger, ExclusiveAccessRegistrantsOnly | ExclusiveAccessAllRegistrants) => {
            Some(Column::SharedAccessStranger)
        }
    }
}

/// What one nexus may do, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Rights(u8);

impl Rights {
    /// No other nexus holds an SPC-2 reservation.
    const OPEN: u8 = 0x01;
    const READ: u8 = 0x02;
    const WRITE: u8 = 0x04;
    const MANAGE: u8 = 0x08;
    const TAKE: u8 = 0x10;
    const REGISTERED: u8 = 0x20;
    const HOLDER: u8 = 0x40;

    /// The rights of a nexus that is not registered while nothing is reserved.
    pub const UNRESERVED: Self =
        Self(Self::OPEN | Self::READ | Self::WRITE | Self::MANAGE | Self::TAKE);

    /// The rights under a reservation of type `kind` (or none), when no SPC-2 reservation of
    /// another nexus stands in the way.
    #[must_use]
    pub fn new(kind: Option<ReservationType>, standing: Standing) -> Self {
        let column = kind.and_then(|kind| column(kind, standing));
        let allowed = MATRIX.iter().filter(|(_, row)| match column {
            None => true,
            Some(column) => row[column as usize],
        });
        let standing = match standing {
            Standing::Stranger => 0,
            Standing::Registrant => Self::REGISTERED,
            Standing::Holder => Self::REGISTERED | Self::HOLDER,
        };
        Self(allowed.fold(standing, |bits, (access, _)| bits | access.bits()))
    }

    /// These rights while another nexus holds an SPC-2 reservation: nothing but what is exempt.
    #[must_use]
    pub const fn blocked(self) -> Self {
        Self(self.0 & (Self::REGISTERED | Self::HOLDER))
    }

    /// Whether a command of that class is allowed; if not, it ends with RESERVATION CONFLICT.
    ///
    /// For the classes of PERSISTENT RESERVE OUT this is the matrix alone; [`apply`](fn@super::apply)
    /// has the last word.
    #[inline]
    #[must_use]
    pub const fn permits(self, access: Access) -> bool {
        self.0 & access.bits() == access.bits()
    }

    /// Whether the medium may be read.
    #[inline]
    #[must_use]
    pub const fn can_read(self) -> bool {
        self.permits(Access::Read)
    }

    /// Whether the medium may be written.
    #[inline]
    #[must_use]
    pub const fn can_write(self) -> bool {
        self.permits(Access::Write)
    }

    /// Whether the nexus is registered.
    #[inline]
    #[must_use]
    pub const fn is_registered(self) -> bool {
        self.0 & Self::REGISTERED != 0
    }

    /// Whether the nexus holds the persistent reservation.
    #[inline]
    #[must_use]
    pub const fn is_holder(self) -> bool {
        self.0 & Self::HOLDER != 0
    }

    /// Whether another nexus holds an SPC-2 reservation.
    #[inline]
    #[must_use]
    pub const fn spc2_blocked(self) -> bool {
        self.0 & Self::OPEN == 0
    }

    /// Whether the right to read or to write went lost from `self` to `later`.
    #[must_use]
    pub const fn shrink_to(self, later: Self) -> bool {
        self.0 & !later.0 & (Self::READ | Self::WRITE) != 0
    }
}

/// What a stranger may do while nothing is reserved.
impl Default for Rights {
    fn default() -> Self {
        Self::UNRESERVED
    }
}
