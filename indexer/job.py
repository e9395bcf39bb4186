"""The batch job: feeds and journal to a new version, through the gate, with counts that add up.

A job takes the rows of the live version over where it can: unchanged documents are read, hashed
and left where they are. Everything is made in pieces that a restart takes over
(`rankwell.indexer.work`).
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config, config_from_mapping, load_config
from rankwell.data.documents import DocumentStore, content_hash
from rankwell.data.errors import DamagedVersion, InputError, NotFound, Unavailable
from rankwell.data.forward import open_forward_index
from rankwell.data.journal import Journal
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document
from rankwell.data.rejected import check_rejected
from rankwell.data.release import Gate
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    ENCODER,
    EVALUATION,
    FORWARD,
    JOBS,
    RANKER,
    REJECTED,
    Draft,
    Version,
    VersionStore,
)
from rankwell.indexer.building import PARTS, Base, Built, build_parts
from rankwell.indexer.changes import Changes, Record
from rankwell.indexer.encoding import encoder_settings
from rankwell.indexer.engines import faults_of_documents, mend_lexical, same_index
from rankwell.indexer.executors import Executor, InProcess
from rankwell.indexer.location import Location
from rankwell.indexer.releasing import release
from rankwell.indexer.report import Counts, IndexReport, peak_bytes
from rankwell.indexer.shards import Shard, analyse_shard, fetch_shard, shard_key, sharded
from rankwell.indexer.sources import feed_records, source_files
from rankwell.indexer.space import check_space, room_on
from rankwell.indexer.work import Work, key_of

NOT_JUDGED = "not judged"
WITHOUT_RANKER = "without ranker: what it was trained on changed; run rankwell train ranker"
WORK = f"{JOBS}/work"

MAX_DEAD_SHARE = 0.25


def index_collection(
    folder: Path,
    *,
    full: bool = False,
    allow_shrink: bool = False,
    executor: Executor | None = None,
    shared: str = "",
    gate: Gate | None = None,
    progress: Progress = silent,
) -> IndexReport:
    """Makes a version of the configured sources and the journal, and publishes it.

    Word vectors are trained where there are none yet, and kept after that, unless the job is full
    or their configuration changed. Nothing is published when nothing changed.

    Args:
        folder: the collection, with its rankwell.toml.
        full: train word vectors again and build everything anew, without what is kept; an
            interrupted full job goes on all the same.
        allow_shrink: go on though more documents are gone than [documents] max_shrink allows.
        executor: where shards are worked on; in this process by default.
        shared: the folder or fsspec address that the executor's workers write shards to; empty:
            the collection's own folder.
        gate: judges the version before it becomes live; None lets everything pass.
        progress: told how far each step is.

    Returns:
        What was done; `refused` names the version where the gate did not let it pass.

    Raises:
        InputError: the configuration or a source cannot be used, too many documents are gone, or
            another job is at work.
        RejectedRecords: more records were unreadable than max_rejected allows.
        Unavailable: the disk is full, or the executor's workers are gone.
    """
    config = load_config(folder)
    analyzer = Analyzer.configured(config.analysis, folder)
    check_space(folder, source_files(config, folder))
    if shared:
        Location(shared)  # one that no worker could use is said before they start
    store = VersionStore(folder)
    with store.draft() as draft, room_on(folder):
        live = _live(store, full)
        work = Work(folder / WORK, full=full)
        job = _Job(store, draft, work, config, analyzer, live, progress)
        job.executor, job.shared = executor or InProcess(), shared
        journal = Journal(folder, folded=live.manifest.journal if live else 0)
        job.journal_number = journal.last_number()
        job.journal = journal.state(job.journal_number)
        # each sample of an attached index is another
        any_size = allow_shrink or config.attached
        job.max_shrink = 1.0 if any_size else config.documents.max_shrink
        return job.run(lambda: feed_records(config, folder), gate, whole=full, train=full)


def compact_rows(folder: Path, progress: Progress = silent) -> None:
    """Numbers the rows of the live version anew where documents died or came since they were.

    What trains on documents reads the forward index: it must hold no dead ones, and its words by
    falling frequency. The encoder stays, and so does what a search gives.

    Raises:
        NotFound: there is no version yet.
        DamagedVersion: the live version is not as it was written.
    """
    store = VersionStore(folder)
    if open_forward_index(store.open().folder / FORWARD).is_compact:
        return
    with store.draft() as draft, room_on(folder):
        live = store.verify()  # what is damaged must not be carried on as sound
        config = config_from_mapping(live.manifest.config)
        analyzer = Analyzer.load(live.folder / ANALYSIS)
        work = Work(folder / WORK)
        job = _Job(store, draft, work, config, analyzer, live, progress)
        job.journal_number = live.manifest.journal
        # a field of several types comes back as another than it was read
        hashes = DocumentStore(live.folder / DOCUMENTS).hashes()
        job.hash_of = lambda document: hashes[document.doc_id]
        job.run(lambda: _own_records(live), None, whole=True, train=False)


def _own_records(version: Version) -> Iterator[Record]:
    for place, document in enumerate(DocumentStore(version.folder / DOCUMENTS)):
        yield version.name, place, document


def _live(store: VersionStore, full: bool) -> Version | None:
    """Returns the live version; none before the first, and none to a full job if it is damaged."""
    try:
        return store.open() if store.current_name() else None
    except (DamagedVersion, NotFound):
        if full:
            return None
        raise


class _Job:
    """One run of the batch job, step by step."""

    def __init__(
        self,
        store: VersionStore,
        draft: Draft,
        work: Work,
        config: Config,
        analyzer: Analyzer,
        live: Version | None,
        progress: Progress,
    ) -> None:
        self._store = store
        self._draft = draft
        self._config = config
        self._analyzer = analyzer
        self._live = live
        self._progress = progress
        self._fault_of = faults_of_documents(config)
        self._work = work
        self._started = time.perf_counter()
        self._report = IndexReport("", False, Counts(0, 0, 0, 0, 0, 0, 0, 0))
        self.executor: Executor = InProcess()
        self.shared = ""
        self.journal: dict[str, Document | None] = {}
        self.journal_number = 0
        self.max_shrink = 1.0
        self.hash_of: Callable[[Document], bytes] = content_hash

    def run(
        self,
        records: Callable[[], Iterable[Record]],
        gate: Gate | None,
        *,
        whole: bool,
        train: bool,
    ) -> IndexReport:
        """Makes and releases the version.

        Args:
            records: gives all records of the feeds, from the first one again at each call.
            gate: judges the version.
            whole: number all rows anew, and take nothing over.
            train: train the encoder, also where the live version's could stay.
        """
        before = self._hashes_before(whole)
        kept = None if train else self._kept_encoder()
        takes_over = not whole and kept is not None and self._same_analysis()
        changes, shards = self._scan(records(), before, keep=takes_over)
        base = self._base(changes) if takes_over else None
        if takes_over and base is None:
            changes, shards = self._scan(records(), before, keep=False)
        self._check(changes)
        counts = self._counts(changes)
        same_documents = base is not None and not shards and not len(base.dead_rows)
        same_parts = same_documents and self._same_index() and self._same_vector_index()
        if same_parts and self._same_settings():
            assert self._live is not None
            self._work.remove()
            return self._reported(self._live.name, counts, published=False)
        checks, fingerprint = [], ""
        if same_parts:
            assert self._live is not None
            for part in PARTS:
                self._draft.share(self._live, part)
            fingerprint = self._live.manifest.fingerprints["encoder"]
            counts = replace(counts, empty=self._live.manifest.counts["empty"])
        else:
            built = self._built(shards, changes, base, kept)
            checks, fingerprint = built.checks, built.encoder.fingerprint
            counts = replace(counts, empty=built.empty)
            self._tell_of(built)
            if counts.empty == counts.live:
                raise InputError(
                    f"no document has a word; nothing was published; {self._hint(changes)}"
                )
        self._report.mode = "full" if base is None else "incremental"
        version = self._sealed(fingerprint, counts)
        self._tick("sealing")
        found = release(self._store, version, self._live, gate, checks)
        self._tick("release")
        self._work.remove()
        self._report.gate = [asdict(check) for check in found]
        passed = all(check.passed for check in found)
        if passed and self.journal:
            self._compact_journal()
        self._report.refused = None if passed else version.name
        live = version.name if passed else (self._store.current_name() or "")
        return self._reported(live, counts, published=passed)

    def _tell_of(self, built: Built) -> None:
        self._report.encoded = built.encoded
        if built.cut:
            self._report.warnings.append(
                f"{built.cut} new documents are longer than the encoder takes; only their "
                "beginnings were read: [dense] passages = true reads them whole"
            )

    def _compact_journal(self) -> None:
        try:
            Journal(self._store.folder, folded=self.journal_number).compact()
        except Unavailable as error:  # it stays longer than it need be, no more
            self._report.warnings.append(str(error))

    def _scan(
        self, records: Iterable[Record], before: dict[str, bytes], *, keep: bool
    ) -> tuple[Changes, list[tuple[str, str]]]:
        """Reads all records and analyses those that must be indexed, shard by shard."""
        changes = Changes(
            records, self.journal, before, keep, self._progress, self._fault_of, self.hash_of
        )
        keys: dict[str, str] = {}

        def unfinished() -> Iterator[Shard]:
            for number, block in enumerate(sharded(changes.documents())):
                name = f"shard-{number:05d}"
                documents, hashes = zip(*block, strict=True)
                keys[name] = key_of(self._analyzer.fingerprint, shard_key(hashes))
                shard = Shard(name, documents, hashes, self._target(name, keys[name]))
                if not self._work.finished(name, keys[name]):
                    self._work.start(name)
                    yield shard

        for shard_name in self.executor.map(analyse_shard, unfinished()):
            if self.shared:
                target = self._target(shard_name, keys[shard_name])
                fetch_shard(target, self._work.folder / shard_name)
            self._work.finish(shard_name, keys[shard_name])
        self._tick("reading and analysis")
        return changes, list(keys.items())

    def _target(self, shard_name: str, key: str) -> str:
        """Returns where the files of a shard are written to; jobs that share a place mix none."""
        if self.shared:
            return f"{self.shared.rstrip('/')}/{shard_name}-{key}"
        return f"{self._work.folder}/{shard_name}"

    def _built(
        self,
        shards: list[tuple[str, str]],
        changes: Changes,
        base: Base | None,
        kept: Path | None,
    ) -> Built:
        return build_parts(
            self._draft,
            self._store.folder,
            self._work,
            shards,
            changes.types.types,
            base,
            kept,
            self._live,
            self._config,
            self._analyzer,
            self._progress,
            self._tick,
        )

    def _hashes_before(self, whole: bool) -> dict[str, bytes]:
        """Returns the live documents' hashes; a full job goes on without those it cannot read."""
        if self._live is None:
            return {}
        try:
            return DocumentStore(self._live.folder / DOCUMENTS).hashes()
        except (DamagedVersion, UnicodeDecodeError) as error:
            if whole:
                return {}
            raise DamagedVersion(
                f"the live version {self._live.name} cannot be read ({error}); run "
                "rankwell index --full"
            ) from None

    def _same_analysis(self) -> bool:
        assert self._live is not None
        return self._live.manifest.fingerprints["analysis"] == self._analyzer.fingerprint

    def _kept_encoder(self) -> Path | None:
        """Returns the folder of the live version's encoder where its settings are the same."""
        if self._live is None:
            return None
        live = config_from_mapping(self._live.manifest.config)
        same = encoder_settings(live) == encoder_settings(self._config)
        return self._live.folder / ENCODER if same else None

    def _same_index(self) -> bool:
        """Returns whether the live version's lexical index stays; one that was lost is mended."""
        assert self._live is not None
        if not same_index(self._live, self._config):
            return False
        if mend_lexical(self._live, self._store.folder, self._progress):
            self._report.warnings.append("the cluster had lost the index, which was built again")
        return True

    def _same_vector_index(self) -> bool:
        assert self._live is not None
        live = config_from_mapping(self._live.manifest.config)
        return live.vectors.layout == self._config.vectors.layout

    def _same_settings(self) -> bool:
        """Returns whether the live version's settings are those of now."""
        assert self._live is not None
        live, now = config_from_mapping(self._live.manifest.config), self._config
        return (live.lexical, live.dense, live.vectors, live.fusion, live.collection) == (
            now.lexical,
            now.dense,
            now.vectors,
            now.fusion,
            now.collection,
        ) and (live.elasticsearch.attachment, self._live.manifest.journal) == (
            now.elasticsearch.attachment,
            self.journal_number,
        )

    def _base(self, changes: Changes) -> Base | None:
        """Returns what the new version takes over, None where its rows are better numbered anew."""
        assert self._live is not None
        documents = DocumentStore(self._live.folder / DOCUMENTS)
        dead_rows = documents.rows_of(sorted(changes.changed | changes.deleted))
        num_rows = documents.num_rows + len(changes.added) + len(changes.changed)
        num_dead = num_rows - len(changes.seen)
        if changes.types.types != documents.field_types or num_dead > MAX_DEAD_SHARE * num_rows:
            return None
        self._store.verify(self._live.name)  # what is damaged must not be carried on as sound
        forward = open_forward_index(self._live.folder / FORWARD)
        return Base(self._live, documents, forward, np.sort(dead_rows))

    def _counts(self, changes: Changes) -> Counts:
        live = len(changes.seen)
        rejected, added, changed = (
            len(changes.rejected),
            len(changes.added),
            len(changes.changed),
        )
        return Counts(
            read=changes.num_read,
            rejected=rejected,
            added=added,
            changed=changed,
            unchanged=live - added - changed,
            deleted=len(changes.deleted),
            live=live,
            empty=0,
            overridden=changes.num_overridden,
        )

    def _check(self, changes: Changes) -> None:
        """Stops the job where what was read must not become a version.

        Raises:
            RejectedRecords: too many records cannot be used.
            InputError: there is no document, or too many are gone.
        """
        allowed = self._config.documents.max_rejected
        check_rejected(changes.rejected, allowed, self._rejected_path, "nothing was published")
        if not changes.seen:
            raise InputError("the sources hold no document; nothing was published")
        if changes.num_without_text == len(changes.seen):
            self._report.warnings.append(
                f"no document has a text, only titles; {self._hint(changes)}"
            )
        if changes.types.mixed:
            mixed = ", ".join(sorted(changes.types.mixed))
            self._report.warnings.append(
                f"these fields hold several types, and are kept as text: {mixed}"
            )
        gone = [doc_id for doc_id in changes.deleted if doc_id not in self.journal]
        share = len(gone) / max(len(changes.before), 1)
        if share > self.max_shrink:
            raise InputError(
                f"{len(gone):,} of {len(changes.before):,} documents ({share:.0%}) are gone from "
                f"the sources, more than [documents] max_shrink allows ({self.max_shrink:.0%}); "
                "nothing was published. Is a feed cut short? If they shall go: rankwell index "
                f"{self._store.folder} --allow-shrink"
            )

    def _hint(self, changes: Changes) -> str:
        """Names where a text was looked for, and what else there is."""
        names = " or ".join(repr(name) for name in self._config.documents.text_fields)
        found = ", ".join(changes.types.types) or "none"
        return f"[documents] text_fields expects the text in {names}, other keys found: {found}"

    @property
    def _rejected_path(self) -> Path:
        return self._store.folder / REJECTED / f"{self._draft.name}.jsonl"

    def _sealed(self, encoder: str, counts: Counts) -> Version:
        fingerprints = {"analysis": self._analyzer.fingerprint, "encoder": encoder}
        labels = [NOT_JUDGED]
        if self._live and self._live.has(RANKER):
            before = self._live.manifest.fingerprints
            live, now = config_from_mapping(self._live.manifest.config), self._config
            same = (live.lexical, live.dense, live.fusion) == (now.lexical, now.dense, now.fusion)
            if same and all(before[name] == fingerprints[name] for name in fingerprints):
                self._draft.share(self._live, RANKER)
                self._draft.share(self._live, EVALUATION)
                fingerprints |= {name: before[name] for name in ("features", "ranker")}
            else:
                labels.append(WITHOUT_RANKER)
        elif self._live and WITHOUT_RANKER in self._live.manifest.labels:
            labels.append(WITHOUT_RANKER)
        if WITHOUT_RANKER in labels:
            self._report.warnings.append(f"the version is {WITHOUT_RANKER}")
        return self._draft.seal(
            config=self._config.to_mapping(),
            counts=asdict(counts),
            fingerprints=fingerprints,
            journal=self.journal_number,
            labels=tuple(labels),
        )

    def _tick(self, step: str) -> None:
        now = time.perf_counter()
        spent = self._report.seconds.get(step, 0.0) + now - self._started
        self._report.seconds[step] = round(spent, 3)
        self._report.step_peak_bytes[step] = peak_bytes()
        self._started = now

    def _reported(self, version: str, counts: Counts, *, published: bool) -> IndexReport:
        report = self._report
        report.version, report.counts, report.published = version, counts, published
        if counts.empty:
            report.warnings.append(
                f"{counts.empty} documents have no words; they are kept, and no query finds them"
            )
        if counts.rejected:
            report.warnings.append(
                f"{counts.rejected} records were rejected; see {self._rejected_path}"
            )
        report.peak_memory_bytes = peak_bytes()
        report.write(self._store.folder)
        return report
