"""Which HSM a Luna partition is on: its serial number holds that of the HSM. Pure.

No call of the library tells it. Up to firmware 6.22 a partition's serial number is the HSM's followed by three digits;
from then on it is longer: the HSM's times 2328306 (10^16 / 2^32, so that 32 bits fit into 16 digits) plus a small
number. The vendor writes only that it changed; the figures were found in serial numbers that it has published
(HSM 66331: partitions 154438865287 and 154438865304). What fits neither form says nothing.
"""

from __future__ import annotations

_FACTOR = 2_328_306
_MOST_PARTITIONS = 10_000
_OWN_DIGITS = range(5, 8)
_OLD_DIGITS = 9
_YOUNG_DIGITS = range(11, 17)


def hsm_of(serial: str) -> str:
    """The HSM's serial number, or nothing. An administrative partition has the HSM's own."""
    if not (serial.isascii() and serial.isdigit()):
        return ""
    if len(serial) in _OWN_DIGITS:
        return serial
    if len(serial) == _OLD_DIGITS:
        return serial[:-3]
    hsm, partition = divmod(int(serial), _FACTOR)
    return str(hsm) if len(serial) in _YOUNG_DIGITS and partition < _MOST_PARTITIONS else ""
