"""A version of a collection with all its parts open; `collection.py` is what is asked of them."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from rankwell.data.analysis import Analyzer
from rankwell.data.config import Config, config_from_mapping
from rankwell.data.documents import DocumentStore
from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import open_forward_index
from rankwell.data.journal import Journal
from rankwell.data.versions import (
    ANALYSIS,
    CANARIES,
    DOCUMENTS,
    ENCODER,
    FORWARD,
    RANKER,
    VECTORS,
    Version,
)
from rankwell.embeddings.canaries import check_canaries
from rankwell.embeddings.encoders import load_encoder
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.watching import Measured
from rankwell.indexer.documents_encoding import open_encoded
from rankwell.indexer.engines import (
    cluster_of,
    open_dense,
    open_lexical,
)
from rankwell.indexer.vectors import open_words
from rankwell.ranker.budget import WithinBudget, ranking_cost
from rankwell.ranker.completion import Titles
from rankwell.ranker.deadlines import InTime
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.live import LivePart, LiveReader
from rankwell.ranker.pipeline import Dense, Features, Lexical, Rank, Scorer, Stage, fuse
from rankwell.ranker.pool import Pool
from rankwell.ranker.pretrained import pretrained_ranker
from rankwell.ranker.priors import priors_of
from rankwell.ranker.rankers import Ranker, load_ranker
from rankwell.ranker.restricting import Restricting
from rankwell.ranker.suggestions import Speller


class VersionReader:
    """Every part of one version, the stages composed of them, and what has changed since."""

    def __init__(
        self,
        folder: Path,
        version: Version,
        config: Config | None = None,
        *,
        with_ranker: bool = True,
        with_journal: bool = True,
    ) -> None:
        """Opens every part of a version; see `rankwell.ranker.opening`.

        Args:
            folder: the collection's.
            version: the version.
            config: settings of search to try in place of the version's own.
            with_ranker: False leaves the ranker out, also one that no longer fits.
            with_journal: False leaves out what has changed since the version.
        """
        self.folder = folder
        self.version = version
        self.config = config or config_from_mapping(version.manifest.config)
        self.analyzer = Analyzer.load(version.folder / ANALYSIS)
        self._check_analysis()
        self.documents = DocumentStore(version.folder / DOCUMENTS)
        self.encoder = load_encoder(version.folder / ENCODER, self.config.dense.device)
        check_canaries(version.folder / CANARIES, self.encoder)
        if self.encoder.fingerprint != version.manifest.fingerprints["encoder"]:
            raise DamagedVersion(
                f"version {version.name} was made with encoder "
                f"{version.manifest.fingerprints['encoder']}, and holds {self.encoder.fingerprint}"
            )
        forward = open_forward_index(version.folder / FORWARD)
        vectors = version.folder / VECTORS
        encoded = open_encoded(vectors)
        self.ranker = self._opened_ranker() if with_ranker else None
        # those that a ranker of the version's own learnt from, else those that one would learn from
        own = self.ranker if version.has(RANKER) else None
        priors = self.config.ranker.priors if own is None else own.priors
        self.pool = Pool(
            forward,
            encoded.vectors,
            encoded.spans_P2,
            self.encoder.word_vectors,
            open_words(vectors, forward, len(self.encoder.word_vectors.words)),
            priors=priors_of(self.documents, priors),
        )
        self._lexical = open_lexical(version, self.config, folder)
        cluster = cluster_of(folder, self.config)
        self._without_lexical = cluster.without_lexical == "dense"
        self._patience_s = cluster.timeout_ms / 1000
        self._dense = open_dense(version, self._lexical, self.config.vectors.device)
        self._cost = ranking_cost()
        fit = self._fit()
        self.scorer = Scorer(fit.lexical(self.config.lexical), fit.lexical_weight)
        self.first_stage = self._first_stage()
        self.features = Features(self.pool)
        self.stages: Mapping[str, Stage] = self._stages()
        self._restricting = Restricting(forward, self.analyzer)
        self._speller = Speller(forward.vocabulary)
        self._titles = Titles()
        folded = version.manifest.journal
        self.journal = Journal(folder, folded=folded)
        # a journal remembers how far it was read: this one by us, the other by whoever asks
        followed = Journal(folder, folded=folded)
        self._live = LiveReader(
            followed, folded, self.documents, self.pool, self.analyzer, self.encoder
        )
        self._with_journal = with_journal
        self.refresh()
        # the tables of words and terms are made on first use: made here, once
        forward.vocabulary.warm()
        trained = self.pool.words
        _ = trained.similarities, trained.ids, trained.phrases

    def __enter__(self) -> Self:
        """Returns the collection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the collection."""
        self.close()

    def watch(self) -> None:
        """Has a share of the searches from now on held against exact search, in the background."""
        if isinstance(self._dense, FaissEngine):
            self._dense.watch(self.config.vectors.checked_share)

    @property
    def dense_recall(self) -> Measured | None:
        """What was found out about the vector index in service, None where it is exact."""
        return self._dense.measured if isinstance(self._dense, FaissEngine) else None

    @property
    def troubles(self) -> list[str]:
        """Sentences about what is worse in service than it should be."""
        if not isinstance(self._dense, FaissEngine):
            return []
        recall = self.dense_recall
        found = (self._dense.trouble, recall.trouble if recall is not None else None)
        return [trouble for trouble in found if trouble]

    def close(self) -> None:
        """Lets go of the engines."""
        self._lexical.close()
        self._dense.close()

    def __len__(self) -> int:
        """Returns the number of documents, changes since the version included."""
        return len(self._seen(self.refresh()))

    @property
    def facet_fields(self) -> tuple[str, ...]:
        """The fields whose values can be counted."""
        return tuple(self.documents.field_types)

    @property
    def sort_fields(self) -> tuple[str, ...]:
        """The fields that matches can be ordered by: lists have no order."""
        types = self.documents.field_types
        return tuple(name for name, kind in types.items() if not pa.types.is_list(kind))

    def refresh(self) -> LivePart | None:
        """Takes in what was appended to the journal; returns what has changed since the version.

        Every search does so first; where nothing was appended it costs one look at a file.
        """
        if self._with_journal:
            self._live.refresh()
        return self._live.part

    def _seen(self, live: LivePart | None) -> DocumentStore:
        """Returns the documents that a search sees."""
        return self.documents if live is None else live.documents

    def _stages(self) -> dict[str, Stage]:
        """Returns each stage with all before it, by its name; what a search composes."""
        lexical = Lexical(self._lexical, self.pool, self.scorer)
        dense = Dense(self._dense, self.pool, self.scorer)
        depth = self.config.fusion.depth
        stages: dict[str, Stage] = {"lexical": lexical % depth, "dense": dense % depth}
        return {**stages, **self._stages_after(self.first_stage)}

    def _stages_after(self, first_stage: Stage) -> dict[str, Stage]:
        fused = first_stage % self.config.fusion.depth
        if self.ranker is None:
            return {"fused": fused}
        ranked = self.features >> Rank(self.ranker)
        ranked = WithinBudget(ranked, self.features.num_words, self._cost)
        return {"fused": fused, "ranked": fused >> ranked}

    def _first_stage(self) -> Stage:
        lexical = Lexical(self._lexical, self.pool, self.scorer)
        dense = Dense(self._dense, self.pool, self.scorer)
        depths = self.config.lexical.depth, self.config.dense.depth
        in_time = InTime(dense % depths[1], "dense")
        return fuse(lexical % depths[0], in_time, self.config.fusion.method)

    def _opened_ranker(self) -> Ranker | None:
        """Returns the version's ranker, else the one that ships, unless that is switched off."""
        own = config_from_mapping(self.version.manifest.config)
        if self.version.has(RANKER):
            return load_ranker(self.version.folder / RANKER, self.encoder.fingerprint)
        if not self.config.ranker.pretrained:
            return None
        return pretrained_ranker(FirstStageFit.configured(own))

    def _fit(self) -> FirstStageFit:
        """Returns the first stage that the ranker was trained on, unless another is tried."""
        own = FirstStageFit.configured(config_from_mapping(self.version.manifest.config))
        tried = FirstStageFit.configured(self.config)
        return self.ranker.fit if self.ranker and tried == own else tried

    def _check_analysis(self) -> None:
        """Checks that the words are cut and normalised here as they were when it was built."""
        wanted = self.version.manifest.fingerprints["analysis"]
        if wanted != self.analyzer.fingerprint:
            raise DamagedVersion(
                f"version {self.version.name} was analysed by other rules or Unicode tables "
                f"({wanted}, here {self.analyzer.fingerprint}); bring it up to date with: rankwell "
                f"index {self.folder}"
            )
