"""`slmctl plan --history`: how far plans were off, and what speeds were measured."""

from __future__ import annotations

from slmctl.app.planning.history import History
from slmctl.app.planning.history_file import read_history
from slmctl.app.planning.words import mib
from slmctl.cli.command import Context
from slmctl.cli.render import print_json, table


def show_history(context: Context) -> None:
    history = read_history(context.settings.home)
    if context.output.as_json:
        document = history.to_json()
        del document["schema"]
        print_json("history", document)
        return
    text = _text(history)
    if text:
        print(text)  # noqa: T201
    else:
        context.output.note("Nothing was learned yet: it is when models run.")


def _text(history: History) -> str:
    return "\n\n".join(filter(None, (_estimates(history), _speeds(history), _bounds(history))))


def _estimates(history: History) -> str:
    rows = [
        (
            each.architecture,
            f"{each.engine} {each.build}",
            str(each.loads),
            f"{each.planned / 2**20:,.0f} / {mib(each.measured)}",
            f"{each.error:+.1%}{', oracle' if each.oracle else ''}",
        )
        for each in reversed(history.estimates)
    ]
    head = ("ARCHITECTURE", "ENGINE", "LOADS", "PLANNED / REAL", "OFF")
    return table(head, rows) if rows else ""


def _speeds(history: History) -> str:
    rows = [
        (
            each.place,
            f"{each.engine} {each.build}",
            str(each.threads) if each.place == "cpu" else "-",
            f"{each.overhead * 1e6:.0f} us",
            f"{each.bandwidth / 1e9:.1f} GB/s",
            str(each.samples) if each.samples else "calibrated",
        )
        for each in reversed(history.speeds)
    ]
    head = ("PLACE", "ENGINE", "THREADS", "LAYER", "REACHED", "ANSWERS")
    return table(head, rows) if rows else ""


def _bounds(history: History) -> str:
    rows = [
        (
            each.model,
            each.bound.runtime,
            f"{each.bound.shape.context:,}",
            f"more than {mib(each.bound.bytes)} ({each.bound.pool})",
            each.date[:10],
        )
        for each in reversed(history.bounds)
    ]
    return table(("MODEL", "ENGINE", "CONTEXT", "NEEDS", "DATE"), rows) if rows else ""
