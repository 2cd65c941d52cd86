"""Sessions of libiscsi, an initiator that shares no code with Holdfast, through ctypes.

The library is called as it is installed; its own code builds the parameter lists, parses what comes
back and runs the sessions. (Its tool iscsi-pr, where a version has it, logs in anew with a random ISID
for each command, so that no registration is ever its own.)
"""

import ctypes
import ctypes.util

# PERSISTENT RESERVE OUT and IN, the one type that both tools use, and what commands end with.
REGISTER, RESERVE, RELEASE, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = 0, 1, 2, 4, 5, 6
READ_KEYS, READ_RESERVATION = 0, 1
WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
GOOD, CHECK_CONDITION, CONFLICT = 0x00, 0x02, 0x18
UNIT_ATTENTION = 6
POWER_ON, NEXUS_LOSS, UNIT_RESET = 0x2900, 0x2907, 0x2903
RESERVATIONS_RELEASED, REGISTRATIONS_PREEMPTED = 0x2A04, 0x2A05
LUN = 0
BLOCK = 512
NORMAL_SESSION = 2


class Failure(Exception):
    """The target did not answer as it was expected to; `status` is the command's, where one ended."""

    def __init__(self, text, status=None):
        super().__init__(text)
        self.status = status


class Task(ctypes.Structure):
    """The first fields of struct scsi_task; it is only ever seen through a pointer."""
    _fields_ = [("status", ctypes.c_int), ("cdb_size", ctypes.c_int), ("direction", ctypes.c_int),
                ("expected", ctypes.c_int), ("cdb", ctypes.c_ubyte * 16), ("residual_status", ctypes.c_int),
                ("residual", ctypes.c_size_t), ("sense_type", ctypes.c_ubyte), ("sense_key", ctypes.c_int),
                ("sense_ascq", ctypes.c_int)]


class OutParameters(ctypes.Structure):
    """struct scsi_persistent_reserve_out_basic."""
    _fields_ = [("key", ctypes.c_uint64), ("action_key", ctypes.c_uint64), ("spec_i_pt", ctypes.c_uint8),
                ("all_tg_pt", ctypes.c_uint8), ("aptpl", ctypes.c_uint8)]


class Keys(ctypes.Structure):
    """The head of struct scsi_persistent_reserve_in_read_keys; the keys follow at offset 16."""
    _fields_ = [("generation", ctypes.c_uint32), ("additional_length", ctypes.c_uint32), ("count", ctypes.c_int)]


class Reservation(ctypes.Structure):
    """struct scsi_persistent_reserve_in_read_reservation."""
    _fields_ = [("generation", ctypes.c_uint32), ("additional_length", ctypes.c_uint32), ("reserved", ctypes.c_int),
                ("key", ctypes.c_uint64), ("scope", ctypes.c_ubyte), ("type", ctypes.c_ubyte)]


class Capacity(ctypes.Structure):
    """The head of struct scsi_readcapacity16."""
    _fields_ = [("last_block", ctypes.c_uint64), ("block_bytes", ctypes.c_uint32)]


def load_library():
    """libiscsi with the prototypes used here, or None where it is not installed."""
    name = ctypes.util.find_library("iscsi")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    for function in ("create_context", "persistent_reserve_in_sync", "persistent_reserve_out_sync",
                     "testunitready_sync", "write10_sync", "read10_sync", "readcapacity16_sync"):
        getattr(library, f"iscsi_{function}").restype = ctypes.c_void_p
    library.iscsi_get_error.restype = ctypes.c_char_p
    library.scsi_datain_unmarshall.restype = ctypes.c_void_p
    return library


