"""The section [elasticsearch]: where a cluster is, and what is asked of it."""

import os
import re
from dataclasses import dataclass

from rankwell.data.errors import ConfigError
from rankwell.data.settings import Section, check_choice, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticsearchConfig(Section):
    """A cluster of Elasticsearch 8: with an index of rankwell's own, or with one of yours."""

    urls: tuple[str, ...] = setting(
        ("http://127.0.0.1:9200",), "hosts of one cluster; one that is down is left out for a while"
    )
    api_key_env: str = setting("", "the environment variable that holds an API key")
    user: str = setting("", "a user, where there is no API key")
    password_env: str = setting("", "the environment variable that holds the user's password")
    ca_file: str = setting("", "the certificate authority of https hosts, relative to this file")
    fingerprint: str = setting("", "the SHA-256 of the certificate, in place of ca_file")
    prefix: str = setting("rankwell", "the names of rankwell's own indexes start so")
    shards: int = setting(1, "of rankwell's own indexes", low=1, high=1024)
    replicas: int = setting(1, "copies of each shard of rankwell's own indexes", low=0, high=100)
    vectors: str = setting(
        "none", "document vectors in the index too, for kNN search: none, float, int8 or bbq"
    )
    index: str = setting("", "an index or alias of yours; it is read, and never written to")
    fields: tuple[str, ...] = setting((), "its fields to search, such as title^2, with boosts")
    analyzer: str = setting("", "the analyzer of queries to it; empty: each field's own")
    sample: int = setting(
        10_000, "its documents that term statistics and word vectors come from", low=100
    )
    timeout_ms: int = setting(
        2000, "the longest that a search waits for the cluster, retries included", low=1
    )
    retries: int = setting(2, "further tries of a search that failed for a moment", low=0, high=10)
    without_lexical: str = setting(
        "fail", "where the cluster is down: fail, or dense: answer from the vectors alone"
    )
    bulk_bytes: int = setting(
        4_000_000, "a bulk request is sent when it has grown so large", low=1000, high=100_000_000
    )
    bulk_documents: int = setting(500, "or has so many documents", low=1, high=100_000)
    bulk_in_flight: int = setting(2, "bulk requests at the same time", low=1, high=64)
    max_document_bytes: int = setting(
        100_000_000, "larger documents are rejected; the server's http.max_content_length", low=1000
    )
    wait_s: int = setting(
        120, "how long a load waits for a cluster that is away, since its last progress", low=0
    )

    def __post_init__(self) -> None:
        """Checks the addresses and the names."""
        Section.__post_init__(self)
        if not self.urls:
            raise ConfigError("urls is empty; name a host, such as http://127.0.0.1:9200")
        for url in self.urls:
            if not re.fullmatch(r"https?://[^/\s@]+(/[^\s@]*)?", url):
                raise ConfigError(
                    f"urls has '{url}'; expected http://HOST:PORT or https://HOST:PORT, with no "
                    "name or password in it"
                )
        if self.ca_file and self.fingerprint:
            raise ConfigError("ca_file and fingerprint are both given; choose one")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,99}", self.prefix):
            raise ConfigError(
                f"prefix is '{self.prefix}'; Elasticsearch takes small letters, digits, -, _ and ."
            )
        if bool(self.index) != bool(self.fields):
            raise ConfigError("index and fields go together: name the fields of the index, or none")
        for field in self.fields:
            field_and_boost(field)
        check_choice("vectors", self.vectors, ("none", "float", "int8", "bbq"))
        check_choice("without_lexical", self.without_lexical, ("fail", "dense"))
        if self.without_lexical == "dense" and self.vectors != "none":
            raise ConfigError(
                "without_lexical is 'dense', but vectors puts the dense candidates into the "
                "cluster too; leave one of them out"
            )

    @property
    def layout(self) -> tuple[str, int, str]:
        """What an index of rankwell's own must be built again for."""
        return self.prefix, self.shards, self.vectors

    @property
    def attachment(self) -> tuple[str, tuple[str, ...], str]:
        """What of an index of the user's is searched, and how."""
        return self.index, self.fields, self.analyzer


def field_and_boost(field: str) -> tuple[str, float]:
    """Returns the name and the boost of a field written as `title^2`.

    >>> field_and_boost("title^2"), field_and_boost("body")
    (('title', 2.0), ('body', 1.0))

    Raises:
        ConfigError: it is not written so.
    """
    match = re.fullmatch(r"([^\s^*,]+)(?:\^([0-9]+(?:\.[0-9]+)?))?", field)
    if not match:
        raise ConfigError(f"fields has '{field}'; expected a name, or a name and a boost: title^2")
    return match[1], float(match[2] or 1)


def secret(variable: str) -> str:
    """Returns what the environment variable that a setting names holds.

    Raises:
        ConfigError: it is not set.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigError(
            f"the environment variable {variable}, which the configuration names, is not set"
        )
    return value
