//! The codes of RFC 7143 section 11.

open_enum! {
    /// What a PDU is (RFC 7143 section 11.2.1.2).
    pub enum Opcode: u8 {
        /// Initiator's ping or its answer to the target's.
        NopOut = 0x00,
        /// A SCSI command.
        ScsiCommand = 0x01,
        /// A task management request.
        TaskManagementRequest = 0x02,
        /// Login.
        LoginRequest = 0x03,
        /// Text negotiation.
        TextRequest = 0x04,
        /// Data of a write.
        DataOut = 0x05,
        /// Logout.
        LogoutRequest = 0x06,
        /// A request to send something again.
        Snack = 0x10,
        /// Target's ping or its answer to the initiator's.
        NopIn = 0x20,
        /// How a command ended.
        ScsiResponse = 0x21,
        /// How a task management function ended.
        TaskManagementResponse = 0x22,
        /// Login.
        LoginResponse = 0x23,
        /// Text negotiation.
        TextResponse = 0x24,
        /// Data of a read.
        DataIn = 0x25,
        /// Logout.
        LogoutResponse = 0x26,
        /// Ready to transfer.
        R2t = 0x31,
        /// An event that nobody asked for.
        AsyncMessage = 0x32,
        /// A PDU that the target refuses.
        Reject = 0x3f,
    }
}

open_enum! {
    /// Queueing of a command (RFC 7143 section 11.3.1).
    #[derive(serde::Serialize, serde::Deserialize)]
    pub enum TaskAttribute: u8 {
        /// Taken as SIMPLE.
        Untagged = 0,
        /// SIMPLE.
        Simple = 1,
        /// ORDERED.
        Ordered = 2,
        /// HEAD OF QUEUE.
        HeadOfQueue = 3,
        /// ACA.
        Aca = 4,
    }
}

open_enum! {
    /// Task management functions (RFC 7143 section 11.5.1; RFC 7144 section 4.2).
    pub enum TaskFunction: u8 {
        /// ABORT TASK.
        AbortTask = 1,
        /// ABORT TASK SET.
        AbortTaskSet = 2,
        /// CLEAR ACA.
        ClearAca = 3,
        /// CLEAR TASK SET.
        ClearTaskSet = 4,
        /// LOGICAL UNIT RESET.
        LogicalUnitReset = 5,
        /// TARGET WARM RESET.
        TargetWarmReset = 6,
        /// TARGET COLD RESET.
        TargetColdReset = 7,
        /// TASK REASSIGN: error recovery level 2.
        TaskReassign = 8,
        /// QUERY TASK.
        QueryTask = 9,
        /// QUERY TASK SET.
        QueryTaskSet = 10,
        /// I_T NEXUS RESET.
        NexusReset = 11,
        /// QUERY ASYNCHRONOUS EVENT.
        QueryAsynchronousEvent = 12,
    }
}

open_enum! {
    /// How a task management function ended (RFC 7143 section 11.6.1; RFC 7144 section 4.3).
    pub enum TaskManagementResponse: u8 {
        /// Function complete.
        Complete = 0,
        /// Task does not exist.
        TaskDoesNotExist = 1,
        /// LUN does not exist.
        LunDoesNotExist = 2,
        /// Task still allegiant.
        TaskStillAllegiant = 3,
        /// Task allegiance reassignment not supported.
        ReassignmentNotSupported = 4,
        /// Task management function not supported.
        NotSupported = 5,
        /// Function authorization failed.
        NotAuthorized = 6,
        /// Function succeeded (RFC 7144): the query's answer is yes.
        Succeeded = 7,
        /// Function rejected.
        Rejected = 255,
    }
}

open_enum! {
    /// Why an initiator logs out (RFC 7143 section 11.14.1).
    pub enum LogoutReason: u8 {
        /// Close the session.
        CloseSession = 0,
        /// Close the connection.
        CloseConnection = 1,
        /// Remove the connection for recovery.
        RemoveForRecovery = 2,
    }
}

