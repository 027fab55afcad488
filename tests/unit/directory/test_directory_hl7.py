"""Names under which HL7 is sent, and listeners that are told of corrections, in the directory."""

import pytest

from imex.directory import DirectoryErrors, DirectoryIndex, IdentifiedSender, UnknownSender, parse
from imex.directory.model import Hl7Endpoint

TWO = """
institutions:
  - {code: RQM, name: A, kind: nhs, senders: [{ae_title: A, networks: [10.1.0.0/16], \
hl7: {application: RIS, facility: F}}]}
  - {code: RT3, name: B, kind: nhs, senders: [{ae_title: B, networks: [%s], \
hl7: {application: RIS, facility: F}}], \
endpoints: [{name: pacs, type: dicom, ae_title: B, host: h, port: 104, \
 hl7: {host: l, port: 2575, tls: true}}]}
"""


def test_one_name_with_networks_of_their_own_is_told_apart() -> None:
    index = DirectoryIndex(parse(TWO % "10.2.0.0/16"))
    for address, code in (("10.1.0.1", "RQM"), ("10.2.0.1", "RT3")):
        found = index.identify_hl7_sender(("RIS", "F"), address)
        assert isinstance(found, IdentifiedSender)
        assert found.institution.code == code
    for name, address in ((("RIS", "F"), "10.3.0.1"), (("RIS", "G"), "10.1.0.1"), (("A", ""), "10.1.0.1")):
        assert isinstance(index.identify_hl7_sender(name, address), UnknownSender)


def test_one_name_that_fits_two_is_an_error_of_the_file() -> None:
    with pytest.raises(DirectoryErrors) as errors:
        parse(TWO % "10.1.2.0/24")
    assert "application 'RIS' of facility 'F' with its networks fits RQM and RT3" in str(errors.value)


def test_a_listener_is_a_destination_that_no_document_can_name() -> None:
    index = DirectoryIndex(parse(TWO % "10.2.0.0/16"))
    found = index.endpoint_for("RT3", "pacs/hl7")
    assert isinstance(found, Hl7Endpoint)
    assert (found.host, found.port, found.tls, found.type) == ("l", 2575, True, "hl7")
    assert index.endpoint_for("RT3", None) == index.endpoint_for("RT3", "pacs")
    with pytest.raises(DirectoryErrors):
        parse((TWO % "10.2.0.0/16").replace("name: pacs,", 'name: "pacs/hl7",'))
