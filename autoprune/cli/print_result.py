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
        TaskError: there was no budget, and no model was finished.
    """
    from autoprune.core.budget import Budget
    from autoprune.errors import BudgetInfeasibleError, TaskError
    from autoprune.report.table import closest, front_table, summary

    if as_json:
        typer.echo(json.dumps(result.document, indent=1))
    else:
        typer.echo(front_table(result.document))
        typer.echo(summary(result.document, result.overhead))
    if result.best is None:
        budget = Budget.parse(*result.document["budget"])
        if not budget.limits:
            raise TaskError(
                expected="a model that was finished",
                received="none",
                cure="the warnings above, and log.jsonl of the run, say why; mend the task",
            )
        unsure = any(point["uncertain"] for point in result.document["front"])
        raise BudgetInfeasibleError(
            expected=" and ".join(limit.meaning() for limit in budget.limits),
            received=f"nothing {'certain to be ' if unsure else ''}within it; {closest(result.document, budget)}",
            cure="raise the budget, or give the search more --trials",
        )
    return 0
