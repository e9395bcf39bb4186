"""The batch job: sources to a published version, with counts that add up."""

import json
import resource
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config, config_from_mapping, load_config
from rankwell.data.documents import DocumentStore, DocumentWriter
from rankwell.data.errors import DamagedVersion, InputError, NotFound, RejectedRecords
from rankwell.data.forward import ForwardIndex, open_forward_index
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Rejected
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    JOBS,
    LEXICAL,
    RANKER,
    REJECTED,
    VECTORS,
    Draft,
    Version,
    VersionStore,
)
from rankwell.embeddings.sif import SifEncoder
from rankwell.embeddings.skipgram import train_words
from rankwell.embeddings.word_vectors import WordVectors
from rankwell.indexer.dense import WORDS_FILE, FaissEngine, save_vectors
from rankwell.indexer.engines import (
    build_lexical,
    fault_of_document,
    follow_live,
    mend_lexical,
)
from rankwell.indexer.sources import read_sources

NOT_JUDGED = "not judged"
WITHOUT_RANKER = "without ranker: what it was trained on changed; run rankwell train ranker"

_REPORT_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Counts:
    """Documents in and out: read = added + changed + unchanged + rejected."""

    read: int
    rejected: int
    added: int
    changed: int
    unchanged: int
    deleted: int
    live: int
    empty: int


@dataclass(slots=True)
class IndexReport:
    """What a job did.

    Attributes:
        version: the live version's name after the job.
        published: False where nothing had changed, so that the live version stayed.
        seconds: time of each step.
        warnings: sentences for people.
    """

    version: str
    published: bool
    counts: Counts
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    peak_memory_bytes: int = 0


def index_collection(
    folder: Path, *, full: bool = False, progress: Progress = silent
) -> IndexReport:
    """Builds a version from the configured sources and publishes it.

    Word vectors are trained where there are none yet, and kept after that, unless the job is full
    or their configuration changed. Nothing is published when nothing changed.

    Args:
        folder: the collection, with its rankwell.toml.
        full: train word vectors again and build everything anew.
        progress: told how far each step is.

    Raises:
        InputError: the configuration or a source cannot be used, or another job is at work.
        RejectedRecords: more records were unreadable than max_rejected allows.
    """
    config = load_config(folder)
    analyzer = Analyzer.configured(config.analysis, folder)
    store = VersionStore(folder)
    with store.draft() as draft:
        job = _Job(folder, config, analyzer, draft, _live(store, full), progress)
        return job.run(full)


def _live(store: VersionStore, full: bool) -> Version | None:
    """Returns the live version; none before the first, and none to a full job if it is damaged."""
    try:
        return store.open() if store.current_name() else None
    except (DamagedVersion, NotFound):
        if full:
            return None
        raise


def fit_encoder(forward: ForwardIndex, config: Config, progress: Progress = silent) -> SifEncoder:
    """Trains word vectors on a forward index and fits the encoder that pools them."""
    trained = train_words(
        forward,
        config.words,
        config.collection.seed,
        lambda done, total: progress("training word vectors", done, total),
    )
    num_words = len(trained.vectors_VD)
    word_vectors = WordVectors(
        tuple(forward.vocabulary.surfaces[:num_words]),
        np.array(forward.vocabulary.counts_V[:num_words]),
        trained.vectors_VD,
    )
    return SifEncoder.fit(word_vectors, config.dense.sif, forward)


def write_vectors(draft: Draft, encoder: SifEncoder, forward: ForwardIndex) -> FaissEngine:
    """Writes encoder, document vectors and FAISS index of a forward index into a draft."""
    encoder.save(draft.folder / ENCODER)
    vectors_ND = save_vectors(draft.folder / VECTORS, encoder.encode_forward(forward))
    np.save(draft.folder / VECTORS / WORDS_FILE, encoder.words_of(forward))
    return FaissEngine.build(draft.folder / VECTORS, vectors_ND)


def retrain_words(folder: Path, progress: Progress = silent) -> Version:
    """Trains word vectors again, and the document vectors with them, as a new version.

    A ranker belongs to the vectors it was trained on, so the new version has none.

    Raises:
        NotFound: there is no version yet.
        InputError: the configuration cannot be used, or another job is at work.
    """
    config = load_config(folder)
    store = VersionStore(folder)
    with store.draft() as draft:
        live = store.open()
        for part in (DOCUMENTS, ANALYSIS, FORWARD, LEXICAL):
            draft.share(live, part)
        forward = open_forward_index(live.folder / FORWARD)
        encoder = fit_encoder(forward, config, progress)
        write_vectors(draft, encoder, forward).close()
        mapping, before = config.to_mapping(), live.manifest.labels
        return draft.publish(
            config={
                **live.manifest.config,
                **{section: mapping[section] for section in ("collection", "words", "dense")},
            },
            counts=live.manifest.counts,
            fingerprints={
                "analysis": live.manifest.fingerprints["analysis"],
                "encoder": encoder.fingerprint,
            },
            labels=(
                NOT_JUDGED,
                *((WITHOUT_RANKER,) if live.has(RANKER) or WITHOUT_RANKER in before else ()),
            ),
        )


