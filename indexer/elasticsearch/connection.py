"""The connection to a cluster: how long and how often is asked, and what each fault means."""

import base64
import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwell.data.cluster import ElasticsearchConfig, secret
from rankwell.data.errors import (
    ConfigError,
    InputError,
    MissingIndex,
    MissingPackage,
    RankwellError,
    Unavailable,
)
from rankwell.indexer.elasticsearch.waiting import Breaker, Patience

try:
    from elastic_transport import ConnectionError as Unreachable
    from elastic_transport import (
        ConnectionTimeout,
        HttpHeaders,
        SerializationError,
        TlsError,
        TransportError,
    )
    from elasticsearch import ApiError, Elasticsearch
    from elasticsearch.serializer import OrjsonSerializer
except ImportError:
    raise MissingPackage("elasticsearch", "elasticsearch") from None

# a host that fails is a line in a log whose owner asked for it, not one on everybody's terminal
logging.getLogger("elastic_transport").addHandler(logging.NullHandler())

MAJOR = 8
TRANSIENT = frozenset({429, 502, 503, 504})
_LONGEST_CHECK_S = 10.0

Ask = Callable[[Elasticsearch], Any]


class TooLarge(InputError):
    """A request has more bytes than the server takes."""


class Busy(Unavailable):
    """An answer that says, somewhere inside, that the same request may succeed a moment later."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What the server says of a request, or of one item of a request, that failed.

    Attributes:
        kind: the server's name for it, such as mapper_parsing_exception.
    """

    status: int
    kind: str
    reason: str

    @classmethod
    def of(cls, status: int, error: Any) -> "Fault":
        """Reads the `error` of an answer; the innermost cause says most."""
        if not isinstance(error, Mapping):
            return cls(status, "", str(error)[:300])
        kind, reasons = str(error.get("type", "")), []
        shards = error.get("failed_shards") or [{}]
        for cause in (error, shards[0].get("reason") or {}, error.get("caused_by") or {}):
            reason = cause.get("reason")
            if isinstance(reason, str) and reason not in reasons:
                reasons.append(reason)
        if shards[0]:
            reasons.append(f"{len(shards)} shards failed")
        return cls(status, kind, "; ".join(reasons)[:500])

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.status in TRANSIENT


