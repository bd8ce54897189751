"""How a search ended, for its user. Knows stdout and the exit code; shared by the commands that search."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autoprune.engine.result import Result


def print_result(result: Result, as_json: bool) -> int:
    """Print the front; 0.

    Raises:
        BudgetInfeasibleError: nothing met the budget; the best possible is named.
        TaskError: no model was finished; or all fine-tuning failed, and the front is of models as they were repaired.
    """
    from autoprune.core.budget import Budget
    from autoprune.errors import BudgetInfeasibleError, TaskError
    from autoprune.report.page import REPORT
    from autoprune.report.table import closest, front_table, summary

    failures = result.document.get("failures", {})
    if as_json:
        typer.echo(json.dumps(result.document, indent=1))
    else:
        typer.echo(front_table(result.document))
        typer.echo(summary(result.document, result.overhead))
        if (result.run / REPORT).exists():
            typer.echo(f"look at it: {result.run / REPORT}")
    if result.best is None:
        budget = Budget.parse(*result.document["budget"])
        if not budget.limits or "finishing" in failures:
            raise TaskError(
                expected="a model that was finished",
                received=failures.get("finishing", "none"),
                cure="the warnings above, and measurements.jsonl of the run, say more; mend the task",
            )
        unsure = any(point["uncertain"] for point in result.document["front"])
        raise BudgetInfeasibleError(
            expected=" and ".join(limit.meaning() for limit in budget.limits),
            received=f"nothing {'certain to be ' if unsure else ''}within it; {closest(result.document, budget)}",
            cure="raise the budget, or give the search more --trials",
        )
    if "fine-tuning" in failures:
        raise TaskError(
            expected="at least one model that can be fine-tuned",
            received=failures["fine-tuning"],
            cure=f"the front is of models as they were repaired; mend the task and train them with `autoprune finetune "
            f"{result.run} --finetune-epochs N`",
        )
    return 0
