"""After sending: ask the destination for what it was handed, and say what it has, lacks, or still owes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from imex.db import is_outage
from imex.delivery.attempt import LeaseLost
from imex.delivery.confirming.asking import Asker, CannotAsk
from imex.delivery.confirming.commitment import Commitments, Told
from imex.delivery.confirming.decide import Finding, HandedOver, broken, found, lacking
from imex.delivery.confirming.ledger import Ledger
from imex.delivery.confirming.ways import way_of
from imex.delivery.decide import Answer, Verdict
from imex.delivery.endings import Result
from imex.delivery.jobs import Job
from imex.delivery.lane import Stop
from imex.directory.model import Endpoint


@dataclass(frozen=True, slots=True)
class _Asked:
    """What asking came to; `owed` in words, where something is still to be said."""

    findings: Sequence[Finding]
    trouble: str = ""
    owed: str = ""
    again_after: float = 0.0
    spent: Sequence[str] = ()
    """Transactions of storage commitments of which nothing more is to be learnt."""


class Confirming:
    """Confirms what attempts have handed over."""

    def __init__(
        self,
        ledger: Ledger,
        askers: Mapping[str, Asker],
        commitments: Commitments | None = None,
        *,
        patience_s: float = 120.0,
    ) -> None:
        """`askers` are by endpoint type.

        For `patience_s` seconds after an instance was taken a query that does not find it says nothing.
        """
        self._ledger = ledger
        self._askers = askers
        self._commitments = commitments
        self._patience = timedelta(seconds=patience_s)

    async def confirm(self, job: Job, endpoint: Endpoint, result: Result, stop: Stop) -> Result:
        """The attempt's result, with what is confirmed now.

        Does not raise for what a destination or an outage may do.

        Raises:
            LeaseLost: the delivery is another's now.
        """
        if (
            (result.away and not result.in_doubt)
            or stop.asked.is_set()
            or (way_of(endpoint) == "none" and result.plain)
        ):
            return result
        try:
            handed_over = await self._ledger.handed_over(job)
            if not handed_over:
                return result
            asked = await self._ask(job, endpoint, handed_over)
            if asked.findings and not await self._ledger.write(job, asked.findings):
                raise LeaseLost
            if asked.spent and self._commitments is not None:
                await self._commitments.forget(asked.spent)
        except Exception as error:
            if not is_outage(error):
                raise
            return replace(result, reason=result.reason or "the database is not available")
        return _merged(result, asked)

    async def _ask(self, job: Job, endpoint: Endpoint, handed_over: Sequence[HandedOver]) -> _Asked:
        match way_of(endpoint):
            case "none":
                believed = [found(one, "answer") for one in handed_over if one.answered]
                others = [one for one in handed_over if not one.answered]
                asked = await self._query(endpoint, others) if others else _Asked(())
                return replace(asked, findings=[*believed, *asked.findings])
            case "query":
                return await self._query(endpoint, handed_over)
            case "commitment":
                return await self._commit(job, endpoint, handed_over)

    async def _query(self, endpoint: Endpoint, handed_over: Sequence[HandedOver]) -> _Asked:
        asker = self._askers.get(endpoint.type)
        if asker is None:
            return _Asked((), trouble=f"not confirmed: an endpoint of type {endpoint.type} cannot be queried")
        by_study: dict[str, list[HandedOver]] = defaultdict(list)
        for one in handed_over:
            by_study[one.study_uid].append(one)
        findings: list[Finding] = []
        late = 0
        try:
            for study_uid, ones in by_study.items():
                held = await asker.held(endpoint, study_uid, frozenset(one.sent_uid for one in ones))
                now = datetime.now(UTC)
                for one in ones:
                    if one.sent_uid in held:
                        findings.append(found(one, "query"))
                    elif finding := lacking(one, now=now, patience=self._patience):
                        findings.append(finding)
                    else:
                        late += 1
        except CannotAsk as error:
            return _Asked(findings, trouble=f"not confirmed: {error}")
        if late:
            trouble = f"not confirmed: {late} of {len(handed_over)} instances do not show in a query yet"
            return _Asked(findings, trouble=trouble)
        return _Asked(findings)

    async def _commit(self, job: Job, endpoint: Endpoint, handed_over: Sequence[HandedOver]) -> _Asked:
        if self._commitments is None:
            return await self._query(endpoint, handed_over)
        told = await self._commitments.told(job, endpoint, handed_over)
        findings = _told(told, handed_over)
        left = [one for one in handed_over if one.sent_uid in told.silent]
        if not left:
            return _Asked(findings, spent=told.spent)
        if told.waits_s:
            owed = f"waits for the storage commitment of {len(left)} instances"
            return _Asked(findings, owed=owed, again_after=told.waits_s, spent=told.spent)
        # asked in vain: whoever can be queried is
        asked = await self._query(endpoint, left)
        trouble = asked.trouble and f"{asked.trouble}; {told.trouble}"
        return _Asked([*findings, *asked.findings], trouble=trouble, spent=told.spent)


def _told(told: Told, handed_over: Sequence[HandedOver]) -> list[Finding]:
    findings = []
    for one in handed_over:
        if one.sent_uid in told.committed:
            findings.append(found(one, "commitment"))
        elif (words := told.refused.get(one.sent_uid)) is not None:
            if one.answered:
                findings.append(broken(one, f"not committed ({words})"))
            else:
                findings.append(Finding(one, Answer(Verdict.RETRY, one.status, f"not committed ({words})")))
    return findings


def _merged(result: Result, asked: _Asked) -> Result:
    verdicts = Counter(finding.answer.verdict for finding in asked.findings)
    confirmed, failed, again = verdicts[Verdict.CONFIRMED], verdicts[Verdict.FAILED], verdicts[Verdict.RETRY]
    reason = "" if result.only_in_doubt else result.reason
    if not reason and again:
        reason = next(one.answer.reason for one in asked.findings if one.answer.verdict is Verdict.RETRY)
        reason = f"{again} not confirmed: {reason}"
    reason = reason or asked.trouble
    return replace(
        result,
        reason=reason,
        confirmed=result.confirmed + confirmed,
        failed=result.failed + failed,
        away=result.away and not confirmed + failed,
        again_after=max(result.again_after, 0.0 if reason else asked.again_after),
        waits_for="" if reason else asked.owed,
    )
