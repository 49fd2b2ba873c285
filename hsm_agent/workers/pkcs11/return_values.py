"""Names of return values, and which of them mean what to a monitor. Both sides of the pipe use these."""

from __future__ import annotations

OK = 0x0
SLOT_ID_INVALID = 0x3
ARGUMENTS_BAD = 0x7
CANT_LOCK = 0xA
ACTION_PROHIBITED = 0x1B
FUNCTION_NOT_SUPPORTED = 0x54
SESSION_COUNT = 0xB1
TOKEN_NOT_PRESENT = 0xE0
TOKEN_NOT_RECOGNIZED = 0xE1
DEVICE_REMOVED = 0x32
RANDOM_NO_RNG = 0x121
BUFFER_TOO_SMALL = 0x150
NOT_INITIALIZED = 0x190
ALREADY_INITIALIZED = 0x191
USER_NOT_LOGGED_IN = 0x101
USER_TYPE_INVALID = 0x103
FUNCTION_REJECTED = 0x200
USER_NOT_AUTHORIZED = 0x8000001A
MTK_ZEROIZED = 0x80000026
OPERATION_NOT_ALLOWED = 0x80000030
LOG_FULL = 0x80000035
LOG_AUDIT_NOT_INITIALIZED = 0x80000039
HSM_IN_TRANSPORT = 0x8000006E
HSM_TAMPERED = 0x80000076

ABSENT = frozenset({SLOT_ID_INVALID, DEVICE_REMOVED, TOKEN_NOT_PRESENT, TOKEN_NOT_RECOGNIZED})
"""Answers that mean: there is no token there now."""

STATEMENTS = frozenset({LOG_FULL, HSM_TAMPERED, MTK_ZEROIZED})
"""What a Luna says of itself in whatever call it refuses: readings of their own say so, the source did its work."""

REFUSALS = frozenset(
    {
        ARGUMENTS_BAD,
        ACTION_PROHIBITED,
        USER_NOT_LOGGED_IN,
        FUNCTION_REJECTED,
        USER_NOT_AUTHORIZED,
        OPERATION_NOT_ALLOWED,
    }
)
"""Answers that mean: not without a login, not on this slot, or not in this firmware. Asking again does not help."""

NEVER_HERE = frozenset({FUNCTION_NOT_SUPPORTED, USER_TYPE_INVALID})
"""Answers that mean: this slot has no such function or role."""

# PKCS#11 2.40 base specification, section 5.1; the functions a monitor calls can return these.
_STANDARD = {
    0x000: "OK",
    0x001: "CANCEL",
    0x002: "HOST_MEMORY",
    0x003: "SLOT_ID_INVALID",
    0x005: "GENERAL_ERROR",
    0x006: "FUNCTION_FAILED",
    0x007: "ARGUMENTS_BAD",
    0x008: "NO_EVENT",
    0x009: "NEED_TO_CREATE_THREADS",
    0x00A: "CANT_LOCK",
    0x010: "ATTRIBUTE_READ_ONLY",
    0x011: "ATTRIBUTE_SENSITIVE",
    0x012: "ATTRIBUTE_TYPE_INVALID",
    0x013: "ATTRIBUTE_VALUE_INVALID",
    0x01B: "ACTION_PROHIBITED",
    0x020: "DATA_INVALID",
    0x021: "DATA_LEN_RANGE",
    0x030: "DEVICE_ERROR",
    0x031: "DEVICE_MEMORY",
    0x032: "DEVICE_REMOVED",
    0x050: "FUNCTION_CANCELED",
    0x051: "FUNCTION_NOT_PARALLEL",
    0x054: "FUNCTION_NOT_SUPPORTED",
    0x082: "OBJECT_HANDLE_INVALID",
    0x090: "OPERATION_ACTIVE",
    0x091: "OPERATION_NOT_INITIALIZED",
    0x0A0: "PIN_INCORRECT",
    0x0A3: "PIN_EXPIRED",
    0x0A4: "PIN_LOCKED",
    0x0B0: "SESSION_CLOSED",
    0x0B1: "SESSION_COUNT",
    0x0B3: "SESSION_HANDLE_INVALID",
    0x0B4: "SESSION_PARALLEL_NOT_SUPPORTED",
    0x0B5: "SESSION_READ_ONLY",
    0x0B6: "SESSION_EXISTS",
    0x0B7: "SESSION_READ_ONLY_EXISTS",
    0x0B8: "SESSION_READ_WRITE_SO_EXISTS",
    0x0E0: "TOKEN_NOT_PRESENT",
    0x0E1: "TOKEN_NOT_RECOGNIZED",
    0x0E2: "TOKEN_WRITE_PROTECTED",
    0x100: "USER_ALREADY_LOGGED_IN",
    0x101: "USER_NOT_LOGGED_IN",
    0x102: "USER_PIN_NOT_INITIALIZED",
    0x103: "USER_TYPE_INVALID",
    0x120: "RANDOM_SEED_NOT_SUPPORTED",
    0x121: "RANDOM_NO_RNG",
    0x150: "BUFFER_TOO_SMALL",
    0x170: "INFORMATION_SENSITIVE",
    0x180: "STATE_UNSAVEABLE",
    0x190: "CRYPTOKI_NOT_INITIALIZED",
    0x191: "CRYPTOKI_ALREADY_INITIALIZED",
    0x1A0: "MUTEX_BAD",
    0x1A1: "MUTEX_NOT_LOCKED",
    0x200: "FUNCTION_REJECTED",
}

