"""A plan in words and plain characters, for a terminal of 80 columns: verdict, budget, why not, picture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from runtimes.hardware.machine import Hardware
from runtimes.planning.budget import HOST, Budget, device_budget, host_budget
from runtimes.planning.values import Evaluated, Plan, Rejection
from slmctl.app.planning.words import choice_line, mib, nofit_line, speed_words, unused_gpu

_WIDTH = 80
_BAR = 60
_MOST_REASONS = 6
_KINDS = {
    "file": "pages of the file",
    "anon": "memory of its own",
    "device": "on the device",
}


def view(plan: Plan, name: str, hardware: Hardware, *, every: bool) -> str:
    """The whole answer. `every` shows each rejection and not only those that come close."""
    blocks = [_verdict(plan, name)]
    if plan.chosen is not None:
        blocks.append(_table(plan.chosen))
        blocks += _pictures(plan.chosen, hardware)
    else:
        blocks.append(_room(hardware))
    if plan.binding is not None:
        what = "What decided" if plan.chosen is not None else "Why nothing fits"
        blocks.append(_listed(what, [_reason(plan.binding)]))
    blocks.append(_why_not(plan, every=every))
    blocks.append(_listed("What would change it", [f"{what}: {gain}" for what, gain in plan.would_change]))
    title = "Beside it" if plan.chosen is not None else "What would fit"
    blocks.append(_listed(title, [choice_line(each) for each in plan.alternatives]))
    gpu = unused_gpu(plan, hardware)
    blocks.append(_listed("Notes", [*plan.notes, *([gpu] if gpu is not None else [])]))
    return "\n\n".join(block for block in blocks if block)


def _verdict(plan: Plan, name: str) -> str:
    if plan.chosen is None:
        return _wrapped(nofit_line(plan, name), "", "  ")
    lines = [_wrapped(f"{choice_line(plan.chosen, plan)}.", "", "  ")]
    quality = plan.chosen.quality
    lines.append(
        _wrapped(
            f"{speed_words(plan.chosen)}; quality {quality.tier}: it loses {quality.loss:.3f}"
            f" ({quality.basis})",
            "  ",
            "  ",
        )
    )
    return "\n".join(lines)


def _table(chosen: Evaluated) -> str:
    """The budget: what takes how much of which memory, and how that is known."""
    need = chosen.need
    pools = list(chosen.budget)
    several = len({part.pool for part in need.parts}) > 1
    rows = [
        (
            f"{part.name} ({part.pool})" if several else part.name,
            mib(part.bytes),
            f"{_KINDS.get(part.kind, part.kind)}; {part.source}",
        )
        for part in need.parts
    ]
    for pool in pools:
        own = need.of(pool)
        if not own:
            continue
        label = f"needed ({pool})" if several else "needed"
        high = int(own * need.margin)
        how = f"at most {mib(high)} of {mib(chosen.budget[pool])} (by {_METHODS[need.method]})"
        rows.append((label, mib(own), how))
    width = max(len(name) for name, _, _ in rows)
    sizes = max(len(size) for _, size, _ in rows)
    lines = []
    for name, size, how in rows:
        head = f"  {name.ljust(width)}  {size.rjust(sizes)}  "
        lines.append(_wrapped(how, head, " " * len(head)))
    return "\n".join(lines)


_METHODS = {
    "oracle": "the engine's own word",
    "header": "formulas on the tensor table",
    "parameters": "a rough estimate",
}


def _pictures(chosen: Evaluated, hardware: Hardware) -> Iterator[str]:
    """A bar for each memory that the model takes some of."""
    need = chosen.need
    if need.of(HOST):
        budget, total = host_budget(hardware), _host_total(hardware)
        yield _bar("memory", budget, total, int(need.of(HOST) * need.margin))
    for device in hardware.devices:
        if not device.unified and need.of(device.id) and device.total:
            budget = device_budget(device, hardware)
            yield _bar(device.name, budget, device.total, int(need.of(device.id) * need.margin))


def _room(hardware: Hardware) -> str:
    budget = host_budget(hardware)
    own = [each for each in hardware.devices if not each.unified]
    pictures = [
        _bar("memory", budget, _host_total(hardware), 0),
        *(_bar(each.name, device_budget(each, hardware), each.total, 0) for each in own if each.total),
    ]
    return "\n\n".join(pictures)


def _host_total(hardware: Hardware) -> int:
    """The whole that the host's budget is a part of: the machine's memory, or the limit that binds."""
    budget = host_budget(hardware)
    if budget.code != "MEM_CGROUP":
        return hardware.memory.total
    return next(
        (each.limit for each in hardware.memory.limits if budget.source.startswith(each.source)),
        hardware.memory.total,
    )


def _bar(name: str, budget: Budget, total: int, need: int) -> str:
    used = max(0, total - budget.free)
    kept = min(budget.reserve, budget.free)
    left = max(0, budget.bytes - need)
    marks = (("=", used, "in use"), ("#", need, "this model"), (".", left, "free"), ("-", kept, "kept free"))
    whole = max(1, sum(size for _, size, _ in marks))
    cells = [round(size * _BAR / whole) for _, size, _ in marks]
    for index, (_, size, _) in enumerate(marks):
        if size and not cells[index]:
            cells[index] = 1
    while sum(cells) > _BAR:
        cells[cells.index(max(cells))] -= 1
    while sum(cells) < _BAR:
        cells[cells.index(max(cells))] += 1
    bar = "".join(mark * count for (mark, _, _), count in zip(marks, cells, strict=True))
    legend = "   ".join(f"{mark} {mib(size)} {what}" for mark, size, what in marks if size)
    return "\n".join([f"  {name}: {mib(total)}", f"  [{bar}]", _wrapped(legend, "   ", "   ")])


def _why_not(plan: Plan, *, every: bool) -> str:
    others = [each for each in plan.rejected if each != plan.binding]
    shown = others if every else _closest(others, plan.chosen)
    rows = [each for each in shown if each.need is not None and each.budget is not None]
    cells = [
        (
            _named(each),
            f"{each.kv_type} KV" if each.kv_type else "",
            f"{(each.need or 0) / 2**20:,.0f} of {mib(each.budget or 0)}",
            each.code,
        )
        for each in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  - " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    lines += [_wrapped(_reason(each), "  - ", "    ") for each in shown if each not in rows]
    more = len(others) - len(shown)
    if more > 0 and lines:
        lines.append(f"  - and {more} more: --all")
    return "\n".join(["Why not the others:", *lines]) if lines else ""


def _named(rejection: Rejection) -> str:
    return " ".join(filter(None, (rejection.model, rejection.variant or rejection.runtime)))


def _closest(rejected: Iterable[Rejection], chosen: Evaluated | None) -> list[Rejection]:
    """Of what was rejected for a number those that lack least, and each other engine once."""
    numbered: dict[str, Rejection] = {}
    for each in rejected:
        if each.need is not None and each.budget is not None and each.variant is not None:
            best = numbered.get(each.variant)
            if best is None or each.need - each.budget < (best.need or 0) - (best.budget or 0):
                numbered[each.variant] = each
    near = sorted(numbered.values(), key=lambda each: (each.need or 0) - (each.budget or 0))
    runtime = chosen.candidate.runtime if chosen is not None else None
    engines: dict[str, Rejection] = {}
    for each in rejected:
        if each.runtime is not None and each.runtime != runtime and each.need is None:
            engines.setdefault(each.runtime, each)
    room = max(1, _MOST_REASONS - len(engines))
    return [*near[:room], *engines.values()][:_MOST_REASONS]


def _reason(rejection: Rejection) -> str:
    words = [_named(rejection)]
    if rejection.runtime is not None and rejection.variant is not None and rejection.need is None:
        words.append(f"by {rejection.runtime}")
    if rejection.kv_type is not None:
        words.append(f"with {rejection.kv_type} KV")
    what = " ".join(filter(None, words))
    return ". ".join(
        filter(None, (f"{what}: {rejection.code}" if what else rejection.code, rejection.detail))
    )


def _listed(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return "\n".join([f"{title}:", *(_wrapped(line, "  - ", "    ") for line in lines)])


def _wrapped(text: str, first: str, further: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
