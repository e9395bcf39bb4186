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
from rankwell.data.errors import InputError, Unavailable
from rankwell.data.forward import open_forward_index
from rankwell.data.journal import Journal
from rankwell.data.progress import Progress, silent
from rankwell.data.records import Document
from rankwell.data.release import Gate
from rankwell.data.versions import (
    ANALYSIS,
    DOCUMENTS,
    FORWARD,
    JOBS,
    REJECTED,
    Draft,
    Version,
    VersionStore,
)
from rankwell.indexer.building import PARTS, Base, Built, build_parts
from rankwell.indexer.changes import Changes, Record
from rankwell.indexer.engines import faults_of_documents, mend_lexical, same_index
from rankwell.indexer.executors import Executor, InProcess
from rankwell.indexer.labels import WITHOUT_RANKER, carry_ranker
from rankwell.indexer.location import Location
from rankwell.indexer.previous import (
    has_lost_ranker,
    hashes_before,
    kept_encoder,
    live_version,
    same_first_stage,
    same_settings,
    same_vector_index,
)
from rankwell.indexer.releasing import release
from rankwell.indexer.report import Counts, IndexReport, peak_bytes, written_if_stopped
from rankwell.indexer.shards import (
    Shard,
    analyse_shard,
    claimed_place,
    fetch_shard,
    release_place,
    shard_key,
    sharded,
)
from rankwell.indexer.sources import feed_records, source_files
from rankwell.indexer.space import check_space, room_on
from rankwell.indexer.work import Work, key_of

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
    if shared:
        Location(shared)  # one that no worker could use is said before they start
    store = VersionStore(folder)
    report = IndexReport("", False, Counts(0, 0, 0, 0, 0, 0, 0, 0))
    with store.draft() as draft, written_if_stopped(report, folder), room_on(folder):
        check_space(folder, source_files(config, folder))
        live = live_version(store, report if full else None)
        work = Work(folder / WORK, full=full)
        job = _Job(store, draft, work, config, analyzer, live, progress, report)
        job.executor = executor or InProcess()
        job.shared = claimed_place(shared, folder / JOBS)
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
        report = IndexReport("", False, Counts(0, 0, 0, 0, 0, 0, 0, 0))
        job = _Job(store, draft, work, config, analyzer, live, progress, report)
        job.journal_number = live.manifest.journal
        # a field of several types comes back as another than it was read
        hashes = DocumentStore(live.folder / DOCUMENTS).hashes()
        job.hash_of = lambda document: hashes[document.doc_id]
        job.run(lambda: _own_records(live), None, whole=True, train=False)


