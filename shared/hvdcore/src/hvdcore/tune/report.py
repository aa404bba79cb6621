"""report.html of a study: the best trial, the figures and a table of all trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hvdcore.run.report import Section, Table, write_page
from hvdcore.tune.figures import draw_history, draw_importance, draw_slices
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.results import TrialRow, failure_text, shown

__all__ = ["write_study_page"]


def write_study_page(
    folder: StudyFolder,
    plan: Plan,
    rows: Sequence[TrialRow],
    best: TrialRow | None,
    importances: Mapping[str, float],
) -> Path:
    """Draw the figures and write the page; its path.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    sections = [] if best is None else [_best_section(folder, plan, best)]
    sections += _figure_sections(folder, plan, rows, importances)
    sections.append(_trials_section(plan, rows))
    counts = Counter(row.state for row in rows)
    subtitle = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    title = f"{plan.tunable.package}: search for the best {plan.objective.label}"
    write_page(folder.report_html, title, sections, subtitle=subtitle)
    return folder.report_html


def _best_section(folder: StudyFolder, plan: Plan, best: TrialRow) -> Section:
    assert best.value is not None
    cells = [[name, shown(value)] for name, value in sorted(best.params.items())]
    text = f"Trial {best.number}: {plan.objective.label} {shown(best.value)}, in {best.run}."
    text += " It was selected on val, so its value is optimistic; evaluate it on test."
    text += f" {folder.best.name} holds all of its settings, for train --config."
    return Section("Best trial", text, table=Table(["parameter", "value"], cells))


def _figure_sections(
    folder: StudyFolder,
    plan: Plan,
    rows: Sequence[TrialRow],
    importances: Mapping[str, float],
) -> list[Section]:
    sections = []
    if any(row.value is not None for row in rows):
        history = draw_history(folder.figures / "history.png", rows, plan.objective)
        slices = draw_slices(folder.figures / "slices.png", rows, plan.space, plan.objective)
        sections = [
            Section("Optimization history", figure=history),
            Section("Objective by parameter", _SLICES, figure=slices),
        ]
    if importances:
        path = draw_importance(folder.figures / "importance.png", importances)
        sections.insert(1, Section("What mattered", _IMPORTANCE, figure=path))
    return sections


_IMPORTANCE = (
    "PED-ANOVA over the complete trials: how far the best of them differ from all in each "
    "parameter, as shares of one. With fewer than some thirty trials it is a hint."
)
_SLICES = "Each dot is a trial, later ones darker; hollow ones were stopped early."


def _trials_section(plan: Plan, rows: Sequence[TrialRow]) -> Section:
    names = sorted(plan.space)
    header = ["trial", "state", plan.objective.metric, "seconds", *names, "note"]
    cells = []
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.4f}"
        seconds = "-" if row.seconds is None else f"{row.seconds:.1f}"
        params = [shown(row.params.get(name, "-")) for name in names]
        cells.append([str(row.number), row.state, value, seconds, *params, _note(row)])
    return Section("Trials", table=Table(header, cells))


def _note(row: TrialRow) -> str:
    if row.reason is not None:
        return failure_text(row)
    return "" if row.repeats is None else f"repeats trial {row.repeats} tried"