class _Job:
    """One run of the batch job, step by step."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        analyzer: Analyzer,
        draft: Draft,
        live: Version | None,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._config = config
        self._analyzer = analyzer
        self._draft = draft
        self._live = live
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._warnings: list[str] = []
        self._started = time.perf_counter()

    def run(self, full: bool) -> IndexReport:
        with (
            closing(DocumentWriter(self._draft.folder / DOCUMENTS)) as writer,
            closing(ForwardIndexBuilder(self._draft.folder / FORWARD)) as builder,
        ):
            return self._build(_Documents(writer, builder), full)

    def _build(self, documents: "_Documents", full: bool) -> IndexReport:
        before = self._hashes_before(full)
        counts = self._read(documents, before)
        if not counts.live:
            raise InputError("the sources hold no document; nothing was published")
        if self._live and not full and self._nothing_changed(counts):
            if mend_lexical(self._live, self._config, self._folder, self._progress):
                self._warnings.append("the cluster had lost the index, which was built again")
            return self._report(self._live.name, False, counts)
        self._analyzer.save(self._draft.folder / ANALYSIS)
        forward = documents.forward.finish(self._analyzer)
        store = documents.writer.finish()
        self._tick("analysis")
        encoder, kept = self._encoder(forward, full)
        self._tick("word vectors")
        dense = write_vectors(self._draft, encoder, forward)
        self._tick("document vectors")
        self._progress("building the lexical index", 0, counts.live)
        lexical = build_lexical(
            self._draft.folder,
            self._config,
            forward,
            store,
            analysis=self._analyzer.fingerprint,
            encoder=encoder.fingerprint,
            folder=self._folder,
            rejected=self._rejected_path,
            live=self._live,
            progress=self._progress,
        )
        self._progress("building the lexical index", counts.live, counts.live)
        self._tick("lexical index")
        parts = {
            "documents": len(store),
            "forward index": forward.num_docs,
            "vector index": dense.count(),
            "lexical index": lexical.count(),
        }
        if set(parts.values()) != {counts.live}:
            raise AssertionError(f"{counts.live} documents are live, but the parts hold {parts}")
        dense.close()
        lexical.close()
        version = self._publish(encoder, kept, counts)
        if warning := follow_live(self._folder):
            self._warnings.append(warning)
        self._tick("publishing")
        return self._report(version.name, True, counts)

    def _read(self, documents: "_Documents", before: dict[str, bytes]) -> Counts:
        """Reads all sources into the draft's documents and forward index."""
        rejected: list[Rejected] = []
        seen: dict[str, bytes] = {}
        read = empty = without_text = 0
        for path, line, record in read_sources(self._config, self._folder):
            read += 1
            if read % _REPORT_EVERY == 0:
                self._progress("reading documents", read)
            if isinstance(record, Rejected):
                rejected.append(record)
            elif fault := fault_of_document(self._config, record):
                rejected.append(Rejected(str(path), line, fault))
            elif record.doc_id in seen:
                rejected.append(Rejected(str(path), line, f"the id {record.doc_id!r} came before"))
            else:
                seen[record.doc_id] = documents.writer.add(record)
                empty += not documents.forward.add(record.title, record.text)
                without_text += not record.text
        self._progress("reading documents", read, read)
        self._tick("reading")
        self._check_rejected(rejected)
        self._check_texts(len(seen), without_text, empty, documents.writer)
        return Counts(
            read=read,
            rejected=len(rejected),
            added=sum(doc_id not in before for doc_id in seen),
            changed=sum(doc_id in before and before[doc_id] != h for doc_id, h in seen.items()),
            unchanged=sum(before.get(doc_id) == h for doc_id, h in seen.items()),
            deleted=sum(doc_id not in seen for doc_id in before),
            live=len(seen),
            empty=empty,
        )

    def _hashes_before(self, full: bool) -> dict[str, bytes]:
        """Returns the live documents' hashes; a full job goes on without those it cannot read."""
        if self._live is None:
            return {}
        try:
            return DocumentStore(self._live.folder / DOCUMENTS).hashes()
        except (DamagedVersion, UnicodeDecodeError) as error:
            if full:
                return {}
            raise DamagedVersion(
                f"the live version {self._live.name} cannot be read ({error}); run "
                "rankwell index --full"
            ) from None

    @property
    def _rejected_path(self) -> Path:
        return self._folder / REJECTED / f"{self._draft.name}.jsonl"

    def _check_rejected(self, rejected: list[Rejected]) -> None:
        """Writes the rejected records down, and stops the job where they are too many."""
        path = self._rejected_path
        if not rejected:
            path.unlink(missing_ok=True)  # of a job that failed before this one
            return
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in rejected))
        allowed = self._config.documents.max_rejected
        if len(rejected) > allowed:
            first = rejected[0]
            raise RejectedRecords(
                f"{len(rejected)} records were rejected, {allowed} are allowed, nothing was "
                f"published; the first is {first.file}, line {first.line}: {first.reason}; all are "
                f"in {path}; mend them or raise max_rejected in [documents]"
            )

    def _check_texts(
        self, num_docs: int, without_text: int, empty: int, writer: DocumentWriter
    ) -> None:
        """Notices texts that stand under another name than the configured one.

        Raises:
            InputError: no document has a word to search for.
        """
        names = " or ".join(repr(name) for name in self._config.documents.text_fields)
        found = ", ".join(writer.field_names) or "none"
        hint = f"[documents] text_fields expects the text in {names}, other keys found: {found}"
        if num_docs and empty == num_docs:
            raise InputError(f"no document has a word; nothing was published; {hint}")
        if num_docs and without_text == num_docs:
            self._warnings.append(f"no document has a text, only titles; {hint}")
        if writer.mixed:
            mixed = ", ".join(sorted(writer.mixed))
            self._warnings.append(f"these fields hold several types, and are kept as text: {mixed}")

    def _nothing_changed(self, counts: Counts) -> bool:
        assert self._live is not None
        live, now = config_from_mapping(self._live.manifest.config), self._config
        return (
            not (counts.added or counts.changed or counts.deleted)
            and self._live.manifest.fingerprints["analysis"] == self._analyzer.fingerprint
            and live.elasticsearch.layout == now.elasticsearch.layout
            and (live.words, live.lexical, live.dense, live.fusion, live.collection)
            == (now.words, now.lexical, now.dense, now.fusion, now.collection)
        )

    def _encoder(self, forward: ForwardIndex, full: bool) -> tuple[SifEncoder, bool]:
        """Returns the live version's encoder where it may stay, else a new one."""
        if self._live and not full:
            config = config_from_mapping(self._live.manifest.config)
            same = (config.words, config.dense.sif, config.collection.seed) == (
                self._config.words,
                self._config.dense.sif,
                self._config.collection.seed,
            )
            if same:
                return SifEncoder.load(self._live.folder / ENCODER), True
        return fit_encoder(forward, self._config, self._progress), False

    def _publish(self, encoder: SifEncoder, kept: bool, counts: Counts) -> Version:
        fingerprints = {"analysis": self._analyzer.fingerprint, "encoder": encoder.fingerprint}
        labels = [NOT_JUDGED]
        if self._live and self._live.has(RANKER):
            before = self._live.manifest.fingerprints
            live, now = config_from_mapping(self._live.manifest.config), self._config
            same = (live.lexical, live.dense, live.fusion) == (now.lexical, now.dense, now.fusion)
            if kept and same and before["analysis"] == self._analyzer.fingerprint:
                self._draft.share(self._live, RANKER)
                fingerprints |= {name: before[name] for name in ("features", "ranker")}
            else:
                labels.append(WITHOUT_RANKER)
        elif self._live and WITHOUT_RANKER in self._live.manifest.labels:
            labels.append(WITHOUT_RANKER)
        if WITHOUT_RANKER in labels:
            self._warnings.append(f"the version is {WITHOUT_RANKER}")
        return self._draft.publish(
            config=self._config.to_mapping(),
            counts=asdict(counts),
            fingerprints=fingerprints,
            labels=tuple(labels),
        )

    def _tick(self, step: str) -> None:
        now = time.perf_counter()
        self._seconds[step] = round(now - self._started, 3)
        self._started = now

    def _report(self, version: str, published: bool, counts: Counts) -> IndexReport:
        warnings = self._warnings
        if counts.empty:
            warnings.append(
                f"{counts.empty} documents have no words; they are kept, and no query finds them"
            )
        if counts.rejected:
            warnings.append(f"{counts.rejected} records were rejected; see {self._rejected_path}")
        report = IndexReport(
            version,
            published,
            counts,
            self._seconds,
            warnings,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
        path = self._folder / JOBS / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-index.json"
        path.write_text(json.dumps(asdict(report), indent=1) + "\n")
        return report


@dataclass(frozen=True, slots=True)
class _Documents:
    """Where the documents of a job are written to."""

    writer: DocumentWriter
    forward: ForwardIndexBuilder