class Path:
    """One session: an initiator port of a node, through one portal."""

    def __init__(self, library, portal, target, node, qualifier, account=None):
        self.library = library
        self.where = (portal, target)
        self.account = account
        self.node = node
        self.qualifier = qualifier
        self.told = []
        self.connect()

    def connect(self):
        """Logs in; sends no command of its own, so that no unit attention is lost."""
        library, (portal, target) = self.library, self.where
        name = f"iqn.2024-01.test:{self.node}"
        self.context = ctypes.c_void_p(library.iscsi_create_context(name.encode()))
        library.iscsi_set_noautoreconnect(self.context, 1)
        library.iscsi_set_isid_oui(self.context, 0x00C0FE, self.qualifier)
        library.iscsi_set_session_type(self.context, NORMAL_SESSION)
        library.iscsi_set_targetname(self.context, target.encode())
        if self.account:
            user, secret = self.account
            library.iscsi_set_initiator_username_pwd(self.context, user.encode(), secret.encode())
        if library.iscsi_connect_sync(self.context, portal.encode()) or library.iscsi_login_sync(self.context):
            raise Failure(f"{self}: login: {self.error()}")

    def logout(self):
        if self.library.iscsi_logout_sync(self.context):
            raise Failure(f"{self}: logout: {self.error()}")
        self.cut()

    def cut(self):
        self.library.iscsi_destroy_context(self.context)

    def reset_unit(self):
        if self.library.iscsi_task_mgmt_lun_reset_sync(self.context, LUN):
            raise Failure(f"{self}: LOGICAL UNIT RESET: {self.error()}")

    def error(self):
        return self.library.iscsi_get_error(self.context).decode(errors="replace")

    def ended(self, task, what, expected, read=lambda task: None):
        """Checks how a command ended, reads its data, and frees it."""
        if not task:
            raise Failure(f"{self}: {what}: {self.error()}")
        head = Task.from_address(task)
        got = head.status
        if got != expected:
            raise Failure(f"{self}: {what}: status {got:#04x}, expected {expected:#04x}; "
                          f"sense {head.sense_key:x}/{head.sense_ascq:04x}", got)
        value = read(task)
        self.library.scsi_free_scsi_task(ctypes.c_void_p(task))
        return value

    def test_unit_ready(self):
        """sg_turs, and what hosts do: whatever it is told is noted. True when nothing was."""
        task = self.library.iscsi_testunitready_sync(self.context, LUN)
        status = Task.from_address(task).status if task else None
        if status == GOOD:
            self.ended(task, "TEST UNIT READY", GOOD)
            return True
        code = self.ended(task, "TEST UNIT READY", CHECK_CONDITION,
                          lambda task: (Task.from_address(task).sense_key, Task.from_address(task).sense_ascq))
        if code[0] != UNIT_ATTENTION:
            raise Failure(f"{self}: TEST UNIT READY: sense {code[0]:x}/{code[1]:04x}")
        self.told.append(code[1])
        return False

    def hears(self, *expected):
        """Takes what waits; since the last time it was told exactly this, in this order.

        `expected` holds one code, or a tuple of codes of which each will do, for each place.
        """
        while not self.test_unit_ready():
            pass
        told, self.told = self.told, []
        choices = [code if isinstance(code, tuple) else (code,) for code in expected]
        if len(told) != len(choices) or any(code not in allowed for code, allowed in zip(told, choices)):
            raise Failure(f"{self}: told {[f'{code:04x}' for code in told]}, expected "
                          f"{['/'.join(f'{code:04x}' for code in allowed) for allowed in choices]}")

    def out(self, action, key, action_key=0, aptpl=0, expected=GOOD):
        parameters = OutParameters(key=key, action_key=action_key, aptpl=aptpl)
        task = self.library.iscsi_persistent_reserve_out_sync(
            self.context, LUN, action, 0, WRITE_EXCLUSIVE_REGISTRANTS_ONLY, ctypes.byref(parameters))
        self.ended(task, f"PERSISTENT RESERVE OUT {action}", expected)

    def unmarshall(self, task):
        data = self.library.scsi_datain_unmarshall(ctypes.c_void_p(task))
        if not data:
            raise Failure(f"{self}: libiscsi can't read what came back")
        return data

    def keys(self):
        def read(task):
            data = self.unmarshall(task)
            keys = ctypes.c_uint64 * Keys.from_address(data).count
            return sorted(keys.from_address(data + 16))
        task = self.library.iscsi_persistent_reserve_in_sync(self.context, LUN, READ_KEYS, 1024)
        return self.ended(task, "READ KEYS", GOOD, read)

    def holder(self):
        """The key of the holder, None without a reservation."""
        def read(task):
            held = Reservation.from_address(self.unmarshall(task))
            if held.reserved and (held.scope, held.type) != (0, WRITE_EXCLUSIVE_REGISTRANTS_ONLY):
                raise Failure(f"{self}: READ RESERVATION: scope {held.scope}, type {held.type}")
            return held.key if held.reserved else None
        task = self.library.iscsi_persistent_reserve_in_sync(self.context, LUN, READ_RESERVATION, 1024)
        return self.ended(task, "READ RESERVATION", GOOD, read)

    def capacity(self):
        """Bytes of the unit."""
        def read(task):
            told = Capacity.from_address(self.unmarshall(task))
            return (told.last_block + 1) * told.block_bytes
        return self.ended(self.library.iscsi_readcapacity16_sync(self.context, LUN), "READ CAPACITY(16)", GOOD, read)

    def write(self, expected=GOOD):
        data = (ctypes.c_ubyte * BLOCK)()
        task = self.library.iscsi_write10_sync(self.context, LUN, 0, data, BLOCK, BLOCK, 0, 0, 0, 0, 0)
        self.ended(task, "WRITE(10)", expected)

    def __str__(self):
        return f"{self.node}.{self.qualifier}"
