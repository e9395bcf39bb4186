"""Connections: what is not Elasticsearch 8, faults and retries; some ask a real server."""

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.errors import ConfigError, InputError, MissingIndex, RankwellError, Unavailable
from rankwell.indexer.elasticsearch.connection import Busy, Connection, Fault
from rankwell.indexer.elasticsearch.waiting import Patience

DOWN = "http://127.0.0.1:1"  # no one listens there
REAL = {
    "cluster_name": "c",
    "version": {"number": "8.19.1"},
    "tagline": "You Know, for Search",
}


class Answers:
    """A server that gives the next of some answers, and the last one from then on."""

    def __init__(
        self,
        *answers: tuple[int, Any],
        headers: dict[str, str] | None = None,
        after_s: float = 0.0,
    ) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.answers = list(answers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["authorization"]))
                time.sleep(after_s)
                one = len(outer.answers) == 1
                status, body = outer.answers[0] if one else outer.answers.pop(0)
                raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                kind = "text/html" if isinstance(body, str) else "application/json"
                sent = {"content-type": kind, "content-length": str(len(raw)), **(headers or {})}
                for name, value in sent.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def answering() -> Iterator[Callable[..., Answers]]:
    started: list[Answers] = []

    def start(*answers: tuple[int, Any], **more: Any) -> Answers:
        started.append(Answers(*answers, **more))
        return started[-1]

    yield start
    for server in started:
        server.close()


