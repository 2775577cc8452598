from __future__ import annotations

import os

from favcrm import FavCRMProvisioner
from favcrm.codes import MailboxCode

read_code = MailboxCode(
    os.environ["AGENT_IMAP_HOST"],
    port=int(os.environ.get("AGENT_IMAP_PORT", "993")),
    username=os.environ["AGENT_IMAP_USERNAME"],
    password=os.environ["AGENT_IMAP_PASSWORD"],
    senders=[os.environ["CODES_COME_FROM"]],
)
read_code.check()  # before FavCRM is asked for a code: it sends three an hour

with FavCRMProvisioner() as favcrm:
    pending = favcrm.initiate(email=os.environ["AGENT_EMAIL"], organisation_name="Stretch + Breathe")
    workspace = favcrm.confirm(pending, code=read_code(pending))
    favcrm.diagnose().raise_if_not_ready()

print(f"{workspace.organisation_id} is ready.")  # noqa: T201 - it is the example's result
