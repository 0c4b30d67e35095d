"""What a budget of steps buys, by method: docs/budget.md."""
