"""A device meets a few sizes of batch and no others, and none is too large for it."""

from __future__ import annotations

import pytest

from latens_serving.engine.batch_sizes import BatchLadder, Chunk
from latens_serving.engine.factory import rows_fitting

LADDER = BatchLadder((1, 2, 4, 8))


def test_a_ladder_doubles_up_to_its_largest_size() -> None:
    assert BatchLadder.doubling(1).steps == (1,)
    assert BatchLadder.doubling(8).steps == (1, 2, 4, 8)
    assert BatchLadder.doubling(100).steps == (1, 2, 4, 8, 16, 32, 64, 100)


@pytest.mark.parametrize("steps", [(), (0, 1), (2, 1), (1, 1)])
def test_a_ladder_that_does_not_ascend_is_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        BatchLadder(steps)


def test_chunks_cover_each_row_once_and_pad_to_the_next_size() -> None:
    assert list(LADDER.chunks(19)) == [Chunk(0, 8, 8), Chunk(8, 8, 8), Chunk(16, 3, 4)]
    for rows in range(1, 60):
        chunks = list(LADDER.chunks(rows))
        assert [row for chunk in chunks for row in range(rows)[chunk.span]] == list(range(rows))
        assert all(chunk.rows <= chunk.step < 2 * chunk.rows for chunk in chunks)


def test_the_rows_of_a_run_are_bounded_by_their_bytes() -> None:
    assert rows_fitting(784, 4096) == 4096
    assert rows_fitting(784, 1000) == 1000
    assert rows_fitting(1 << 20, 4096) == 64
    assert rows_fitting(1 << 40, 4096) == 1
