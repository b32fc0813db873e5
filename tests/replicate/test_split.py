"""The laws of splitting a batch."""

from hypothesis import given
from hypothesis import strategies as st

from befit.replicate.split import row_ranges, sub_batch_sizes


@given(rows=st.integers(0, 500), replicas=st.integers(1, 20))
def test_every_row_goes_to_one_replica_and_none_gets_two_more_than_another(rows, replicas):
    sizes = sub_batch_sizes(rows, replicas)
    assert sum(sizes) == rows
    assert len(sizes) == max(1, min(rows, replicas))
    assert max(sizes) - min(sizes) <= 1
    ranges = row_ranges(sizes)
    assert [row for first, end in ranges for row in range(first, end)] == list(range(rows))
