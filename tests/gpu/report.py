# SPDX-License-Identifier: Apache-2.0
"""The results of a run, as a page of Markdown: steps, times, and answers to open questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LONGEST_CELL = 160
OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that was tried: what it is, what came of it, and what it said."""

    name: str
    outcome: str
    text: str = ""


def page(
    facts: dict[str, str], steps: list[Step], times: dict[str, list[float]], asked: Any
) -> str:
    """Write the page."""
    lines = [f"# {facts['machine']}", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if name != "machine"]
    lines += ["", "## Steps", "", "| step | outcome | |", "|---|---|---|"]
    lines += [f"| {step.name} | {step.outcome} | {_cell(step.text)} |" for step in steps]
    lines += ["", "## Times", ""]
    lines += _times(times) if times else ["None was taken."]
    lines += ["", "## Questions", ""]
    lines += [f"- **{question}** {answer}" for question, answer in answers(asked)]
    lines += ["", "## As it was said", ""]
    for step in steps:
        if "\n" in step.text.strip() or len(step.text) > LONGEST_CELL:
            lines += [
                f"{step.name}:",
                "",
                *[f"    {line}".rstrip() for line in step.text.splitlines()],
            ]
            lines += [""]
    return "\n".join(lines).rstrip("\n") + "\n"


def answers(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """Answer the questions, in sentences."""
    return [
        ("Does /proc know the UUID before the first initialisation?", _uuids(asked)),
        ("What does reading `information` cost?", _information(asked)),
        ("What does opening a GPU cost?", _opening(asked)),
        ("Does nvmlInit attach all GPUs?", _attaching(asked)),
        ("What shows capabilities/gpuN/mig?", _capabilities(asked)),
        ("In which order does NVML count MIG devices?", _order(asked)),
        ("Is libnvidia-sandboxutils there?", ", ".join(asked.get("sandboxutils") or []) or "No."),
    ]


def _uuids(asked: dict[str, Any]) -> str:
    before, after = asked.get("information", {}), asked.get("information_after", {})
    pairs = [
        f"{bus}: {entry['uuid']} before, {after.get(bus, {}).get('uuid', '?')} after NVML"
        for bus, entry in before.items()
        if isinstance(entry, dict)
    ]
    held = ", ".join(asked.get("persistence", {}).get("users", []))
    return "; ".join(pairs) + f". GPUs were in use by: {held or 'nobody'}."


def _information(asked: dict[str, Any]) -> str:
    times = [one for one in asked.get("information", {}).values() if isinstance(one, dict)]
    return "; ".join(f"{one['first_ms']} ms, again {one['second_ms']} ms" for one in times) + "."


def _opening(asked: dict[str, Any]) -> str:
    openings = asked.get("opening", {})
    if "failed" in openings:
        return f"Could not be asked: {openings['failed']}."
    texts = [
        f"{path}: open {one['open_ms']} ms, close {one['close_ms']}, again {one['again_ms']}"
        f" and {one['close_again_ms']}"
        for path, one in openings.items()
    ]
    awake = "with" if asked.get("persistence", {}).get("persistenced") else "without"
    return f"{'; '.join(texts) or 'No node'} ({awake} nvidia-persistenced)."


def _attaching(asked: dict[str, Any]) -> str:
    answers = asked.get("nvml", {"failed": "no answer"})
    if "failed" in answers:
        return f"Could not be asked: {answers['failed']}."
    texts = []
    for one in answers.get("rounds", []):
        own = [path for path in one["open"] if path[-1].isdigit()]
        handles = ", ".join(f"{gpu['ms']}" for gpu in one["gpus"])
        texts.append(
            f"nvmlInit took {one['init_ms']} ms and left {len(own)} of {len(one['gpus'])} GPUs open,"
            f" handles took {handles} ms, nvmlShutdown {one['shutdown_ms']} ms"
        )
    return f"Loading took {answers['load_ms']} ms; " + "; then ".join(texts) + "."


def _capabilities(asked: dict[str, Any]) -> str:
    rounds = asked.get("nvml", {}).get("rounds") or [{"gpus": []}]
    modes = ", ".join(gpu["mig"]["mode"] for gpu in rounds[0]["gpus"]) or "unknown"
    answers = asked.get("capabilities", {})
    texts = [f"{folder}: {', '.join(names) or 'empty'}" for folder, names in answers.items()]
    return f"{'; '.join(texts)}. MIG by GPU: {modes}."


def _order(asked: dict[str, Any]) -> str:
    rounds = asked.get("nvml", {}).get("rounds") or [{"gpus": []}]
    texts = [
        f"GPU {number}: " + ", ".join(f"{j} is gi{gi} ci{ci}" for j, gi, ci in gpu["mig"]["order"])
        for number, gpu in enumerate(rounds[0]["gpus"])
        if gpu["mig"].get("order")
    ]
    return "; ".join(texts) + "." if texts else "There was no MIG device."


def _times(times: dict[str, list[float]]) -> list[str]:
    """Write medians, and their ratio to the first row, which is the bare runtime."""
    lines = ["| | median ms | least | most | over bare |", "|---|---|---|---|---|"]
    bare = 0.0
    for name, values in times.items():
        ordered = sorted(values)
        median = ordered[len(ordered) // 2]
        bare = bare or median
        lines.append(
            f"| {name} | {median:.1f} | {ordered[0]:.1f} | {ordered[-1]:.1f} | +{median - bare:.1f} |"
        )
    return lines


def _cell(text: str) -> str:
    first = text.strip().partition("\n")[0]
    return first.replace("|", "\\|")[:LONGEST_CELL]