open_enum! {
    /// How a logout ended (RFC 7143 section 11.15.1).
    pub enum LogoutResult: u8 {
        /// Connection or session closed.
        Closed = 0,
        /// CID not found.
        CidNotFound = 1,
        /// Connection recovery is not supported.
        RecoveryNotSupported = 2,
        /// Cleanup failed.
        CleanupFailed = 3,
    }
}

open_enum! {
    /// What an Async Message tells (RFC 7143 section 11.9.1).
    pub enum AsyncCode: u8 {
        /// A SCSI asynchronous event.
        Scsi = 0,
        /// The target asks for a logout.
        RequestLogout = 1,
        /// The target will drop the connection.
        DropConnection = 2,
        /// The target will drop all connections of the session.
        DropSession = 3,
        /// The target asks for parameter negotiation.
        RequestNegotiation = 4,
        /// All active tasks of a logical unit are being terminated.
        TasksTerminated = 5,
        /// Vendor-specific.
        Vendor = 255,
    }
}

open_enum! {
    /// Why a PDU is rejected (RFC 7143 section 11.17.1).
    pub enum RejectReason: u8 {
        /// Data (payload) digest error.
        DataDigest = 0x02,
        /// SNACK reject.
        Snack = 0x03,
        /// Protocol error.
        ProtocolError = 0x04,
        /// Command not supported.
        NotSupported = 0x05,
        /// Immediate command reject: too many immediate commands.
        TooManyImmediate = 0x06,
        /// Task in progress.
        TaskInProgress = 0x07,
        /// Invalid data ACK.
        InvalidDataAck = 0x08,
        /// Invalid PDU field.
        InvalidField = 0x09,
        /// Long operation reject: cannot generate a target transfer tag.
        LongOperation = 0x0a,
        /// Waiting for logout.
        WaitingForLogout = 0x0c,
    }
}

open_enum! {
    /// Status-Class and Status-Detail of a Login Response, in one number (RFC 7143 section
    /// 11.13.5).
    pub enum LoginStatus: u16 {
        /// Go on.
        Success = 0x0000,
        /// The target moved for now; TargetAddress says where.
        MovedTemporarily = 0x0101,
        /// The target moved for good; TargetAddress says where.
        MovedPermanently = 0x0102,
        /// Miscellaneous initiator error.
        InitiatorError = 0x0200,
        /// The initiator could not be authenticated.
        AuthenticationFailure = 0x0201,
        /// The initiator may not use this target.
        AuthorizationFailure = 0x0202,
        /// There is no such target.
        NotFound = 0x0203,
        /// The target was removed for good.
        TargetRemoved = 0x0204,
        /// No common version.
        UnsupportedVersion = 0x0205,
        /// Too many connections on this session.
        TooManyConnections = 0x0206,
        /// A key is missing.
        MissingParameter = 0x0207,
        /// The session does not span to this portal.
        CannotIncludeInSession = 0x0208,
        /// The session type is not supported.
        SessionTypeNotSupported = 0x0209,
        /// The session to join does not exist.
        SessionDoesNotExist = 0x020a,
        /// Invalid request during login.
        InvalidDuringLogin = 0x020b,
        /// Target hardware or software error.
        TargetError = 0x0300,
        /// The service is not available now.
        ServiceUnavailable = 0x0301,
        /// Out of resources.
        OutOfResources = 0x0302,
    }
}

impl LoginStatus {
    /// Status-Class.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.to_wire().to_be_bytes()[0]
    }

    /// Status-Detail.
    #[must_use]
    pub const fn detail(self) -> u8 {
        self.to_wire().to_be_bytes()[1]
    }
}

/// SessionType (RFC 7143 section 13.21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SessionType {
    /// Carries SCSI commands.
    #[default]
    Normal,
    /// Answers SendTargets and nothing else.
    Discovery,
}
