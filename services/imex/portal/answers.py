"""What routing makes of commands, for whoever waits for it."""

from uuid import UUID

from imex.portal import commands
from imex.portal.context import Portal
from imex.portal.problems import Problem
from imex.portal.queries import shares


async def answer_to(portal: Portal, command: UUID, whose: str) -> shares.CommandResult | None:
    """What became of a command about `whose` share or study; None where routing has not got to it in time."""

    async def ask() -> shares.CommandResult | None:
        async with portal.database.engine.connect() as connection:
            return await shares.result_of(connection, command, whose)

    return await commands.until(ask, portal.command_wait_s)


def unless_rejected(answer: shares.CommandResult) -> None:
    """Nothing, where it was done.

    Raises:
        Problem: 409, with routing's words as a sentence.
    """
    if answer.outcome == "rejected":
        raise Problem(409, f"{answer.message[:1].upper()}{answer.message[1:]}.")
