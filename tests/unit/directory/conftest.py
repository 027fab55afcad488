"""The directory of INTERFACE §3, as every test of the directory starts from it."""

import pytest

EXAMPLE = """\
institutions:
  - code: RQM                       # ODS code
    name: Hospital A
    kind: nhs
    senders: [{ae_title: RQM_PACS}]
    endpoints:
      - {name: pacs, type: dicom, ae_title: RQM_PACS, host: 127.0.0.1, port: 4242}
  - code: RT3
    name: Hospital B
    kind: nhs
    endpoints:
      - name: pacs
        type: dicom
        ae_title: RT3_PACS
        host: 127.0.0.1
        port: 4243
        accepts: {max_associations: 2, transfer_syntaxes: [1.2.840.10008.1.2.1, 1.2.840.10008.1.2], \
sop_classes: any, max_mbps: 100, hours: "00:00-24:00"}
groups:
  - {code: STROKE_NW, name: Stroke network, members: [RQM, RT3]}
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: [direct-care, mdt], legal_basis: "UK GDPR 6(1)(e), 9(2)(h)", \
valid_from: 2026-01-01, valid_until: 2030-01-01}
rules:
  - {id: r1, match: {source: RQM, modality: CT}, to: [RT3], purpose: direct-care, priority: routine, \
quiet_s: 60}
  - {id: r2, when: 'source == "RQM" && study.description.contains("STROKE")', to: [STROKE_NW], \
purpose: direct-care, priority: emergency}
"""


@pytest.fixture
def example() -> str:
    return EXAMPLE
