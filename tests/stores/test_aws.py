"""The store in AWS Secrets Manager: boto3 against moto's server and against broken ones, and hand-made clients."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import pytest
from servers import Peer, Request, Script, sends, serve, unused_address, whole
from stores.machine import run
from stores.moto_server import AWS, aws_on_loopback
from stores.service_checks import actions_of, hides, new_key, refused, run_example

from favcrm import MissingKeyError, Secret, SecretRef
from favcrm.stores.aws import AWSSecretsManagerStore

REF = SecretRef.of("aws", "acme")
EXISTS = "ResourceExistsException"
MISSING = "ResourceNotFoundException"


LOGGED = """
import logging, sys
from favcrm import SecretRef
from favcrm.stores import AWSSecretsManagerStore
logging.basicConfig(level=logging.DEBUG)
AWSSecretsManagerStore().get(SecretRef(sys.argv[1]))
"""


def client_of(service: str, **options: object) -> Any:
    """Return a real client. boto3 has no types of its own."""
    return import_module("boto3").client(service, **options)


@pytest.fixture(scope="module")
def server() -> Iterator[AWS]:
    with aws_on_loopback() as running:
        yield running


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing of whoever runs the tests is found: no profile, no region, no credentials."""
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def settle_in(monkeypatch: pytest.MonkeyPatch, url: str, key_id: str = "test", secret: str = "test") -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture
def aws(server: AWS, monkeypatch: pytest.MonkeyPatch) -> Iterator[AWS]:
    settle_in(monkeypatch, server.url)
    server.allow_everybody_for(float("inf"))
    server.reset()
    yield server
    server.allow_everybody_for(float("inf"))


@pytest.fixture
def key() -> Secret:
    return new_key()


def names() -> list[str]:
    return [secret["Name"] for secret in client_of("secretsmanager").list_secrets()["SecretList"]]


