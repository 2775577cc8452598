"""The table of error codes as the documentation shows it: ``python tests/error_table.py`` writes it into its page."""

from __future__ import annotations

import re
from pathlib import Path

from favcrm._error_codes import ERROR_CODES

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "errors.md"
BEGIN, END = "<!-- codes -->", "<!-- end of codes -->"
HEAD = ("`code`", "Error", "What happened", "`next_step`", "`human_action`")


def table() -> str:
    rows = [
        (f"`{code}`", f"`{row.error}`", row.meaning, row.next_step, row.human_action or "")
        for code, row in ERROR_CODES.items()
    ]
    lines = [HEAD, tuple("---" for _ in HEAD), *rows]
    return "\n".join([BEGIN, *(f"| {' | '.join(cells)} |" for cells in lines), END])


if __name__ == "__main__":
    PAGE.write_text(re.sub(rf"{BEGIN}.*{END}", table(), PAGE.read_text(), flags=re.DOTALL))