class Connection:
    """A cluster of Elasticsearch 8; safe to use from several threads."""

    def __init__(self, config: ElasticsearchConfig, folder: Path = Path()) -> None:
        """Reads credentials and certificates; the cluster is not asked yet.

        Args:
            config: the [elasticsearch] section.
            folder: where relative file names of the configuration start.

        Raises:
            ConfigError: the environment lacks a credential, or a certificate cannot be read.
        """
        self.config = config
        self.where = ", ".join(config.urls)
        self.breaker = Breaker()
        self._headers, self._identity = _credentials(config)
        trust: dict[str, Any] = {}
        if config.ca_file:
            if not (folder / config.ca_file).is_file():
                raise ConfigError(f"[elasticsearch] ca_file: {config.ca_file} is not a file")
            trust = {"ca_certs": str(folder / config.ca_file)}
        elif config.fingerprint:
            trust = {"ssl_assert_fingerprint": config.fingerprint.replace(":", "").lower()}
        json = OrjsonSerializer()
        try:
            self._client = Elasticsearch(
                [_with_port(url) for url in config.urls],
                headers=self._headers,
                # a host that cannot be reached is left out, and the next one asked at once
                max_retries=len(config.urls) - 1,
                retry_on_status=(),
                # a thread waits for one of these without a limit: there are more than threads ask
                connections_per_node=max(64, config.bulk_in_flight),
                serializers={
                    "application/json": json,
                    "application/vnd.elasticsearch+json": json,
                },
                **trust,
            )
        except (ValueError, OSError) as error:
            raise ConfigError(f"[elasticsearch] cannot be used: {error}") from None

    def close(self) -> None:
        """Closes the connections to all hosts."""
        self._client.close()

    def searching(self, due: float = math.inf) -> Patience:
        """Returns how long a search may take: as configured, or until it is due, which is sooner.

        Args:
            due: as time.perf_counter() has it; requests of one search share it.
        """
        left = max(0.0, due - time.perf_counter())
        return Patience(min(self.config.timeout_ms / 1000, left), self.config.retries)

    def loading(self) -> Patience:
        """Returns how long a load waits for a cluster that is away."""
        return Patience(self.config.wait_s)

    def call(self, ask: Ask, patience: Patience, *, timeout_s: float = 60.0) -> Any:
        """Asks the cluster, and again where that may help.

        Args:
            ask: takes a client and returns the answer; raises `Busy` for one to ask for again.
            patience: how long and how often; searches, whose tries are counted, pass the breaker.
            timeout_s: the longest wait for one answer.

        Returns:
            The body of the answer.

        Raises:
            Unavailable: no answer came in time, or the server failed.
            MissingIndex: the index asked does not exist.
            InputError: the request, or who sends it, is refused.
        """
        guarded = patience.retries is not None
        if guarded:
            if not patience.left_s:
                raise Unavailable(f"there was no time left to ask Elasticsearch at {self.where}")
            self.breaker.check()
        tries = 0
        while True:
            tries += 1
            try:
                patience.try_s = self._try_s(patience, tries, timeout_s)
                answer = ask(self._client.options(request_timeout=patience.try_s))
                self.breaker.record(True)
                return getattr(answer, "body", answer)
            except (TransportError, ApiError) as error:
                failure, transient = self._meaning(error, patience)
                retry_after = _retry_after(error)
                # that a deadline was near says nothing of the cluster
                hurried = isinstance(error, ConnectionTimeout) and self._is_short(patience)
            except Busy as error:
                failure, transient, retry_after, hurried = error, True, None, False
            if not (transient and patience.sleep(tries, retry_after)):
                if guarded and not hurried:
                    self.breaker.record(not transient)
                if isinstance(failure, Unavailable) and retry_after:
                    failure.retry_after_s = retry_after
                raise failure

    def _try_s(self, patience: Patience, tries: int, timeout_s: float) -> float:
        """Returns how long a try may take: of a search, half of the rest while others may follow.

        A host that did not answer in time is asked again only where there is another one, and the
        deadline is not near.
        """
        if patience.retries is None:
            return timeout_s
        alone = len(self.config.urls) == 1 or self._is_short(patience)
        last = alone or tries > patience.retries
        return max(0.01, min(timeout_s, patience.left_s if last else patience.left_s / 2))

    def _is_short(self, patience: Patience) -> bool:
        """Returns whether a search had less than half of the time that is configured for it."""
        return patience.seconds * 2000 < self.config.timeout_ms

    def release(self, ask: Ask) -> None:
        """Lets go of something in the cluster, which forgets it by itself where this fails."""
        with contextlib.suppress(RankwellError):
            self.call(ask, self.searching())

    def check(self, patience: Patience) -> str:
        """Returns the server's version after checking that it is an Elasticsearch we can talk to.

        Raises:
            ConfigError: it is something else.
            Unavailable: it cannot be reached.
        """

        # without the client's own headers, which other versions refuse before they say who they are
        def ask(client: Elasticsearch) -> tuple[Any, Any]:
            meta, body = client.transport.perform_request(
                "GET",
                "/",
                headers={"accept": "*/*", **self._headers},
                request_timeout=patience.try_s,
                max_retries=len(self.config.urls) - 1,
                retry_on_status=(),
            )
            if meta.status in TRANSIENT:
                raise Busy(f"Elasticsearch at {self.where} answers {meta.status}")
            return meta, body

        try:
            meta, body = self.call(ask, patience, timeout_s=_LONGEST_CHECK_S)
        except _NotJson as error:
            raise ConfigError(f"{self.where} is not Elasticsearch: {error}") from None
        if meta.status in (401, 403):
            raise self._fault(Fault(meta.status, "security_exception", "no access"))
        body = body if isinstance(body, dict) else {}
        version = body.get("version")
        version = version if isinstance(version, dict) else {}
        number = str(version.get("number", ""))
        if version.get("distribution") or not number or "cluster_name" not in body:
            other = str(version.get("distribution", "something else"))
            shown = {"opensearch": "OpenSearch"}.get(other, other)
            raise ConfigError(
                f"{self.where} is not Elasticsearch but {shown} {number}".rstrip()
                + f" (status {meta.status}); rankwell talks to Elasticsearch {MAJOR}"
            )
        if number.split(".")[0] != str(MAJOR):
            raise ConfigError(
                f"{self.where} is Elasticsearch {number}; rankwell talks to Elasticsearch {MAJOR}"
            )
        return number

    def _meaning(
        self, error: TransportError | ApiError, patience: Patience
    ) -> tuple[RankwellError, bool]:
        """Returns an error of ours for one of the client's, and whether a retry may help."""
        if isinstance(error, ApiError):
            body = error.body
            content = body.get("error", body) if isinstance(body, Mapping) else body
            fault = Fault.of(error.meta.status, content)
            return self._fault(fault), fault.transient
        if isinstance(error, SerializationError):
            return _NotJson("its answer is not JSON"), False
        if isinstance(error, TlsError):
            return ConfigError(
                f"the certificate of {self.where} is not trusted ({_short(error)}); name its "
                "authority in [elasticsearch] ca_file, or its SHA-256 in fingerprint"
            ), False
        if isinstance(error, ConnectionTimeout):
            return Unavailable(
                f"Elasticsearch at {self.where} did not answer within "
                f"{round(max(patience.seconds, patience.try_s), 2):g} s"
            ), True
        return Unavailable(
            f"Elasticsearch at {self.where} cannot be reached ({_short(error)})"
        ), isinstance(error, Unreachable)

    def _fault(self, fault: Fault) -> RankwellError:
        return fault_error(fault, self.where, self._identity)


