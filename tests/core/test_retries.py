"""Every cell of the table in docs/explanation/retries.md, in both colours, on a recorded clock."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from colours import Colour, Facade, client, provisioner, transport_to
from hypothesis import given
from hypothesis import strategies as st

from favcrm import CheckStatus, RetryPolicy, errors
from favcrm.sandbox import Fault, Sandbox
from favcrm.transport import Request
from favcrm.transports import Response

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "retries.md"
EMAIL = "you@example.com"
ATTEMPTS = 4
POLICY = RetryPolicy(attempts=ATTEMPTS, deadline=300, backoff_initial=1, backoff_max=3, jitter=0)

TOOL = {
    "initiate": "register_organisation_request",
    "confirm": "register_organisation_verify",
    "diagnose": "get_plan_status",
    "list_tools": "tools/list",
    "call_tool": "list_services",
}
FOR_GOOD = "never sent for good"
OUTCOMES: dict[str, tuple[Fault, type[errors.FavCRMError]]] = {
    "refused": (Fault.server_error(400, body="json"), errors.RefusedError),
    "rate limited": (Fault.server_error(429, retry_after=20), errors.RateLimitError),
    "busy": (Fault.server_error(503, retry_after=7), errors.ServerBusyError),
    "never sent": (Fault.REFUSE_CONNECTION, errors.NotSentError),
    FOR_GOOD: (Fault.REFUSE_CONNECTION, errors.NotSentError),
    "unknown": (Fault.RESET_BEFORE, errors.OutcomeUnknownError),
}
WAITS = {"rate limited": [20.0] * 3, "busy": [7.0] * 3}
BACKOFF = [1.0, 2.0, 3.0]


def table() -> dict[tuple[str, str], str]:
    """Read the table: what is done, by phase and outcome."""
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (phase|`)", line)
    ]
    header, *body = rows
    return {(row[0], name): cell for row in body for name, cell in zip(header[1:], row[1:], strict=True)}


TABLE = table()


def test_the_table_is_whole() -> None:
    assert {phase for phase, _ in TABLE} == set(TOOL)
    assert {outcome for _, outcome in TABLE} == {"answered", *OUTCOMES}
    assert len(TABLE) == len(TOOL) * (len(OUTCOMES) + 1)


class ForGood:
    """A transport whose failures to send are for good, as with a certificate that is not trusted."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.clock = inner.clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def request(self, request: Request) -> Response:
        try:
            answer: Response = self.inner.request(request)
        except errors.NotSentError as error:
            error.permanent = True
            raise
        return answer


class AsyncForGood(ForGood):
    """The same, asynchronous."""

    async def request(self, request: Request) -> Response:  # type: ignore[override]  # the other colour
        try:
            answer: Response = await self.inner.request(request)
        except errors.NotSentError as error:
            error.permanent = True
            raise
        return answer


class Phase:
    """One phase, ready to be made in a colour."""

    def __init__(
        self, sandbox: Sandbox, colour: Colour, phase: str, outcome: str, policy: RetryPolicy
    ) -> None:
        transport = transport_to(sandbox, colour)
        if outcome == FOR_GOOD:
            transport = ForGood(transport) if colour == "blocking" else AsyncForGood(transport)
        options: dict[str, Any] = {"transport": transport, "retry": policy}
        self.sandbox, self.phase, self.tool = sandbox, phase, TOOL[phase]
        if phase not in {"initiate", "confirm"}:
            options["api_key"] = sandbox.add_organisation()
        make = client if phase in {"list_tools", "call_tool"} else provisioner
        self.facade: Facade = make(colour, **options)
        self.pending: Any = None

    async def prepare(self) -> None:
        """Do what comes before the phase."""
        if self.phase == "confirm":
            self.pending = await self.facade.initiate(email=EMAIL, organisation_name="Acme")

    async def make(self) -> Any:
        """Make the phase; of a diagnosis, raise what its report tells of the one call that fails."""
        match self.phase:
            case "initiate":
                return await self.facade.initiate(email=EMAIL, organisation_name="Acme")
            case "confirm":
                return await self.facade.confirm(self.pending, self.sandbox.inbox.code_for(EMAIL))
            case "diagnose":
                report = await self.facade.diagnose()
                plan = next(check for check in report.checks if check.name == "plan")
                return plan if plan.status is not CheckStatus.OK else report
            case "list_tools":
                return await self.facade.list_tools()
            case _:
                return await self.facade.call_tool("list_services")

    def attempts(self) -> int:
        """How many attempts reached the place where the faults are."""
        return self.sandbox.count(self.tool)

    async def fails_with(self, kind: type[errors.FavCRMError]) -> None:
        if self.phase == "diagnose":
            assert (await self.make()).status is CheckStatus.WARNING
        else:
            with pytest.raises(kind):
                await self.make()


