"""Storage commitment reported on an association of its own, as most archives do it (PS3.4 J.3.3)."""

from typing import Any

from pydicom import Dataset

from imex.dicom.commitment import ALL_COMMITTED, PUSH_MODEL, PUSH_MODEL_INSTANCE, SOME_FAILED


def event_type(result: Dataset) -> int:
    """Of a report: whether all is held."""
    return SOME_FAILED if "FailedSOPSequence" in result else ALL_COMMITTED


def report(own_ae: str, to: tuple[str, str, int], result: Dataset) -> bool:
    """N-EVENT-REPORT as SCP of the service, requesting the association with the roles the other way round.

    Blocks. False when the report did not arrive.
    """
    from pynetdicom import AE, build_role

    ae_title, host, port = to
    entity: Any = AE(ae_title=own_ae)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 10
    entity.add_requested_context(PUSH_MODEL)
    association = entity.associate(
        host, port, ae_title=ae_title, ext_neg=[build_role(PUSH_MODEL, scp_role=True)]
    )
    if not association.is_established:
        return False
    try:
        status, _ = association.send_n_event_report(
            result, event_type(result), PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        return getattr(status, "Status", None) == 0
    except (RuntimeError, ValueError):
        return False
    finally:
        association.release()
