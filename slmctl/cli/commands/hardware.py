"""slmctl hardware"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.errors import OperationFailed, UsageError
from runtimes.hardware.document import SCHEMA, to_json
from runtimes.hardware.machine import Hardware
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.render import clean, table

if TYPE_CHECKING:
    from slmctl.app.planning.calibrating import Calibration


@make_command(
    "hardware",
    about="Show what models can run with here: memory and what of it may be used, processor, GPUs and NPUs,"
    " engines and what their builds use of them, what is missing and the command that brings it.",
)
@click.option(
    "--for",
    "target",
    metavar="PROFILE|FILE",
    shell_complete=candidates.profiles,
    help="Show that machine instead of this one.",
)
@click.option("--profiles", is_flag=True, help="List the machines that come with slmctl.")
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the machine to FILE, for '--for' here or elsewhere.",
)
@click.option(
    "--calibrate",
    "model",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    shell_complete=candidates.models,
    help="Run models that are here, or NAME alone, for seconds: plans then know how fast this machine is.",
)
def command(
    context: Context, target: str | None, profiles: bool, save: Path | None, model: str | None
) -> None:
    if profiles:
        if target is not None or save is not None or model is not None:
            raise UsageError(
                "--profiles goes with neither --for, --save nor --calibrate.", hint="Leave one of them out."
            )
        _list(context)
        return
    if target is not None and model is not None:
        raise UsageError("--calibrate runs models on this machine, and so does not go with --for.")
    hardware = _this_machine(context) if target is None else _profile(target)
    calibration = None
    if model is not None:
        calibration = _calibration(context, hardware, model)
        hardware = _with_what_was_learned(context, hardware)
    if save is not None:
        _save(hardware, save)
    fields = to_json(hardware)
    del fields["schema"]  # every document begins with it
    if calibration is not None:
        from slmctl.cli.describe_calibration import calibration_fields

        fields["calibration"] = calibration_fields(calibration)
    context.output.result(fields, lambda: clean(_text(hardware, calibration)))
    if save is not None:
        context.output.note(f"Saved as {save}: '--for {save}' plans for it.")


def _this_machine(context: Context) -> Hardware:
    from runtimes.hardware.probe import probe  # not needed for a profile

    settings = context.settings
    context.output.status("Looking at this machine...")
    found = probe(
        environment=settings.environment,
        cache_folder=settings.home / "cache",
        store=settings.store,
        again=True,
        today=context.now()[:10],
    )
    return _with_what_was_learned(context, found)


def _with_what_was_learned(context: Context, hardware: Hardware) -> Hardware:
    """The machine with the speeds that its models have shown by now."""
    from slmctl.app.planning.hardware import with_speeds
    from slmctl.app.planning.history_file import read_history

    return with_speeds(replace(hardware, speeds=()), read_history(context.settings.home))


def _calibration(context: Context, hardware: Hardware, model: str) -> Calibration:
    from registry.names import parse_name
    from slmctl.app.planning.calibrating import calibrate

    name = parse_name(model) if model else None
    return calibrate(
        context.reader,
        context.settings,
        hardware,
        name,
        date=context.now(),
        on_event=context.output.on_event,
    )


def _profile(given: str) -> Hardware:
    from runtimes.hardware.profiles import profile

    return profile(given)


def _text(hardware: Hardware, calibration: Calibration | None) -> str:
    from slmctl.cli.describe_hardware import describe_hardware

    if calibration is None:
        return describe_hardware(hardware)
    from slmctl.cli.describe_calibration import describe_calibration

    return f"{describe_hardware(hardware)}\n{describe_calibration(calibration)}"


def _list(context: Context) -> None:
    from runtimes.hardware.profiles import profile, profile_names
    from slmctl.cli.describe_hardware import about

    rows = [(name, about(profile(name))) for name in profile_names()]
    context.output.result(
        {"profiles": [{"name": name, "about": text} for name, text in rows]},
        lambda: table(("NAME", "WHAT IT HAS"), rows),
    )


def _save(hardware: Hardware, path: Path) -> None:
    """Write the document beside `path` and rename it there. Raises OperationFailed."""
    text = json.dumps({"schema": SCHEMA, **to_json(hardware)}, indent=2, ensure_ascii=False)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            new.write_text(f"{text}\n", encoding="utf-8")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise OperationFailed(
            f"The machine cannot be saved as {str(path)!r:.120} ({reason}).",
            hint="Name a file in a folder that you may write to.",
        ) from None