# Luna's own codes, CKR_VENDOR_DEFINED (0x80000000) and up.
LUNA_CODES = {
    0x80000007: "USER_LOCKED_OUT",
    0x8000001A: "USER_NOT_AUTHORIZED",
    0x8000001C: "SO_LOGIN_FAILURE_THRESHOLD",
    0x8000001F: "UNABLE_TO_CONNECT",
    0x80000020: "PARTITION_DISABLED",
    0x80000021: "CALLBACK_ERROR",
    0x80000023: "SP_TIMEOUT",
    0x80000024: "TIMEOUT",
    0x80000026: "MTK_ZEROIZED",
    0x8000002A: "HSM_STORAGE_FULL",
    0x8000002B: "DEVICE_TIMEOUT",
    0x8000002C: "CONTAINER_OBJECT_STORAGE_FULL",
    0x80000030: "OPERATION_NOT_ALLOWED",
    0x80000031: "LICENSE_CAPACITY_EXCEEDED",
    0x80000032: "LOG_FILE_NOT_OPEN",
    0x80000033: "LOG_FILE_WRITE_ERROR",
    0x80000034: "LOG_BAD_FILE_NAME",
    0x80000035: "LOG_FULL",
    0x80000036: "LOG_NO_KCV",
    0x80000037: "LOG_BAD_RECORD_HMAC",
    0x80000038: "LOG_BAD_TIME",
    0x80000039: "LOG_AUDIT_NOT_INITIALIZED",
    0x8000003A: "LOG_RESYNC_NEEDED",
    0x8000003B: "AUDIT_LOGIN_TIMEOUT",
    0x8000003C: "AUDIT_LOGIN_FAILURE_THRESHOLD",
    0x8000006E: "CMD_NOT_ALLOWED_HSM_IN_TRANSPORT",
    0x80000076: "HSM_TAMPERED",
    0x8000008D: "HSM_RESTART_REQUIRED",
    0x80000115: "TIME_NOT_INITIALIZED",
    0x80000124: "CLOCK_NOT_IN_SYNC",
}

LUNA_MANUFACTURERS = ("SafeNet", "Safenet", "Thales", "Gemalto", "Chrysalis")
"""How the manufacturer's name of a Luna's library begins. Only there these codes mean what they do here: another
vendor's 0x80000035 is something else."""
_VENDOR_DEFINED = 0x80000000
_NO_CODE = 0xFFFFFFFF


def is_refusal(value: int) -> bool:
    """Whether a Luna's answer is a refusal; a vendor code without a name here is taken for one."""
    return value in REFUSALS or (_VENDOR_DEFINED <= value < _NO_CODE and value not in LUNA_CODES)


def symbol(value: int) -> str:
    """The name alone: `CKR_PIN_INCORRECT`; the number in hex where the standard has no name for it."""
    text = _STANDARD.get(value)
    return f"CKR_{text}" if text is not None else f"0x{value & 0xFFFFFFFFFFFFFFFF:x}"


def name(value: int, *, luna: bool) -> str:
    """A return value as people look it up: `CKR_DEVICE_ERROR (0x30)`, `vendor code 0x80000042`."""
    text = _STANDARD.get(value) or (LUNA_CODES.get(value) if luna else None)
    if text is not None:
        return f"CKR_{text} (0x{value:x})"
    if value in {0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}:
        return f"no PKCS#11 code at all (0x{value:x})"
    return f"vendor code 0x{value:x}" if value >= _VENDOR_DEFINED else f"unknown code 0x{value:x}"
