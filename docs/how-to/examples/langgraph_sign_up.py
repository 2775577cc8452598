import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from favcrm import FavCRMProvisioner, FileLedger, PendingRegistration, Secret, SecretRef
from favcrm.errors import InvalidCodeError, InvalidInputError, MissingKeyError
from favcrm.stores import ConfigFileStore


class State(TypedDict, total=False):  # all that the checkpoints hold
    pending: dict[str, str | float]
    code: str | None
    problem: str | None
    ref: str
    fingerprint: str
    ready: bool


@dataclass
class Context:  # what the nodes are given and no checkpoint holds
    tenant: str
    email: str = ""
    organisation_name: str = ""


class TenantStore(ConfigFileStore):  # a file for each tenant, and a name that is known before there is a key
    def __init__(self, tenant: str) -> None:
        super().__init__(Path("keys", f"{quote(tenant, safe='')}.toml"))
        self.ref = SecretRef.of(self.scheme, tenant)

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        return super().put(self.ref.name, secret, {**metadata, "name": name}, if_absent=if_absent)


def request(_: State, runtime: Runtime[Context]) -> State:
    who = runtime.context
    with FavCRMProvisioner(ledger=FileLedger("pending.json")) as favcrm:
        pending = favcrm.initiate(email=who.email, organisation_name=who.organisation_name)
    return {"pending": pending.to_dict(), "problem": None}


def ask(state: State) -> State:
    question = {"registration": state["pending"]["request_id"], "problem": state.get("problem")}
    return {"code": interrupt(question)}


def confirm(state: State, runtime: Runtime[Context]) -> State:
    store = TenantStore(runtime.context.tenant)
    try:
        key = store.get(store.ref)  # an earlier run of this node was killed after it had saved the key
    except MissingKeyError:
        pending = PendingRegistration.from_dict(state["pending"])
        with FavCRMProvisioner(store=store, ledger=FileLedger("pending.json")) as favcrm:
            try:
                key = favcrm.confirm(pending, state["code"] or "").api_key
            except (InvalidCodeError, InvalidInputError) as error:
                return {"code": None, "problem": type(error).__name__}
    return {"code": None, "problem": None, "ref": str(store.ref), "fingerprint": key.fingerprint}


def diagnose(state: State, runtime: Runtime[Context]) -> State:
    with FavCRMProvisioner(
        api_key=SecretRef(state["ref"]), store=TenantStore(runtime.context.tenant)
    ) as favcrm:
        return {"ready": favcrm.diagnose().ready}


graph = StateGraph(State, context_schema=Context)
for node in (request, ask, confirm, diagnose):
    graph.add_node(node.__name__, node)
graph.add_edge(START, "request")
graph.add_edge("request", "ask")
graph.add_edge("ask", "confirm")
graph.add_conditional_edges(
    "confirm", lambda state: "ask" if state["problem"] else "diagnose", ["ask", "diagnose"]
)
graph.add_edge("diagnose", END)


def run(tenant: str, given: State | Command | None, email: str = "", organisation_name: str = "") -> State:
    with SqliteSaver.from_conn_string("checkpoints.sqlite") as saver:
        return graph.compile(checkpointer=saver).invoke(
            given,
            {"configurable": {"thread_id": tenant}},
            context=Context(tenant, email, organisation_name),
            durability="sync",  # a node begins when the checkpoint before it is on disk
        )


match sys.argv[1:]:
    case ["start", tenant, email, organisation_name]:
        state = run(tenant, {}, email, organisation_name)
    case ["resume", tenant, code]:
        state = run(tenant, Command(resume=code))
    case ["resume", tenant]:  # after a node was killed or failed: run it again
        state = run(tenant, None)
    case _:
        sys.exit("start TENANT EMAIL NAME, or resume TENANT [CODE]")

if "__interrupt__" in state:
    print(f"Waiting for a code: {state['__interrupt__'][0].value}")  # noqa: T201 - it is the example's result
else:
    print(f"{state['ref']} {state['fingerprint']} ready={state['ready']}")  # noqa: T201 - as above