def check_whole(answer: Mapping[str, Any], index: str, where: str) -> None:
    """Checks that a search, or one of several in a request, was answered by all shards in time.

    Raises:
        Busy: the cluster had no room for it.
        Unavailable: a shard is missing from the answer.
        InputError: it was refused.
    """
    if "error" in answer:
        raise fault_error(Fault.of(answer["status"], answer["error"]), where)
    shards = answer.get("_shards", {})
    if shards.get("failed"):
        reason = Fault.of(503, (shards.get("failures") or [{}])[0].get("reason")).reason
        raise Unavailable(f"{shards['failed']} shards of {index} failed: {reason}")
    if answer.get("timed_out"):
        raise Unavailable(f"Elasticsearch at {where} did not search all of {index} in time")


class _NotJson(InputError):
    """The answer is not what Elasticsearch gives."""


def fault_error(fault: Fault, where: str, identity: str = "the caller") -> RankwellError:
    """Returns the error of ours that a server's fault is."""
    if fault.status == 401:
        if identity:
            return ConfigError(f"Elasticsearch at {where} does not accept {identity}")
        return ConfigError(
            f"Elasticsearch at {where} asks for credentials; name the environment variable that "
            "holds an API key in [elasticsearch] api_key_env, or user and password_env"
        )
    if fault.status == 403 and fault.kind == "security_exception":
        return ConfigError(
            f"{identity or 'an anonymous caller'} may not do this in Elasticsearch at {where}: "
            f"{fault.reason}; the README has the privileges that rankwell needs"
        )
    if fault.status == 404 and fault.kind == "index_not_found_exception":
        return MissingIndex(f"Elasticsearch at {where} has no such index: {fault.reason}")
    if fault.status == 413:
        return TooLarge(f"Elasticsearch at {where} takes no request of this size")
    if fault.status >= 500 or fault.transient:
        return (Busy if fault.transient else Unavailable)(
            f"Elasticsearch at {where} failed: {fault.kind or fault.status}: {fault.reason}"
        )
    return InputError(
        f"Elasticsearch at {where} refused a request: {fault.kind or fault.status}: {fault.reason}"
    )


def _credentials(config: ElasticsearchConfig) -> tuple[dict[str, str], str]:
    """Returns the headers that say who asks, and how to name that in a message."""
    if config.api_key_env:
        name = f"the API key in {config.api_key_env}"
        return {"authorization": f"ApiKey {secret(config.api_key_env)}"}, name
    if config.user:
        if not config.password_env:
            raise ConfigError(
                "[elasticsearch] user is given without password_env, the environment variable that "
                "holds the password"
            )
        pair = f"{config.user}:{secret(config.password_env)}".encode()
        name = f"the password of user '{config.user}' in {config.password_env}"
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}, name
    return {}, ""


def _with_port(url: str) -> str:
    """Returns a URL with its port, which the client wants to see."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if ":" not in host.rpartition("]")[2]:
        host += ":443" if scheme == "https" else ":9200"
    return f"{scheme}://{host}{slash}{path}"


def _retry_after(error: Exception) -> float | None:
    headers: HttpHeaders | None = getattr(getattr(error, "meta", None), "headers", None)
    try:
        return float(headers["retry-after"]) if headers and "retry-after" in headers else None
    except ValueError:  # a date; our own pauses do
        return None


def _short(error: TransportError) -> str:
    """Returns the cause of a failed connection, without the objects that urllib3 puts before it."""
    return str(error.message).rsplit(": ", 1)[-1].strip("()'\" ")[:200]