@pytest.mark.parametrize("phase", TOOL)
@pytest.mark.parametrize("outcome", ["answered", *OUTCOMES])
async def test_a_call_does_what_its_cell_of_the_table_says(
    sandbox: Sandbox, colour: Colour, phase: str, outcome: str
) -> None:
    cell = TABLE[phase, outcome]
    run = Phase(sandbox, colour, phase, outcome, POLICY)
    await run.prepare()
    if cell == "return":
        assert await run.make() is not None
        assert run.attempts() == 1
        assert sandbox.clock.sleeps == []
        return
    fault, kind = OUTCOMES[outcome]
    sandbox.fail_next(run.tool, *[fault] * 10)
    await run.fails_with(kind)
    made = {"raise": 1, "repeat": ATTEMPTS, "repeat once": 2, "raise, or wait if asked to": 1}[cell]
    assert run.attempts() == made
    assert sandbox.clock.sleeps == (WAITS.get(outcome) or BACKOFF)[: made - 1]


@pytest.mark.parametrize("phase", TOOL)
async def test_a_rate_limit_is_waited_for_if_asked_to(sandbox: Sandbox, phase: str) -> None:
    assert TABLE[phase, "rate limited"] == "raise, or wait if asked to"
    policy = RetryPolicy(attempts=ATTEMPTS, deadline=300, wait_on_rate_limit=True)
    run = Phase(sandbox, "blocking", phase, "rate limited", policy)
    await run.prepare()
    sandbox.fail_next(run.tool, *[OUTCOMES["rate limited"][0]] * 2)
    await run.make()
    assert run.attempts() == 3
    assert sandbox.clock.sleeps == [20, 20]


@pytest.mark.parametrize(
    ("phase", "outcome"), [cell for cell, done in TABLE.items() if done.startswith("repeat")]
)
async def test_the_attempt_that_is_answered_settles_it(sandbox: Sandbox, phase: str, outcome: str) -> None:
    run = Phase(sandbox, "blocking", phase, outcome, POLICY)
    await run.prepare()
    sandbox.fail_next(run.tool, OUTCOMES[outcome][0])
    await run.make()
    assert run.attempts() == 2


@pytest.mark.parametrize("phase", ["confirm", "list_tools"])
@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_never_means_once(sandbox: Sandbox, phase: str, outcome: str) -> None:
    run = Phase(sandbox, "blocking", phase, outcome, RetryPolicy.never())
    await run.prepare()
    fault, kind = OUTCOMES[outcome]
    sandbox.fail_next(run.tool, fault)
    await run.fails_with(kind)
    assert run.attempts() == 1


async def test_rule_5_no_wait_goes_past_the_deadline(sandbox: Sandbox) -> None:
    policy = RetryPolicy(attempts=9, deadline=30, wait_on_rate_limit=True)
    run = Phase(sandbox, "blocking", "call_tool", "rate limited", policy)
    sandbox.fail_next(run.tool, *[OUTCOMES["rate limited"][0]] * 9)
    with pytest.raises(errors.RateLimitError) as caught:
        await run.make()
    assert caught.value.retry_after == 20
    assert sandbox.clock.sleeps == [20]


async def test_the_deadline_bounds_attempts_too(sandbox: Sandbox) -> None:
    run = Phase(sandbox, "blocking", "list_tools", "unknown", RetryPolicy(attempts=9, deadline=50, jitter=0))
    started = sandbox.clock.monotonic()
    sandbox.fail_next(run.tool, *[Fault.STALL] * 9)
    with pytest.raises(errors.OutcomeUnknownError):
        await run.make()
    assert run.attempts() == 2, "30 seconds of the timeout, then what was left"
    assert sandbox.clock.monotonic() - started == pytest.approx(50)


async def test_nothing_is_sent_after_a_wait_in_which_the_machine_slept(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Phase(sandbox, "blocking", "list_tools", "never sent", POLICY)
    sandbox.fail_next(run.tool, Fault.REFUSE_CONNECTION)
    clock = sandbox.clock
    monkeypatch.setattr(clock, "sleep", lambda _: clock.advance(POLICY.deadline))
    with pytest.raises(errors.NotSentError, match="was over before it was made"):
        await run.make()
    assert run.attempts() == 1


@given(
    initial=st.floats(0, 1e6),
    longest=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    attempts=st.integers(2, 200),
)
def test_waits_grow_and_stay_in_their_bounds(
    initial: float, longest: float, jitter: float, attempts: int
) -> None:
    policy = RetryPolicy(
        attempts=attempts, deadline=1e12, backoff_initial=initial, backoff_max=longest, jitter=jitter
    )
    sandbox = Sandbox()
    run = Phase(sandbox, "blocking", "list_tools", "never sent", policy)
    sandbox.fail_next(run.tool, *[Fault.REFUSE_CONNECTION] * attempts)
    with pytest.raises(errors.NotSentError):
        run.facade.inner.list_tools()
    assert len(sandbox.clock.sleeps) == attempts - 1
    for number, wait in enumerate(sandbox.clock.sleeps):
        full = min(initial * 2.0 ** min(number, 64), longest)
        assert full * (1 - jitter) - 1e-6 <= wait <= full