class TestOnAWS:
    def test_the_key_is_the_whole_text_of_a_secret_of_its_own(self, aws: AWS, key: Secret) -> None:
        store = AWSSecretsManagerStore(prefix="agents/")
        assert store.get(store.put("Stretch + ~Breathe~", key, {"organisation_id": "org"})) == key
        (made,) = client_of("secretsmanager").list_secrets()["SecretList"]
        assert made["Name"] == "agents/Stretch=20=2B=20=7EBreathe=7E"
        assert made["Description"] == "FavCRM key. organisation_id: org"
        found = client_of("secretsmanager").get_secret_value(SecretId=made["Name"])
        assert Secret(found["SecretString"]) == key

    def test_a_region_can_be_named(self, aws: AWS, key: Secret) -> None:
        AWSSecretsManagerStore(region="us-west-2").put("acme", key, {})
        assert names() == []

    def test_the_check_leaves_nothing(self, aws: AWS) -> None:
        # An earlier one was killed.
        client_of("secretsmanager").create_secret(Name="favcrm/+check", SecretString="left")
        store = AWSSecretsManagerStore()
        store.check()
        store.check()
        assert names() == []

    def test_a_secret_without_a_value_is_filled(self, aws: AWS, key: Secret) -> None:
        client_of("secretsmanager").create_secret(Name="favcrm/acme")
        store = AWSSecretsManagerStore()
        with refused(key, match="There is no key at", kind=MissingKeyError):
            store.get(REF)
        assert store.get(store.put("acme", key, {})) == key

    def test_of_programs_that_save_at_once_one_saves_and_the_others_are_refused(self, aws: AWS) -> None:
        keys = [new_key() for _ in range(4)]
        start = threading.Barrier(len(keys))

        def save(key: Secret) -> str:
            store = AWSSecretsManagerStore()
            start.wait()
            try:
                return store.put("acme", key, {})
            except Exception as error:  # noqa: BLE001  # told by its words
                return str(error)

        with ThreadPoolExecutor(len(keys)) as pool:
            results = list(pool.map(save, keys))
        winner = keys[results.index(REF)]
        assert AWSSecretsManagerStore().get(REF) == winner
        assert len([told for told in results if told.startswith("Another key is stored")]) == len(keys) - 1

    def test_a_secret_scheduled_for_deletion_takes_no_key_and_is_not_missing(
        self, aws: AWS, key: Secret
    ) -> None:
        store = AWSSecretsManagerStore()
        client = client_of("secretsmanager")
        for name in ("favcrm/acme", "favcrm/+check"):
            client.create_secret(Name=name, SecretString="old")
            client.delete_secret(SecretId=name)
        # It is not missing: whoever took it for missing would use a code for a key that has no place.
        with refused(key, match="^The key could not be read: .* such as scheduled for deletion. Restore"):
            store.get(REF)
        for if_absent in (True, False):
            with refused(key, match="^The key was not saved: .* such as scheduled for deletion. Restore"):
                store.put("acme", key, {}, if_absent=if_absent)
        with refused(match="^The store cannot be used: .* such as scheduled for deletion. Restore"):
            store.check()

    def test_a_secret_of_bytes_is_not_taken_for_a_key(self, aws: AWS, key: Secret) -> None:
        client_of("secretsmanager").create_secret(Name="favcrm/acme", SecretBinary=b"bytes")
        store = AWSSecretsManagerStore()
        with refused(
            key, match="^The key could not be read: there is a secret of that name which is not text."
        ):
            store.get(REF)
        with refused(key, match="^The key was not saved: there is a secret of that name which is not text."):
            store.put("acme", key, {})

    def test_the_example_of_the_documentation(self, aws: AWS, monkeypatch: pytest.MonkeyPatch) -> None:
        ran = run_example("stores_aws.py", monkeypatch)
        assert ran.services.data is not None
        assert names() == [f"agents/favcrm/{ran.workspace.ref.name}"]

    def test_no_log_of_the_first_call_of_a_process_shows_a_key(self, aws: AWS, key: Secret) -> None:
        status, said = run(LOGGED, AWSSecretsManagerStore().put("acme", key, {}))
        assert status == 0
        assert "botocore" in said
        assert hides(said, key)

    def test_other_calls_of_the_same_client_are_logged(
        self, aws: AWS, key: Secret, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = client_of("secretsmanager")
        AWSSecretsManagerStore(client).put("acme", key, {})
        with caplog.at_level(logging.DEBUG):
            client.get_secret_value(SecretId="favcrm/acme")
        assert not hides(caplog.text, key), "botocore logs no bodies any more, so nothing must be dropped"


class TestDenied:
    """moto asks for a policy, as AWS does; it answers a denial with status 403 and an XML body."""

    @pytest.fixture
    def allow(self, aws: AWS, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def allow(*actions: str) -> None:
            iam = client_of("iam")
            iam.create_user(UserName="agent")
            statement = {
                "Effect": "Allow",
                "Action": [f"secretsmanager:{name}" for name in actions],
                "Resource": "*",
            }
            policy = {"Version": "2012-10-17", "Statement": [statement]}
            iam.put_user_policy(UserName="agent", PolicyName="agent", PolicyDocument=json.dumps(policy))
            made = iam.create_access_key(UserName="agent")["AccessKey"]
            settle_in(monkeypatch, aws.url, made["AccessKeyId"], made["SecretAccessKey"])
            aws.allow_everybody_for(0)

        return allow

    def test_the_documented_rights_are_enough(self, allow: Callable[..., None], key: Secret) -> None:
        allow("CreateSecret", "PutSecretValue", "GetSecretValue", "DeleteSecret")
        store = AWSSecretsManagerStore()
        store.check()
        store.put("acme", new_key(), {})
        store.put("acme", key, {}, if_absent=False)
        assert store.get(REF) == key
        store.delete(REF)

    @pytest.mark.parametrize("action", ["GetSecretValue", "CreateSecret"])
    def test_a_check_without_the_rights_raises_store_error(
        self, allow: Callable[..., None], action: str
    ) -> None:
        allow(action)
        with refused(match="^The store cannot be used: AWS does not allow it. Allow secretsmanager:CreateSe"):
            AWSSecretsManagerStore().check()

    def test_a_check_without_the_right_to_delete_leaves_its_secret(
        self, allow: Callable[..., None], aws: AWS
    ) -> None:
        allow("CreateSecret", "GetSecretValue")
        AWSSecretsManagerStore().check()
        AWSSecretsManagerStore().check()
        aws.allow_everybody_for(float("inf"))
        assert names() == ["favcrm/+check"]

    def test_without_the_right_to_put_a_key_is_not_replaced(
        self, allow: Callable[..., None], key: Secret
    ) -> None:
        allow("GetSecretValue", "CreateSecret")
        store = AWSSecretsManagerStore()
        store.put("acme", new_key(), {})
        with refused(key, match="^The key was not saved: AWS does not allow it."):
            store.put("acme", key, {}, if_absent=False)


def stalls(peer: Peer, _: Request) -> None:
    peer.stall()


def resets(peer: Peer, _: Request) -> None:
    peer.reset()


class TestBroken:
    def test_a_server_that_is_down_raises_store_error(
        self, monkeypatch: pytest.MonkeyPatch, key: Secret
    ) -> None:
        with unused_address() as url:
            settle_in(monkeypatch, url)
            with refused(
                key, match="^The key was not saved: AWS Secrets Manager cannot be reached. Check the reg"
            ):
                AWSSecretsManagerStore().put("acme", key, {})

    def test_a_server_that_never_answers_raises_store_error_in_time(
        self, monkeypatch: pytest.MonkeyPatch, key: Secret
    ) -> None:
        with serve(stalls) as silent:
            settle_in(monkeypatch, silent.url)
            started = time.monotonic()
            with refused(key, match="^The key was not saved: AWS Secrets Manager did not answer in time."):
                AWSSecretsManagerStore(timeout=0.5).put("acme", key, {})
            assert time.monotonic() - started < 60  # three attempts, and two waits of at most some seconds
            # A busy machine may be late for a connection.
            assert len(silent.requests) in {1, 2, 3}

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            (stalls, "AWS Secrets Manager did not answer in time"),
            (resets, "AWS Secrets Manager failed with ConnectionClosedError"),
            (sends(whole(b"{}", 500)), "AWS Secrets Manager failed with status 500"),
            (sends(whole(b"not json", 200)), "AWS gives back something else"),
        ],
        ids=["silent", "reset", "500", "no json"],
    )
    def test_a_write_without_an_answer_is_called_uncertain(
        self, script: Script, reason: str, monkeypatch: pytest.MonkeyPatch, key: Secret
    ) -> None:
        def answer(peer: Peer, request: Request) -> None:
            if request.headers["x-amz-target"].endswith("GetSecretValue"):
                peer.send(aws_error(MISSING))
            else:
                script(peer, request)

        with serve(answer) as broken:
            settle_in(monkeypatch, broken.url)
            with refused(key, match=f"^It is not certain that the key was saved: {reason}."):
                AWSSecretsManagerStore(quick()).put("acme", key, {})
            assert [request for request in broken.requests if key.reveal().encode() in request.body]

    def test_a_refusal_raises_store_error_from_each_method(
        self, monkeypatch: pytest.MonkeyPatch, key: Secret
    ) -> None:
        with serve(sends(aws_error("ExpiredToken", 403))) as refusing:
            settle_in(monkeypatch, refusing.url)
            for failing, action in actions_of(AWSSecretsManagerStore(quick()), key).items():
                with refused(key, match=f"^{failing}: the AWS credentials have expired."):
                    action()

    @pytest.mark.parametrize(
        ("status", "code", "words", "reason"),
        [
            (400, "UnrecognizedClientException", "", "AWS does not accept the credentials"),
            (400, "InvalidSignatureException", "", "AWS does not accept the credentials"),
            (400, "InvalidSignatureException", "Signature expired: 2", "AWS does not accept the time"),
            (400, "SignatureDoesNotMatch", "Signature not yet current: 2", "AWS does not accept the time"),
            (403, "RequestTimeTooSkewed", "", "AWS does not accept the time of this machine"),
            (400, "EncryptionFailure", "", "AWS could not use the KMS key"),
            (400, "KMSAccessDeniedException", "", "AWS does not allow the use of the KMS key"),
            (400, "AccessDeniedException", "Access to KMS", "AWS does not allow the use of the KMS key"),
            (400, "AccessDeniedException", "", "AWS does not allow it"),
            (403, "SomethingNew", "", "AWS does not allow it"),
            (400, "SomethingNew", "", "AWS refused it with status 400"),
            (400, "LimitExceededException", "", "the AWS account has as many secrets, or versions of"),
            (400, "PreconditionNotMetException", "", "AWS does not do it while the secret is being repl"),
            (400, "InvalidRequestException", "", "AWS does not do it in the state the secret is in"),
            (400, "ThrottlingException", "", "AWS takes no more requests for now"),
        ],
    )
    def test_a_refusal_to_make_a_secret_says_why_and_that_nothing_was_saved(
        self, status: int, code: str, words: str, reason: str, key: Secret
    ) -> None:
        with refused(key, match=f"^The key was not saved: {reason}") as caught:
            AWSSecretsManagerStore(HandMade(failed(code, words, status))).put("acme", key, {})
        assert not words or words not in str(caught.value)

    @pytest.mark.parametrize(
        ("kind", "arguments", "reason"),
        [
            ("UnauthorizedSSOTokenError", {}, "the AWS sign-in has expired or was never made"),
            # Told by the class that it is made from.
            ("SSOTokenLoadError", {"error_msg": "x"}, "the AWS sign-in has expired or was never made"),
            ("ProfileNotFound", {"profile": "x"}, "the AWS configuration cannot be used"),
            ("NoCredentialsError", {}, "no AWS credentials were found. Check the AWS credentials"),
        ],
    )
    def test_an_exception_of_botocore_is_explained_by_its_class(
        self, kind: str, arguments: dict[str, str], reason: str, key: Secret
    ) -> None:
        error: Exception = getattr(import_module("botocore.exceptions"), kind)(**arguments)
        with refused(key, match=f"^The key was not saved: {reason}"):
            AWSSecretsManagerStore(HandMade(error)).put("acme", key, {})

    def test_a_missing_region_raises_store_error(self) -> None:
        with refused(match="^The store cannot be used: no AWS region is set. Say region=..., or set"):
            AWSSecretsManagerStore().check()


