"""The light ends of the benchmarks speak DICOM as `imex.dimse` does."""

import asyncio
import json
import struct
from pathlib import Path

import pytest
from benchmarks import wire
from benchmarks.corpus import Corpus, Identifiers, Study, Template, ct, fixed_uid
from benchmarks.ends import Receiver, Sending, SendingFailed, order

from imex.dicom.part10 import dataset_offset
from imex.dimse import StoreResponse, connect
from imex.testing.dimse import DimseRecorder, acceptor


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return ct(tmp_path_factory.mktemp("corpus"))


def dataset(corpus: Corpus, study: Study, number: int) -> bytes:
    index, uid = study.instances[number]
    return b"".join(corpus.templates[index].parts(study.identifiers(uid)))


async def test_the_sender_sends_what_the_files_hold(corpus: Corpus, tmp_path: Path) -> None:
    studies = [[corpus.study(3), corpus.study(2)], [corpus.study(4)]]
    recorder = DimseRecorder()

    async with acceptor(recorder) as listening:
        sending = Sending(order(corpus, listening.port, "CALLING", "CALLED", studies))
        sent = await asyncio.to_thread(sending.result)

    assert sent.first < sent.last
    assert [request.called_ae for request in recorder.requests] == ["CALLED", "CALLED"]
    assert sum(len(study.instances) for each in studies for study in each) == len(recorder.stored) == 9
    for each in studies:
        for study in each:
            for number, path in enumerate(corpus.write(study, tmp_path / study.study)):
                stored = bytes(recorder.stored[study.instances[number][1]].data)
                assert stored == path.read_bytes()[dataset_offset(path.read_bytes()) :]


async def test_a_refused_instance_fails_the_round(corpus: Corpus) -> None:
    recorder = DimseRecorder(on_store=lambda _: StoreResponse(0xA700, "out of resources"))

    async with acceptor(recorder) as listening:
        sending = Sending(order(corpus, listening.port, "CALLING", "CALLED", [[corpus.study(1)]]))
        with pytest.raises(SendingFailed, match=r"0xA700 out of resources"):
            await asyncio.to_thread(sending.result)


async def test_the_receiver_tells_when_all_has_arrived(corpus: Corpus) -> None:
    study = corpus.study(3)
    receiver = Receiver()
    try:
        receiver.expect(3)
        context = (corpus.templates[0].sop_class, [corpus.templates[0].transfer_syntax])
        async with connect("127.0.0.1", receiver.port, "A", "B", [context]) as association:
            for number, (index, uid) in enumerate(study.instances):
                data = dataset(corpus, study, number)
                template = corpus.templates[index]

                async def chunks(data: bytes = data):  # type: ignore[no-untyped-def]
                    for start in range(0, len(data), 50_000):
                        yield data[start : start + 50_000]

                answer = await association.store(
                    template.sop_class, uid, template.transfer_syntax, chunks(), len(data)
                )
                assert answer.status == 0
        arrived = await asyncio.to_thread(receiver.wait, study.uids, 10.0)
    finally:
        receiver.stop()

    assert arrived.associated <= arrived.first <= arrived.last
    assert arrived.arrivals.keys() == study.uids


def test_the_pdus_of_a_data_set_hold_all_of_it_and_none_is_longer_than_agreed() -> None:
    parts = [b"a" * 100, b"b" * 1000, b"c" * 7]

    stream = b"".join(wire.data_pdus(5, parts, 256))

    data, controls, at = b"", [], 0
    while at < len(stream):
        kind, _, length, size, context_id, control = struct.unpack_from(">BBIIBB", stream, at)
        assert (kind, context_id, size) == (wire.P_DATA, 5, length - 4)
        assert length <= 256
        data += stream[at + 12 : at + 6 + length]
        controls.append(control)
        at += 6 + length
    assert data == b"".join(parts)
    assert controls == [0] * (len(controls) - 1) + [2]


def test_identifiers_are_put_in_without_a_change_of_length() -> None:
    has = Identifiers(fixed_uid(), fixed_uid(), fixed_uid(), "A0000000001", "9990000018")
    other = Identifiers(fixed_uid(), fixed_uid(), fixed_uid(), "A0000000002", "9990000026")
    template = Template("1.2", "1.2", json.dumps(vars(has)).encode(), b"pixels", has)

    before, pixels = template.parts(other)

    assert json.loads(before) == vars(other)
    assert pixels == b"pixels"