def _own_records(version: Version) -> Iterator[Record]:
    for place, document in enumerate(DocumentStore(version.folder / DOCUMENTS)):
        yield version.name, place, document


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
        report: IndexReport,
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
        self._report = report
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
        before = hashes_before(self._live, whole=whole)
        kept = None if train else kept_encoder(self._live, self._config)
        takes_over = not whole and kept is not None and self._same_analysis()
        changes, shards = self._scan(records(), before, keep=takes_over)
        base = self._base(changes) if takes_over else None
        if takes_over and base is None:
            changes, shards = self._scan(records(), before, keep=False)
        counts = self._report.counts = changes.counts()
        self._report.warnings += changes.checked(
            self._config.documents, self.max_shrink, self._store.folder, self._rejected_path
        )
        same_documents = base is not None and not shards and not len(base.dead_rows)
        same_parts = (
            same_documents and self._same_index() and same_vector_index(self._live, self._config)
        )
        if same_parts and same_settings(self._live, self._config, self.journal_number):
            assert self._live is not None
            self._work.remove()
            counts = replace(counts, empty=self._live.manifest.counts["empty"])
            return self._reported(self._live.name, counts, published=False)
        if same_parts:
            assert self._live is not None
            for part in PARTS:
                self._draft.share(self._live, part)
            fingerprint = self._live.manifest.fingerprints["encoder"]
            counts = replace(counts, empty=self._live.manifest.counts["empty"])
        else:
            built = self._built(shards, changes, base, kept)
            fingerprint = built.encoder.fingerprint
            counts = replace(counts, empty=built.empty)
            self._tell_of(built)
            if counts.empty == counts.live:
                hint = changes.hint(self._config.documents)
                raise InputError(f"no document has a word; nothing was published; {hint}")
        self._report.mode = "full" if base is None else "incremental"
        version = self._sealed(fingerprint, counts)
        self._tick("sealing")
        found = release(self._store, version, self._live, gate)
        self._tick("release")
        self._report.gate = [asdict(check) for check in found]
        passed = all(check.passed for check in found)
        if passed:  # else its pieces are there for the next job, which may find the same
            self._work.remove()
        if passed and self.journal:
            self._compact_journal()
        self._report.refused = None if passed else version.name
        live = version.name if passed else (self._store.current_name() or "")
        return self._reported(live, counts, published=passed)

    def _tell_of(self, built: Built) -> None:
        self._report.encoded = built.encoded
        if built.cut:
            kept = (
                "passages have room for the beginnings of their long titles alone"
                if self._config.dense.passages
                else "only their beginnings were read: [dense] passages = true reads them whole"
            )
            self._report.warnings.append(
                f"{built.cut} new documents are longer than the encoder takes; {kept}"
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
                if not self._work.finished(name, keys[name]):
                    yield Shard(name, documents, hashes, self._target(name))

        for analysed in self.executor.map(analyse_shard, unfinished()):
            folder, target = self._work.start(analysed.name), self._target(analysed.name)
            if self.shared:
                fetch_shard(target, folder, analysed.files)
            else:
                Path(target).replace(folder)
            self._work.finish(analysed.name, keys[analysed.name])
        self._tick("reading and analysis")
        return changes, list(keys.items())

    def _target(self, shard_name: str) -> str:
        """Returns where the files of a shard are written to: a place of this job's own."""
        return f"{self.shared or self._work.own_folder}/{shard_name}"

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

    def _same_analysis(self) -> bool:
        assert self._live is not None
        return self._live.manifest.fingerprints["analysis"] == self._analyzer.fingerprint

    def _same_index(self) -> bool:
        """Returns whether the live version's lexical index stays; one that was lost is mended."""
        assert self._live is not None
        if not same_index(self._live, self._config):
            return False
        if mend_lexical(self._live, self._store.folder, self._progress):
            self._report.warnings.append("the cluster had lost the index, which was built again")
        return True

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

    @property
    def _rejected_path(self) -> Path:
        return self._store.folder / REJECTED / f"{self._draft.name}.jsonl"

    def _sealed(self, encoder: str, counts: Counts) -> Version:
        fingerprints = {"analysis": self._analyzer.fingerprint, "encoder": encoder}
        fingerprints, labels = carry_ranker(
            self._draft,
            self._live,
            fingerprints,
            same_first_stage=same_first_stage(self._live, self._config),
        )
        if self._live is None and has_lost_ranker(self._store):
            labels = (WITHOUT_RANKER,)
        self._report.warnings += [f"the version is {label}" for label in labels]
        return self._draft.seal(
            config=self._config.to_mapping(),
            counts=asdict(counts),
            fingerprints=fingerprints,
            journal=self.journal_number,
            labels=labels,
        )

    def _tick(self, step: str) -> None:
        now = time.perf_counter()
        spent = self._report.seconds.get(step, 0.0) + now - self._started
        self._report.seconds[step] = round(spent, 3)
        self._report.step_peak_bytes[step] = peak_bytes()
        self._started = now

    def _reported(self, version: str, counts: Counts, *, published: bool) -> IndexReport:
        release_place(self._store.folder / JOBS)
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
        report.write(self._store.folder)
        return report
