"""Handing shares over to delivery: parts of a manifest, its closing, and what becomes of the share."""

from dataclasses import replace
from typing import Any

from imex.db import UnitOfWork
from imex.directory import DirectoryIndex
from imex.routing import publish
from imex.routing.carrying import carried
from imex.routing.completeness import missing, missing_words
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.states import Fact
from imex.sharing.model import Share, Study


class HandOver:
    """Manifests of one unit of work."""

    def __init__(
        self, unit: UnitOfWork, repository: Repository, docket: Docket, index: DirectoryIndex
    ) -> None:
        """`index` says which endpoints the recipients have."""
        self._unit = unit
        self._repository = repository
        self.docket = docket
        self._index = index

    async def count(self, study: Study, share: Share) -> Share:
        """What the share leaves out of its study is counted anew."""
        counted = await self._repository.count_left_out(study, share)
        return share if counted is share else self.docket.put(counted)

    async def pass_on(self, study: Study, share: Share, cause: Cause) -> Share:
        """Issue every accepted instance that delivery has not got yet, in parts."""
        if share.endpoint is None or share.parts == 0:
            endpoint = self._index.endpoint_for(share.recipient, share.endpoint)
            if endpoint is None or endpoint.type == "hl7":  # which takes no images
                named = f"no endpoint {share.endpoint!r}" if share.endpoint else "no endpoint"
                words = f"{share.recipient} has {named} in the directory"
                return self.docket.move(share, Fact.GIVEN_UP, cause, reason=words)
            share = replace(share, endpoint=endpoint.name)
        parts = await self._repository.hand_over(share)
        share = await self.count(study, share)
        if not parts:
            return self.docket.put(share)
        handed = sum(len(instances) for instances in parts.values())
        share = self.docket.put(replace(share, parts=max(parts), handed=share.handed + handed))
        if share.state == "collecting":
            share = self.docket.move(share, Fact.HANDED, cause, details={"endpoint": share.endpoint})
        for part, instances in parts.items():
            self._unit.publish(publish.manifest_part(share, part, instances, share.directory_version, cause))
        return share

    async def complete(self, study: Study, share: Share, cause: Cause) -> Share:
        """Collecting has ended: hand the rest over and close the manifest."""
        share = await self.count(study, share)
        of_share = carried(study, share)
        counts = {"instances": of_share.validated, "bytes": of_share.bytes}
        handed_before = share.handed
        share = self.docket.put(replace(share, complete=True, completed_at=cause.at))
        self.docket.note(share, "completed", cause, details=counts)
        share = await self.pass_on(study, share, cause)
        if not share.live:
            return share
        share = self.docket.announce(share, "completed", cause, counts)
        if share.parts and (share.handed > handed_before or share.delivery_revision == 0 or share.streams):
            share = await self.close(share, cause)
        if share.handed == 0:
            return await self.fall_short(study, share, cause)
        return share

    async def close(self, share: Share, cause: Cause) -> Share:
        """Close a new revision of the manifest, of which delivery then writes the receipt."""
        share = self.docket.put(replace(share, delivery_revision=share.delivery_revision + 1))
        for event in publish.manifest_annotated(share, await self._repository.held_of(share), cause):
            self._unit.publish(event)
        self._unit.publish(publish.manifest_closed(share, cause))
        return share

    async def annotate(self, share: Share, cause: Cause) -> None:
        """Tell delivery what is in dispute before the manifest is closed."""
        held = await self._repository.held_of(share)
        for event in publish.manifest_annotated(share, held, cause, early=True):
            self._unit.publish(event)

    async def fall_short(self, study: Study, share: Share, cause: Cause) -> Share:
        """All that can be confirmed is; say what is missing and why."""
        words = await self.shortfall(study, share)
        return self.docket.move(
            share, Fact.SHORT, cause, reason=words, **_both({"missing": missing(study, share)})
        )

    async def shortfall(self, study: Study, share: Share) -> str:
        """What a share lacks, in words."""
        held = await self._repository.held_reasons(share) if study.waiting else []
        failed = await self._repository.failed_reasons(share.id) if share.failed else []
        recalled = await self._repository.recalled_unsent(share) if study.recalled else 0
        return missing_words(study, share, held, failed, recalled)


def _both(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"details": facts, "more": facts}
