"""One registration, from nothing: `python once.py CONTENDER URL` is timed from outside, start of Python included.

So each contender imports what it needs by itself, and nothing is imported above but what Python has loaded anyway.
"""

from __future__ import annotations

import sys

TOOL = "register_organisation_request"
EMAIL = "you@example.com"
NAME = "Stretch + Breathe"


def bare(url: str, *, certificates: bool = True) -> None:
    """Do with httpx what somebody without an SDK would write."""
    import httpx

    with httpx.Client(verify=certificates, trust_env=certificates) as client:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": TOOL, "arguments": {"email": EMAIL, "organisationName": NAME}},
        }
        answer = client.post(url, json=message, headers={"Accept": "application/json, text/event-stream"})
        print(answer.raise_for_status().json()["result"]["structuredContent"]["data"]["requestId"])


def favcrm(url: str) -> None:
    from favcrm import FavCRMProvisioner

    with FavCRMProvisioner(url, era="bare") as provisioner:
        print(provisioner.initiate(email=EMAIL, organisation_name=NAME).request_id)


def bare_without_certificates(url: str) -> None:
    """Choose what favcrm chooses on loopback: nothing to verify with, and no proxy."""
    bare(url, certificates=False)


def favcrm_with_certificates(url: str) -> None:
    import httpx

    from favcrm import FavCRMProvisioner

    with httpx.Client() as client, FavCRMProvisioner(url, http_client=client, era="bare") as provisioner:
        print(provisioner.initiate(email=EMAIL, organisation_name=NAME).request_id)


def mcp(url: str) -> None:
    import asyncio

    from mcp import Client

    async def main() -> None:
        async with Client(url) as client:
            answer = await client.call_tool(TOOL, {"email": EMAIL, "organisationName": NAME})
            print((answer.structured_content or {})["data"]["requestId"])

    asyncio.run(main())


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
