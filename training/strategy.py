"""Which strategy trains a task, on how many workers."""

from dataclasses import dataclass
from typing import Literal, get_args

from rankwell.data.errors import InputError, nearest
from rankwell.data.progress import Progress, silent
from rankwell.training import cluster, single, split, synchronous, threads
from rankwell.training.checkpoints import Checkpoints
from rankwell.training.run import Report, Run, check_workers
from rankwell.training.task import SplitTask, Tables, Task

Name = Literal["single", "synchronous", "asynchronous", "hybrid"]
NAMES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How a training is spread over workers.

    Attributes:
        name: single, synchronous, asynchronous or hybrid.
        workers: processes or threads that train.
        servers: parameter servers on Ray; 0: none, where the strategy can do without.
        backups: synchronous, with servers: workers beside the others, so that none waits for the
            slowest.
        groups: hybrid: the synchronous groups that the workers form.
        staleness: against servers: rounds that a worker may be ahead of the slowest.
    """

    name: Name = "single"
    workers: int = 1
    servers: int = 0
    backups: int = 0
    groups: int = 2
    staleness: int = 2

    def __post_init__(self) -> None:
        """Checks that the numbers fit the strategy.

        Raises:
            InputError: they do not.
        """
        if self.name not in NAMES:
            raise InputError(f"'{self.name}' is not a strategy; {nearest(self.name, NAMES)}")
        if self.workers < 1:
            raise InputError(f"workers is {self.workers}; at least 1 must train")
        if self.name == "single" and self.workers > 1:
            raise InputError(
                f"strategy single has one worker, not {self.workers}; name --strategy synchronous, "
                "asynchronous or hybrid"
            )
        for key in ("servers", "backups", "staleness"):
            if getattr(self, key) < 0:
                raise InputError(f"{key} is {getattr(self, key)}; it cannot be negative")
        if self.backups and self.name != "synchronous":
            raise InputError(f"backups belong to strategy synchronous, not to {self.name}")
        if self.servers and self.name == "single":
            raise InputError("servers belong to the other strategies, not to single")
        if self.name == "hybrid" and (self.groups < 1 or self.workers % self.groups):
            raise InputError(
                f"{self.workers} workers do not form {self.groups} groups of equal size; make "
                "--workers a multiple of --groups"
            )


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training."""

    tables: Tables
    report: Report


def train(
    task: Task,
    strategy: Strategy | None = None,
    *,
    checkpoints: Checkpoints | None = None,
    progress: Progress = silent,
    checkpoint_every: int = 0,
) -> Trained:
    """Trains a task, from its last checkpoint where there is one.

    Args:
        task: the model's side.
        strategy: None: single.
        checkpoints: where the training is kept; any strategy resumes any other's.
        progress: told of finished steps.
        checkpoint_every: steps between two checkpoints; 0: a tenth of all.

    Raises:
        InputError: there are more workers than steps, or the training diverged.
        MissingPackage: the strategy needs ray.
        Unavailable: workers die again and again, or cannot meet.
    """
    how = strategy or Strategy()
    on_ray = how.servers or how.backups or how.name == "hybrid"
    if isinstance(task, SplitTask) and (on_ray or how.name == "asynchronous"):
        raise InputError(
            "the exact objective is trained by processes that do each step together; name "
            "--strategy single or synchronous, without servers and backups"
        )
    if task.num_steps:
        check_workers(task, how.workers)
    run = Run(task, checkpoints, progress, checkpoint_every)
    against_servers = {"servers": max(how.servers, 1), "staleness": how.staleness}
    match how.name:
        case "single" | "synchronous" if isinstance(task, SplitTask):
            split.train(run, task, how.workers)
        case "single":
            single.train(run)
        case "synchronous" if how.servers or how.backups:
            cluster.train(run, units=1, size=how.workers, backups=how.backups, **against_servers)
        case "synchronous":
            synchronous.train(run, how.workers)
        case "asynchronous" if not how.servers:
            threads.train(run, how.workers)
        case "asynchronous":
            cluster.train(run, units=how.workers, size=1, backups=0, **against_servers)
        case "hybrid":
            size = how.workers // how.groups
            cluster.train(run, units=how.groups, size=size, backups=0, **against_servers)
    return Trained(run.tables, run.report)
