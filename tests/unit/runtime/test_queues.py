"""Order per key: what may run now."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from imex.runtime.queues import Item, KeyQueues

Queues = KeyQueues[str, int]


def filled(*work: tuple[str, int]) -> Queues:
    queues = Queues()
    for at, (group, number) in enumerate(work):
        queues.add(Item(group, number, float(at)))
    return queues


def test_a_batch_holds_several_groups_each_in_order() -> None:
    queues = filled(("a", 1), ("b", 1), ("a", 2))
    assert [(i.group, i.work) for i in queues.take(10)] == [("a", 1), ("a", 2), ("b", 1)]


def test_a_running_group_waits_for_its_batch() -> None:
    queues = filled(("a", 1))
    queues.take(10)
    queues.add(Item("a", 2, 0.0))
    queues.add(Item("b", 1, 0.0))
    assert [i.group for i in queues.take(10)] == ["b"]
    queues.free({"a"})
    assert [i.work for i in queues.take(10)] == [2]


def test_what_does_not_fit_runs_after_its_group_is_free() -> None:
    queues = filled(("a", 1), ("a", 2), ("a", 3))
    assert [i.work for i in queues.take(2)] == [1, 2]
    assert queues.take(2) == []
    queues.free({"a"})
    assert [i.work for i in queues.take(2)] == [3]


def test_ready_counts_up_to_the_limit_and_knows_the_first_arrival() -> None:
    queues = filled(("a", 1), ("a", 2), ("b", 1))
    assert queues.ready(2) == (2, 0.0)
    assert queues.ready(10) == (3, 0.0)
    assert Queues().ready(1) == (0, None)


def test_clearing_drops_what_waits_and_remembers_what_runs() -> None:
    queues = filled(("a", 1), ("b", 1))
    queues.take(1)
    queues.clear()
    assert len(queues) == 0
    queues.add(Item("a", 2, 0.0))
    assert queues.take(5) == []


class Scheduling(RuleBasedStateMachine):
    """Whatever the order of adding, taking and freeing, a group is in one batch at most and in order."""

    batches: Bundle[list[Item[str, int]]] = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.queues = Queues()
        self.added = 0
        self.running: list[str] = []
        self.last: dict[str, int] = {}

    @rule(group=st.sampled_from("abcd"))
    def add(self, group: str) -> None:
        self.added += 1
        self.queues.add(Item(group, self.added, float(self.added)))

    @rule(target=batches, limit=st.integers(1, 4))
    def take(self, limit: int) -> list[Item[str, int]]:
        batch = self.queues.take(limit)
        assert len(batch) <= limit
        groups = {item.group for item in batch}
        assert not groups & set(self.running)
        self.running += groups
        for item in batch:
            assert item.work > self.last.get(item.group, 0)
            self.last[item.group] = item.work
        return batch

    @rule(batch=consumes(batches))
    def finish(self, batch: list[Item[str, int]]) -> None:
        groups = {item.group for item in batch}
        for group in groups:
            self.running.remove(group)
        self.queues.free(groups)

    @invariant()
    def nothing_ready_is_forgotten(self) -> None:
        if len(self.queues) and not self.running:
            assert self.queues.ready(1)[0] == 1


TestScheduling = Scheduling.TestCase


@given(st.lists(st.sampled_from("abc")))
def test_everything_that_was_added_comes_out(groups: list[str]) -> None:
    queues = filled(*((group, number) for number, group in enumerate(groups)))
    found = []
    while batch := queues.take(2):
        found += [item.work for item in batch]
        queues.free({item.group for item in batch})
    assert sorted(found) == list(range(len(groups)))
