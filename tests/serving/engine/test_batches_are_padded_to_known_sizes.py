"""A device runs batches of a few known sizes only, and none is too large for it."""

from __future__ import annotations

import pytest

from latens_serving.engine.batch_sizes import BatchSizes, Chunk
from latens_serving.engine.factory import rows_fitting

SIZES = BatchSizes((1, 2, 4, 8))


def test_sizes_double_up_to_the_largest() -> None:
    assert BatchSizes.doubling(1).sizes == (1,)
    assert BatchSizes.doubling(8).sizes == (1, 2, 4, 8)
    assert BatchSizes.doubling(100).sizes == (1, 2, 4, 8, 16, 32, 64, 100)


@pytest.mark.parametrize("sizes", [(), (0, 1), (2, 1), (1, 1)])
def test_sizes_that_do_not_ascend_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        BatchSizes(sizes)


def test_chunks_cover_each_row_once_and_pad_to_the_next_size() -> None:
    assert list(SIZES.chunks(19)) == [Chunk(0, 8, 8), Chunk(8, 8, 8), Chunk(16, 3, 4)]
    for rows in range(1, 60):
        chunks = list(SIZES.chunks(rows))
        assert [row for chunk in chunks for row in range(rows)[chunk.span]] == list(range(rows))
        assert all(chunk.rows <= chunk.size < 2 * chunk.rows for chunk in chunks)


def test_the_rows_of_a_run_are_bounded_by_their_bytes() -> None:
    assert rows_fitting(784, 4096) == 4096
    assert rows_fitting(784, 1000) == 1000
    assert rows_fitting(1 << 20, 4096) == 64
    assert rows_fitting(1 << 40, 4096) == 1