def checked(url: str, seconds: float = 5, **settings: Any) -> str:
    connection = Connection(ElasticsearchConfig(urls=(url,), **settings))
    try:
        return connection.check(Patience(seconds, 0))
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, "<html>hello</html>", "is not Elasticsearch"),
        (404, "<html>nothing here</html>", "is not Elasticsearch"),
        (200, {"hello": "world"}, "is not Elasticsearch but something else"),
        (404, {"detail": "Not Found"}, r"something else \(status 404\)"),
        (200, [1, 2], "is not Elasticsearch but something else"),
        (
            200,
            {**REAL, "version": {"number": "2.11.0", "distribution": "opensearch"}},
            "is not Elasticsearch but OpenSearch 2.11.0 .*rankwell talks to Elasticsearch 8",
        ),
        (200, {**REAL, "version": {"number": "7.17.9"}}, "is Elasticsearch 7.17.9; rankwell talks"),
        (200, {**REAL, "version": {"number": "9.0.1"}}, "is Elasticsearch 9.0.1; rankwell talks"),
    ],
)
def test_what_is_not_elasticsearch_8_is_said_plainly(
    answering: Callable[..., Answers], status: int, body: Any, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        checked(answering((status, body)).url)


def test_elasticsearch_8_is_accepted_with_and_without_the_port_in_its_url(
    answering: Callable[..., Answers],
) -> None:
    assert checked(answering((200, REAL)).url + "/") == "8.19.1"


def test_credentials_come_from_the_environment(
    answering: Callable[..., Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = answering((200, REAL))
    monkeypatch.setenv("ES_KEY", "a2V5")
    monkeypatch.setenv("ES_PASSWORD", "s3cret")
    checked(server.url, api_key_env="ES_KEY")
    checked(server.url, user="elastic", password_env="ES_PASSWORD")
    assert [key for _, key in server.asked] == ["ApiKey a2V5", "Basic ZWxhc3RpYzpzM2NyZXQ="]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"api_key_env": "ES_UNSET"}, "environment variable ES_UNSET.* is not set"),
        ({"user": "me", "password_env": "ES_UNSET"}, "environment variable ES_UNSET"),
        ({"user": "me"}, "user is given without password_env"),
        ({"ca_file": "none.pem"}, "ca_file: none.pem is not a file"),
    ],
)
def test_credentials_that_are_missing_are_named(settings: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        checked(DOWN, **settings)


def test_a_server_that_asks_for_credentials_says_where_to_name_them(
    answering: Callable[..., Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = answering((401, {"error": {"type": "security_exception"}})).url
    with pytest.raises(
        ConfigError, match=r"asks for credentials; .* \[elasticsearch\] api_key_env"
    ):
        checked(url)
    monkeypatch.setenv("ES_KEY", "wrong")
    with pytest.raises(ConfigError, match="does not accept the API key in ES_KEY"):
        checked(url, api_key_env="ES_KEY")


def test_a_host_that_is_down_gives_exit_code_4_and_one_sentence() -> None:
    with pytest.raises(Unavailable, match=r"127.0.0.1:1 cannot be reached \(.*refused") as caught:
        checked(DOWN)
    assert (caught.value.exit_code, caught.value.http_status) == (4, 503)


def test_a_dead_host_is_left_out_and_the_next_one_asked(answering: Callable[..., Answers]) -> None:
    server = answering((200, REAL))
    connection = Connection(ElasticsearchConfig(urls=(DOWN, server.url)))
    for _ in range(6):  # whichever comes first in the round
        assert connection.check(Patience(5, 0)) == "8.19.1"
    assert len(server.asked) == 6
    connection.close()


def test_a_moments_failure_is_asked_again_after_what_the_server_says(
    answering: Callable[..., Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = {"error": {"type": "es_rejected_execution_exception", "reason": "full"}}
    server = answering(
        (429, busy),
        (503, busy),
        (200, {"count": 7}),
        headers={"retry-after": "3", "x-elastic-product": "Elasticsearch"},
    )
    slept: list[tuple[int, float | None]] = []
    monkeypatch.setattr(Patience, "sleep", lambda _, tries, after: not slept.append((tries, after)))
    connection = Connection(ElasticsearchConfig(urls=(server.url,)))
    answer = connection.call(lambda c: c.perform_request("GET", "/x", headers={}), Patience(5))
    assert answer == {"count": 7}
    assert slept == [(1, 3.0), (2, 3.0)]
    connection.close()


def test_a_failure_that_stays_says_when_to_come_back(answering: Callable[..., Answers]) -> None:
    busy = {"error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}
    server = answering((429, busy), headers={"retry-after": "9"})
    connection = Connection(ElasticsearchConfig(urls=(server.url,)))
    with pytest.raises(Unavailable, match="queue is full") as caught:
        connection.call(lambda c: c.perform_request("GET", "/", headers={}), Patience(2, 3))
    assert caught.value.retry_after_s == 9
    assert len(server.asked) == 1  # to wait for so long, the time did not suffice
    connection.close()


def test_searches_of_a_cluster_that_is_down_fail_at_once_and_loads_go_on() -> None:
    connection = Connection(ElasticsearchConfig(urls=(DOWN,)))
    for _ in range(3):
        with pytest.raises(Unavailable, match="cannot be reached"):
            connection.call(lambda c: c.info(), Patience(1, 0))
    with pytest.raises(Unavailable, match="3 times in a row"):
        connection.call(lambda c: c.info(), Patience(1, 0))
    with pytest.raises(Unavailable, match="cannot be reached"):
        connection.call(lambda c: c.info(), Patience(0.2))
    connection.close()


def test_a_load_that_waits_for_nothing_still_waits_for_an_answer(
    answering: Callable[..., Answers],
) -> None:
    server = answering((200, REAL), after_s=0.2)
    connection = Connection(ElasticsearchConfig(urls=(server.url,), wait_s=0))
    assert connection.check(connection.loading()) == "8.19.1"
    connection.close()


def test_who_starts_up_is_asked_again_who_it_is(answering: Callable[..., Answers]) -> None:
    server = answering((503, {}), (200, REAL))
    connection = Connection(ElasticsearchConfig(urls=(server.url,)))
    assert connection.check(Patience(5, 1)) == "8.19.1"
    connection.close()


def test_an_only_host_has_the_whole_time_and_one_of_several_half_of_the_rest() -> None:
    one = Connection(ElasticsearchConfig(urls=(DOWN,)))
    several = Connection(ElasticsearchConfig(urls=(DOWN, "http://127.0.0.1:2")))
    assert one._try_s(Patience(100, 2), 1, 500) == pytest.approx(100, rel=0.1)
    assert [several._try_s(Patience(100, 2), tries, 500) for tries in (1, 2, 3)] == pytest.approx(
        [50, 50, 100], rel=0.1
    )
    assert several._try_s(Patience(100, 2), 3, 10) == 10
    assert several._try_s(Patience(0.9, 2), 1, 10) == pytest.approx(0.9, rel=0.1)  # of two seconds
    assert one._try_s(Patience(0), 1, 60) == 60
    one.close()
    several.close()


def test_an_answer_that_says_inside_that_it_is_busy_is_asked_for_again(
    answering: Callable[..., Answers],
) -> None:
    server = answering((200, REAL))
    connection = Connection(ElasticsearchConfig(urls=(server.url,)))
    answers: list[Any] = [Busy("one of several searches had no room"), {"hits": 3}]

    def ask(client: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Busy):
            raise answer
        return answer

    assert connection.call(ask, Patience(5, 1)) == {"hits": 3}
    connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    return folder


def test_a_certificate_is_trusted_by_its_authority_or_its_fingerprint_alone(
    answering: Callable[..., Answers], certificate: Path
) -> None:
    server = answering((200, REAL))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    with pytest.raises(ConfigError, match=r"not trusted .*; name its authority .* in fingerprint"):
        checked(url)
    with pytest.raises(ConfigError, match="is not trusted"):
        checked(url, fingerprint="00" * 32)
    assert checked(url, ca_file=str(certificate / "cert.pem")) == "8.19.1"
    shown = ["openssl", "x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256"]
    done = subprocess.run(shown, cwd=certificate, check=True, capture_output=True, text=True)
    assert checked(url, fingerprint=done.stdout.strip().split("=")[1]) == "8.19.1"


@pytest.mark.elasticsearch
def test_a_real_server_says_its_version(cluster: Any) -> None:
    assert checked(cluster.url).startswith("8.")


@pytest.mark.elasticsearch
@pytest.mark.parametrize(
    ("question", "kind", "sentence"),
    [
        (lambda c: c.count(index="no-such"), MissingIndex, "has no such index: no such index"),
        (
            lambda c: c.search(index="_all", query={"nonsense": {}}),
            InputError,
            r"refused a request: parsing_exception: unknown query \[nonsense\]",
        ),
    ],
)
def test_a_real_servers_faults_become_ours(
    connection: Connection, question: Any, kind: type[RankwellError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        connection.call(question, Patience(5, 1))


def test_the_reason_of_a_shard_is_told() -> None:
    error = {
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "failed_shards": [{"reason": {"type": "x", "reason": "the disk broke"}}, {}],
    }
    fault = Fault.of(503, error)
    assert fault == Fault(
        503,
        "search_phase_execution_exception",
        "all shards failed; the disk broke; 2 shards failed",
    )
    assert fault.transient
    assert Fault.of(400, "plain") == Fault(400, "", "plain")
