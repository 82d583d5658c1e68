"""A plan as JSON: the schema `slmctl.plan/1` (docs/schemas/plan-1.json; fit.md 6.5, sizes in bytes).

`to_json` writes what a program or a person wants to know; `from_json` makes the plan of it again, given the
builds that it was made from, without what was merely `considered`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry.errors import MalformedFile
from runtimes.planning.document_reader import Fields
from runtimes.planning.launch import server_flags
from runtimes.planning.values import (
    Build,
    Candidate,
    Evaluated,
    Launch,
    Need,
    Part,
    Plan,
    Quality,
    Rejection,
    Shape,
    Speed,
)

SCHEMA = "slmctl.plan/1"


def to_json(
    plan: Plan, *, hardware_digest: str | None = None, calibration: str | None = None
) -> dict[str, object]:
    """The document, `schema` first. `choice` and what belongs to it are null where nothing fits.

    `calibration` says when the machine's speed was measured.
    """
    chosen = plan.chosen
    document: dict[str, object] = {
        "schema": SCHEMA,
        "verdict": plan.verdict,
        "flags": list(plan.flags),
        "tier": plan.tier,
    }
    launch = plan.launch
    document |= _evaluated(chosen, launch) if chosen is not None else dict.fromkeys(_EVALUATED)
    document |= {
        "launch": _launch(launch) if launch is not None else None,
        "binding": _rejection(plan.binding) if plan.binding is not None else None,
        "rejected": [_rejection(each) for each in plan.rejected],
        "alternatives": [_evaluated(each, None) for each in plan.alternatives],
        "would_change": [{"if": condition, "then": gain} for condition, gain in plan.would_change],
        "notes": list(plan.notes),
        "hardware_digest": hardware_digest,
        "calibration": calibration,
        "argv": _argv(plan),
    }
    return document


def from_json(document: object, builds: Iterable[Build]) -> Plan:
    """The plan that a document describes, with these builds. Raises MalformedFile for any other document, and
    for one that speaks of a build that is not among them."""
    top = Fields(document, "plan")
    if top.text("schema") != SCHEMA:
        raise MalformedFile(f"This plan is not of the schema {SCHEMA}.")
    known = {(build.model, build.variant, build.digest): build for build in builds}
    launch = top.child_or_none("launch")
    binding = top.child_or_none("binding")
    return Plan(
        verdict=top.text("verdict"),
        flags=top.texts("flags"),
        tier=top.text_or_none("tier"),
        chosen=_to_evaluated(top, known) if top.child_or_none("choice") is not None else None,
        launch=_to_launch(launch) if launch is not None else None,
        binding=_to_rejection(binding) if binding is not None else None,
        rejected=tuple(_to_rejection(each) for each in top.children("rejected")),
        alternatives=tuple(_to_evaluated(each, known) for each in top.children("alternatives")),
        would_change=tuple((each.text("if"), each.text("then")) for each in top.children("would_change")),
        notes=top.texts("notes"),
    )


_EVALUATED = ("choice", "memory", "speed", "quality")


def _evaluated(evaluated: Evaluated, launch: Launch | None) -> dict[str, object]:
    candidate, shape, need = evaluated.candidate, evaluated.candidate.shape, evaluated.need
    build, speed, quality = candidate.build, evaluated.speed, evaluated.quality
    pools = [
        {
            "pool": pool,
            "budget_bytes": budget,
            "need_bytes": need.of(pool),
            "need_hi_bytes": int(need.of(pool) * need.margin),
        }
        for pool, budget in evaluated.budget.items()
    ]
    return {
        "choice": {
            "model": build.model,
            "digest": build.digest,
            "variant": build.variant,
            "quantization": build.quantization or build.facts.quantization,
            "size_bytes": build.size,
            "stored": build.stored,
            "made": build.made,
            "runtime": candidate.runtime,
            "place": candidate.place,
            "backend": candidate.api,
            "ctx": shape.context,
            "kv": shape.type_k,
            "kv_v": shape.type_v,
            "parallel": shape.parallel,
            "gpu_layers": shape.gpu_layers,
            "threads": launch.threads if launch is not None else None,
            "batch": shape.batch,
            "micro_batch": shape.micro_batch,
            "flash_attention": shape.flash_attention,
            "repack": shape.repack,
            "draft_tokens": shape.draft_tokens,
            "embedding": shape.embedding,
        },
        "memory": {
            "method": need.method,
            "margin": need.margin,
            "need_bytes": need.total,
            "need_hi_bytes": int(need.total * need.margin),
            "pools": pools,
            "parts": [
                {"name": p.name, "pool": p.pool, "bytes": p.bytes, "kind": p.kind, "source": p.source}
                for p in need.parts
            ],
        },
        "speed": None
        if speed is None
        else {
            "decode_tps": [speed.low, speed.expected, speed.high],
            "basis": speed.basis,
            "overhead_seconds": speed.overhead,
            "bandwidth_bytes_per_second": speed.bandwidth,
        },
        "quality": {"loss": quality.loss, "tier": quality.tier, "basis": quality.basis},
    }


def _argv(plan: Plan) -> list[str] | None:
    """The command line of llama.cpp's own server for it, for other machines; None for other engines."""
    if plan.launch is None or plan.chosen is None or plan.chosen.candidate.runtime != "llama.cpp":
        return None
    return ["llama-server", "-m", plan.chosen.candidate.build.model, *server_flags(plan.launch)]


