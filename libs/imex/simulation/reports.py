"""Storage commitment reported on an association of its own, as most archives do it (PS3.4 J.3.3)."""

from typing import Any, Final

from pydicom import Dataset

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
_INSTANCE: Final = "1.2.840.10008.1.20.1.1"


def report(own_ae: str, to: tuple[str, str, int], result: Dataset) -> bool:
    """N-EVENT-REPORT as SCP of the service, requesting the association with the roles the other way round.

    Blocks. False when the report did not arrive.
    """
    from pynetdicom import AE, build_role

    ae_title, host, port = to
    entity: Any = AE(ae_title=own_ae)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 10
    entity.add_requested_context(STORAGE_COMMITMENT)
    association = entity.associate(
        host, port, ae_title=ae_title, ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)]
    )
    if not association.is_established:
        return False
    event = 2 if "FailedSOPSequence" in result else 1
    try:
        status, _ = association.send_n_event_report(result, event, STORAGE_COMMITMENT, _INSTANCE)
        return getattr(status, "Status", None) == 0
    except (RuntimeError, ValueError):
        return False
    finally:
        association.release()
