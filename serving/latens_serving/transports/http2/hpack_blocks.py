"""Header blocks (HPACK, RFC 7541): lists of fields in, and blocks of plain literals out.

The `hpack` package decodes. In front of it stands a reader for blocks that leave the compression
table as it is, which are nearly all after a client's first call: it changes no state, and gives up
on anything else, so that the package sees every block that matters to the table.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman

from latens_serving.transports.http2.frames import ConnectionFault, ErrorCode

Fields = list[tuple[bytes, bytes]]

_LONGEST_SHIFT = 21
_FIELD_OVERHEAD = 32  # of a field in a header list's size, by RFC 9113, section 6.5.2


class BlockDecoder:
    """Decodes the header blocks of one connection, in their order."""

    def __init__(self, list_bytes: int) -> None:
        """Makes a decoder that refuses header lists of more than `list_bytes`."""
        self._limit = list_bytes
        self._decoder = Decoder(max_header_list_size=list_bytes)

    def decode(self, block: bytes) -> tuple[Fields, bool]:
        """The fields of a block, and whether the block may have changed the table.

        Raises:
            ConnectionFault: the block is broken or its list too long; the table is lost with it.
        """
        try:
            fields = self._without_table(block)
            if fields is not None:
                return fields, False
            return [(bytes(name), bytes(value)) for name, value in self._decode(block)], True
        except OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header list too long") from error
        except (HPACKError, IndexError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "broken header block") from error

    def _decode(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        return self._decoder.decode(block, raw=True)

    def _without_table(self, block: bytes) -> Fields | None:
        entry = self._decoder.header_table.get_by_index
        fields: Fields = []
        position, size, end = 0, 0, len(block)
        while position < end:
            first = block[position]
            if 0x80 < first < 0xFF:  # an entry of the table
                field = entry(first & 0x7F)
                position += 1
            elif first < 0x20:  # a literal that stays out of the table
                index, position = _integer(block, position, 0x0F)
                if index:
                    name = entry(index)[0]
                else:
                    name, position = _string(block, position)
                value, position = _string(block, position)
                field = (name, value)
            else:
                return None
            size += len(field[0]) + len(field[1]) + _FIELD_OVERHEAD
            if size > self._limit:
                raise OversizedHeaderListError
            fields.append(field)
        return fields


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, position
        if shift > _LONGEST_SHIFT:
            raise HPACKError("integer too long")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    is_huffman = block[position] & 0x80
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HPACKError("string cut short")
    text = block[position:end]
    return (decode_huffman(text) if is_huffman else text), end


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """A block of literals that any decoder takes in any state."""
    return b"".join(
        b"\0" + _sized(name.encode()) + _sized(value.encode()) for name, value in fields
    )


def _sized(text: bytes) -> bytes:
    length = len(text)
    if length < 0x7F:
        return bytes((length,)) + text
    rest = length - 0x7F
    octets = bytearray((0x7F,))
    while rest > 0x7F:
        octets.append(rest & 0x7F | 0x80)
        rest >>= 7
    octets.append(rest)
    return bytes(octets) + text