def aws_error(code: str, status: int = 400) -> bytes:
    return whole(json.dumps({"__type": code}).encode(), status)


def quick() -> Any:
    """A client that tries once, and not for long."""
    config = import_module("botocore.config").Config(
        connect_timeout=5, read_timeout=1.0, retries={"mode": "standard", "total_max_attempts": 1}
    )
    return client_of("secretsmanager", config=config)


def failed(code: str, words: str = "", status: int = 400) -> Exception:
    answer = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = import_module("botocore.exceptions").ClientError(answer, "Operation")
    return error


class HandMade:
    """A client that somebody else wrote, which raises an error where a secret is made."""

    def __init__(self, error: Exception) -> None:
        self.kept: dict[str, str] = {}
        self.on_create: Callable[[], object] = lambda: None
        self.error = error
        self.forgets = False

    def create_secret(self, *, Name: str, Description: str, SecretString: str) -> object:  # noqa: N803
        self.on_create()
        raise self.error

    def put_secret_value(self, *, SecretId: str, SecretString: str, ClientRequestToken: str = "") -> object:  # noqa: N803
        if ClientRequestToken and not self.forgets:
            raise failed(EXISTS)
        return {}

    def get_secret_value(self, *, SecretId: str) -> Mapping[str, object]:  # noqa: N803
        if SecretId not in self.kept:
            raise failed(MISSING)
        return {"SecretString": self.kept[SecretId]}

    def delete_secret(self, *, SecretId: str, ForceDeleteWithoutRecovery: bool) -> object:  # noqa: N803
        raise NotImplementedError


