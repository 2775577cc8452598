"""Repeated diagnosis that returns only reports that differ from the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from favcrm._patterns import is_number
from favcrm.errors import raise_problems

if TYPE_CHECKING:
    from favcrm._flows.engine import Engine
    from favcrm.models import DiagnosticReport

DEFAULT_INTERVAL = 30.0
LONGEST_BACKOFF = 10
"""How many intervals lie at most between two diagnoses of an endpoint that is down."""


class Watch:
    """One watch over a workspace.

    Args:
        engine: Makes the diagnoses.
        interval: Seconds between two diagnoses. By default from the environment, then 30.

    Raises:
        InvalidInputError: The interval is not a number of seconds above 0.
    """

    def __init__(self, engine: Engine, interval: float | None) -> None:
        seconds = (engine.diagnosis_interval or DEFAULT_INTERVAL) if interval is None else interval
        raise_problems(
            {"interval": None if is_number(seconds, above=0) else "must be a number of seconds above 0"}
        )
        self._engine = engine
        self._interval = seconds
        self._last: DiagnosticReport | None = None
        self._waits = 0

    async def next(self) -> DiagnosticReport:
        """Return the first report at once, and from then on the next one that differs from the last."""
        while True:
            if self._waits:
                await self._engine.backend.sleep(self._interval * self._waits)
            report = await self._engine.diagnose()
            # An endpoint that does not answer is asked less and less often, so that it is not flooded when it is back.
            self._waits = 1 if report.endpoint_reachable else min(max(1, self._waits * 2), LONGEST_BACKOFF)
            if self._last is None or essence(report) != essence(self._last):
                self._last = report
                return report


def essence(report: DiagnosticReport) -> tuple[object, ...]:
    """Return what makes two reports say the same: not how long it took, nor the server's ids and payloads."""
    return (
        report.endpoint_reachable,
        report.auth_configured,
        report.tool_count,
        report.organisation,
        report.plan_status,
        report.whatsapp_connected,
        *((check.name, check.status) for check in report.checks),
    )
