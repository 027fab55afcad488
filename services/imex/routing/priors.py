"""The loop that lets earlier studies of a person travel along with a new one, where its rule says so."""

from dataclasses import replace
from uuid import UUID

import structlog
from sqlalchemy import text, update

from imex.db import Database, is_outage
from imex.db.tables import routing as tables
from imex.directory import Priors
from imex.directory.temporary import is_temporary
from imex.events import ids
from imex.routing import publish, studies
from imex.routing.patients import studies_of
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.sitting import sitting
from imex.routing.surroundings import Surroundings
from imex.sharing.decisions import Addressed
from imex.sharing.model import Share, Study, StudyKey
from imex.sharing.persons import Person, person_of
from imex.sharing.priors import Earlier, along, choose
from imex.sharing.wishes import latest, rule_wish

_BATCH = 50
_DUE = text(
    "SELECT id, source, study_uid FROM routing.shares WHERE priors_due ORDER BY created_at LIMIT :limit"
)

_log = structlog.get_logger(__name__)


class PriorsLoop:
    """Looks again and again."""

    def __init__(self, database: Database, around: Surroundings) -> None:
        """The directory in force says what the rule asks for."""
        self._database = database
        self._around = around

    async def turn(self) -> bool:
        """See to the shares whose priors are due; true where more may be."""
        if self._around.directories.current() is None:
            return False
        async with self._database.look() as connection:
            due = list(await connection.execute(_DUE, {"limit": _BATCH}))
        for share, source, study_uid in due:
            try:
                await self._see_to(share, (source, study_uid))
            except Exception as error:
                if is_outage(error):
                    raise
                # one that cannot be seen to keeps no other from it, and its study goes in any case
                _log.exception("priors cannot be sent along", share=str(share))
                await self._done(share)
        return len(due) == _BATCH

    async def _see_to(self, identifier: UUID, key: StudyKey) -> None:
        async with self._database.unit() as unit:
            repository = Repository(unit.connection)
            [share] = [one for one in await repository.shares_of([key]) if one.id == identifier]
            known = await repository.look_at_studies([key])
            current = known[key]
            wish = self._wish(share)
            person = None if self._is_temporary(current) else person_of(current)
            earlier = await self._earlier(repository, current, person) if person else {}
        sent = 0
        if wish is not None and wish.priors is not None and share.live:
            for one in self._chosen(wish.priors, current, earlier):
                sent += await self._send(one, along(wish), share)
        await self._done(identifier, sent)

    def _is_temporary(self, study: Study) -> bool:
        """Whether nobody knows yet whose study it is: such an identifier is used for others, too."""
        institution = self._around.index().institutions.get(study.source)
        own = institution.temporary_identities if institution else ()
        return is_temporary(study.patient_name, study.patient_id, own)

    def _wish(self, share: Share) -> Addressed | None:
        """What the share's rule asks for now; None where it is gone."""
        index = self._around.index()
        rule = next((one for one in index.directory.rules if one.id == share.rule), None)
        if rule is None:
            return None
        return replace(rule_wish(rule, share.recipient), clinician=share.clinician, endpoint=share.endpoint)

    async def _earlier(self, repository: Repository, current: Study, person: Person) -> dict[str, Study]:
        found = await studies_of(repository, current.source, person)
        return {study.study_uid: study for study in found}

    @staticmethod
    def _chosen(priors: Priors, current: Study, earlier: dict[str, Study]) -> list[Study]:
        chosen = choose(priors, Earlier.of(current), [Earlier.of(study) for study in earlier.values()])
        return [earlier[one.study_uid] for one in chosen]

    async def _send(self, prior: Study, wish: Addressed, share: Share) -> bool:
        async with self._database.unit() as unit, sitting(unit, self._around, [prior.key]) as now:
            study = now.studies[prior.key]
            known_there = latest(now.docket.of(study), wish.recipient, wish.purpose)
            if known_there is not None and not _may_go_again(known_there, self._around.index().version):
                return False
            if now.deciding.has(study, wish.recipient):
                return False
            cause = Cause(ids.derived("prior", str(share.id), study.study_uid), self._around.clock())
            # by the share's id: who gets them de-identified is not told a UID of the source's
            words = f"travels along with share {share.id}, as standing rule {wish.rule} says"
            asked = replace(wish, origin="prior", because=words)
            opened = now.deciding.ask_by_hand(study, asked, cause)
            if opened is not None:
                now.studies[prior.key] = studies.due_again(study, opened)
        return opened is not None and opened.live

    async def _done(self, share: UUID, sent: int = 0) -> None:
        async with self._database.unit() as unit:
            await unit.connection.execute(
                update(tables.shares).where(tables.shares.c.id == share).values(priors_due=False)
            )
            if sent:
                studies_of = "1 earlier study travels" if sent == 1 else f"{sent} earlier studies travel"
                step = {
                    "share": share,
                    "cause": ids.derived("priors", str(share)),
                    "step": "priors_sent_along",
                    "at": self._around.clock(),
                    "actor": publish.SERVICE,
                    "reason": f"{studies_of} along, each as a share of its own",
                    "details": {"priors": sent},
                }
                await Repository(unit.connection).add_timeline([step])


def _may_go_again(known: Share, version: str) -> bool:
    """Whether a prior that was on its way there before is asked for once more.

    Not what lives, arrived, or was stopped by a person; nor what no agreement of this version covered.
    """
    if known.state == "refused":
        return known.agreement is None and known.directory_version != version
    return known.state in {"failed", "expired"}
