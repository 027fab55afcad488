"""Whether all that came in before a question has been judged is asked of Kafka, no more often than needed."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from imex.portal.commitment import assembly
from imex.portal.commitment.assembly import SenderCommitments
from imex.portal.commitment.settings import CommitmentSettings

NOW = datetime(2026, 3, 5, 14, 30, tzinfo=UTC)
LANES = {"instances.express", "instances.urgent", "instances.bulk"}


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Mock()
    made.through = Mock(return_value=None)
    monkeypatch.setattr(assembly, "Progress", Mock(return_value=made))
    return made


def test_a_question_is_read_past_when_every_lane_is(progress: Any) -> None:
    commitments = SenderCommitments(CommitmentSettings(), Mock(), Mock(), Mock())
    known = dict.fromkeys(LANES, NOW)
    progress.through.side_effect = known.get
    later = NOW + timedelta(seconds=1)
    assert commitments._judged(NOW)
    assert not commitments._judged(later)
    for lane in sorted(LANES):
        assert not commitments._judged(later)
        known[lane] = later
    assert commitments._judged(later)
    progress.through.reset_mock()
    assert commitments._judged(NOW)
    progress.through.assert_not_called()


def test_while_nobody_knows_nothing_is_read(progress: Any) -> None:
    commitments = SenderCommitments(CommitmentSettings(), Mock(), Mock(), Mock())
    assert not commitments._judged(NOW)
    assert {call.args[0] for call in progress.through.call_args_list} == LANES
