"""Published experiments, run again: what the article says, and what is found here."""

from reproductions import (
    cardio,
    dawnbench,
    k_fold,
    mnist,
    one_cycle,
    range_test,
    smith2017,
    snapshot,
)

EXPERIMENTS = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        cardio,
        mnist,
        range_test,
        one_cycle,
        smith2017,
        dawnbench,
        k_fold,
        snapshot,
    )
}
