# SPDX-License-Identifier: Apache-2.0
"""Graphs and guests over the rows of a Ray dataset.

    import ray
    from wasinn.cluster.ray import infer, run, summarize

    pictures = ray.data.read_binary_files("pictures", include_paths=True)
    answers = infer(pictures, "onnx:@digits", inputs="bytes", keep=["path"], actors=2)
    answers.write_parquet("answers")

Each actor compiles the guest once and has one session of the graph. A row that fails costs itself: its
columns `error` and `error_kind` say why, and the job goes on. An actor that dies is started again, and what
it was at is done again; since Ray keeps the results of whole tasks only, no row is lost and none is answered
twice.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from wasinn.cluster.deaths import Guarded
from wasinn.cluster.graph_rows import GraphRows, Inputs
from wasinn.cluster.guest_rows import GuestJob, GuestRows, guest_job, with_threads
from wasinn.cluster.rows import ERROR, ERROR_KIND, Answering, check_columns, check_new
from wasinn.cluster.sending import absolute, directories, named_source, read_guest, texts
from wasinn.cluster.summary import Summary
from wasinn.errors import ConfigError, Error
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.source import GraphSource
from wasinn.runtime.limits import Limits
from wasinn.runtime.wasi import Directory

try:
    import ray.data
except ImportError as error:
    raise ImportError('wasinn.cluster.ray needs Ray: pip install "wasinn[ray]"') from error

from wasinn.cluster.columns import answer_table

logger = logging.getLogger("wasinn.cluster")

#: A guest's limits where none are given: a row that never ends would hold its actor for ever.
DEFAULT_LIMITS = Limits(deadline=60.0)


def infer(
    dataset: ray.data.Dataset,
    graph: GraphSource | str,
    *,
    inputs: Inputs = None,
    outputs: Sequence[str] = (),
    decode: bool = True,
    together: int = 1,
    keep: Sequence[str] | None = None,
    prefix: str = "",
    actors: int | tuple[int, int] = 1,
    batch_size: int = 64,
    cpus: float = 1.0,
    **ray_options: Any,
) -> ray.data.Dataset:
    """The dataset with a graph's answer to each row, as a dataset that is computed when it is read.

    `graph` is text as after `--graph NAME=`, or a source; its files must lie at the same path on each machine
    (`GraphSource.from_bytes` sends the model along). `inputs`: the column of the only input, `{input:
    column}`, or for an input of features a list of columns with a number each; None takes the column that is
    called like the input. A value is a picture (u8 pixels, a file's content or path) where the graph's
    contract makes a tensor of one, else numbers. A row is a batch of one: the leading dimension may be left
    out.

    Columns that are added, each beginning with `prefix`, for an output NAME of the contract's kind: a class
    as NAME (i64), NAME_label and NAME_score; a mask as NAME (i32, the picture's size) with NAME_shape; boxes
    as NAME (structs); anything else, and all with `decode=False`, as NAME (a flat list of real numbers) with
    NAME_shape, which is left out for vectors. `error` and `error_kind` are null where a row was answered.

    `keep` are the columns of the dataset that stay; None is all. `together`: up to so many rows share a
    compute, where the model's ports all have a dynamic first dimension; its rows must not depend on each
    other. `actors`: processes, or (least, most). `cpus` is what Ray counts for each, and the threads of its
    graph (at least one) unless the graph's options say so; reading and writing need cores as well.
    `batch_size`: rows of one call. Other options are those of Ray's `map_batches` (`num_gpus`, `memory`,
    `runtime_env`, ...).

    Raises ConfigError for a mistake in an option. What only an actor can see (a graph that cannot be loaded,
    say) ends the job where the dataset is computed: Ray's RayTaskError, whose text has ours in it.
    """
    source = absolute(GraphSource.parse(graph) if isinstance(graph, str) else graph)
    if isinstance(together, bool) or not isinstance(together, int) or together < 1:
        raise ConfigError(f"together is a number of rows from 1, not {together!r}")
    source = with_threads(source, _threads(cpus))
    arguments = ("graph", source, inputs, tuple(outputs) if not isinstance(outputs, str) else outputs)
    settings = {"made": (GraphRows, (*arguments, decode, together)), "prefix": prefix, "keep": keep}
    return _stage(dataset, InferRows, settings, actors, batch_size, cpus, ray_options)


def run(
    dataset: ray.data.Dataset,
    guest: str | Path | bytes,
    *,
    graphs: Mapping[str, GraphSource | str] | None = None,
    permissions: Permissions | None = None,
    backends: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    args: Sequence[str] = (),
    stdin: str | None = None,
    files: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    dirs: Mapping[str, str | Path] | Sequence[str | Directory] = (),
    output: Literal["text", "bytes"] = "text",
    keep: Sequence[str] | None = None,
    prefix: str = "",
    actors: int | tuple[int, int] = 1,
    batch_size: int = 64,
    cpus: float = 1.0,
    **ray_options: Any,
) -> ray.data.Dataset:
    """The dataset with a guest's answer to each row: a fresh run for each, in limits of its own.

    `guest` is a path, @NAME or its bytes; it is read here and sent to the actors. A row reaches it by `args`,
    where `{column}` stands for the row's value; by `stdin`, a column; and by `files`, as in `{"picture.png":
    "bytes"}`, which it finds in the folder /row. `graphs`, `permissions` and `backends` are those of
    `wasinn.Host`, `env` and `dirs` those of `Host.run`; graphs' files and `dirs` must lie at the same path on
    each machine.

    Columns that are added, each beginning with `prefix`: `exit_code` (null after a trap), `stdout` (as
    `output` says), `stderr` (its end), `error` and `error_kind`: null, or for a guest that failed "exit", the
    limit that ended it ("deadline", "memory", ...) or wasm's reason; "input" for a row that is no argument or
    file. The other options, and what is raised, are those of `infer`; and GuestError for what is no guest.
    """
    sources = {name: named_source(name, source) for name, source in (graphs or {}).items()}
    wasm, name = read_guest(guest)
    if not isinstance(limits, Limits):
        raise ConfigError(f"limits is a wasinn.Limits, not {limits!r}")
    job = GuestJob(
        wasm,
        name,
        sources,
        permissions,
        dict(backends or {}),
        limits,
        texts(args),
        stdin,
        dict(files or {}),
        dict(env or {}),
        directories(dirs),
        output,
    )
    settings = {"made": (GuestRows, (guest_job(job, _threads(cpus)),)), "prefix": prefix, "keep": keep}
    known = _known_columns(dataset)
    if known is not None:
        check_columns(job.needed, known)
        there = known if keep is None else keep
        check_new([prefix + each for each in (*(column.name for column in job.columns), ERROR)], there)
    return _stage(dataset, RunGuest, settings, actors, batch_size, cpus, ray_options)


def summarize(dataset: ray.data.Dataset, prefix: str = "") -> Summary:
    """What became of the rows of an answered dataset: how many failed, why, and examples.

    Reads two columns. A dataset that is neither materialized nor read from files is computed for it: call
    `materialize()` first, or summarize what was written. Raises ConfigError for one without answers.
    """
    names = [prefix + ERROR_KIND, prefix + ERROR]
    columns = dataset.columns() or []
    if not columns:
        return Summary()  # no rows at all
    check_columns(names, columns)
    batches = dataset.select_columns(names).iter_batches(batch_size=None, batch_format="pyarrow")
    return Summary.of(
        pair for batch in batches for pair in zip(*(batch[name].to_pylist() for name in names), strict=True)
    )


class _Stage:
    """What Ray makes in each actor, and calls with a table of rows."""

    def __init__(
        self,
        made: tuple[Callable[..., Answering], Sequence[Any]],
        prefix: str,
        keep: Sequence[str] | None,
        job: str,
    ) -> None:
        self._prefix, self._keep = prefix, keep
        make, arguments = made
        self._answering: Answering | Error
        try:
            self._answering = Guarded(make(*arguments), job)
        except Error as error:
            # Raised when it is called: what an actor raises while it is made reaches the driver as the
            # actor's death, in a hundred lines.
            self._answering = error

    def __call__(self, table: Any) -> Any:
        if isinstance(self._answering, Error):
            raise self._answering
        return answer_table(table, self._answering, self._prefix, self._keep)


class InferRows(_Stage):
    """The name that Ray shows for `infer`."""


class RunGuest(_Stage):
    """The name that Ray shows for `run`."""


def _stage(
    dataset: ray.data.Dataset,
    stage: type[_Stage],
    settings: dict[str, Any],
    actors: int | tuple[int, int],
    batch_size: int,
    cpus: float,
    ray_options: dict[str, Any],
) -> ray.data.Dataset:
    if not isinstance(dataset, ray.data.Dataset):
        raise ConfigError(
            f"a ray.data.Dataset is wanted (ray.data.read_parquet(...) gives one), not a "
            f"{type(dataset).__name__}"
        )
    keep = settings["keep"]
    if isinstance(keep, str) or not all(isinstance(each, str) for each in keep or ()):
        raise ConfigError(f"keep is a list of columns, not {keep!r}")
    if keep is not None and (known := _known_columns(dataset)) is not None:
        check_columns(keep, known)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size is a number of rows from 1, not {batch_size!r}")
    _leave_room(actors, cpus)
    # That an actor is started again, and its task done again, without end, is the default of Ray Data.
    return dataset.map_batches(
        stage,
        fn_constructor_kwargs={**settings, "job": uuid.uuid4().hex},
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=_pool(actors),
        num_cpus=cpus,
        **ray_options,
    )


def _leave_room(actors: int | tuple[int, int], cpus: float) -> None:
    """Says so where the actors take all cores that the cluster has now: Ray would wait for ever, in
    silence."""
    if not ray.is_initialized():
        return
    there = ray.cluster_resources().get("CPU", 0.0)
    least = _pool(actors).min_size
    if least * cpus >= there:
        logger.warning(
            "%d actors of %g CPUs take all %g CPUs of the cluster: reading and writing have none left, and "
            "the job may wait for ever; give fewer actors, or less to each, as in cpus=0.5",
            least,
            cpus,
            there,
        )


def _pool(actors: int | tuple[int, int]) -> ray.data.ActorPoolStrategy:
    least, most = actors if isinstance(actors, tuple) and len(actors) == 2 else (actors, actors)
    for number in (least, most):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigError(f"actors is a number from 1, or (least, most), not {actors!r}")
    if least > most:
        raise ConfigError(f"actors: the least comes first, as in ({most}, {least}), not {actors!r}")
    return ray.data.ActorPoolStrategy(min_size=least, max_size=most)


def _threads(cpus: float) -> int:
    if isinstance(cpus, bool) or not isinstance(cpus, int | float) or not 0 <= cpus < float("inf"):
        raise ConfigError(f"cpus is a number from 0, not {cpus!r}")
    return max(1, int(cpus))


def _known_columns(dataset: Any) -> list[str] | None:
    """The dataset's columns where they are known without computing any of it."""
    if not isinstance(dataset, ray.data.Dataset):
        return None  # `_stage` says so
    schema = dataset.schema(fetch_if_missing=False)
    return None if schema is None else list(schema.names)
