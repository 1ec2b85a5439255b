"""What lies under one name: which of its entries a reader sees, and what a writer may take away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlforge.online.entries import Entry, Head, Overtaken, Torn, entries, packed, swept, visible, written

ONE, TWO, THREE = Entry(1, b"one"), Entry(2, b""), Entry(3, None)


@pytest.mark.parametrize(
    "listed", [[ONE], [TWO], [THREE], [TWO, ONE], [THREE, TWO], [Entry(2**32 - 1, b"x" * 300), ONE]]
)
def test_what_is_packed_is_found_again(listed: list[Entry]) -> None:
    assert entries(packed(*listed)) == listed


@pytest.mark.parametrize(
    ("listed", "generation", "dead", "expected"),
    [
        ([ONE], 1, (), b"one"),
        ([ONE], 9, (), b"one"),
        ([TWO, ONE], 2, (), b""),
        ([TWO, ONE], 1, (), b"one"),  # 2 is not published yet
        ([TWO, ONE], 3, (2,), b"one"),  # 2 died
        ([THREE, ONE], 3, (), None),  # gone
        ([THREE, ONE], 2, (), b"one"),
        ([TWO], 1, (), None),  # new with 2
        ([TWO], 3, (2,), None),
    ],
)
def test_readers_see_the_newest_that_the_head_has_reached(
    listed: list[Entry], generation: int, dead: tuple[int, ...], expected: bytes | None
) -> None:
    assert visible(packed(*listed), generation, dead) == expected


def test_a_record_that_moved_on_twice_is_read_again() -> None:
    with pytest.raises(Torn):
        visible(packed(Entry(3, b"c"), Entry(2, b"b")), 1, ())


def test_newer_is_never_replaced_by_older() -> None:
    with pytest.raises(Overtaken):
        written(packed(Entry(3, b"c")), TWO, Head(1))


@pytest.mark.parametrize(
    ("before", "new", "head", "after"),
    [
        (None, ONE, Head(), [ONE]),
        (None, THREE, Head(2), None),
        ([ONE], TWO, Head(1), [TWO, ONE]),
        ([ONE], Entry(1, b"again"), Head(), [Entry(1, b"again")]),  # a publish that is taken up again
        ([TWO, ONE], Entry(2, b"again"), Head(1), [Entry(2, b"again"), ONE]),
        ([TWO, ONE], Entry(4, b"4"), Head(1), [Entry(4, b"4"), ONE]),  # 2 was never seen
        ([TWO, ONE], Entry(4, b"4"), Head(3, (2,)), [Entry(4, b"4"), ONE]),
        ([TWO, ONE], Entry(4, b"4"), Head(3), [Entry(4, b"4"), TWO]),
        ([TWO], THREE, Head(1), None),  # it was never seen, and is gone
    ],
)
def test_a_writer_keeps_what_readers_see(
    before: list[Entry] | None, new: Entry, head: Head, after: list[Entry] | None
) -> None:
    record = written(packed(*before) if before else None, new, head)
    assert (entries(record) if record else None) == after


@pytest.mark.parametrize(
    ("before", "head", "after"),
    [
        ([ONE], Head(1), [ONE]),
        ([TWO, ONE], Head(2), [TWO]),
        ([TWO, ONE], Head(1), [TWO, ONE]),  # 2 is at work
        ([TWO, ONE], Head(3, (2,)), [ONE]),
        ([THREE, ONE], Head(3), None),
        ([Entry(4, b"x"), THREE], Head(3), [Entry(4, b"x"), THREE]),
        ([TWO], Head(3, (2,)), None),
    ],
)
def test_sweeping_leaves_what_readers_see(before: list[Entry], head: Head, after: list[Entry] | None) -> None:
    record = swept(packed(*before), head)
    assert (entries(record) if record else None) == after


steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "die", "sweep"]), st.one_of(st.none(), st.binary(max_size=3))),
    max_size=12,
)


@given(steps)
def test_any_history_shows_what_was_published_last(history: list[tuple[str, bytes | None]]) -> None:
    """Publishes that finish, publishes that die after they wrote, and sweeps: a reader sees the last finished one."""
    record: bytes | None = None
    head, generation, shown = Head(), 0, None
    for what, value in history:
        if what == "sweep":
            record = swept(record, head) if record else None
        else:
            generation += 1
            record = written(record, Entry(generation, value), head)
            assert visible(record, head.generation, head.dead) == shown  # nobody sees it yet
            if what == "write":
                lost = tuple(range(head.generation + 1, generation))
                head, shown = Head(generation, head.dead + lost), value
        assert visible(record, head.generation, head.dead) == shown