def _launch(launch: Launch) -> dict[str, object]:
    return {name: getattr(launch, name) for name in Launch.__slots__ if name != "cache_ram"} | {
        "cache_ram_bytes": launch.cache_ram
    }


def _rejection(rejection: Rejection) -> dict[str, object]:
    return {
        "code": rejection.code,
        "detail": rejection.detail,
        "model": rejection.model,
        "variant": rejection.variant,
        "runtime": rejection.runtime,
        "kv": rejection.kv_type,
        "need_bytes": rejection.need,
        "budget_bytes": rejection.budget,
    }


def _to_evaluated(fields: Fields, known: Mapping[tuple[str, str, str | None], Build]) -> Evaluated:
    choice, memory, quality = fields.child("choice"), fields.child("memory"), fields.child("quality")
    name = (choice.text("model"), choice.text("variant"), choice.text_or_none("digest"))
    if name not in known:
        raise MalformedFile(f"This plan is of a build that is not there: {name[0]:.80} {name[1]:.80}.")
    speed = fields.child_or_none("speed")
    candidate = Candidate(
        build=known[name],
        runtime=choice.text("runtime"),
        place=choice.text("place"),
        api=choice.text("backend"),
        shape=_to_shape(choice),
    )
    return Evaluated(
        candidate=candidate,
        need=Need(
            parts=tuple(_to_part(each) for each in memory.children("parts")),
            method=memory.text("method"),
            margin=memory.number("margin"),
        ),
        budget={each.text("pool"): each.whole("budget_bytes") for each in memory.children("pools")},
        speed=_to_speed(speed) if speed is not None else None,
        quality=Quality(loss=quality.number("loss"), tier=quality.text("tier"), basis=quality.text("basis")),
    )


def _to_shape(choice: Fields) -> Shape:
    return Shape(
        context=choice.whole("ctx"),
        parallel=choice.whole("parallel"),
        batch=choice.whole("batch"),
        micro_batch=choice.whole("micro_batch"),
        type_k=choice.text("kv"),
        type_v=choice.text("kv_v"),
        flash_attention=choice.flag("flash_attention"),
        gpu_layers=choice.whole("gpu_layers"),
        repack=choice.flag("repack"),
        draft_tokens=choice.whole("draft_tokens"),
        embedding=choice.flag("embedding"),
    )


def _to_part(fields: Fields) -> Part:
    return Part(
        name=fields.text("name"),
        pool=fields.text("pool"),
        bytes=fields.whole("bytes"),
        kind=fields.text("kind"),
        source=fields.text("source"),
    )


def _to_speed(fields: Fields) -> Speed:
    low, expected, high = fields.numbers("decode_tps", 3)
    return Speed(
        low=low,
        expected=expected,
        high=high,
        basis=fields.text("basis"),
        overhead=fields.number("overhead_seconds"),
        bandwidth=fields.number("bandwidth_bytes_per_second"),
    )


def _to_launch(fields: Fields) -> Launch:
    whole = ("context", "parallel", "threads", "batch_threads", "batch", "micro_batch", "gpu_layers")
    return Launch(
        **{name: fields.whole(name) for name in whole},
        type_k=fields.text("type_k"),
        type_v=fields.text("type_v"),
        flash_attention=fields.flag("flash_attention"),
        cache_ram=fields.whole("cache_ram_bytes"),
        context_checkpoints=fields.whole("context_checkpoints"),
        mmap=fields.flag("mmap"),
        repack=fields.flag("repack"),
        device=fields.text_or_none("device"),
    )


def _to_rejection(fields: Fields) -> Rejection:
    return Rejection(
        code=fields.text("code"),
        detail=fields.text("detail"),
        model=fields.text_or_none("model"),
        variant=fields.text_or_none("variant"),
        runtime=fields.text_or_none("runtime"),
        kv_type=fields.text_or_none("kv"),
        need=fields.whole_or_none("need_bytes"),
        budget=fields.whole_or_none("budget_bytes"),
    )
