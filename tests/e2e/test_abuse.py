"""The whole stack abused, a good sender beside it, and the memory of every process of ours watched.

All ways of abuse are tried on ingest alone elsewhere; these reach the store, the broker and validation too.
"""

import asyncio

import pytest

from imex.events import SERVICES
from imex.testing import abuse as ways
from imex.testing.abuse import Abuse, Target, legitimate_store
from imex.testing.bystander import Bystander
from imex.testing.network import Network

ABUSES = (
    ways.silent_on_the_plain_port,
    ways.silent_on_the_tls_port,
    ways.fragments_without_a_last_one,
    ways.deflate_bomb,
    ways.nested_sequences,
    ways.opened_and_dropped,
    ways.responses_that_nobody_reads,
    ways.forged_proxy_header,
)


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
def test_abuse_of_the_stack_harms_nobody_else(abuse: Abuse, network: Network) -> None:
    source, _ = network.pair()
    described = network.stack.described
    dicom, tls = described["dicom"], described["tls"]
    target = Target(dicom["port"], dicom["tls_port"], source.ae_title)
    echo = ["echoscu", "-aet", source.ae_title, "-aec", "IMEX", "-to", "20"]
    shown = ["+tls", tls["client_key"][source.code], tls["client_cert"][source.code], "+cf", tls["ca"]]
    echoes = {
        "plain": [*echo, "127.0.0.1", str(target.port)],
        "TLS": [*echo, *shown, "127.0.0.1", str(target.tls_port)],
    }
    processes = described["processes"]
    pids = {name: told["pid"] for name, told in processes.items() if name.split("-")[0] in SERVICES}

    async def meanwhile() -> None:
        await abuse(target)
        await legitimate_store(target)

    with Bystander(echoes, pids) as seen:
        asyncio.run(meanwhile())
    print(seen.report())
    seen.unharmed()
