"""The tasks of a call, as one worker takes them.

    for task in tasks_of(context, index):       first its own contiguous share (so that the weights a core touched last
        …                                       time are in its cache), then what is left of its neighbours', one by one

They are counted as done when there are none left: a worker that leaves the loop before says with that that it failed.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import RefType, iternext_impl
from numba.extending import intrinsic, lower_builtin, models, register_model

from ..base.atomics import fetch_add_relaxed
from ..base.context import LINE, Context
from ..base.jit import kernel
from ..base.memory import I64
from .partition import share


@kernel
def next_task(counters, index, threads, tasks, victim):
    """The next task for worker `index` and whose share it came from, or (-1, threads) when all are taken.

    `victim` is the distance of the share that served last: start at 0, pass on what comes back.
    """
    while victim < threads:
        owner = (index + victim) % threads
        first, count = share(owner, threads, tasks)
        taken = fetch_add_relaxed(counters, owner * LINE, 1)
        if taken < count:
            return first + taken, victim
        victim += 1
    return -1, victim


class TasksType(types.SimpleIteratorType):
    """numba's type of what `tasks_of` gives."""

    def __init__(self) -> None:
        super().__init__("Tasks", types.int64)


@register_model(TasksType)
class _TasksModel(models.StructModel):
    def __init__(self, manager, kind):
        state = types.EphemeralPointer(types.int64)
        words = [(name, types.int64) for name in ("index", "threads", "tasks")]
        members = [("context", types.voidptr), ("counters", types.voidptr), *words, ("victim", state), ("done", state)]
        super().__init__(manager, kind, members)


@intrinsic
def tasks_of(typingctx, context, index):
    """What a worker loops over."""

    def codegen(target, builder, signature, args):
        tasks = cgutils.create_struct_proxy(signature.return_type)(target, builder)
        tasks.context, tasks.index = args
        for name in ("counters", "threads", "tasks"):
            setattr(tasks, name, Context.load(builder, args[0], name))
        for name in ("victim", "done"):
            setattr(tasks, name, cgutils.alloca_once_value(builder, ir.Constant(I64, 0)))
            builder.store(ir.Constant(I64, 0), getattr(tasks, name))
        return tasks._getvalue()

    return TasksType()(context, types.int64), codegen


@lower_builtin("iternext", TasksType)
@iternext_impl(RefType.UNTRACKED)
def _next(target, builder, signature, args, result):
    tasks = cgutils.create_struct_proxy(signature.args[0])(target, builder, args[0])
    function = target.typing_context.resolve_value_type(next_task)
    asked = function.get_call_type(target.typing_context, (types.voidptr, *[types.int64] * 4), {})
    compiled = target.get_function(function, asked)
    words = tasks.index, tasks.threads, tasks.tasks, builder.load(tasks.victim)
    found = compiled(builder, (tasks.counters, *words))
    task = builder.extract_value(found, 0)
    builder.store(builder.extract_value(found, 1), tasks.victim)
    done, there = builder.load(tasks.done), builder.icmp_signed(">=", task, ir.Constant(I64, 0))
    result.set_valid(there)
    with builder.if_else(there) as (taken, none):
        with taken:
            result.yield_(task)
            builder.store(builder.add(done, ir.Constant(I64, 1)), tasks.done)
        with none:
            builder.atomic_rmw("add", Context.place(builder, tasks.context, "done"), done, "monotonic")
