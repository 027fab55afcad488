"""/reconcile: the proof that nothing is lost. Administration only."""

from fastapi import APIRouter

from imex.portal import reconcile
from imex.portal.api.access import AdminPart, PortalPart
from imex.portal.api.broker import broker_of
from imex.portal.reconcile import Reconciliation

router = APIRouter(tags=["operations"])


@router.get("/reconcile")
async def get_reconciliation(portal: PortalPart, _admin: AdminPart) -> Reconciliation:
    """What was acknowledged to senders against what became of it."""
    broker = broker_of(portal)
    return await reconcile.reconcile(portal.database, broker.reader)