class TestHandMadeClients:
    @pytest.mark.parametrize("same", [True, False])
    def test_a_key_that_another_program_saved_meanwhile_is_not_overwritten(
        self, same: bool, key: Secret
    ) -> None:
        client, other = HandMade(failed(EXISTS)), new_key()
        theirs = key if same else other
        client.on_create = lambda: client.kept.update({"favcrm/acme": theirs.reveal()})
        store = AWSSecretsManagerStore(client)
        if same:
            assert store.put("acme", key, {}) == REF
        else:
            with refused(key, other, match="Another key is stored as"):
                store.put("acme", key, {})
        assert store.get(REF) == theirs

    def test_of_two_programs_that_fill_an_empty_secret_one_is_refused(self, key: Secret) -> None:
        with refused(key, match="Another key is stored as"):
            AWSSecretsManagerStore(HandMade(failed(EXISTS))).put("acme", key, {})

    def test_a_client_that_keeps_nothing_raises_store_error(self, key: Secret) -> None:
        client = HandMade(failed(EXISTS))
        client.forgets = True
        with refused(key, match="^It is not certain that the key was saved: AWS gives back something else."):
            AWSSecretsManagerStore(client).put("acme", key, {})

    def test_what_a_client_raises_is_not_shown(self, key: Secret) -> None:
        client = HandMade(ValueError(key.reveal()))
        with refused(
            key, match="^It is not certain that the key was saved: AWS Secrets Manager failed with Va"
        ):
            AWSSecretsManagerStore(client).put("acme", key, {})
