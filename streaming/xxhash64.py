"""xxHash64 as Spark computes it, so that a stream and a batch give the same line the same number.

Algorithm: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md (XXH64). Spark hashes the UTF-8 bytes of
each text, with the hash of the one before as seed and 42 for the first (org.apache.spark.sql.catalyst.expressions,
XxHash64).
"""

import struct
from collections.abc import Iterable

MASK = 2**64 - 1
PRIME_1, PRIME_2, PRIME_3, PRIME_4, PRIME_5 = (
    0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
)  # fmt: skip
SPARK_SEED = 42


def content_number(texts: Iterable[str | None]) -> int:
    """Number a line by its content, in 63 bits, as `spark_jobs/sales_batch.py` does: a missing text counts as empty."""
    number = SPARK_SEED
    for text in texts:
        number = xxhash64((text or "").encode(), number)
    return number & (2**63 - 1)


def xxhash64(data: bytes, seed: int = 0) -> int:
    """Give the 64 bits of xxHash64."""
    whole = len(data) & ~31
    number = _stripes(data[:whole], seed) if whole else seed + PRIME_5
    number = (number + len(data)) & MASK
    rest, place = data[whole:], 0
    for (lane,) in struct.iter_unpack("<Q", rest[: len(rest) & ~7]):
        number = (_rotate(number ^ _round(0, lane), 27) * PRIME_1 + PRIME_4) & MASK
        place += 8
    if len(rest) - place >= 4:
        (lane,) = struct.unpack_from("<I", rest, place)
        number = (_rotate(number ^ (lane * PRIME_1 & MASK), 23) * PRIME_2 + PRIME_3) & MASK
        place += 4
    for byte in rest[place:]:
        number = _rotate(number ^ (byte * PRIME_5 & MASK), 11) * PRIME_1 & MASK
    return _avalanche(number)


def _stripes(data: bytes, seed: int) -> int:
    sums = [(seed + PRIME_1 + PRIME_2) & MASK, (seed + PRIME_2) & MASK, seed, (seed - PRIME_1) & MASK]
    for lanes in struct.iter_unpack("<4Q", data):
        sums = [_round(number, lane) for number, lane in zip(sums, lanes, strict=True)]
    number = sum(_rotate(one, bits) for one, bits in zip(sums, (1, 7, 12, 18), strict=True)) & MASK
    for one in sums:
        number = ((number ^ _round(0, one)) * PRIME_1 + PRIME_4) & MASK
    return number


def _round(number: int, lane: int) -> int:
    return _rotate((number + lane * PRIME_2) & MASK, 31) * PRIME_1 & MASK


def _rotate(number: int, bits: int) -> int:
    return (number << bits | number >> (64 - bits)) & MASK


def _avalanche(number: int) -> int:
    number = (number ^ number >> 33) * PRIME_2 & MASK
    number = (number ^ number >> 29) * PRIME_3 & MASK
    return number ^ number >> 32
